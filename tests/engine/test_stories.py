"""Bugs that were found by hostile use, each with the test that tells its story."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pyi


def test_a_capture_brings_what_changed_in_the_directory_and_nothing_else(
    repo: pyi.Repository, ws: pyi.Workspace, tmp_path: Path
) -> None:
    """A capture compared with the workspace as it was then, and so undid what was written to it in the meantime."""
    directory = tmp_path / "out"
    ws.materialize(directory)
    ws.write("src/a.py", "from the API\n")
    ws.remove("src/b.py")
    ws.write("api.txt", "x")
    ws.checkpoint()
    assert ws.capture(directory) == []
    assert not ws.dirty
    assert bytes(ws.read("src/a.py")) == b"from the API\n"
    (directory / "README.md").write_text("from the directory\n")
    (directory / "src" / "a.py").write_text("the directory wins where both changed\n")
    (directory / "run.sh").unlink()
    changes = {(change.path, change.kind) for change in ws.capture(directory)}
    assert changes == {("README.md", "modified"), ("src/a.py", "modified"), ("run.sh", "removed")}
    assert ws.exists("api.txt")
    assert not ws.exists("src/b.py")
    assert ws.fork().capture(directory) == []
    ws.restore(ws.head)
    assert ws.capture(directory) == []
    # A workspace that was never the same as the directory becomes so.
    other = repo.workspace()
    other.capture(directory)
    assert not other.exists("run.sh")
    assert other.exists("src/b.py")
    assert not other.exists("api.txt")


def test_a_merge_of_nothing_new_changes_nothing(ws: pyi.Workspace) -> None:
    ancestor = ws.head
    ws.write("README.md", "two\n")
    head = ws.checkpoint()
    for other in (head, ancestor, ws.fork()):
        assert ws.merge(other)
        assert not ws.dirty
    assert ws.checkpoint().parents == [head.id]


def test_a_deleted_branch_is_not_published_by_accident(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    repo.delete_branch("main")
    ws.write("README.md", "two\n")
    checkpoint = ws.checkpoint()
    with pytest.raises(pyi.Conflict, match="does not exist"):
        ws.publish("main")
    ws.publish("topic")
    ws.publish("main", expect=None)
    assert set(repo.branches().values()) == {checkpoint.id}
    repo.delete_branch("main")
    repo.workspace(at=checkpoint).publish("main")
    assert repo.branches()["main"] == checkpoint.id


def test_every_handle_of_a_superposition_sees_what_others_do(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    one = repo.superpose(ws, 2, name="two-handles")
    two = repo.superposition("two-handles")
    one.weigh(i=0, weight=9)
    assert one.add(ws=ws.fork("extra"), weight=3) == 2
    assert two.weights == [9, 1, 3]
    assert [candidate.name for candidate in two.candidates] == ["two-handles/0", "two-handles/1", "extra"]
    two.weigh(1, 10)
    assert one.observe() == 1
    two.collapse(i=2, onto="chosen")
    assert one.candidates == []
    with pytest.raises(pyi.Conflict):
        one.collapse(0)


def test_names_of_superpositions_are_free_again(ws: pyi.Workspace, repo: pyi.Repository) -> None:
    repo.superpose(ws, 2, name="again").collapse(0, onto="a")
    repo.superpose(ws, 3, name="again", ttl=0)
    assert repo.superpositions() == []
    living = repo.superpose(ws, 2, name="again")
    assert repo.workspaces() == ["again/0", "again/1"]
    with pytest.raises(pyi.Conflict):
        repo.superpose(ws, 2, name="again")
    repo.drop("again")
    assert repo.workspaces() == []
    with pytest.raises(pyi.PyiError):
        living.collapse(0)
    with pytest.raises(pyi.NotFound):
        repo.drop("again")


def test_the_store_hides_in_a_work_tree_and_survives_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "project")], check=True)
    (tmp_path / "project" / "src").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with pyi.open("src") as repo:
        assert repo.path.is_absolute()
        monkeypatch.chdir(tmp_path)
        ws = repo.workspace()
        ws.write("large", bytes(range(256)) * 4096 * 40)
        ws.checkpoint()
        ws.write("large", bytes(range(255)) * 4096 * 40)
        ws.checkpoint()
    command = ["git", "-C", str(tmp_path / "project"), "status", "--porcelain"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""


def test_a_store_is_not_made_among_somebodys_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for store in (tmp_path, ""):
        with pytest.raises(pyi.InvalidArgument):
            pyi.open(tmp_path / "elsewhere", store=store)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_move_cannot_make_a_path_too_long_to_be_reached(ws: pyi.Workspace) -> None:
    ws.write("L/" + "k" * 3000, "x")
    with pytest.raises(pyi.InvalidPath):
        ws.move("L", "z" * 2000)
    ws.move("L", "z" * 1000)
    assert bytes(ws.read("z" * 1000 + "/" + "k" * 3000)) == b"x"


WAITER = """
import sys
import pyi
with pyi.open(sys.argv[1]) as repo:
    sp = repo.superpose(repo.workspace(), 2)
    try:
        print("waiting", flush=True)
        sp.wait()
    except KeyboardInterrupt:
        print("heard")
"""


def test_a_wait_hears_an_interrupt(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITER, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiter:
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "waiting\n"
        waiter.send_signal(signal.SIGINT)
        assert waiter.communicate(timeout=60)[0] == "heard\n"


def test_a_ref_to_a_checkpoint_that_is_gone_is_damage(repo: pyi.Repository, ws: pyi.Workspace, tmp_path: Path) -> None:
    repo.close()
    for segment in tmp_path.rglob("*.seg"):
        segment.unlink()
    with pyi.open(tmp_path / "store") as again, pytest.raises(pyi.Corrupt, match="main"):
        again.workspace()
