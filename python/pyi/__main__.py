"""``python -m pyi``: the verbs that are written in Python; the native ``pyi`` starts this for them."""

from __future__ import annotations

import sys

from pyi.cli import main

if __name__ == "__main__":
    sys.exit(main())
