"""``python -m pyi.workflow.verify RECORD STORE``: is every checkpoint of a swarm there, and every byte of it right?

Runs in a process that has seen nothing of the swarm, and asks the store only for what it holds. For each checkpoint,
in the order of its agent:

- every directory on the way to a changed path is listed: the changed entries must be as the record says, all others
  must be exactly (kind, mode, id) what they were in the checkpoint it was made from;
- the content behind every id that appears is read and hashed once.

By induction from the base, whose every file is compared with git's own names, that covers every byte of every
checkpoint. The last checkpoint of each agent is also walked from end to end, without any induction (for as many
agents as a budget of entries allows).

Prints one JSON object; exit status 0 if all is right, 1 if something is wrong or lost, 3 if it could not be found out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pyi import _native
from pyi.errors import NotFound, PyiError
from pyi.workflow.ledger import Line, Record
from pyi.workflow.model import EXECUTABLE, FILE, GITLINK, SYMLINK, Known, digest_of

if TYPE_CHECKING:
    from pyi._native import Entry, Repository, Workspace

__all__ = ["Verdict", "main", "verify"]

_WALK_BUDGET = 4_000_000
_PROBLEM_LIMIT = 20

Fact = tuple[str, int, str]
"""What a directory says of an entry: kind, mode, id."""


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        checkpoints: Checkpoints that the record holds.
        lost: Those that the store does not have.
        wrong: Those of which something is wrong.
        wrong_bytes: Bytes in files that are wrong, missing or too many.
        files_hashed: Distinct contents that were read and hashed.
        bytes_hashed: Their bytes.
        walked: Checkpoints that were also compared from end to end.
        seconds: How long it took.
        problems: The first few, in words.
    """

    checkpoints: int = 0
    lost: int = 0
    wrong: int = 0
    wrong_bytes: int = 0
    files_hashed: int = 0
    bytes_hashed: int = 0
    walked: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is there and right."""
        return not (self.lost or self.wrong or self.wrong_bytes)


@dataclass(slots=True)
class _Directory:
    """A directory as it was found: its entries, and those of its directories that were looked into."""

    entries: dict[str, Fact] = field(default_factory=dict)
    below: dict[str, _Directory] = field(default_factory=dict)


class _Edits(dict[str, "_Edits | Known | None"]):
    """The changed paths of one checkpoint, as a tree of names."""

    @classmethod
    def of(cls, changed: dict[str, Known | None]) -> _Edits:
        root = cls()
        for path, known in changed.items():
            *parents, name = path.split("/")
            at = root
            for parent in parents:
                below = at.get(parent)
                if not isinstance(below, _Edits):  # a removed file that gave way to a directory, too
                    below = at[parent] = cls()
                at = below
            if not isinstance(at.get(name), _Edits):
                at[name] = known
        return root


class _Verifier:
    def __init__(self, repository: Repository, record: Record) -> None:
        self._repository = repository
        self._record = record
        self._digests: dict[tuple[str, str], str] = {}
        self._bad = False
        self.verdict = Verdict(checkpoints=record.count)

    def run(self) -> Verdict:
        record = self._record
        view = self._view(record.base_id)
        if view is None:
            self._problem(f"the base {record.base_id} is lost", 0)
            self.verdict.lost = record.count
            return self.verdict
        self._bad = False
        self._whole(view, dict(record.base.files), "the base")
        self.verdict.wrong += self._bad
        base = self._load(view, "")
        agents = record.agents()
        walks = min(len(agents), max(1, _WALK_BUDGET // max(1, len(record.base.files))))
        walked = {agents[place * len(agents) // walks] for place in range(walks)} if agents else set()
        for agent in agents:
            self._agent(agent, base, walk=agent in walked)
        return self.verdict

    def _agent(self, agent: int, base: _Directory, *, walk: bool) -> None:
        """Check an agent's checkpoints; one whose parent is wrong or lost is compared from end to end instead."""
        found: dict[str, _Directory | None] = {self._record.base_id: base}
        made: dict[str, Line] = {}
        lines = list(self._record.lines(agent))
        for place, line in enumerate(lines):
            label = f"agent {agent}, step {line.step}, checkpoint {line.checkpoint[:12]}"
            if line.parent not in found:
                self._problem(f"{label}: its parent {line.parent[:12]} is not in the record", 0)
                self.verdict.wrong += 1
                continue
            made[line.checkpoint] = line
            view = self._view(line.checkpoint)
            if view is None:
                self.verdict.lost += 1
                self._problem(f"{label} is lost", 0)
                found[line.checkpoint] = None
                continue
            self._bad = False
            parent = found[line.parent]
            if parent is not None:
                found[line.checkpoint] = self._compare(view, "", parent, _Edits.of(line.changed), label)
            if parent is None or (walk and place == len(lines) - 1):
                self._whole(view, self._expected(made, line.checkpoint), label)
                self.verdict.walked += 1
            if self._bad or parent is None:
                found[line.checkpoint] = None
            self.verdict.wrong += self._bad

    def _view(self, checkpoint: str) -> Workspace | None:
        try:
            return self._repository.workspace(at=checkpoint)
        except NotFound:
            return None

    # By induction

    def _compare(self, view: Workspace, path: str, before: _Directory, edits: _Edits, label: str) -> _Directory:
        """Compare one directory with what it was and what was changed below it; return it as it is."""
        now = _Directory(_listed(view, path))
        for name, entry in now.entries.items():
            if name not in edits and before.entries.get(name) != entry:
                self._problem(f"{label}: {_join(path, name)} changed by itself", view.stat(_join(path, name)).size)
        for name in before.entries.keys() - now.entries.keys() - edits.keys():
            self._problem(f"{label}: {_join(path, name)} vanished", 0)
        for name, edit in edits.items():
            fact, where = now.entries.get(name), _join(path, name)
            if isinstance(edit, _Edits):
                old = before.below.get(name)
                if old is None:
                    old = _Directory()
                    if before.entries.get(name, ("",))[0] == "dir":
                        self._problem(f"{label}: {where} was never looked into", 0)
                if fact is not None and fact[0] == "dir":
                    now.below[name] = self._compare(view, where, old, edit, label)
                else:
                    self._absent(old, edit, fact, where, label)
            elif edit is None:
                if fact is not None and fact[0] != "dir":
                    self._problem(f"{label}: {where} was removed and is there", view.stat(where).size)
            else:
                self._file(view, where, fact, edit, label)
        for name, below in before.below.items():
            if name not in now.below and name in now.entries and name not in edits:
                now.below[name] = below
        return now

    def _absent(self, old: _Directory, edits: _Edits, fact: Fact | None, path: str, label: str) -> None:
        """A directory that should hold `old` changed by `edits` is not there: right only if nothing is left of it."""
        if fact is not None:
            self._problem(f"{label}: {path} is a {fact[0]} and should be a directory", 0)
        left = [name for name in old.entries if name not in edits]
        if left or any(edit is not None and not isinstance(edit, _Edits) for edit in edits.values()):
            self._problem(f"{label}: {path}/ is missing", 0)
        for name, edit in edits.items():
            if isinstance(edit, _Edits):
                self._absent(old.below.get(name, _Directory()), edit, None, _join(path, name), label)

    def _load(self, view: Workspace, path: str) -> _Directory:
        """Read a whole tree."""
        entries = _listed(view, path)
        below = {name: self._load(view, _join(path, name)) for name, fact in entries.items() if fact[0] == "dir"}
        return _Directory(entries, below)

    # From end to end

    def _expected(self, made: dict[str, Line], checkpoint: str) -> dict[str, Known]:
        """Follow the chain of a checkpoint back to the base and return all that it must hold."""
        chain: list[Line] = []
        while checkpoint in made:
            chain.append(made[checkpoint])
            checkpoint = chain[-1].parent
        files: dict[str, Known | None] = dict(self._record.base.files)
        for line in reversed(chain):
            files.update(line.changed)
        return {path: known for path, known in files.items() if known is not None}

    def _whole(self, view: Workspace, expected: dict[str, Known], label: str) -> None:
        """Compare every file of a checkpoint with what it must be."""
        for entry in view.walk():
            if entry.kind == "dir":
                continue
            known = expected.pop(entry.path, None)
            if known is None:
                self._problem(f"{label}: {entry.path} should not be there", entry.size)
            else:
                self._file(view, entry.path, _fact(entry), known, label)
        for path, known in expected.items():
            self._problem(f"{label}: {path} is missing", known.size)

    # Content

    def _file(self, view: Workspace, path: str, fact: Fact | None, known: Known, label: str) -> None:
        if fact is None:
            self._problem(f"{label}: {path} is missing", known.size)
        elif _git_mode(fact) != known.mode:
            self._problem(f"{label}: {path} is {fact[0]} {fact[1]:o} and should be {known.mode:o}", known.size)
        elif known.mode != GITLINK:  # of a gitlink there is nothing to read
            algorithm = known.digest.partition(":")[0]
            try:
                digest = self._digest(view, path, fact, algorithm)
            except PyiError as error:
                self._problem(f"{label}: {path} cannot be read: {error}", known.size)
                return
            if digest != known.digest:
                self._problem(f"{label}: {path} has other content", known.size)

    def _digest(self, view: Workspace, path: str, fact: Fact, algorithm: str) -> str:
        """Return the digest of the content behind an id, read once."""
        key = (fact[2], algorithm)
        digest = self._digests.get(key)
        if digest is None:
            data = view.readlink(path).encode("utf-8", "surrogateescape") if fact[0] == "symlink" else view.read(path)
            digest = self._digests[key] = digest_of(algorithm, data)
            self.verdict.files_hashed += 1
            self.verdict.bytes_hashed += len(data)
        return digest

    def _problem(self, text: str, size: int) -> None:
        self._bad = True
        self.verdict.wrong_bytes += size
        if len(self.verdict.problems) < _PROBLEM_LIMIT:
            self.verdict.problems.append(text)


