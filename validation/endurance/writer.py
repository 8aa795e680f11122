"""A writer: checkpoints, names, branches, keeps, restores, as fast as it is allowed, telling before and after each."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyi
from validation.endurance.children import Say, wait_while_halted
from validation.endurance.content import Draft
from validation.endurance.model import Model, Young
from validation.endurance.opening import open_store

__all__ = ["Job", "prepare", "write"]

_NAMES = 4
_KEPT_MAX = 6
_YOUNG_MAX = 400
# A checkpoint that is so close to the end of its retention may go at any moment.
_MARGIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """What a writer is to do."""

    store: Path
    number: int
    seed: str
    pause_s: float
    halt: Callable[[], int]


def prepare(store: Path, say: Say, *, age_s: float, heads: int = 3, history: int = 20) -> None:
    """Make a store with a base on `main`, and tell where that is."""
    with pyi.open(store) as repo:
        repo.retention(age=age_s, heads=heads, history=history)
        workspace = repo.workspace()
        draft = Draft(workspace, random.Random(0), empty=True)
        for _ in range(10):
            said = draft.change()
        base = workspace.checkpoint(said)
        workspace.publish("main", expect=None)
        say("main", base.id, said)


def write(job: Job, model: Model, say: Say) -> None:
    """Write until killed. `model` is what was known when this process began."""
    begin = time.perf_counter()
    repo = open_store(job.store)
    say("opened", time.perf_counter() - begin)
    life = _Life(repo, job, model, say)
    actions: list[tuple[float, Callable[[], None]]] = [
        (0.50, life.step),
        (0.60, life.go_back),
        (0.70, life.publish_own),
        (0.80, life.publish_main),
        (0.88, life.loose),
        (0.93, life.keep),
        (0.96, life.look_up_young),
        (0.98, life.look_up_old),
        (1.00, life.rename),
    ]
    life.step()
    while True:
        wait_while_halted(job.halt, say)
        draw = life.source.random()
        next(action for bound, action in actions if draw < bound)()
        if job.pause_s:
            time.sleep(life.source.uniform(0, 2 * job.pause_s))


class _Life:
    """What one process of a writer knows."""

    def __init__(self, repo: pyi.Repository, job: Job, model: Model, say: Say) -> None:
        self.repo, self.job, self.say = repo, job, say
        self.source = random.Random(job.seed)
        self._young = deque(list(model.young)[-_YOUNG_MAX:], _YOUNG_MAX)
        self._old = list(model.old)
        self._age_s = model.age_s
        prefix = f"kept{job.number}:"
        self._kept = [key[len(prefix) :] for key in model.registers if key.startswith(prefix)]
        self._drafts: dict[str, Draft] = {}

    def step(self) -> None:
        """Checkpoint a named workspace."""
        name, draft = self._named()
        said = draft.change()
        key, begin = f"name:{name}", time.time()
        self.say("begin", key, "?", said, begin)
        id = draft.workspace.checkpoint(said).id
        self.say("done", key, id, said, time.time(), begin)
        self._young.append(Young(id, said, begin))

    def go_back(self) -> None:
        """Restore a named workspace to a version before."""
        name, draft = self._named()
        # The version that a store begins with has no message.
        target = self.source.choice([version for version in draft.workspace.log(limit=6) if version.message])
        self._set(f"name:{name}", target.id, target.message, lambda: draft.workspace.restore(target))
        draft.reload()

    def publish_own(self) -> None:
        """Move a branch that nobody else moves; now and then delete it."""
        _, draft = self._named()
        branch = f"own{self.job.number}/{self.source.randrange(2)}"
        at = self.repo.branches().get(branch)
        if at is not None and self.source.random() < 0.1:
            self._set(f"branch:{branch}", "", "", lambda: self.repo.delete_branch(branch, expect=at))
            return
        head = draft.workspace.head
        self._set(f"branch:{branch}", head.id, head.message, lambda: draft.workspace.publish(branch, expect=at))

    def publish_main(self) -> None:
        """Move the branch that everybody moves; the loser throws its work away."""
        workspace = self.repo.workspace("main")
        expect = workspace.head.id
        draft = Draft(workspace, self.source)
        id, said = self._checkpoint(draft, "main")
        self.say("moving", expect, id, said)
        try:
            workspace.publish("main", expect=expect)
        except pyi.Conflict:
            self.say("not moved", id)
        else:
            self.say("moved", id)

    def loose(self) -> None:
        """Checkpoint a fork that has no name."""
        _, draft = self._named()
        self._checkpoint(Draft(draft.workspace.fork(), self.source), "loose")

    def keep(self) -> None:
        """Keep a new checkpoint, and keep an old one no longer."""
        _, draft = self._named()
        id, said = self._checkpoint(Draft(draft.workspace.fork(), self.source), "keep")
        self._set(f"kept{self.job.number}:{id}", id, said, lambda: self.repo.keep(id))
        self._kept.append(id)
        while len(self._kept) > _KEPT_MAX:
            gone = self._kept.pop(0)
            if gone in self.repo.kept():
                self._set(f"kept{self.job.number}:{gone}", "", "", lambda gone=gone: self.repo.unkeep(gone))  # type: ignore[misc]
            else:
                # Begun by an earlier life that was killed before it happened, or after it was taken back.
                self.say("found", f"kept{self.job.number}:{gone}", "", "")

    def look_up_young(self) -> None:
        """Read what anybody checkpointed a moment ago, by its id."""
        if not self._young:
            return
        young = self.source.choice(self._young)
        if time.time() < young.time + self._age_s - _MARGIN_S:
            self._read(young.id, young.digest)

    def look_up_old(self) -> None:
        """Read what may be collected at this moment. If it is there it is whole, and stays as long as it is held."""
        if not self._old:
            return
        old = self.source.choice(self._old)
        try:
            draft = self._read(old.id, old.digest)
        except pyi.NotFound:
            return
        self._checkpoint(draft, "found old")

    def rename(self) -> None:
        """Give up a name and give it to something else."""
        name, draft = self._named()
        other = draft.workspace.fork()
        del self._drafts[name]
        self._set(f"name:{name}", "", "", lambda: self.repo.drop(name))
        head = other.head
        made: list[pyi.Workspace] = []
        self._set(f"name:{name}", head.id, head.message, lambda: made.append(other.fork(name)))
        self._drafts[name] = Draft(made[0], self.source)

    def _named(self) -> tuple[str, Draft]:
        name = f"writer{self.job.number}/{self.source.randrange(_NAMES)}"
        draft = self._drafts.get(name)
        if draft is None:
            draft = self._drafts[name] = self._open(name)
        return name, draft

    def _open(self, name: str) -> Draft:
        key = f"name:{name}"
        try:
            workspace = self.repo.open_workspace(name)
        except pyi.NotFound:
            self.say("found", key, "", "")
        else:
            head = workspace.head
            self.say("found", key, head.id, head.message)
            return Draft(workspace, self.source)
        base = self.repo.workspace("main")
        head = base.head
        made: list[pyi.Workspace] = []
        self._set(key, head.id, head.message, lambda: made.append(base.fork(name)))
        return Draft(made[0], self.source)

    def _read(self, id: str, said: str) -> Draft:
        draft = Draft(self.repo.workspace(at=id), self.source)
        if draft.digest() != said:
            raise ValueError(f"{id} has the content {draft.digest()}, acknowledged was {said}")
        return draft

    def _checkpoint(self, draft: Draft, by: str) -> tuple[str, str]:
        said, begin = draft.change(), time.time()
        id = draft.workspace.checkpoint(said).id
        self.say("checkpoint", id, said, begin, by)
        self._young.append(Young(id, said, begin))
        return id, said

    def _set(self, key: str, id: str, said: str, act: Callable[[], object]) -> None:
        self.say("begin", key, id, said, time.time())
        act()
        self.say("done", key, id, said, time.time(), 0.0)
