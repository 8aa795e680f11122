"""What the tests of the Python side share: a small git repository, and space of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.python.helpers import git


@pytest.fixture(scope="session", autouse=True)
def _hangups_are_heard() -> Iterator[None]:
    """What ignores SIGHUP (nohup, some CI runners) passes that on to everything it starts, and the tests send it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def _own_scratch_space(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files of each test lie in a directory of its own, and nothing of the outside changes git's mind."""
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.delenv("PYI_STORE", raising=False)


@pytest.fixture
def scratch_space(_own_scratch_space: None) -> Path:
    """Where this test's scratch directories are made."""
    return Path(os.environ["TMPDIR"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git repository with a little history: files in directories, a symlink, a program, ignored files."""
    top = tmp_path / "project"
    top.mkdir()
    git(top, "init", "-q", "-b", "main")
    git(top, "config", "user.name", "Tester")
    git(top, "config", "user.email", "tester@example.invalid")
    for number in range(6):
        (top / f"file{number}.txt").write_text(f"version one of {number}\n")
        (top / "src" / f"part{number}").mkdir(parents=True)
        (top / "src" / f"part{number}" / "code.py").write_text(f"VALUE = {number}\n")
        git(top, "add", "-A")
        git(top, "commit", "-q", "-m", f"add {number}")
    (top / "run.sh").write_text("#!/bin/sh\necho run\n")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("file0.txt")
    (top / ".gitignore").write_text("build/\n*.log\n__pycache__/\n")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "a program, a link, ignored files")
    git(top, "rm", "-q", "file5.txt")
    (top / "file1.txt").write_text("version two of 1\n")
    git(top, "commit", "-q", "-a", "-m", "change and remove")
    (top / "build").mkdir()
    (top / "build" / "env").write_text("made by hand\n")
    return top
