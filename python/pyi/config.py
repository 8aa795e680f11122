"""Where things are: the store, the native program, scratch space. The one place that reads the environment."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from functools import cache
from pathlib import Path

from pyi.errors import NotFound

__all__ = ["CHECKPOINT_EVERY_S", "TAIL_BYTES", "cores", "native_program", "store_override"]

CHECKPOINT_EVERY_S = 2.0
"""Seconds between two looks at what a running agent changed."""

TAIL_BYTES = 4096
"""How much of a command's output stays in its result; the rest is in its log file while the race runs."""


def store_override() -> str | None:
    """Return the store that ``PYI_STORE`` names, or None for the usual place.

    Cost: one look at the environment.
    """
    return os.environ.get("PYI_STORE") or None


def cores() -> int:
    """Return the processors this process may use (its affinity, not the machine's count)."""
    return len(os.sched_getaffinity(0))


@cache
def native_program() -> Path:
    """Find the native ``pyi`` program that came with this package.

    Looked for in ``PYI_EXECUTABLE``, else beside the interpreter, in the installation's scripts, on PATH. The answer is
    kept.

    Raises:
        NotFound: It is in none of them.
    """
    named = os.environ.get("PYI_EXECUTABLE")
    if named:
        candidates = [Path(named)]
    else:
        scripts = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
        candidates = [directory / "pyi" for directory in scripts]
        on_path = shutil.which("pyi")
        if on_path:
            candidates.append(Path(on_path))
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise NotFound(f"no native pyi program (looked at {looked}): install the package, or set PYI_EXECUTABLE")
