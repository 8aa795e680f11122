"""The command line of the recipes: `python -m validation.endurance RECIPE`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from validation.endurance import beside, kills, session, soak
from validation.lab import Lab

__all__ = ["main"]

_RECIPES = {"kills": kills, "beside": beside, "soak": soak, "session": session}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m validation.endurance",
        description="Try for long to make a store lose something.",
        epilog="exit status: 0 nothing was lost or out of bounds, 1 something was, 2 wrong usage",
    )
    recipes = parser.add_subparsers(dest="recipe", required=True, metavar="RECIPE")
    for name, module in _RECIPES.items():
        recipe = recipes.add_parser(name, help=(module.__doc__ or "").partition(": ")[2], description=module.__doc__)
        recipe.add_argument(
            "--scratch", type=Path, metavar="DIR", help="where to work (default: the temporary directory)"
        )
        recipe.add_argument("--seed", default=str(time.time_ns()), help="of what writers do; the run prints it")
        recipe.add_argument("--leave", action="store_true", help="leave the store if something is wrong")
        module.add_arguments(recipe)
    options = parser.parse_args(arguments)
    print(f"{options.recipe}: seed {options.seed}", flush=True)
    with Lab(scratch=options.scratch).directory(options.recipe) as place:
        status: int = _RECIPES[options.recipe].run(options, place / "store")
        if status and options.leave:
            left = place.with_name(place.name + "-left")
            place.rename(left)
            print(f"left: {left}")
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
