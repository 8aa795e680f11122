"""What the tests of this directory share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which `git` is `pyi`."""
    program = shutil.which("pyi")
    assert program is not None, "no pyi on PATH: put the environment's bin directory first"
    place = tmp_path_factory.mktemp("shim")
    subprocess.run([program, "git-shim", place], check=True, stdout=subprocess.DEVNULL)
    return place
