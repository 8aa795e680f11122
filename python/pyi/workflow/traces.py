"""Steps from recorded agent runs: JSON Lines, one action per line, contents stood in for by text of the same size.

Schema (an action per line, in order): ``trace_id``, ``step``, ``op`` (view, create, edit, delete, run, search), and
where they apply ``path``, ``bytes`` (of the new text), ``old_bytes`` (of the text that an edit replaces),
``add_lines``, ``mentions`` (paths that the output named). Actions with the same step number belong together.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from os import PathLike
from typing import IO, Any, NamedTuple

from pyi.errors import InvalidArgument, NotFound, StorageError
from pyi.workflow.model import BaseTree, Edit, Model, digest_of
from pyi.workflow.steps import Step, draw

__all__ = ["Traces"]

_ACTION_LIMIT = 200_000
_MENTION_LIMIT = 4
_FILE_LIMIT_BYTES = 8 << 20
_BYTES_PER_LINE = 40
_CORPUS_BYTES = 1 << 20
_LINE_BYTES = 72


class _Action(NamedTuple):
    op: str
    path: str | None
    size: int
    old_size: int
    mentions: tuple[str, ...]


class Traces:
    """Recorded runs, dealt out to the agents one after the other; an agent whose run is over starts it again."""

    def __init__(self, files: Iterable[str | PathLike[str]], base: BaseTree, *, seed: int = 0) -> None:
        """Read the files (``.jsonl`` or ``.jsonl.gz``), at most 200,000 actions.

        Raises:
            NotFound: A file does not exist.
            InvalidArgument: A line is not in the schema; the message names file and line.
        """
        self._base = base
        self._seed = seed
        self._corpus = _corpus()
        runs: dict[str, dict[int, list[_Action]]] = {}
        count = 0
        for file in files:
            for trace, step, action in _read(file):
                if count < _ACTION_LIMIT:
                    runs.setdefault(trace, {}).setdefault(step, []).append(action)
                    count += 1
        self._runs = [list(steps.values()) for steps in runs.values()]
        if not self._runs:
            raise InvalidArgument("the trace files hold no actions")

    def close(self) -> None:
        """Nothing to give back."""

    def step(self, agent: int, agents: int, number: int, model: Model) -> Step:
        """Return what `agent` does in its step `number`; see `pyi.workflow.steps.Steps`.

        Cost: O(bytes written).
        """
        run = self._runs[agent % len(self._runs)]
        reads: list[str] = []
        edits: list[Edit] = []
        sizes: dict[str, int] = {}
        for place, action in enumerate(run[number % len(run)]):
            reads += self._reads(action, model, agent, number)
            path = action.path
            if path is None or action.op not in ("create", "edit", "delete"):
                continue
            if action.op == "delete":
                edits.append(Edit(path, None))
                continue
            known = model.get(path)
            old = sizes.get(path, 0 if known is None else known.size)
            size = action.size if action.op == "create" else max(0, old - action.old_size) + action.size
            sizes[path] = min(size, _FILE_LIMIT_BYTES)
            data = self._stand_in(sizes[path], self._seed, agent, number, place)
            edits.append(Edit(path, data, digest=digest_of("sha256", data)))
        return Step(reads, edits)

    def _reads(self, action: _Action, model: Model, agent: int, number: int) -> Iterator[str]:
        """What the action looked at; a file that this repository does not have is stood in for by one it has."""
        if action.op == "view" or action.op == "edit":
            path = action.path
            if path is not None and model.get(path) is not None:
                yield path
            elif action.op == "view" and self._base.paths:
                other = self._base.paths[draw(len(self._base.paths), path)]
                if model.get(other) is not None:
                    yield other
        for path in action.mentions:
            if model.get(path) is not None:
                yield path

    def _stand_in(self, size: int, *key: object) -> bytes:
        """Return `size` bytes of text that no other key has (from 16 bytes on), the same in every run."""
        head = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).hexdigest().encode() + b"\n"
        start = draw(_CORPUS_BYTES, *key)
        body = self._corpus[start : start + size]
        while len(head) + len(body) < size:
            body += self._corpus
        return (head + body)[:size]


def _read(file: str | PathLike[str]) -> Iterator[tuple[str, int, _Action]]:
    name = os.fspath(file)
    if not os.path.isfile(name):
        raise NotFound(f"there is no trace file {name}")
    for number, line in enumerate(_lines(name), 1):
        try:
            record = json.loads(line)
            action = str(record["trace_id"]), int(record["step"]), _action(record)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise InvalidArgument(f"{name}:{number} is not an action of a trace: {error!r}") from error
        yield action


def _lines(name: str) -> Iterator[str]:
    try:
        with _open(name) as lines:
            yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidArgument(f"{name} is damaged or was cut short ({error}): get it again") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{name} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise StorageError(f"cannot read {name}: {error.strerror}", error.errno) from error


def _open(name: str) -> IO[str]:
    return gzip.open(name, "rt", encoding="utf-8") if name.endswith(".gz") else open(name, encoding="utf-8")


def _action(record: dict[str, Any]) -> _Action:
    size = record.get("bytes")
    if size is None:
        size = _BYTES_PER_LINE * int(record.get("add_lines") or 0)
    mentions = (_inside(path) for path in (record.get("mentions") or ())[:_MENTION_LIMIT])
    return _Action(
        op=str(record["op"]),
        path=_inside(record.get("path")),
        size=int(size),
        old_size=int(record.get("old_bytes") or 0),
        mentions=tuple(path for path in mentions if path is not None),
    )


def _inside(path: str | None) -> str | None:
    """Return the path if it lies in the workspace and can be a file there, else None."""
    if not path or path.startswith(("/", "~", "..")) or "\0" in path:
        return None
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or any(part == ".." or part.lower().startswith(".git~") or part.lower() == ".git" for part in parts):
        return None
    return "/".join(parts)


def _corpus() -> bytes:
    """Return text of `_CORPUS_BYTES` in lines, made of nothing but a constant."""
    digits = hashlib.shake_128(b"pyi stand-in").hexdigest(_CORPUS_BYTES // 2).encode()
    lines = (digits[at : at + _LINE_BYTES - 1] + b"\n" for at in range(0, len(digits), _LINE_BYTES - 1))
    return b"".join(lines)[:_CORPUS_BYTES]
