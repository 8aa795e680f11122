"""sandfs (PyPI): copy-on-write workspaces in memory, in the same process, through its own PyO3 binding.

Used as its documentation says: the tree is a `MemorySource` (its fastest source) mounted at `/tree`, as it refuses the
root; a `fork()` is a copy, and a fork that is kept is a saved version. What it saves ends with the process.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from validation.generator import Tree
from validation.hypothesis import Guarantees
from validation.machine import version
from validation.peers.saved import Edit, Saver, check

__all__ = ["GUARANTEES", "PREFIX", "Sandfs"]

PREFIX = "/tree/"

GUARANTEES = Guarantees(isolated=True, history=True, survives="nothing", directory=False)


class Sandfs:
    """A workspace of sandfs with a tree in it."""

    def __init__(self, module: Any, tree: Tree) -> None:
        """Mount the tree, and read all of it once, as `pyi` has seen every byte when it has written it."""
        self.name = f"sandfs {version('sandfs')}"
        self.workspace = module.Workspace()
        self.workspace.mount("/tree", module.MemorySource(dict(tree.items())))
        for number in range(tree.count):
            self.workspace.read(PREFIX + tree.path(number))

    @classmethod
    def load(cls, tree: Tree) -> Sandfs | None:
        """Return it with the tree in it, or None if it is not installed."""
        try:
            module = importlib.import_module("sandfs")
        except ImportError:
            return None
        return cls(module, tree)

    def fork(self, write: Callable[[int], tuple[str, bytes]] | None = None) -> Callable[[int], int]:
        """Return a sampler of: fork (and let go of the fork before); with `write`, right after one more change."""
        workspace = self.workspace.fork()
        kept = workspace.fork()

        def sample(number: int) -> int:
            nonlocal kept
            if write is not None:
                path, data = write(number)
                workspace.write(PREFIX + path, data)
            before = perf_counter_ns()
            kept = workspace.fork()
            return perf_counter_ns() - before

        return sample

    def save(self, write: Callable[[int], tuple[str, bytes]], keep: int = 1000) -> Callable[[int], int]:
        """Return a sampler of: write one file, keep a fork as the saved version (the last `keep` are held)."""
        workspace = self.workspace
        saved: dict[int, Any] = {}

        def sample(number: int) -> int:
            path, data = write(number)
            path = PREFIX + path
            before = perf_counter_ns()
            workspace.write(path, data)
            version = workspace.fork()
            elapsed_ns = perf_counter_ns() - before
            saved[number % keep] = version
            return elapsed_ns

        return sample

    def own_copy(self, write: Callable[[int], tuple[str, bytes]]) -> Callable[[int], int]:
        """Return a sampler of: fork, write one file in the fork, keep a fork of that."""
        workspace = self.workspace

        def sample(number: int) -> int:
            path, data = write(number)
            path = PREFIX + path
            before = perf_counter_ns()
            copy = workspace.fork()
            copy.write(path, data)
            copy.fork()
            return perf_counter_ns() - before

        return sample

    def there_and_back(self, write: Edit, tree: Tree) -> Saver:
        """Return: write one file, keep a fork as the saved version, and go on with a fork of the first one."""
        base = self.workspace.fork()
        workspace = base.fork()
        saved: list[Any] = []

        def sample(number: int) -> int:
            nonlocal workspace
            path, data = write(number)
            name = PREFIX + path
            before = perf_counter_ns()
            workspace.write(name, data)
            saved.append(workspace.fork())
            workspace = base.fork()
            elapsed_ns = perf_counter_ns() - before
            check("sandfs", path, workspace.read(name), original[path])
            return elapsed_ns

        original = dict(tree.items())
        return Saver(self.name, "write, fork that is kept, fork of the first one", GUARANTEES, sample, None)

    def read(self, paths: list[str]) -> Callable[[int], int]:
        """Return a sampler of: read one of these files."""
        workspace, names = self.workspace, [PREFIX + path for path in paths]

        def sample(number: int) -> int:
            name = names[number % len(names)]
            before = perf_counter_ns()
            workspace.read(name)
            return perf_counter_ns() - before

        return sample
