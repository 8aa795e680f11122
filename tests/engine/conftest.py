"""What the tests of the engine share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import pyi


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[pyi.Repository]:
    with pyi.open(tmp_path / "store") as repo:
        yield repo


@pytest.fixture
def ws(repo: pyi.Repository) -> pyi.Workspace:
    ws = repo.workspace()
    ws.write_many({"README.md": "hello\n", "src/a.py": "a = 1\n", "src/b.py": "b = 2\n"})
    ws.write("run.sh", "#!/bin/sh\n", mode=0o755)
    ws.symlink("link", "src/a.py")
    ws.mkdir("empty/deep")
    ws.checkpoint("base")
    ws.publish("main")
    return ws


@pytest.fixture(params=[False, True], ids=["unnamed", "named"])
def named(request: pytest.FixtureRequest) -> bool:
    """Superpositions are tried without a name and with one."""
    return bool(request.param)
