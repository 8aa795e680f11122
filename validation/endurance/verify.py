"""A fresh process that compares a store with the model, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pyi
from validation.endurance.children import Say
from validation.endurance.content import digest, read
from validation.endurance.model import NOTHING, Model, Value

__all__ = ["compare_held", "verify", "verify_backup"]

_AMPLE_BYTES = 1 << 40


class _Checked:
    """Reads checkpoints, each once."""

    def __init__(self, repo: pyi.Repository) -> None:
        self.repo = repo
        self._digests: dict[str, str] = {}

    def flaw(self, id: str, said: str) -> str | None:
        """Return what is wrong with a checkpoint: its content is to have the digest `said`, and to say so itself."""
        try:
            if id not in self._digests:
                workspace = self.repo.workspace(at=id)
                files, mark = read(workspace)
                self._digests[id] = digest(((path, mode, data) for path, (mode, data) in files.items()), mark)
                if workspace.head.message != self._digests[id]:
                    return f"{id} has the content {self._digests[id]}, its message says {workspace.head.message}"
        except pyi.PyiError as error:
            return f"{id}: {type(error).__name__}: {error}"
        if self._digests[id] != said:
            return f"{id} has the content {self._digests[id]}, acknowledged was {said}"
        return None

    def __len__(self) -> int:
        return len(self._digests)


def verify(store: Path, model: Model, say: Say, *, quiet_since: float, collect: bool, bare: bool = False) -> None:
    """Check everything, with nobody writing or collecting since `quiet_since`; then collect, and check again.

    With `bare` retention ends and every other name is given up before that.
    """
    with pyi.open(store) as repo:
        registers = _held(repo)
        _compare(repo, model, registers, say)
        young = [one for one in model.young if one.time + model.age_s > quiet_since]
        checked = _Checked(repo)
        _whole(
            checked,
            ((f"young by {one.by}, {time.time() - one.time:.1f} s old", Value(one.id, one.digest)) for one in young),
            say,
        )
        _whole(checked, registers.items(), say)
        _sound(repo, store, say)
        say("verified", len(checked), len(young))
        for key, value in registers.items():
            say("found", key, *value)
    if not collect:
        return
    with pyi.open(store) as repo:
        if bare:
            _strip(repo)
        done = repo.gc()
        if done.gave_up is not None:
            say("violation", f"a collection with nobody else there gave up: {done.gave_up}")
        now = time.time()
        left = _held(repo)
        if not bare and left != registers:
            say("violation", "a collection changed what names hold")
        checked = _Checked(repo)
        _whole(checked, left.items(), say)
        if not bare:
            safe = (
                (f"young by {one.by}, {time.time() - one.time:.1f} s old", Value(one.id, one.digest))
                for one in young
                if one.time + model.age_s > now
            )
            _whole(checked, safe, say)
        _sound(repo, store, say)
        say("size", done.bytes_after, done.live_bytes, len(left))


def verify_backup(target: Path, place: Path, model: Model, begin: float, end: float, say: Say) -> None:
    """Restore the newest backup in `target`, made between two times, and check that it is one moment of the store."""
    with pyi.restore_backup(target, place) as repo:
        registers = _held(repo)
        checked = _Checked(repo)
        _whole(checked, registers.items(), say)
        for key, register in model.registers.items():
            found = registers.get(key, NOTHING)
            if not key.startswith("kept") and not register.allowed_between(found, begin, end):
                say("violation", f"backup: {key} is {found}, which it was not between {begin} and {end}")
        _sound(repo, place, say)
        say("restored", len(checked))


def compare_held(store: Path, names: dict[str, tuple[str, str]], say: Say) -> None:
    """Check that branches and named workspaces hold exactly this, byte for byte."""
    with pyi.open(store) as repo:
        held = _held(repo)
        held.pop("branch:main", None)
        for key in held.keys() | names.keys():
            if held.get(key) != names.get(key):
                say("violation", f"{key} is {held.get(key)}, acknowledged was {names.get(key)}")
        _whole(_Checked(repo), held.items(), say)
        _sound(repo, store, say)


def _held(repo: pyi.Repository) -> dict[str, Value]:
    """Return what all names hold."""
    found: dict[str, str] = {f"branch:{name}": id for name, id in repo.branches().items()}
    for name in repo.workspaces():
        found[f"name:{name}"] = repo.view_workspace(name).head.id
    found |= {f"kept:{id}": id for id in repo.kept()}
    return {key: Value(id, repo.get_checkpoint(id).message) for key, id in found.items()}


def _compare(repo: pyi.Repository, model: Model, held: dict[str, Value], say: Say) -> None:
    """Compare names with the model, both ways."""
    known = set()
    for key, register in model.registers.items():
        # Who keeps something is known to the model only.
        place = f"kept:{key.partition(':')[2]}" if key.startswith("kept") else key
        known.add(place)
        found = held.get(place, NOTHING)
        if not register.allows(found):
            say("violation", f"{key} is {found}, acknowledged was {register.value}, begun {register.begun}")
    for key in held:
        if key not in known and key != "branch:main":
            say("violation", f"{key} was never made")
    flaw = model.check_main(held["branch:main"].id)
    if flaw is not None:
        say("violation", flaw)


def _whole(checked: _Checked, values: Iterable[tuple[str, Value]], say: Say) -> None:
    for key, value in values:
        flaw = checked.flaw(value.id, value.digest)
        if flaw is not None:
            say("violation", f"{key}: {flaw}")


def _sound(repo: pyi.Repository, store: Path, say: Say) -> None:
    """Scrub, and run the quick check."""
    report = repo.scrub()
    if not report.clean or report.places or report.healed:
        touched = {name: (len(ids), ids[:3]) for name, ids in report.affected.items() if ids}
        names = {"branches", "workspaces", "superpositions", "kept"} & set(touched)
        flaws = {place["flaw"] for place in report.places} - {"garbage"}
        say(
            "violation" if names or flaws else "remains",
            f"scrub: {len(report.damaged)} damaged {report.damaged[:3]}, places {report.places[:3]}, "
            f"healed {report.healed[:3]}, affected {touched}",
        )
    program = Path(sys.executable).with_name("pyi")
    done = subprocess.run(
        [program, "fsck-store", "--json", "--store", repo.path], capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or not json.loads(done.stdout)["clean"]:
        say("violation", f"fsck-store: {done.returncode} {done.stdout} {done.stderr}")


def _strip(repo: pyi.Repository) -> None:
    """Give up every other name, and end retention."""
    repo.retention(age=0, heads=0)
    acts: list[Callable[[], object]] = []
    for name in sorted(repo.workspaces())[::2]:
        acts.append(lambda name=name: repo.drop(name))  # type: ignore[misc]
    for name in sorted(repo.branches())[::2]:
        acts.append(lambda name=name: repo.delete_branch(name))  # type: ignore[misc]
    for id in sorted(repo.kept())[::2]:
        acts.append(lambda id=id: repo.unkeep(id))  # type: ignore[misc]
    for act in acts:
        act()
