"""Check that modules stay short: above 500 lines a module is listed, above 600 the check fails.

python tools/module_length.py [ROOT]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

LISTED_LINES = 500
MAX_LINES = 600
DIRECTORIES = ("crates", "python", "validation", "examples", "tools", "tests", "fuzz")
SUFFIXES = {".rs", ".py", ".pyi"}
IGNORED_PARTS = {"target", "__pycache__", "fixtures"}


def lengths(root: Path) -> Iterator[tuple[int, Path]]:
    """The number of lines of every module."""
    for directory in DIRECTORIES:
        for path in sorted((root / directory).rglob("*")):
            relative = path.relative_to(root)
            if path.suffix in SUFFIXES and path.is_file() and not IGNORED_PARTS.intersection(relative.parts):
                yield len(path.read_bytes().splitlines()), relative


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    found = list(lengths(root))
    too_long = 0
    for count, path in sorted(found, reverse=True):
        if count > MAX_LINES:
            too_long += 1
            print(f"{path}: {count} lines, more than {MAX_LINES}: split it", file=sys.stderr)
        elif count > LISTED_LINES:
            print(f"{path}: {count} lines, close to {MAX_LINES}")
    print(f"module length: {len(found)} modules, {too_long} over {MAX_LINES} lines")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
