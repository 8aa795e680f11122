"""What is refused: with the right typed error, and nothing changed."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pyi


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[pyi.Repository]:
    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace()
        ws.write_many({"file": "content", "dir/inner": "inner"})
        ws.symlink("link", "dir")
        ws.checkpoint("base")
        ws.publish("main")
        yield repo


BAD_PATHS = [
    "../x",
    "a/../b",
    "..",
    "/etc/passwd",
    "/",
    "",
    ".",
    "a/./b",
    "a//b",
    "a/",
    "./a",
    "a\0b",
    ".git",
    ".GIT/config",
    ".Git/hooks/pre-commit",
    "sub/.git/config",
    "git~1/config",
    "GIT~1",
    ".git /x",
    ".git./x",
    ".git::$INDEX_ALLOCATION/x",
    ".git:stream",
    ".g\u200cit/x",
    ".\u200dgIt",
    "\ufeff.git/x",
    "a" * 4097,
    "/".join(["d" * 100] * 41),
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: ascii(path[:30]))
@pytest.mark.parametrize("as_bytes", [False, True])
def test_paths_that_git_or_reason_refuses(repo: pyi.Repository, path: str, as_bytes: bool) -> None:
    ws = repo.workspace()
    tree = ws.head.tree
    given: str | bytes = path.encode() if as_bytes else path
    calls: list[Callable[[], object]] = [
        lambda: ws.write(given, "x"),
        lambda: ws.write_many({"fine": "x", given: "x"}),  # type: ignore[dict-item]
        lambda: ws.symlink(given, "file"),
        lambda: ws.move("file", given),
        lambda: ws.move(given, "fine"),
        lambda: ws.remove(given),
        lambda: ws.read(given),
        lambda: ws.stat(given),
    ]
    for call in calls:
        with pytest.raises(pyi.InvalidPath):
            call()
    assert not ws.dirty
    assert ws.checkpoint().tree == tree


@pytest.mark.parametrize(
    "edit",
    [
        lambda ws: ws.write("file/below", "x"),
        lambda ws: ws.write("link/below", "x"),
        lambda ws: ws.write("link", "x"),
        lambda ws: ws.write("dir", "x"),
        lambda ws: ws.mkdir("file"),
        lambda ws: ws.mkdir("file/below"),
        lambda ws: ws.symlink("file", "x"),
        lambda ws: ws.symlink("dir", "x"),
        lambda ws: ws.move("file", "dir"),
        lambda ws: ws.move("dir", "file"),
        lambda ws: ws.move("dir", "dir/inside"),
        lambda ws: ws.move("file", "file/inside"),
        lambda ws: ws.write_many({"fine": "x", "file/below": "x"}),
        lambda ws: ws.read("dir"),
        lambda ws: ws.readlink("file"),
        lambda ws: ws.list("file"),
    ],
)
def test_what_stands_in_the_way(repo: pyi.Repository, edit: Callable[[pyi.Workspace], object]) -> None:
    ws = repo.workspace()
    tree = ws.head.tree
    with pytest.raises(pyi.InvalidPath):
        edit(ws)
    assert not ws.dirty
    assert ws.checkpoint().tree == tree


def test_what_is_not_there(repo: pyi.Repository, tmp_path: Path) -> None:
    ws = repo.workspace()
    with pyi.open(tmp_path / "other") as other:
        foreign = other.workspace()
        foreign.write("x", "y")
        foreign_checkpoint = foreign.checkpoint()
    calls: list[Callable[[], object]] = [
        lambda: ws.read("nothing"),
        lambda: ws.read("file/below"),
        lambda: ws.stat("nothing"),
        lambda: ws.remove("nothing"),
        lambda: ws.move("nothing", "x"),
        lambda: ws.list("nothing"),
        lambda: ws.restore("0" * 64),
        lambda: ws.restore(foreign_checkpoint),
        lambda: ws.restore(foreign_checkpoint.id),
        lambda: repo.get_checkpoint("ab" * 32),
        lambda: repo.get_checkpoint("deadbeef"),
        lambda: repo.workspace("no-such-branch"),
        lambda: repo.open_workspace("nobody"),
        lambda: repo.drop("nobody"),
        lambda: repo.delete_branch("no-such-branch"),
        lambda: repo.superposition("nothing"),
        lambda: ws.state["nothing"],
        lambda: ws.state.__delitem__("nothing"),
    ]
    for call in calls:
        with pytest.raises(pyi.NotFound) as caught:
            call()
        assert isinstance(caught.value, KeyError)
        assert not str(caught.value).startswith("'")
    with pytest.raises(pyi.NotFound):
        pyi.open(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()
    assert not ws.dirty


def test_arguments_that_make_no_sense(repo: pyi.Repository) -> None:
    ws = repo.workspace()
    calls: list[Callable[[], object]] = [
        lambda: ws.write("x", "y", mode=0o777),
        lambda: ws.symlink("x", ""),
        lambda: repo.get_checkpoint("abc"),
        lambda: repo.get_checkpoint("Z" * 64),
        lambda: repo.get_checkpoint(ws.head.id.upper()),
        lambda: ws.fork("bad..name"),
        lambda: ws.fork(""),
        lambda: ws.publish("-bad"),
        lambda: repo.superpose(ws, 0),
        lambda: repo.superpose(ws, 2, weights=[1.0]),
        lambda: repo.superpose(ws, 1, weights=[float("nan")]),
        lambda: repo.superpose(ws, 1, weights=[-1.0]),
        lambda: ws.state.__setitem__("", 1),
        lambda: ws.state.__setitem__("x", object()),
        lambda: ws.state.__setitem__("x", {1: 2}),
        lambda: ws.checkpoint(durability="power-ish"),
        lambda: ws.checkpoint(metadata={"x": object()}),
        lambda: pyi.open(repo.path, durability="eternal"),
    ]
    for call in calls:
        with pytest.raises(pyi.InvalidArgument) as caught:
            call()
        assert isinstance(caught.value, ValueError)
    assert repo.workspaces() == []


def test_publish_with_a_stale_or_wrong_expectation(repo: pyi.Repository) -> None:
    first, second = repo.workspace(), repo.workspace()
    for ws in (first, second):
        ws.write("file", str(id(ws)))
        ws.checkpoint()
    base = repo.branches()["main"]
    first.publish("main")
    after = repo.branches()
    for expect in (..., base, repo.get_checkpoint(base), None):
        with pytest.raises(pyi.Conflict):
            second.publish("main", expect=expect)  # type: ignore[arg-type]
    assert repo.branches() == after
    second.write("file", "uncheckpointed")
    with pytest.raises(pyi.Conflict, match="uncheckpointed"):
        second.publish("elsewhere", expect=None)
    with pytest.raises(pyi.Conflict):
        repo.delete_branch("main", expect=base)
    assert repo.branches() == after


def test_names_are_claimed_once(repo: pyi.Repository) -> None:
    ws = repo.workspace()
    ws.fork("taken")
    with pytest.raises(pyi.Conflict):
        ws.fork("taken")
    with pytest.raises(pyi.Conflict):
        repo.import_dir(repo.path, branch="main")
    # Within one repository a name has one handle.
    one, two = repo.open_workspace("taken"), repo.open_workspace("taken")
    one.write("a", "1")
    two.write("b", "2")
    two.checkpoint()
    assert not one.dirty
    assert one.head.id == two.head.id
    repo.drop("taken")
    one.write("a", "3")
    with pytest.raises(pyi.Conflict):
        one.checkpoint()
    assert one.dirty


def test_closed_means_closed(tmp_path: Path) -> None:
    repo = pyi.open(tmp_path / "store")
    ws = repo.workspace()
    checkpoint = ws.checkpoint()
    repo.close()
    repo.close()
    calls: list[Callable[[], object]] = [
        repo.branches,
        repo.stats,
        lambda: ws.read("x"),
        lambda: ws.write("x", "y"),
        ws.checkpoint,
        ws.fork,
        lambda: ws.state.get("x"),
        lambda: ws.journal.append("x"),
        lambda: checkpoint.read("x"),
        lambda: repo.superpose(ws, 1),
    ]
    for call in calls:
        with pytest.raises(pyi.Closed):
            call()


def damage(store: Path, needle: bytes) -> None:
    """Flips one bit of `needle` where it is stored."""
    for segment in store.rglob("*.seg"):
        content = bytearray(segment.read_bytes())
        at = content.find(needle)
        if at >= 0:
            content[at] ^= 1
            segment.write_bytes(content)
            return
    raise AssertionError("not stored as it is")


def test_a_corrupt_record_is_never_served(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pyi.open(store) as repo:
        ws = repo.workspace()
        ws.write_many({"good": "nothing happened here", "bad": "one bit of this will flip"})
        checkpoint = ws.checkpoint()
        ws.publish("main")
    (placed,) = store.rglob("segments")
    damage(placed.parent, b"one bit of this will flip")
    with pyi.open(store) as repo:
        with pytest.raises(pyi.Corrupt):
            repo.get_checkpoint(checkpoint.id).read("bad")
        assert bytes(repo.workspace().read("good")) == b"nothing happened here"
        assert repo.stats()["damaged"] > 0


def test_a_store_of_a_newer_format(tmp_path: Path) -> None:
    store = tmp_path / "store"
    pyi.open(store).close()
    (format_file,) = store.rglob("format")
    text = format_file.read_text()
    format_file.write_text(text.replace("pyi-store 1", "pyi-store 2", 1))
    before = sorted(path.name for path in store.rglob("*"))
    with pytest.raises(pyi.UnsupportedFormat):
        pyi.open(store)
    assert sorted(path.name for path in store.rglob("*")) == before


UNPRIVILEGED = """
import os, sys
import pyi, pyi.errors
# Only now: the interpreter itself may be readable for root alone.
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    pyi.open(sys.argv[1])
except pyi.StorageError as error:
    print("refused", error.errno)
