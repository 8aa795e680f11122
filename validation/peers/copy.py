"""`cp -r` of the whole tree: what everybody has. The copy is isolated and lives on disk; there is no history."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

from validation.hypothesis import Guarantees

__all__ = ["GUARANTEES", "NAME", "own_copy", "whole_tree"]

NAME = "cp -r"
GUARANTEES = Guarantees(isolated=True, history=False, survives="kill -9", directory=True)


def whole_tree(tree: Path, place: Path) -> Callable[[int], int]:
    """Return a sampler of: copy the directory; the removal is not counted."""

    def sample(number: int) -> int:
        where = place / f"cp{number}"
        before = perf_counter_ns()
        subprocess.run(["cp", "-r", str(tree), str(where)], check=True)
        elapsed_ns = perf_counter_ns() - before
        shutil.rmtree(where)
        return elapsed_ns

    return sample


def own_copy(tree: Path, place: Path, write: Callable[[int], tuple[str, bytes]]) -> Callable[[int], int]:
    """Return a sampler of: copy the directory, write one file in it; the removal is not counted."""

    def sample(number: int) -> int:
        path, data = write(number)
        where = place / f"own{number}"
        before = perf_counter_ns()
        subprocess.run(["cp", "-r", str(tree), str(where)], check=True)
        (where / path).write_bytes(data)
        elapsed_ns = perf_counter_ns() - before
        shutil.rmtree(where)
        return elapsed_ns

    return sample
