"""Where things are: the store, the native program, scratch space. The one place that reads the environment."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from functools import cache
from os import PathLike
from pathlib import Path

from pyi.errors import InvalidArgument, NotFound

__all__ = [
    "CHECKPOINT_EVERY_S",
    "TAIL_BYTES",
    "cores",
    "git_environment",
    "native_program",
    "serve_settings",
    "store_override",
    "tokens_file",
]

# What `git rev-parse --local-env-vars` names: set around hooks and aliases, they mean somebody else's repository.
_GIT_LOCAL = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)

CHECKPOINT_EVERY_S = 2.0
"""Seconds between two looks at what a running agent changed."""

TAIL_BYTES = 4096
"""How much of a command's output stays in its result; the rest is in its log file while the race runs."""


def store_override(given: str | PathLike[str] | None = None) -> str | PathLike[str] | None:
    """Return the store that was given, or that ``PYI_STORE`` names, or None for the usual place.

    Raises:
        InvalidArgument: The path that was given is empty, which would be the current directory.

    Cost: one look at the environment.
    """
    if given is None:
        return os.environ.get("PYI_STORE") or None
    if not os.fspath(given):
        raise InvalidArgument("the path of the store is empty: name a directory, or leave --store (store=) out")
    return given


def git_environment(**extra: str) -> dict[str, str]:
    """Return the environment for a git that is to find the repository it is told to, plus `extra`."""
    return {**{name: value for name, value in os.environ.items() if name not in _GIT_LOCAL}, **extra}


def tokens_file() -> str:
    """Return where tokens are: what ``PYI_TOKENS`` names, or `pyi/tokens.json` among the user's configuration."""
    named = os.environ.get("PYI_TOKENS")
    if named:
        return named
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(home, "pyi", "tokens.json")


def serve_settings(types: Mapping[str, type]) -> dict[str, object]:
    """Return the settings of a server that ``PYI_SERVE_<NAME>`` give, for settings of these types.

    Raises:
        InvalidArgument: A number is none.
    """
    found: dict[str, object] = {}
    for name, kind in types.items():
        text = os.environ.get(f"PYI_SERVE_{name.upper()}")
        if text:
            try:
                found[name] = kind(text)
            except ValueError:
                raise InvalidArgument(f"PYI_SERVE_{name.upper()}={text!r}: not a number") from None
    return found


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