"""


def test_a_read_only_directory(tmp_path: Path) -> None:
    # pytest's directories are for their owner alone; the unprivileged child has to get there.
    place = Path("/tmp") / f"pyi-read-only-{os.getpid()}"
    place.mkdir(mode=0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(place)], capture_output=True, text=True, check=False
        )
        assert done.stdout.split() == ["refused", str(errno.EACCES)], done.stderr
        assert list(place.iterdir()) == []
    finally:
        place.rmdir()


def limited(limit_bytes: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))


FULL_DISK = """
import random
import sys
import pyi
repo = pyi.open(sys.argv[1])
ws = repo.workspace("main")
ws.write("small", "fits")
kept = ws.checkpoint("kept")
ws.write("large", random.Random(1).randbytes(4 << 20))  # its parts are all new
for attempt in range(3):
    try:
        ws.checkpoint("too large")
    except pyi.StorageError as error:
        print("refused", error.errno)
assert ws.dirty and ws.head == kept
ws.remove("large")
ws.write("small", "fits again")
print("kept", ws.checkpoint("after").id, kept.id)
"""


def check_full_disk(store: Path, done: subprocess.CompletedProcess[str], number: int) -> None:
    assert done.returncode == 0, done.stderr
    *refusals, last = done.stdout.splitlines()
    assert refusals == [f"refused {number}"] * 3
    _, after, kept = last.split()
    with pyi.open(store) as repo:
        assert bytes(repo.get_checkpoint(after).read("small")) == b"fits again"
        assert bytes(repo.get_checkpoint(kept).read("small")) == b"fits"
        assert repo.stats()["damaged"] == 0


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on file sizes, which every user can set, fails writes in the middle as a full disk does."""
    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace()
        ws.checkpoint()
        ws.publish("main")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        preexec_fn=limited(1 << 20),
        check=False,
    )
    check_full_disk(tmp_path / "store", done, errno.EFBIG)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no mount here: {mounted.stderr.decode().strip()}")
    try:
        with pyi.open(mount / "store") as repo:
            ws = repo.workspace()
            ws.checkpoint()
            ws.publish("main")
        done = subprocess.run(
            [sys.executable, "-c", FULL_DISK, str(mount / "store")], capture_output=True, text=True, check=False
        )
        check_full_disk(mount / "store", done, errno.ENOSPC)
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def test_numbers_and_mappings_that_are_none(repo: pyi.Repository, tmp_path: Path) -> None:
    """They were an OverflowError or an AttributeError, which no clause for pyi.PyiError or TypeError hears."""
    ws = repo.workspace()
    for mode in (-1, 0o600, 2**40, 2**70):
        with pytest.raises(pyi.InvalidArgument):
            ws.write("x", "", mode=mode)
    for given in (None, 5, [("x", "")]):
        with pytest.raises(TypeError, match="mapping"):
            ws.write_many(given)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mapping"):
        ws.git("status", env=["A=1"])  # type: ignore[arg-type]
    assert not ws.dirty
    for wrong in ({"heads": -1}, {"cap_bytes": -1}, {"age": 10**400}, {"history": 2**64}):
        with pytest.raises(pyi.InvalidArgument):
            repo.retention(**wrong)  # type: ignore[arg-type]
    with pytest.raises(pyi.InvalidArgument):
        pyi.open(tmp_path / "other", cache_bytes=-1)
    for call in (lambda: repo.backup(5), lambda: repo.backup(None), lambda: repo.scrub(repair_from=5)):
        with pytest.raises(TypeError, match="place"):
            call()
    with pytest.raises(pyi.InvalidArgument, match="NUL"):
        repo.backup("a\0b")
    repo.backup(tmp_path / "backup")
    with pytest.raises(pyi.InvalidArgument, match="positions"):
        pyi.restore_backup(tmp_path / "backup", tmp_path / "back", at=-1)
