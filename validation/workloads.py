"""What the experiments have in common: a store with a made-up tree in it, and an endless series of edits."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyi
from validation.generator import Tree

if TYPE_CHECKING:
    from validation.lab import Lab

__all__ = ["DURABILITY", "EDIT_BYTES", "PYI", "edits", "fill", "filled_store"]

EDIT_BYTES = 1024
DURABILITY = "process"
PYI = f"pyi {pyi.__version__}"


def edits(
    tree: Tree, *, size: int = EDIT_BYTES, seed: int = 7, within: int | None = None
) -> Callable[[int], tuple[str, bytes]]:
    """Return a function that gives the n-th edit: a file anywhere in the tree (or among the first `within`), and
    content that never was before.

    Every call draws the next path, so that the n-th sample of each subject edits the same file when each of them
    has its own function with the same seed.
    """
    source = random.Random(seed)
    pool = source.randbytes(1 << 20)
    mark = b"%d." % seed

    def edit(number: int) -> tuple[str, bytes]:
        path = tree.path(source.randrange(within or tree.count))
        head = mark + b"%d\n" % number
        start = source.randrange(len(pool) - size)
        return path, (head + pool[start : start + size])[:size]

    return edit


def fill(workspace: pyi.Workspace, tree: Tree) -> pyi.Checkpoint:
    """Write all files of the tree and checkpoint them."""
    for batch in tree.batches():
        workspace.write_many(batch)
    return workspace.checkpoint(f"{tree.count} files")


@contextmanager
def filled_store(lab: Lab, tree: Tree) -> Iterator[tuple[pyi.Repository, pyi.Workspace]]:
    """Give a store with one checkpoint of the tree on branch `main`, and a workspace at it; both gone afterwards."""
    with lab.directory("store") as place:
        lab.say(f"writing {tree.count:,} files into a store")
        with pyi.open(place, durability=DURABILITY) as repository:
            workspace = repository.workspace()
            fill(workspace, tree)
            workspace.publish("main")
            yield repository, workspace
