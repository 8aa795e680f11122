"""Writers at a fixed offered load: each step has a time at which it is due, whether the one before has ended or not."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyi
from validation.endurance.children import Say
from validation.endurance.content import Draft

__all__ = ["Load", "fill", "offer"]

_STEPS_BEFORE_BASE = 20
_STEPS_BEFORE_PUBLISH = 7


@dataclass(frozen=True, slots=True)
class Load:
    """Who steps when, and on which of the stores: they take turns, a slice each."""

    stores: tuple[Path, ...]
    process: int
    threads: int
    first: int
    interval_s: float
    begin: float
    slice_s: float
    slices: int


def fill(store: Path, say: Say, *, bytes_to_fill: int) -> None:
    """Make a store with a base on `main` and so many bytes that nobody names."""
    source = random.Random(1)
    with pyi.open(store) as repo:
        workspace = repo.workspace()
        draft = Draft(workspace, source, empty=True)
        for _ in range(10):
            said = draft.change()
        workspace.checkpoint(said)
        workspace.publish("main", expect=None)
        filled = 0
        while filled < bytes_to_fill:
            loose = repo.workspace("main")
            loose.write("garbage", source.randbytes(1 << 18))
            loose.checkpoint("garbage")
            filled += 1 << 18
        say("filled", repo.stats()["bytes_stored"])


def offer(load: Load, say: Say) -> None:
    """Step until the end; tell how long each step took, and what all names hold then."""
    repos = [pyi.open(store) for store in load.stores]
    steppers = [_Stepper(load, load.first + number, repos) for number in range(load.threads)]
    threads = [threading.Thread(target=stepper.run) for stepper in steppers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stepper in steppers:
        for error in stepper.errors[:3]:
            say("error", "step", error)
        for which, hands in enumerate(stepper.hands):
            for key, (id, said) in hands.held.items():
                say("held", which, key, id, said)
            flaw = hands.flaw()
            if flaw:
                say("violation", flaw)
        say("took", stepper.took)


class _Hands:
    """What one thread has in one store. Every other thread's workspace has a name."""

    def __init__(self, repo: pyi.Repository, number: int, source: random.Random) -> None:
        self.repo, self.source = repo, source
        self.name = f"writer/{number}" if number % 2 else None
        self.branch = f"branch/{number}"
        self.held: dict[str, tuple[str, str]] = {}
        base = repo.workspace("main")
        self.base = base.head
        self.draft = Draft(base.fork(self.name), source)
        self._note(self.base)
        self.steps = 0

    def step(self) -> Callable[[], None]:
        """Prepare a step and return what is timed."""
        self.steps += 1
        if self.steps % _STEPS_BEFORE_BASE == 0:
            if self.name is None:
                self.draft = Draft(self.repo.workspace("main"), self.source)
            else:
                self.draft.workspace.restore(self.base)
                self._note(self.base)
                self.draft.reload()
        return self._change

    def _change(self) -> None:
        said = self.draft.change()
        checkpoint = self.draft.workspace.checkpoint(said)
        self._note(checkpoint)
        if self.steps % _STEPS_BEFORE_PUBLISH == 0:
            at = self.held.get(f"branch:{self.branch}")
            self.draft.workspace.publish(self.branch, expect=at[0] if at else None)
            self.held[f"branch:{self.branch}"] = (checkpoint.id, said)

    def _note(self, checkpoint: pyi.Checkpoint) -> None:
        if self.name is not None:
            self.held[f"name:{self.name}"] = (checkpoint.id, checkpoint.message)

    def flaw(self) -> str | None:
        """Read everything of the workspace as it is; what is wrong with it."""
        try:
            self.draft.reload()
        except (ValueError, pyi.PyiError) as error:
            return f"workspace of {self.branch}: {error}"
        return None


class _Stepper:
    """One thread."""

    def __init__(self, load: Load, number: int, repos: list[pyi.Repository]) -> None:
        self.load, self.number = load, number
        source = random.Random(f"{number}/{load.begin}")
        self.hands = [_Hands(repo, number, source) for repo in repos]
        self.offset = source.random() * load.interval_s
        # Slice, microseconds from when it was due, microseconds from its begin.
        self.took: list[tuple[int, int, int]] = []
        self.errors: list[str] = []

    def run(self) -> None:
        load = self.load
        for number in range(int(load.slices * load.slice_s / load.interval_s)):
            due = load.begin + number * load.interval_s + self.offset
            slice_number = int((due - load.begin) / load.slice_s)
            if slice_number >= load.slices:
                break
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                act = self.hands[slice_number % len(self.hands)].step()
                begin = time.monotonic()
                act()
                end = time.monotonic()
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                continue
            self.took.append((slice_number, int((end - due) * 1e6), int((end - begin) * 1e6)))
