"""The independent record of a swarm: what every acknowledged checkpoint must contain, in a plain text file.

JSON Lines. The first line names the base checkpoint; then one line per file of the base; then, in the order of their
acknowledgements, one line per checkpoint: its agent and step, its id, the checkpoint that it was made from, and what
was written and removed since that one. The last line says how many there are, so that a record that was cut short is
not taken for a whole one. Whoever follows the chain of a checkpoint back to the base knows every byte of it.

    {"pyi-swarm-record": 1, "base": "<id>"}
    {"file": "README.md", "mode": 33188, "size": 120, "digest": "git-sha1:..."}
    {"agent": 0, "step": 0, "checkpoint": "<id>", "parent": "<id>",
     "written": [[path, mode, size, digest], ...], "removed": [path, ...]}      (all on one line)
    {"end": 1}
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from pyi.errors import Conflict, Corrupt, NotFound, StorageError
from pyi.workflow.model import BaseTree, Edit, Known

__all__ = ["Ledger", "Line", "Record"]

_MAGIC = "pyi-swarm-record"
_VERSION = 1


class Ledger:
    """Writes a record; any number of threads add to it."""

    def __init__(self, path: Path, base_id: str, base: BaseTree) -> None:
        """Start a record with the base.

        Raises:
            Conflict: The file exists.
            StorageError: The file cannot be written.

        Cost: O(files of the base).
        """
        self.path = path
        self.count = 0
        self._lock = threading.Lock()
        try:
            self._file: IO[str] = path.open("x", encoding="ascii")
        except FileExistsError as error:
            raise Conflict(f"the record {path} exists: remove it, or choose another name") from error
        except OSError as error:
            raise StorageError(f"cannot write the record {path}: {error.strerror}", error.errno) from error
        self._write({_MAGIC: _VERSION, "base": base_id})
        for file, known in base.files.items():
            self._write({"file": file, **known._asdict()})

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; the last line is written only by `finish`."""
        self._file.close()

    def add(self, agent: int, step: int, checkpoint: str, parent: str, edits: Iterable[Edit]) -> None:
        """Record a checkpoint that was acknowledged, and the edits that led to it from `parent`.

        Cost: one line.
        """
        # What counts is how a path was left.
        self.add_known(agent, step, checkpoint, parent, {edit.path: edit.known for edit in edits})

    def add_known(self, agent: int, step: int, checkpoint: str, parent: str, last: Mapping[str, Known | None]) -> None:
        """The same, from what is known of each changed path (None: removed)."""
        line = {"agent": agent, "step": step, "checkpoint": checkpoint, "parent": parent, **_changed(last)}
        text = json.dumps(line, separators=(",", ":")) + "\n"
        with self._lock:
            self._file.write(text)
            self.count += 1

    def finish(self) -> None:
        """Write the last line: the record is whole."""
        self._write({"end": self.count})
        self._file.flush()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _changed(last: Mapping[str, Known | None]) -> dict[str, Any]:
    written = [[path, *known] for path, known in last.items() if known is not None]
    return {"written": written, "removed": [path for path, known in last.items() if known is None]}


class Line(NamedTuple):
    """One checkpoint of a record."""

    agent: int
    step: int
    checkpoint: str
    parent: str
    changed: dict[str, Known | None]


class Record:
    """Reads a record: the base at once, the checkpoints agent by agent."""

    def __init__(self, path: Path) -> None:
        """Read the base and find the lines of each agent.

        Raises:
            NotFound: There is no such file.
            Corrupt: It is not a whole record.

        Cost: reads the file once; memory O(files of the base + checkpoints).
        """
        self._path = path
        self.base_id = ""
        files: dict[str, Known] = {}
        self._places: dict[int, list[int]] = {}
        end: int | None = None
        at = 0
        try:
            with path.open("rb") as file:
                for number, raw in enumerate(file, 1):
                    line = _parsed(raw, path, number)
                    if number == 1:
                        self.base_id = _base_id(line, path)
                    elif "file" in line:
                        files[line["file"]] = Known(line["mode"], line["size"], line["digest"])
                    elif "checkpoint" in line:
                        self._places.setdefault(line["agent"], []).append(at)
                    elif "end" in line:
                        end = line["end"]
                    at += len(raw)
        except FileNotFoundError as error:
            raise NotFound(f"there is no record {path}") from error
        self.count = sum(map(len, self._places.values()))
        if end != self.count:
            raise Corrupt(f"{path} is not whole: it says {end} checkpoints and holds {self.count}")
        self.base = BaseTree(files)

    def agents(self) -> list[int]:
        """Return the agents that have checkpoints."""
        return sorted(self._places)

    def lines(self, agent: int) -> Iterator[Line]:
        """Yield the checkpoints of an agent, in order.

        Raises:
            Corrupt: A line cannot be read.
        """
        with self._path.open("rb") as file:
            for place in self._places[agent]:
                file.seek(place)
                line = _parsed(file.readline(), self._path, 0)
                try:
                    changed: dict[str, Known | None] = {
                        path: Known(mode, size, digest) for path, mode, size, digest in line["written"]
                    }
                    changed.update(dict.fromkeys(line["removed"]))
                    yield Line(agent, line["step"], line["checkpoint"], line["parent"], changed)
                except (KeyError, TypeError, ValueError) as error:
                    raise Corrupt(f"{self._path}: the line at byte {place} cannot be read: {error!r}") from error


def _parsed(raw: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        line = json.loads(raw)
    except ValueError as error:
        raise Corrupt(f"{path}:{number} is not JSON: {error}") from error
    if not isinstance(line, dict):
        raise Corrupt(f"{path}:{number} is not a line of a record")
    return line


def _base_id(line: dict[str, Any], path: Path) -> str:
    if line.get(_MAGIC) != _VERSION:
        raise Corrupt(f"{path} is not a swarm record of version {_VERSION}")
    return str(line["base"])
