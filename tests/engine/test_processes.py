"""Many processes on one store: nothing is lost, nobody waits for the stopped or the dead, one winner for each move."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pyi

STEPS = 400
MOVES = 10_000
MOVERS = 8

WRITER = """
import sys
import threading
import pyi
store, name, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
repo = pyi.open(store)
ws = repo.workspace("main").fork(name)
print("ready", flush=True)
for step in range(steps):
    ws.write(f"{name}/file-{step % 50}", f"{name} {step}" * 20)
    checkpoint = ws.checkpoint(f"{name} {step}")
    ws.publish(f"branch-{name}", expect=None if step == 0 else previous)
    previous = checkpoint
    print(checkpoint.id, step, flush=True)
"""

READER = """
import sys
import threading
import pyi
repo = pyi.open(sys.argv[1])
print("ready", flush=True)
seen = 0
for line in sys.stdin:
    for branch, id in repo.branches().items():
        if not branch.startswith("branch-"):
            continue
        checkpoint = repo.get_checkpoint(id)
        name, step = checkpoint.message.split()
        assert branch == f"branch-{name}"
        content = bytes(checkpoint.read(f"{name}/file-{int(step) % 50}"))
        assert content == (f"{name} {step}" * 20).encode(), (branch, id)
        seen += 1
    print("looked", seen, flush=True)
"""

MOVER = """
import sys
import threading
import pyi
store, name, moves = sys.argv[1], sys.argv[2], int(sys.argv[3])
repo = pyi.open(store)
print("ready", flush=True)
sys.stdin.readline()
won = 0
while True:
    ws = repo.workspace("contended")
    number = ws.state["number"]
    if number >= moves:
        break
    ws.state["number"] = number + 1
    checkpoint = ws.checkpoint(name)
    try:
        ws.publish("contended")
    except pyi.Conflict:
        continue
    print(number + 1, checkpoint.id)
    won += 1
print("won", won, flush=True)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace()
        ws.write("shared", "base")
        ws.state["number"] = 0
        ws.checkpoint("base")
        ws.publish("main")
        ws.publish("contended", expect=None)
    return tmp_path / "store"


def test_four_write_one_reads_one_is_stopped(store: Path) -> None:
    stopped = start(WRITER, store, "stopped", 1_000_000)
    assert line_of(stopped) == "ready"
    line_of(stopped)
    stopped.send_signal(signal.SIGSTOP)
    dead = start(WRITER, store, "dead", 1_000_000)
    assert line_of(dead) == "ready"
    dead_id = line_of(dead).split()[0]
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    writers = [start(WRITER, store, f"w{number}", STEPS) for number in range(4)]
    reader = start(READER, store)
    assert line_of(reader) == "ready"
    assert reader.stdin is not None
    looks = 0
    assert reader.stdout is not None
    while any(writer.poll() is None for writer in writers) and looks < 100:
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert line_of(reader).startswith("looked")
        looks += 1
        time.sleep(0.002)
    outputs = [writer.communicate()[0] for writer in writers]
    reader.communicate()
    assert reader.returncode == 0
    assert stopped.poll() is None, "nobody had to wait for the stopped process, which is still there"
    with pyi.open(store) as repo:
        for number, (writer, output) in enumerate(zip(writers, outputs, strict=True)):
            assert writer.returncode == 0
            ids = [line.split()[0] for line in output.splitlines() if line != "ready"]
            assert len(ids) == STEPS
            for step, id in enumerate(ids):
                content = bytes(repo.get_checkpoint(id).read(f"w{number}/file-{step % 50}"))
                assert content == (f"w{number} {step}" * 20).encode()
            assert repo.branches()[f"branch-w{number}"] == ids[-1]
        assert bytes(repo.get_checkpoint(dead_id).read("dead/file-0")) == b"dead 0" * 20
    stopped.send_signal(signal.SIGCONT)
    assert line_of(stopped), "it goes on as if nothing had happened"
    stopped.kill()
    stopped.communicate()


def test_contended_branch_moves_have_one_winner_each(store: Path) -> None:
    movers = [start(MOVER, store, f"m{number}", MOVES) for number in range(MOVERS)]
    for mover in movers:
        assert line_of(mover) == "ready"
    outputs = [b""] * MOVERS
    for mover in movers:
        assert mover.stdin is not None
        mover.stdin.write("go\n")
        mover.stdin.flush()
    winners: dict[int, str] = {}
    contenders = 0
    for mover in movers:
        output = mover.communicate()[0].splitlines()
        assert mover.returncode == 0
        *moves, last = output
        contenders += int(last.split()[1]) > 0
        for move in moves:
            number, id = move.split()
            assert int(number) not in winners, f"move {number} was won twice"
            winners[int(number)] = id
    assert len(outputs) == MOVERS
    assert sorted(winners) == list(range(1, MOVES + 1))
    assert contenders > 1, "one process won everything, so nothing was contended"
    with pyi.open(store) as repo:
        chain = [checkpoint.id for checkpoint in repo.workspace("contended").log(MOVES)]
        assert chain == [winners[number] for number in range(MOVES, 0, -1)]


def test_a_forked_child_writes_to_a_segment_of_its_own(tmp_path: Path) -> None:
    """The child of os.fork() must not append to its parent's segment, nor keep its lock alive."""
    repo = pyi.open(tmp_path / "store")
    ws = repo.workspace()
    ws.write("a", "parent")
    before = ws.checkpoint("before")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ws.write("a", "child")
            os.write(write_end, ws.checkpoint("child").id.encode())
            status = 0
        finally:
            os._exit(status)
    ws.write("a", "parent again")
    after = ws.checkpoint("after")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(write_end)
    child_id = os.read(read_end, 64).decode()
    os.close(read_end)
    repo.close()
    with pyi.open(tmp_path / "store") as again:
        assert bytes(again.get_checkpoint(before.id).read("a")) == b"parent"
        assert bytes(again.get_checkpoint(after.id).read("a")) == b"parent again"
        assert bytes(again.get_checkpoint(child_id).read("a")) == b"child"
        assert again.stats()["damaged"] == 0


def test_a_child_of_a_busy_process_can_work(tmp_path: Path) -> None:
    """A fork in the middle of another thread's commit left the child waiting for a lock that nobody could release."""
    repo = pyi.open(tmp_path / "store")
    base = repo.workspace()
    stop = threading.Event()

    def work(number: int) -> None:
        ws = base.fork(f"busy-{number}")
        step = 0
        while not stop.is_set():
            step += 1
            ws.write("file", f"{number} {step}")
            ws.checkpoint()
            repo.branches()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    signal.alarm(30)
                    ws = repo.workspace().fork(f"child-{number}")
                    ws.write("file", "child")
                    ws.checkpoint()
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {f"child-{number}" for number in range(20)} <= set(repo.workspaces())
