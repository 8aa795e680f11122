"""What a process needs in private memory for its workspaces. Each measurement is a process of its own.

`python -m validation.footprint forks STORE FILES FORKS CHANGES` and `... beside STORE FILES OWN_BYTES STEPS` print one
line of JSON. The store has a tree of so many files on `main`.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyi
from validation import workloads
from validation.generator import Tree

__all__ = ["measure", "private_bytes"]

_PAGE = 4096
_COMPARED = 50
_POTTER_SECONDS = 2.0


def private_bytes() -> int:
    """Return the anonymous memory of this process, by the kernel's count: heaps and stacks, no mapped file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell RssAnon in /proc/self/status")


def measure(what: str, store: Path, *arguments: int) -> dict[str, int]:
    """Run one measurement in a fresh process.

    Raises:
        RuntimeError: It failed; a fork that does not hold what was written to it is a failure, too.
    """
    command = [sys.executable, "-m", "validation.footprint", what, str(store), *map(str, arguments)]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    if done.returncode != 0:
        raise RuntimeError(f"the measurement {what} ended with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _settled() -> int:
    gc.collect()
    return private_bytes()


def _potter(repository: pyi.Repository, tree: Tree) -> None:
    """Do a little for some seconds: the allocator returns free pages by and by, and only while it is called."""
    until = time.monotonic() + _POTTER_SECONDS
    while time.monotonic() < until:
        held = [repository.workspace("main").read(tree.path(number)) for number in range(min(tree.count, 1000))]
        del held
        time.sleep(_POTTER_SECONDS / 10)


def _edits(tree: Tree, number: int, count: int, pool: bytes) -> Iterator[tuple[str, bytes]]:
    """Return the files that a fork changes, and what it writes: content that no other has."""
    source = random.Random(number)
    for edit, file in enumerate(source.sample(range(tree.count), count)):
        head = b"%d.%d\n" % (number, edit)
        start = source.randrange(len(pool) - workloads.EDIT_BYTES)
        yield tree.path(file), head + pool[start : start + workloads.EDIT_BYTES - len(head)]


def _forks(store: str, files: int, forks: int, changes: int) -> dict[str, int]:
    """Fork, change, checkpoint and trim, and look at the memory in between."""
    tree, pool = Tree(files), random.Random(0).randbytes(1 << 20)
    with pyi.open(store, create=False, durability=workloads.DURABILITY) as repository:
        workspace = repository.workspace("main")
        # The base has every node in memory: what is above it is the forks' own.
        if sum(entry.kind == "file" for entry in workspace.walk()) != files:
            raise RuntimeError("the branch main does not hold the tree")
        found = {"base": _settled()}
        made = [workspace.fork() for _ in range(forks)]
        found["idle"] = _settled()
        for number, fork in enumerate(made):
            for path, data in _edits(tree, number, changes, pool):
                fork.write(path, data)
        found["dirty"] = _settled()
        for fork in made:
            fork.checkpoint()
        found["saved"] = _settled()
        repository.trim()
        found["trimmed at once"] = _settled()
        _potter(repository, tree)
        found["trimmed"] = _settled()
        for number in range(0, forks, max(1, forks // _COMPARED)):
            for path, data in _edits(tree, number, changes, pool):
                if bytes(made[number].read(path)) != data:
                    raise RuntimeError(f"fork {number} does not hold what was written to {path}")
        found["read again"] = _settled()
    return found


def _beside(store: str, files: int, own_bytes: int, steps: int) -> dict[str, int]:
    """Hold memory of its own, then work with a store beside it."""
    tree = Tree(files)
    own = bytearray(own_bytes)
    own[::_PAGE] = b"x" * len(range(0, own_bytes, _PAGE))
    found = {"own": _settled()}
    with pyi.open(store, create=False, durability=workloads.DURABILITY) as repository:
        workspace = repository.workspace("main")
        found["open"] = _settled()
        if sum(entry.kind == "file" for entry in workspace.walk()) != files:
            raise RuntimeError("the branch main does not hold the tree")
        found["walked"] = _settled()
        edit = workloads.edits(tree)
        for number in range(steps):
            workspace.write(*edit(number))
            workspace.checkpoint()
        found["stepped"] = _settled()
        repository.trim()
        _potter(repository, tree)
        found["trimmed"] = _settled()
    return found


def main() -> None:
    """Take one measurement."""
    what, store, *numbers = sys.argv[1:]
    known: dict[str, Any] = {"forks": _forks, "beside": _beside}
    print(json.dumps(known[what](store, *map(int, numbers))))


if __name__ == "__main__":
    main()
