"""What an experiment is given: sizes for this run, scratch directories that are gone afterwards, repositories."""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["Lab", "missing"]

_T = TypeVar("_T")


class Lab:
    """The surroundings of a run.

    Attributes:
        quick: Small sizes, to see that everything runs. What a claim's sizes need is then reported as not measured.
        repositories: Git repositories named on the command line.
    """

    def __init__(
        self, *, quick: bool = False, repositories: Sequence[Path] = (), scratch: Path | None = None, quiet: bool = True
    ) -> None:
        """Make a lab that works below `scratch` (the system's directory for temporary files unless given)."""
        self.quick = quick
        self.repositories = tuple(repositories)
        self._scratch = scratch
        self._quiet = quiet

    def pick(self, full: _T, quick: _T) -> _T:
        """Return the value for this run."""
        return quick if self.quick else full

    @contextmanager
    def directory(self, name: str) -> Iterator[Path]:
        """Give a new directory that is removed, whatever happens."""
        made = Path(tempfile.mkdtemp(prefix=f"pyi-validation-{name}-", dir=self._scratch))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def say(self, text: str) -> None:
        """Tell the person who waits what is going on."""
        if not self._quiet:
            print(f"  {text} ...", file=sys.stderr, flush=True)


def missing(module: Any, needs: Sequence[str]) -> list[str]:
    """Return those of the dotted names that `module` does not have."""

    def has(name: str) -> bool:
        try:
            functools.reduce(getattr, name.split("."), module)
        except AttributeError:
            return False
        return True

    return [name for name in needs if not has(name)]