def _listed(view: Workspace, path: str) -> dict[str, Fact]:
    return {entry.path.rpartition("/")[2]: _fact(entry) for entry in view.list(path)}


def _fact(entry: Entry) -> Fact:
    return (entry.kind, entry.mode, entry.id)


def _git_mode(fact: Fact) -> int:
    kind, mode, _ = fact
    if kind == "file":
        return EXECUTABLE if mode & 0o111 else FILE
    return {"symlink": SYMLINK, "gitlink": GITLINK}.get(kind, 0)


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def verify(record: Path, store: Path) -> Verdict:
    """Compare every checkpoint of a record with what the store holds.

    Raises:
        NotFound: There is no such record or store.
        Corrupt: The record is not whole.

    Cost: O(changed files of all checkpoints), plus the walks; nothing is hashed twice.
    """
    started = time.monotonic()
    with _native.open(store, create=False, store=store) as repository:
        verdict = _Verifier(repository, Record(record)).run()
    verdict.seconds = time.monotonic() - started
    return verdict


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pyi.workflow.verify",
        description="Compare every checkpoint of a swarm with the record that was kept beside it.",
    )
    parser.add_argument("record", type=Path, help="the record that `pyi swarm --record` wrote")
    parser.add_argument("store", type=Path, help="the store that the swarm ran on")
    options = parser.parse_args(argv)
    try:
        verdict = verify(options.record, options.store)
    except PyiError as error:
        print(f"pyi verify: {error}", file=sys.stderr)
        return 3
    print(json.dumps({**asdict(verdict), "ok": verdict.ok}))
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())
