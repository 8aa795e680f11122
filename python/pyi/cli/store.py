"""Finding the store that a verb is to work on: as the native verbs do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pyi.config import store_override
from pyi.errors import NotFound

if TYPE_CHECKING:
    from pyi._native import Repository

__all__ = ["add_store", "open_store"]


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the store."""
    parser.add_argument(
        "--store", metavar="DIR", help="the store (default: PYI_STORE, or that of the repository here or above)"
    )


def open_store(given: str | None) -> Repository:
    """Open the store that is named, or that of the repository here or above; never make one.

    Raises:
        NotFound: There is none.
    """
    from pyi._native import open

    place = store_override(given)
    if place is not None:
        return open(place, create=False, store=place)
    here = Path.cwd()
    for directory in (here, *here.parents):
        try:
            return open(directory, create=False)
        except NotFound:
            if (directory / ".git").exists():
                break
    raise NotFound(f"no store in {here} or above; name one with --store (or PYI_STORE), or make one with `pyi import`")
