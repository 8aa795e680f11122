"""A workspace with git state of its own, as a real directory: git goes on where `ws.git` was."""

from __future__ import annotations

from pathlib import Path

import pytest

import pyi

from .pair import Pair, git_env, real_git

FILES = {"README.md": b"hello\n", "src/a.py": b"a = 1\n", "src/deep/b.py": b"b = 1\n", "\u00e4 b.txt": b"odd\n"}
LOOKS = [
    ("status", "--porcelain=v2", "--branch"),
    ("log", "--format=%H %P %an %s", "--all"),
    ("log", "--stat", "--format=%s"),
    ("diff",),
    ("diff", "--cached"),
    ("branch", "-v"),
    ("tag",),
    ("stash", "list"),
    ("ls-files", "-s"),
    ("rev-parse", "HEAD", "HEAD@{1}"),
    ("cat-file", "-p", "v2"),
]


def text(directory: Path, *argv: str) -> str:
    done = real_git(directory, *argv)
    assert (done.returncode, done.stderr) == (0, b""), (argv, done)
    return done.stdout.decode()


def work(pair: Pair) -> None:
    """Commits on two branches, tags, a stash, something staged, something open."""
    pair.write("src/a.py", b"a = 2\n")
    pair.git("commit", "-a", "-m", "two")
    pair.git("tag", "-a", "v2", "-m", "version two")
    pair.git("checkout", "-q", "-b", "side")
    pair.write("side/x.txt", b"x\n")
    pair.git("add", "-A")
    pair.git("commit", "-q", "-m", "aside")
    pair.write("README.md", b"stashed\n")
    pair.git("stash", "push", "-m", "later")
    pair.write("src/deep/b.py", b"b = 2\n")
    pair.write("staged.txt", b"staged\n")
    pair.git("add", "staged.txt")
    pair.write("open.txt", b"open\n")


def test_git_goes_on_in_the_directory(tmp_path: Path) -> None:
    pair = Pair(tmp_path, FILES)
    work(pair)
    directory = tmp_path / "out"
    pair.ws.materialize(directory)
    for argv in LOOKS:
        assert text(directory, *argv) == text(pair.directory, *argv), argv
        ours = pair.ws.git(*argv)
        assert ours.stdout.decode() == text(directory, *argv), argv
    assert text(directory, "fsck", "--strict", "--no-dangling") == ""
    # What is done inside stays inside; capture takes the files.
    text(directory, "commit", "-q", "-m", "inside")
    (directory / "open.txt").write_text("changed\n")
    before = pair.ws.git("log", "--format=%H", "--all").stdout
    changes = pair.ws.capture(directory)
    assert [(change.path, change.kind) for change in changes] == [("open.txt", "modified")]
    assert pair.ws.git("log", "--format=%H", "--all").stdout == before
    assert pair.ws.git("status", "-s").stdout == b" M src/deep/b.py\nA  staged.txt\n?? open.txt\n"


def test_checkpoints_and_forks_have_it_too(tmp_path: Path) -> None:
    pair = Pair(tmp_path, FILES)
    work(pair)
    head = bytes(pair.ws.git("rev-parse", "HEAD").stdout).decode()
    named = pair.ws.fork("agent")
    named.checkpoint("with a stash and an index")
    pair.repo.close()
    with pyi.open(tmp_path / "store") as repo:
        agent = repo.open_workspace(named.name or "")
        agent.materialize(tmp_path / "out")
        assert text(tmp_path / "out", "rev-parse", "HEAD") == head
        assert text(tmp_path / "out", "symbolic-ref", "HEAD") == "refs/heads/side\n"
        assert text(tmp_path / "out", "fsck", "--strict", "--no-dangling") == ""
        assert text(tmp_path / "out", "stash", "list") == "stash@{0}: On side: later\n"
        text(tmp_path / "out", "stash", "push", "-q", "-m", "more")
        text(tmp_path / "out", "stash", "drop", "-q")
        text(tmp_path / "out", "stash", "apply", "-q")
        assert (tmp_path / "out" / "README.md").read_bytes() == b"stashed\n"


def test_settings_of_the_workspace_are_not_run(tmp_path: Path) -> None:
    """Only who commits is taken over: an agent cannot make the host's git run something."""
    pair = Pair(tmp_path, FILES)
    pair.ws.git("config", "user.name", 'Agent "quoted"')
    pair.ws.git("config", "core.fsmonitor", "touch /tmp/ran; false")
    pair.ws.git("config", "alias.st", "!touch /tmp/ran")
    pair.ws.materialize(tmp_path / "out")
    assert text(tmp_path / "out", "config", "user.name") == 'Agent "quoted"\n'
    listed = text(tmp_path / "out", "config", "--local", "--list")
    assert "fsmonitor" not in listed
    assert "alias" not in listed


def test_a_workspace_that_came_from_nowhere(tmp_path: Path) -> None:
    pair = Pair(tmp_path, FILES, commit=False)
    pair.ws.git("add", "-A", env=git_env(1))
    pair.ws.git("commit", "-q", "-m", "first", env=git_env(1))
    pair.ws.write("README.md", "changed\n")
    pair.ws.materialize(tmp_path / "out")
    assert text(tmp_path / "out", "log", "--format=%s") == "first\n"
    assert text(tmp_path / "out", "status", "--porcelain") == " M README.md\n"
    assert text(tmp_path / "out", "fsck", "--strict", "--no-dangling") == ""


@pytest.mark.parametrize("commits", [3, 150])
def test_few_objects_and_many(tmp_path: Path, commits: int) -> None:
    pair = Pair(tmp_path, FILES)
    for number in range(commits):
        pair.ws.write(f"d{number % 7}/f.txt", f"{number}\n")
        pair.ws.git("add", "-A")
        assert pair.ws.git("commit", "-q", "-m", f"number {number}").returncode == 0
    pair.ws.materialize(tmp_path / "out")
    subjects = text(tmp_path / "out", "log", "--format=%s").splitlines()
    assert subjects == [f"number {number}" for number in reversed(range(commits))] + ["base"]
    assert text(tmp_path / "out", "status", "--porcelain") == ""
    assert text(tmp_path / "out", "fsck", "--strict", "--no-dangling") == ""
