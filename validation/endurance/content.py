"""What writers write, and a digest of it that the engine has no part in.

Every checkpoint's message is the digest of its files and state, so that whoever finds it, by whatever name, can tell
whether it is whole byte for byte without knowing who made it.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterable

import pyi

__all__ = ["Draft", "digest", "read"]

_PATHS = tuple(f"d{number % 4}/f{number}" for number in range(12))
_BIG = "big/data"
_BIG_SHARE = 0.01
_SAME_SHARE = 0.4
_POOL = random.Random(20).randbytes(1 << 20)
# Contents that come again and again: garbage when everybody has overwritten them, and found again a moment later.
_SAME = tuple(_POOL[start * 5000 : start * 5000 + 100 + start * 61] for start in range(64))


def digest(files: Iterable[tuple[str, int, bytes]], mark: object) -> str:
    """Return the digest of files (path, mode, content), given in any order, and the mark in the state."""
    hashed = hashlib.blake2b(digest_size=20)
    for path, mode, data in sorted(files):
        name = path.encode()
        hashed.update(struct.pack("<IIQ", len(name), mode, len(data)))
        hashed.update(name)
        hashed.update(data)
    hashed.update(repr(mark).encode())
    return hashed.hexdigest()


def read(workspace: pyi.Workspace) -> tuple[dict[str, tuple[int, bytes]], object]:
    """Read everything in a workspace: its files and the mark in its state."""
    files = {
        entry.path: (entry.mode, bytes(workspace.read(entry.path)))
        for entry in workspace.walk()
        if entry.kind == "file"
    }
    return files, workspace.state.get("mark")


class Draft:
    """A workspace together with what it has to contain."""

    def __init__(self, workspace: pyi.Workspace, source: random.Random, *, empty: bool = False) -> None:
        """Take the workspace as it is; raise ValueError if it is not what its head's message says."""
        self.workspace = workspace
        self._source = source
        self._files: dict[str, tuple[int, bytes]] = {}
        self._mark: object = None
        if not empty:
            self.reload()

    def reload(self) -> None:
        """Read everything again and compare it with the head's message."""
        self._files, self._mark = read(self.workspace)
        head = self.workspace.head
        if self.digest() != head.message:
            raise ValueError(f"wrong bytes in {head.id}: its message says {head.message}, its content {self.digest()}")

    def digest(self) -> str:
        """Return the digest of what it has to contain."""
        return digest(((path, mode, data) for path, (mode, data) in self._files.items()), self._mark)

    def change(self) -> str:
        """Make some changes, never the same twice, and return the new digest."""
        source = self._source
        for _ in range(source.randint(1, 3)):
            self._edit(source.random())
        self._mark = source.getrandbits(100)
        self.workspace.state["mark"] = self._mark
        return self.digest()

    def _edit(self, kind: float) -> None:
        source = self._source
        if kind < _BIG_SHARE:
            start = source.randrange(100_000)
            self._write(_BIG, _POOL[start : start + 300_000] + source.randbytes(100))
        elif kind < 0.05 and len(self._files) > 4:
            path = source.choice(list(self._files))
            del self._files[path]
            self.workspace.remove(path)
        elif kind < 0.05 + _SAME_SHARE:
            self._write(source.choice(_PATHS), source.choice(_SAME))
        else:
            self._write(source.choice(_PATHS), source.randbytes(source.choice((20, 200, 2000, 6000))))

    def _write(self, path: str, data: bytes) -> None:
        mode = 0o755 if self._source.random() < 0.1 else 0o644
        self.workspace.write(path, data, mode=mode)
        self._files[path] = (mode, data)
