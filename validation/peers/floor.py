"""The floor: the least that hashing and writing the changed bytes can cost on this machine.

What it includes: one plain BLAKE3 per object of a checkpoint (the file's content, the nodes up to the root, the
checkpoint itself), one after the other as each node contains the hash of the one below it, and one `pwrite` of as many
bytes as the store grew by, at the end of an open file that grows. How many objects and bytes that are is read from
`Repository.stats()` before and after real checkpoints, not assumed. Nodes are hashed whole and logged as what changed.

What it leaves out: looking up and copying nodes, the index, the head's move, and every check. The hashing goes through
the `blake3` package; what its calls cost in Python is measured with empty input in the same run and is taken
off, which errs on the side of a lower floor (an empty hash is one block of work, too).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

__all__ = ["Dirty", "Floor", "measure_dirty"]

RECORD_HEADER_BYTES = 48  # format v1, 4.2
_WRAP_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Dirty:
    """What one checkpoint hashes and writes.

    Attributes:
        objects: Objects, the changed file among them.
        file_bytes: The file's content.
        other_bytes: Nodes and checkpoint, as they are hashed.
        stored_bytes: All of it with record headers and padding.
    """

    objects: int
    file_bytes: int
    other_bytes: int
    stored_bytes: int


def measure_dirty(repository: Any, step: Callable[[int], object], file_bytes: int, samples: int = 101) -> Dirty:
    """Return what a step that writes one file and checkpoints adds to the store: the medians over some steps."""
    objects, stored, hashed = [], [], []
    before = repository.stats()
    for number in range(samples):
        step(number)
        after = repository.stats()
        objects.append(int(after["objects"]) - int(before["objects"]))
        stored.append(int(after["bytes_stored"]) - int(before["bytes_stored"]))
        hashed.append(int(after["bytes_hashed"]) - int(before["bytes_hashed"]))
        before = after
    count, grown = sorted(objects)[samples // 2], sorted(stored)[samples // 2]
    if count < 2 or grown <= file_bytes:
        raise RuntimeError(f"a checkpoint adds {count} objects and {grown} bytes: not a change of {file_bytes} bytes")
    return Dirty(count, file_bytes, max(0, sorted(hashed)[samples // 2] - file_bytes), grown)


class Floor:
    """Hashes and appends as many bytes as a checkpoint must."""

    def __init__(self, blake3: Callable[[bytes], Any], path: Path, dirty: Dirty) -> None:
        """Open the file that is appended to."""
        self.dirty = dirty
        self._blake3 = blake3
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._at = 0

    @classmethod
    def load(cls, path: Path, dirty: Dirty) -> Floor | None:
        """Return it, or None if the package `blake3` is not installed."""
        try:
            module = importlib.import_module("blake3")
        except ImportError:
            return None
        return cls(module.blake3, path, dirty)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def hash_and_append(self) -> Callable[[int], int]:
        """Return a sampler of the floor itself."""
        blake3, fd, dirty = self._blake3, self._fd, self.dirty
        content = os.urandom(dirty.file_bytes)
        each = dirty.other_bytes // (dirty.objects - 1)
        nodes = [os.urandom(each) for _ in range(dirty.objects - 1)]
        batch = os.urandom(dirty.stored_bytes)

        def sample(_: int) -> int:
            at = self._at
            before = perf_counter_ns()
            blake3(content).digest()
            for node in nodes:
                blake3(node).digest()
            os.pwrite(fd, batch, at)
            elapsed_ns = perf_counter_ns() - before
            self._at = at + len(batch)
            if self._at > _WRAP_BYTES:  # keeps the disk free; the file grows again from nothing
                os.ftruncate(fd, 0)
                self._at = 0
            return elapsed_ns

        return sample

    def calls(self) -> Callable[[int], int]:
        """Return a sampler of the same calls with nothing to hash and without the write."""
        blake3 = self._blake3
        nodes = [b""] * (self.dirty.objects - 1)

        def sample(_: int) -> int:
            before = perf_counter_ns()
            blake3(b"").digest()
            for node in nodes:
                blake3(node).digest()
            return perf_counter_ns() - before

        return sample
