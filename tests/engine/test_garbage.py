"""Collections, retention, keeping and undo, as a user meets them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pyi

BARE = {"age": 0, "heads": 0}
AMPLE = 1 << 40


def step(ws: pyi.Workspace, number: int) -> str:
    ws.write("data", os.urandom(1000) * 40)
    ws.write(f"dir-{number % 5}/file", f"version {number}\n" * 100)
    ws.state["step"] = number
    return ws.checkpoint(f"step {number}").id


def check(repo: pyi.Repository, id: str, number: int) -> None:
    ws = repo.workspace(at=id)
    assert ws.state["step"] == number
    assert bytes(ws.read(f"dir-{number % 5}/file")) == f"version {number}\n".encode() * 100
    for entry in ws.walk():
        ws.read(entry.path)


def test_what_is_kept_and_what_goes(tmp_path: Path) -> None:
    with pyi.open(tmp_path / "store") as repo:
        retention = repo.retention(**BARE)
        assert (retention.age, retention.heads, retention.history) == (0.0, 0, None)
        loose = step(repo.workspace(), 1)
        kept = step(repo.workspace(), 2)
        repo.keep(kept)
        main = repo.workspace()
        landed = step(main, 3)
        main.publish("main")
        assert repo.kept() == [kept]
    with pyi.open(tmp_path / "store") as repo:
        assert repo.retention() == retention
        report = repo.gc(budget_bytes=AMPLE)
        assert report.gave_up is None
        assert report.objects_removed > 0
        assert report.live_bytes <= report.bytes_after < report.bytes_before
        assert report.seconds > 0
        assert repo.stats()["bytes_stored"] >= report.live_bytes
        with pytest.raises(pyi.NotFound):
            repo.get_checkpoint(loose)
        check(repo, kept, 2)
        check(repo, landed, 3)
        with pytest.raises(pyi.QuotaExceeded, match="nothing was removed"):
            repo.gc(budget_bytes=10_000)
        repo.unkeep(kept)
        with pytest.raises(pyi.NotFound):
            repo.unkeep(landed)
        assert repo.gc(budget_bytes=AMPLE, compact=True).objects_removed > 0
        with pytest.raises(pyi.NotFound):
            repo.workspace(at=kept)
        check(repo, landed, 3)


def test_retention_refuses_what_makes_no_sense(repo: pyi.Repository) -> None:
    for wrong in ({"history": 0}, {"per_day": 3}, {"weight": -1.0}, {"age": -1}, {"cap_bytes": 0}):
        with pytest.raises(pyi.InvalidArgument):
            repo.retention(**wrong)
    assert repo.retention().age == 86400
    changed = repo.retention(history=5, per_day=3)
    assert (changed.history, changed.per_day, changed.age) == (5, 3, 86400)
    assert repo.retention(history=None, per_day=None).history is None


def test_undo(repo: pyi.Repository) -> None:
    ws = repo.workspace()
    first = step(ws, 1)
    ws.publish("main")
    second = step(ws, 2)
    ws.publish("main")
    done = repo.history()
    assert [operation.message for operation in done] == ["publish main", "publish main"]
    assert (done[0].moves[0].kind, done[0].moves[0].name) == ("branch", "main")
    assert (done[0].moves[0].before, done[0].moves[0].after) == (first, second)
    assert abs(done[0].time - time.time()) < 600
    assert repo.undo().message == "undo publish main"
    assert repo.branches() == {"main": first}
    with pytest.raises(pyi.Conflict, match="main"):
        repo.undo(position=done[0].position)
    repo.undo()
    assert repo.branches() == {"main": second}
    repo.undo(4)
    assert repo.branches() == {}
    with pytest.raises(pyi.NotFound):
        repo.undo(99)
    with pytest.raises(pyi.InvalidArgument):
        repo.undo(0)


WRITER = """
import os, sys
import pyi
repo = pyi.open(sys.argv[1])
name = f"w/{sys.argv[2]}"
ws = repo.open_workspace(name) if name in repo.workspaces() else repo.workspace().fork(name)
step = ws.state.get("step", 0)
while True:
    step += 1
    ws.write("data", os.urandom(1000) * 20)
    ws.write(f"dir-{step % 5}/file", f"version {step}\\n" * 100)
    ws.state["step"] = step
    id = ws.checkpoint(f"step {step}").id
    os.write(1, f"{id} {step}\\n".encode())
"""


def test_killed_writers_and_collectors_lose_nothing(tmp_path: Path) -> None:
    """Writers and a collector are killed again and again; every head that was acknowledged is whole after it."""
    store = tmp_path / "store"
    with pyi.open(store) as repo:
        repo.retention(history=2, **BARE)
    collector = f"import pyi\nrepo = pyi.open({str(store)!r})\nwhile True: repo.gc(budget_bytes={AMPLE})"
    last: dict[int, tuple[str, int]] = {}
    for _ in range(8):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(store), str(number)], stdout=subprocess.PIPE)
            for number in range(2)
        ]
        garbage = subprocess.Popen([sys.executable, "-c", collector])
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline()
        time.sleep(0.3)
        for process in [garbage, *writers]:
            assert process.poll() is None, "it ended by itself"
            process.send_signal(signal.SIGKILL)
            process.wait()
        for number, writer in enumerate(writers):
            assert writer.stdout is not None
            lines = [line for line in writer.stdout.read().decode().splitlines(keepends=True) if line.endswith("\n")]
            writer.stdout.close()
            if lines:
                id, step = lines[-1].split()
                last[number] = (id, int(step))
        with pyi.open(store) as repo:
            for number, (_, step) in last.items():
                head = repo.view_workspace(f"w/{number}").head
                reached = int(head.message.split()[1])
                assert step <= reached <= step + 1
                check(repo, head.id, reached)
    with pyi.open(store) as repo:
        report = repo.gc(budget_bytes=AMPLE)
        assert report.gave_up is None
        assert report.bytes_after <= 1.2 * report.live_bytes + (64 << 10)


def test_a_cap_is_kept_and_says_what_does_not_fit(tmp_path: Path) -> None:
    with pyi.open(tmp_path / "store", cap_bytes=4 << 20) as repo:
        assert repo.retention().cap_bytes == 4 << 20
        ws = repo.workspace()

        def fill() -> None:
            for number in range(2000):
                ws.write(f"file-{number}", os.urandom(128 << 10))
                ws.checkpoint()
                time.sleep(0.002)

        with pytest.raises(pyi.QuotaExceeded, match="cap"):
            fill()
        assert ws.dirty
        repo.retention(cap_bytes=None)
        ws.checkpoint("there is room")
