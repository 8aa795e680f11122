"""Manifests: which parts make up a store at which position (docs/design/010-backup.md)."""

from __future__ import annotations

import builtins
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pyi.backup.target import Target
from pyi.errors import Corrupt, UnsupportedFormat

__all__ = ["File", "Manifest", "Part", "all_manifests", "load", "names_of"]

_VERSION = 1
_DIRECTORY = "manifests"


@dataclass(frozen=True)
class Part:
    """A piece of a file: its name is the SHA-256 of its bytes."""

    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        """Return where it stands in the target."""
        return f"parts/{self.sha256}"


@dataclass(frozen=True)
class File:
    """A file of the store: the parts in order."""

    name: str
    seal: str
    final: bool
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """Return its length."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class Manifest:
    """A store at one position."""

    store: str
    position: int
    taken_ns: int
    objects: int
    format: builtins.bytes
    files: tuple[File, ...]

    @property
    def name(self) -> str:
        """Return where it stands in the target; names sort by time."""
        return f"{_DIRECTORY}/{self.taken_ns:016x}-{self.position:016x}.json"

    @property
    def bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(file.bytes for file in self.files)

    def encode(self) -> builtins.bytes:
        """Return the bytes of the manifest."""
        body: dict[str, Any] = {
            "pyi-backup": _VERSION,
            "store": self.store,
            "position": self.position,
            "taken_ns": self.taken_ns,
            "objects": self.objects,
            "format": self.format.hex(),
            "files": [
                {
                    "name": file.name,
                    "seal": file.seal,
                    "final": file.final,
                    "parts": [[part.sha256, part.bytes] for part in file.parts],
                }
                for file in self.files
            ],
        }
        body["sha256"] = hashlib.sha256(_canonical(body)).hexdigest()
        return _canonical(body) + b"\n"


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def decode(data: bytes, place: str) -> Manifest:
    """Parse a manifest.

    Raises:
        Corrupt: Its checksum does not fit, or something is not what it must be.
        UnsupportedFormat: It was written by a later version.
    """
    damaged = Corrupt(f"the manifest {place} is damaged; restore an earlier one with at=")
    try:
        body = json.loads(data)
        claimed = body.pop("sha256")
        if hashlib.sha256(_canonical(body)).hexdigest() != claimed:
            raise damaged
        if body["pyi-backup"] != _VERSION:
            found = body["pyi-backup"]
            raise UnsupportedFormat(f"{place} is a backup of version {found}; use a newer pyi to restore it")
        files = tuple(_file(one) for one in body["files"])
        if len({file.name for file in files}) != len(files):
            raise ValueError("a file is named twice")
        _count(sum(file.bytes for file in files))
        return Manifest(
            store=_hex(body["store"], 32),
            position=_count(body["position"]),
            taken_ns=_count(body["taken_ns"]),
            objects=_count(body["objects"]),
            format=bytes.fromhex(body["format"]),
            files=files,
        )
    # What is nested too deep for the parser is no manifest either.
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        if isinstance(error, (Corrupt, UnsupportedFormat)):
            raise
        raise damaged from error


def _file(one: dict[str, Any]) -> File:
    directory, _, name = one["name"].partition("/")
    digits, _, extension = name.partition(".")
    # It becomes a path: nothing but what a store has.
    if (directory, extension) not in {("segments", "seg"), ("refs", "log")}:
        raise ValueError(f"{one['name']!r} is no file of a store")
    _hex(digits, 16)
    parts = tuple(Part(_hex(sha256, 64), _count(size)) for sha256, size in one["parts"])
    seal, final = one["seal"], one["final"]
    if type(seal) is not str or type(final) is not bool:
        raise ValueError(f"{one['name']!r}: strange types")
    return File(f"{directory}/{name}", seal, final, parts)


def _hex(text: str, digits: int) -> str:
    if len(text) != digits or set(text) - set("0123456789abcdef"):
        raise ValueError(f"{text!r} does not have {digits} hex digits")
    return text


def _count(value: int) -> int:
    # What the store counts with has 64 bits.
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise ValueError(f"{value!r} is no count")
    return value


def names_of(target: Target) -> list[str]:
    """Return the names of all manifests, oldest first."""
    return [f"{_DIRECTORY}/{name}" for name in sorted(target.names(_DIRECTORY)) if name.endswith(".json")]


def load(target: Target, name: str) -> Manifest:
    """Read one manifest."""
    return decode(target.get(name), f"{target.url}/{name}")


def all_manifests(target: Target) -> list[Manifest]:
    """Read all manifests that are whole, oldest first; if there are some and none is whole, raise what is wrong."""
    found: list[Manifest] = []
    failure: Corrupt | None = None
    for name in names_of(target):
        try:
            found.append(load(target, name))
        except Corrupt as error:
            failure = error
    if failure is not None and not found:
        raise failure
    return found
