"""kill -9 at a random moment, 200 times: what was acknowledged is there and whole, and segments do not pile up."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyi

ROUNDS = 200

# Checkpoints without pause in a named and an unnamed workspace; a line is written only once checkpoint() returned.
WRITER = """
import os, sys
import pyi
store, number = sys.argv[1], int(sys.argv[2])
repo = pyi.open(store)
named = repo.open_workspace("kept")
loose = repo.workspace("main")
step = 0
while True:
    step += 1
    for kind, ws in (("named", named), ("loose", loose)):
        text = f"{kind} {number} {step} "
        ws.write(f"dir-{step % 7}/file-{step % 31}", text * (step % 40 + 1))
        ws.state["step"] = [number, step]
        ws.journal.append("step", number=number, step=step)
        checkpoint = ws.checkpoint(text)
        os.write(1, f"{checkpoint.id} {kind} {number} {step}\\n".encode())
"""


def check(checkpoint: pyi.Checkpoint, kind: str, number: int, step: int, repo: pyi.Repository) -> None:
    text = f"{kind} {number} {step} "
    assert checkpoint.message == text
    assert bytes(checkpoint.read(f"dir-{step % 7}/file-{step % 31}")) == (text * (step % 40 + 1)).encode()
    workspace = repo.workspace(at=checkpoint)
    assert workspace.state["step"] == [number, step]
    last = workspace.journal[-1]
    assert (last.kind, last.data) == ("step", {"number": number, "step": step})


def test_200_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    seed = int(os.environ.get("PYI_TEST_SEED", "20261122"))
    print(f"seed {seed}")
    chance = random.Random(seed)
    store = tmp_path / "store"
    with pyi.open(store) as repo:
        first = repo.workspace()
        first.checkpoint("start")
        first.publish("main")
        first.fork("kept")
    acknowledged: list[tuple[str, str, int, int]] = []
    longest_open_s = 0.0
    for number in range(ROUNDS):
        command = [sys.executable, "-c", WRITER, str(store), str(number)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        received = writer.stdout.readline()
        time.sleep(chance.uniform(0, 0.02))
        writer.send_signal(signal.SIGKILL)
        received += writer.stdout.read()
        writer.wait()
        writer.stdout.close()
        assert received, "the writer died by itself"
        lines = [line.split() for line in received.decode().splitlines(keepends=True) if line.endswith("\n")]
        acknowledged += [(id, kind, int(number), int(step)) for id, kind, number, step in lines]
        # The next opener goes on at once: the named workspace's head is the last one acknowledged or the one after it.
        started = time.perf_counter()
        with pyi.open(store) as repo:
            head = repo.open_workspace("kept").head
            longest_open_s = max(longest_open_s, time.perf_counter() - started)
            last = next(id for id, kind, _, _ in reversed(acknowledged) if kind == "named")
            assert last in (head.id, *head.parents)
    with pyi.open(store) as repo:
        for id, kind, number, step in acknowledged:
            check(repo.get_checkpoint(id), kind, number, step, repo)
        stats = repo.stats()
    segments = len(list((tmp_path / "store").rglob("*.seg")))
    print(
        f"{len(acknowledged)} checkpoints acknowledged, {segments} segments, longest open {longest_open_s * 1e3:.1f} ms"
    )
    assert stats["damaged"] == 0
    # One writer at a time: one open segment, and one more for every 64 MiB and every 100,000 records that were written.
    assert segments <= 2 + stats["bytes_stored"] // (64 << 20) + stats["objects"] // 100_000
