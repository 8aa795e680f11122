"""The command line of the recipes: `python -m validation.gitwork RECIPE`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from validation.gitwork import agents, alternate, differential, replay, speed, suite, tools, traces
from validation.lab import Lab

__all__ = ["main"]

_RECIPES = {
    "agents": agents,
    "alternate": alternate,
    "differential": differential,
    "replay": replay,
    "speed": speed,
    "suite": suite,
    "tools": tools,
    "traces": traces,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m validation.gitwork",
        description="Git's commands on workspaces: many agents at once, generated scenarios, what agents typed.",
        epilog="exit status: 0 as claimed, 1 not, 2 wrong usage",
    )
    recipes = parser.add_subparsers(dest="recipe", required=True, metavar="RECIPE")
    for name, module in _RECIPES.items():
        recipe = recipes.add_parser(name, help=(module.__doc__ or "").partition(": ")[2], description=module.__doc__)
        recipe.add_argument(
            "--scratch", type=Path, metavar="DIR", help="where to work (default: the temporary directory)"
        )
        module.add_arguments(recipe)
    options = parser.parse_args(arguments)
    if getattr(options, "program", ...) is None:
        found = shutil.which("pyi")
        if found is None:
            print("error: no `pyi` on PATH; say which with --program", file=sys.stderr)
            return 2
        options.program = Path(found)
    print(f"{options.recipe}: load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}", flush=True)
    with Lab(scratch=options.scratch).directory(options.recipe) as place:
        status: int = _RECIPES[options.recipe].run(options, place)
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
