"""A real server in this process, and the installed git as its client."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn

import pyi
from pyi.server.app import create_app
from pyi.server.connection import connections
from pyi.server.settings import Settings

_CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
ENVIRONMENT = {
    **_CLEAN,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Bob",
    "GIT_COMMITTER_EMAIL": "bob@example.org",
    "LC_ALL": "C",
}


class Git:
    """The installed git in a directory."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.options = options

    def run(
        self, *arguments: str, input: bytes | None = None, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it, whatever becomes of it."""
        return subprocess.run(
            ["git", *self.options, *arguments],
            cwd=self.directory,
            env={**ENVIRONMENT, **environment},
            input=input,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def __call__(self, *arguments: str, **environment: str) -> str:
        """Run it to success, and return what it printed."""
        done = self.run(*arguments, **environment)
        assert done.returncode == 0, (arguments, done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode().rstrip()

    def fails(self, *arguments: str, **environment: str) -> str:
        """Run it to failure, and return what it complained about."""
        done = self.run(*arguments, **environment)
        assert done.returncode != 0, (arguments, done.stdout.decode(), done.stderr.decode())
        return done.stderr.decode()

    def commit(self, message: str, files: dict[str, str]) -> str:
        """Write files, and commit everything."""
        for name, content in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self("add", "--all")
        self("commit", "--quiet", "--allow-empty", "-m", message)
        return self("rev-parse", "HEAD")

    def objects(self) -> set[str]:
        """Every object that can be reached, with its kind."""
        return set(self("cat-file", "--batch-check=%(objectname) %(objecttype)", "--batch-all-objects").splitlines())

    def fsck(self) -> None:
        """Make sure that the repository is whole."""
        assert self("fsck", "--strict", "--no-dangling", "--no-progress") == ""


class Live:
    """A server that answers."""

    def __init__(self, settings: Settings, **repositories: pyi.Repository) -> None:
        app = create_app(settings, repositories)
        self.app = app.state.git
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=connections(settings), log_level="error", timeout_graceful_shutdown=5)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.005)
        self.base = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def url(self, path: str) -> str:
        """The URL of an address."""
        return f"{self.base}/{path}"

    def stop(self) -> None:
        """Stop it, and wait for that."""
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Live]]:
    """Start servers that end with the test."""
    started: list[Live] = []

    def start(settings: Settings | None = None, **repositories: pyi.Repository) -> Live:
        live = Live(replace(settings or Settings(anonymous="write"), port=0), **repositories)
        started.append(live)
        return live

    yield start
    for live in started:
        live.stop()


@pytest.fixture
def source(tmp_path: Path) -> Git:
    """A repository with a merge, tags, a symlink and a program; most of it in a pack."""
    directory = tmp_path / "source"
    directory.mkdir()
    git = Git(directory)
    git("init", "--quiet", "-b", "main")
    for number in range(30):
        files = {f"d{number % 7}/f{number}.txt": f"file {number}\n" * 50, "log.txt": "line\n" * (number + 1)}
        git.commit(f"commit {number}", files)
    git("tag", "light", "HEAD~5")
    git("tag", "-a", "annotated", "-m", "a tag", "HEAD~3")
    git("tag", "-a", "outer", "-m", "a tag of a tag", "annotated")
    git("checkout", "--quiet", "-b", "side", "HEAD~10")
    git.commit("aside", {"side/x": "x\n"})
    git("checkout", "--quiet", "main")
    git("merge", "--quiet", "--no-ff", "-m", "merged", "side")
    git("gc", "--quiet")
    (directory / "link").symlink_to("log.txt")
    (directory / "run").write_text("#!/bin/sh\n")
    (directory / "run").chmod(0o755)
    git.commit("a link and a program", {"empty": ""})
    return git


@pytest.fixture
def repository(tmp_path: Path, source: Git) -> Iterator[pyi.Repository]:
    """A store that the source was imported into."""
    with pyi.open(tmp_path / "store") as repo:
        repo.import_git(source.directory)
        yield repo


@pytest.fixture
def here(tmp_path: Path) -> Git:
    """Git where clones go."""
    (tmp_path / "clones").mkdir()
    return Git(tmp_path / "clones")
