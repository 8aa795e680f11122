"""The examples of sessions: killed at random moments, each leaves the same bytes as when nothing disturbs it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KILLS = 6
SEED = 20261122

# Long enough to be killed six times, each time after some steps.
CASES = [
    ("heat", ["--steps", "1200", "--size", "32"]),
    ("heat", ["--steps", "3000", "--size", "32", "--every", "25"]),
    ("portfolio", ["--days", "1500"]),
    ("gates", ["--vectors", "150"]),
]


def start(name: str, store: Path, options: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, str(EXAMPLES / name / f"{name}.py"), str(store), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Let it run to its end; the hash that it prints."""
    assert process.stdout is not None
    out = process.stdout.read()  # and not communicate, which knows nothing of what readline took in
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return out.splitlines()[-1].split()[0]


def killed_many_times(name: str, store: Path, options: list[str], delays_s: list[float]) -> list[int]:
    """Begin, and kill after each delay; the steps at which the processes began."""
    begins = []
    for delay_s in delays_s:
        process = start(name, store, options)
        assert process.stdout is not None
        begins.append(int(process.stdout.readline().split()[-1]))
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return begins


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda it: it if isinstance(it, str) else "-".join(it))
def test_an_example_that_is_killed_leaves_the_same_bytes(name: str, options: list[str], tmp_path: Path) -> None:
    started = time.monotonic()
    process = start(name, tmp_path / "whole", options)
    assert process.stdout is not None
    process.stdout.readline()
    begun = time.monotonic()
    expected = finish(process)
    length_s = time.monotonic() - begun
    print(f"seed {SEED}, start {begun - started:.2f} s, run {length_s:.2f} s")
    chance = random.Random(SEED)
    for attempt in range(6):  # on a busy machine one run may be over in a fraction of the time of another
        store, share_s = tmp_path / f"killed-{attempt}", length_s / KILLS / 2**attempt
        begins = killed_many_times(name, store, options, [chance.uniform(0, share_s) for _ in range(KILLS)])
        process = start(name, store, options)
        assert finish(process) == expected
        assert begins == sorted(begins)
        if len(set(begins)) > 2:
            return
    pytest.fail(f"no kill fell into the run: {begins}")
