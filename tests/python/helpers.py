"""Git without the user's settings, and patience without clocks."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

_PATIENCE_S = 60.0
_PAUSE_S = 0.01


def git(directory: Path, *argv: str) -> str:
    """Run git and return what it prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", "-C", str(directory), *argv], env=env, check=True, capture_output=True, text=True)
    return done.stdout


def wait_until(what: Callable[[], object]) -> None:
    """Return when `what` is true. The limit is for a test that would hang, nothing is measured by it."""
    limit = time.monotonic() + _PATIENCE_S
    while not what():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(_PAUSE_S)
