"""Sessions of real processes that are killed, told to end, or die of too little memory."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

import pyi

# Adds up what two generators give, and writes down each step that it begins in a file that no store knows of.
PROGRAM = """
import os, random, resource, sys, time
import pyi
store, steps, pause, record, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], int(sys.argv[5])
random.seed(77)
out = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
with pyi.session(store, "run", every=int(sys.argv[6])) as session:
    session.state["sum"] = 0.0
    os.write(1, b"open\\n")
    for step in session.steps(range(steps)):
        os.write(out, b"%d\\n" % step)
        session.state["sum"] = session.state["sum"] + random.gauss(0, 1)
        session.workspace.write(f"part-{step % 7}", str(session.state["sum"]))
        session.journal.append("step", number=step)
        if limit and step == 20:
            resource.setrlimit(resource.RLIMIT_AS, (limit << 20, limit << 20))
            hog = [bytearray(1 << 20) for _ in range(limit)]
        time.sleep(pause)
    print("end", repr(session.state["sum"]), session.workspace.head.tree)
"""


def start(
    store: Path, record: Path, *, steps: int, pause_s: float = 0.0, limit_mb: int = 0, every: int = 1
) -> subprocess.Popen[str]:
    arguments = [str(store), str(steps), str(pause_s), str(record), str(limit_mb), str(every)]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    assert process.stdout is not None
    out = process.stdout.read()  # and not communicate, which knows nothing of what readline took in
    _, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def whole(tmp_path: Path, steps: int) -> str:
    status, out, errors = finish(start(tmp_path / "whole", tmp_path / "whole.txt", steps=steps))
    assert status == 0, errors
    return out


def begun_steps(tmp_path: Path) -> int:
    return (tmp_path / "record.txt").read_text().count("\n")


@pytest.mark.parametrize("every", [1, 4])
def test_a_run_killed_many_times_ends_as_one_that_was_not(tmp_path: Path, every: int) -> None:
    steps, kills, seed = 300, 12, 5
    print(f"seed {seed}")
    expected = whole(tmp_path, steps)
    chance = random.Random(seed)
    killed = 0
    while True:
        process = start(tmp_path / "store", tmp_path / "record.txt", steps=steps, pause_s=0.001, every=every)
        assert process.stdout is not None
        if killed < kills:
            assert process.stdout.readline() == "open\n"
            time.sleep(chance.uniform(0, 0.04))
            process.send_signal(signal.SIGKILL)
            killed += 1
        status, out, errors = finish(process)
        if status == 0:
            break
        assert status == -signal.SIGKILL, errors
    assert killed > 2  # on a busy machine a run may be over before its killer wakes up
    assert out.removeprefix("open\n") == expected.removeprefix("open\n")
    begun = [int(line) for line in (tmp_path / "record.txt").read_text().split()]
    assert sorted(set(begun)) == list(range(steps))
    for before, after in pairwise(begun):
        # A kill repeats the step in flight and those since the last checkpoint, and none else; no step is left out.
        assert after == before + 1 or before - every < after <= before, (before, after)
    with pyi.open(tmp_path / "store") as repo, pyi.session(repo, "run") as session:
        # It counts a step when it is handed out, and the step itself a moment later.
        assert 0 <= session.report.repeated - (len(begun) - steps) <= killed
        assert [event.data["number"] for event in session.journal] == list(range(steps))
        assert session.checkpoint_at(steps).id == session.workspace.head.id


def test_a_process_that_is_told_to_end_repeats_nothing(tmp_path: Path) -> None:
    expected = whole(tmp_path, 60)
    for _ in range(3):
        process = start(tmp_path / "store", tmp_path / "record.txt", steps=60, pause_s=0.02, every=1000)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        before = begun_steps(tmp_path)
        while begun_steps(tmp_path) < before + 2:
            time.sleep(0.01)
        process.terminate()
        status, out, errors = finish(process)
        assert (status, out, errors) == (128 + signal.SIGTERM, "", "")
    status, out, errors = finish(start(tmp_path / "store", tmp_path / "record.txt", steps=60))
    assert (status, out) == (0, expected), errors
    assert (tmp_path / "record.txt").read_text().split() == [str(step) for step in range(60)]


def test_a_process_that_runs_out_of_memory_loses_the_step_in_flight(tmp_path: Path) -> None:
    expected = whole(tmp_path, 40)
    status, _, errors = finish(start(tmp_path / "store", tmp_path / "record.txt", steps=40, limit_mb=600))
    assert status == 1
    assert "MemoryError" in errors
    status, out, errors = finish(start(tmp_path / "store", tmp_path / "record.txt", steps=40))
    assert (status, out) == (0, expected), errors
    begun = [int(line) for line in (tmp_path / "record.txt").read_text().split()]
    assert begun == [*range(21), *range(20, 40)]


def test_a_second_process_is_refused_until_the_first_one_is_gone(tmp_path: Path) -> None:
    first = start(tmp_path / "store", tmp_path / "record.txt", steps=10_000, pause_s=0.01)
    assert first.stdout is not None
    assert first.stdout.readline() == "open\n"
    while not begun_steps(tmp_path):
        time.sleep(0.01)
    with pyi.open(tmp_path / "store") as repo:
        with pytest.raises(pyi.Conflict, match=str(first.pid)):
            pyi.session(repo, "run")
        first.kill()
        finish(first)
        with pyi.session(repo, "run") as session:
            assert session.resumed


def test_a_forked_child_keeps_nothing_locked(tmp_path: Path) -> None:
    program = f"""
import os, sys, time
import pyi
session = pyi.session({str(tmp_path / "store")!r}, "run")
for step in session.steps(range(3)):
    if step == 1:
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            time.sleep(60)
            os._exit(0)
        time.sleep(0.2)
        os._exit(0)
"""
    done = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert done.stdout is not None
    child = int(done.stdout.readline())
    try:
        assert done.wait(30) == 0
        with pyi.session(tmp_path / "store", "run") as session:
            assert session.done == 1
    finally:
        os.kill(child, signal.SIGKILL)
        done.stdout.close()
