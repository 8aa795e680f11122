"""Made-up repositories: the same seed gives the same bytes on every machine. Knows git and directories, not `pyi`.

A tree has 20 entries in every directory, on all levels. The sizes of its files follow a log-normal distribution
(median 600 bytes, a tenth above 3 KB, none above 64 KB), and no two files are equal, so that nothing is
deduplicated by accident.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

__all__ = ["FANOUT", "Tree", "git", "make_repository"]

FANOUT = 20
_MEDIAN_BYTES = 600
_SIGMA = 1.25
_LARGEST_BYTES = 64 * 1024
_POOL_BYTES = 1 << 20
_IDENTITY = ("-c", "user.name=validation", "-c", "user.email=validation@example.invalid", "-c", "gc.auto=0")


class Tree:
    """A tree of `count` files, known by their numbers 0 to count - 1."""

    def __init__(self, count: int, seed: int = 0) -> None:
        """Make the tree; costs a megabyte of random bytes, no file."""
        if count < 1:
            raise ValueError(f"a tree has at least one file, not {count}")
        self.count = count
        self._source = random.Random(seed)
        self._pool = self._source.randbytes(_POOL_BYTES)
        levels = 1
        while FANOUT**levels < count:
            levels += 1
        self._levels = levels
        self._sizes = [
            min(_LARGEST_BYTES, int(size))
            for size in (self._source.lognormvariate(0, _SIGMA) * _MEDIAN_BYTES for _ in range(4096))
        ]

    def path(self, number: int) -> str:
        """Return the path of a file: 20 names in every directory."""
        if not 0 <= number < self.count:
            raise IndexError(number)
        parts = [f"file{number % FANOUT:02}.txt"]
        for _ in range(self._levels - 1):
            number //= FANOUT
            parts.append(f"dir{number % FANOUT:02}")
        return "/".join(reversed(parts))

    def data(self, number: int) -> bytes:
        """Return the content of a file at the beginning."""
        return self.text(number, self._sizes[number % len(self._sizes)])

    def text(self, number: int, size: int) -> bytes:
        """Return `size` bytes that no other number gives: lines of hexadecimal digits, as text has lines."""
        head = b"%016x\n" % number
        half = max(0, size - len(head) + 1) // 2
        start = (number * 7919) % (_POOL_BYTES - _LARGEST_BYTES)
        return (head + self._pool[start : start + half].hex("\n", 30).encode() + b"\n")[: max(size, len(head))]

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Return all files."""
        return ((self.path(number), self.data(number)) for number in range(self.count))

    def batches(self, size: int = 10_000) -> Iterator[dict[str, bytes]]:
        """Return all files, some thousand at a time."""
        items = self.items()
        while batch := dict(islice(items, size)):
            yield batch

    def write_to(self, directory: Path) -> None:
        """Write all files below a directory."""
        known: set[str] = set()
        for path, data in self.items():
            parent = path.rpartition("/")[0]
            if parent not in known:
                (directory / parent).mkdir(parents=True, exist_ok=True)
                known.add(parent)
            (directory / path).write_bytes(data)


def git(directory: Path, *arguments: str, data: bytes | None = None) -> bytes:
    """Run git in a directory, without the user's settings, and return what it prints."""
    done = subprocess.run(
        ["git", *_IDENTITY, *arguments], cwd=directory, input=data, capture_output=True, check=False, env=_environment()
    )
    if done.returncode:
        raise RuntimeError(f"git {arguments[0]} in {directory}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "LC_ALL": "C"}


def make_repository(directory: Path, tree: Tree, *, commits: int = 1, changes: int = 5, seed: int = 1) -> Path:
    """Make a git repository with a work tree, by one `git fast-import`.

    With several commits the tree grows over the first half of them, as projects do; each of the others changes a few
    files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    git(directory, "init", "--quiet", "--initial-branch=main")
    source = random.Random(seed)
    stream: list[bytes] = []
    growing = max(1, min(commits // 2, tree.count))
    for number in range(commits):
        stamp = 1_700_000_000 + 60 * number
        message = b"commit %d" % number
        stream.append(b"commit refs/heads/main\n")
        stream.append(b"committer validation <validation@example.invalid> %d +0000\n" % stamp)
        stream.append(b"data %d\n%s\n" % (len(message), message))
        if number < growing:
            span = range(tree.count * number // growing, tree.count * (number + 1) // growing)
            files = ((tree.path(i), tree.data(i)) for i in span)
        else:
            picked = (source.randrange(tree.count) for _ in range(changes))
            files = ((tree.path(i), tree.text(tree.count + number * changes + i, 2000)) for i in picked)
        for path, data in files:
            stream.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data))
    git(directory, "fast-import", "--quiet", data=b"".join(stream))
    git(directory, "reset", "--quiet", "--hard", "main")
    return directory
