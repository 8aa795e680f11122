"""``python -m pyi``: the program ``pyi``, and what that starts for the verbs that are written in Python."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from pyi.cli import VERBS, main


def _program() -> str | None:
    """Where the native program is: beside the interpreter, where its packages put programs, or anywhere on `PATH`."""
    places = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    beside = (str(place / "pyi") for place in places)
    return next(filter(os.path.exists, beside), None) or shutil.which("pyi")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in VERBS:
        sys.exit(main())
    program = _program()
    if program is None:
        print("error: the program pyi is not installed beside this interpreter; put it on PATH", file=sys.stderr)
        sys.exit(3)
    # It starts this interpreter, and no other, for verbs that stand behind its own options.
    os.environ.setdefault("PYI_PYTHON", sys.executable)
    os.execv(program, ["pyi", *sys.argv[1:]])
