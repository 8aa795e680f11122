"""Find the calls of the Python API that keep other threads waiting: for how long each holds the interpreter lock.

    .venv/bin/python tools/gil_stalls.py [--rounds N] [NAME ...]

A second thread spins and notes its longest pause while a call runs with large arguments, less the time for which the
system did not run it although it could (Linux tells). The smallest pause of several rounds is printed, less that of a
call that does nothing. Nothing here passes or fails, as times depend on the machine.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns, sleep

import numpy as np

import pyi

LARGE_BYTES = 64 << 20
MANY = 2000

Call = tuple[str, Callable[[], object], Callable[[], object]]


class Spinner:
    """A thread that does nothing but look at the clock."""

    def __init__(self) -> None:
        self.pause_ns = 0
        self._seen_ns = 0
        self._stop = False
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def __enter__(self) -> Spinner:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()

    def _spin(self) -> None:
        schedule = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        waited = _waited_ns(schedule)
        last = perf_counter_ns()
        while not self._stop:
            now = perf_counter_ns()
            if now - last > _SHORT_NS:
                before, waited = waited, _waited_ns(schedule)
                self.pause_ns = max(self.pause_ns, now - last - (waited - before))
                now = perf_counter_ns()
            last = self._seen_ns = now
        os.close(schedule)

    def pause_us(self, call: Callable[[], object]) -> float:
        """Return the longest pause while `call` ran."""
        self._await()
        self.pause_ns = 0
        kept = call()
        self._await()
        pause_us = self.pause_ns / 1e3
        del kept
        return pause_us

    def _await(self) -> None:
        """Let the other thread run: it has to, to see how long it stood still."""
        begin = perf_counter_ns()
        while self._seen_ns < begin:
            sleep(0.0005)


_SHORT_NS = 3000


def _waited_ns(schedule: int) -> int:
    """Return for how long a thread was ready and did not run."""
    return int(os.pread(schedule, 100, 0).split()[1])


def nothing() -> None:
    """Prepare nothing."""


def calls(directory: Path, repo: pyi.Repository) -> Iterator[Call]:
    """Yield a name, what is to be done before, and the call."""
    ws = repo.workspace()
    constant = os.urandom(1 << 20) * (LARGE_BYTES >> 20)
    changing, text = bytearray(constant), "x" * LARGE_BYTES
    files = {f"many/{number:05}": b"x" * 1000 for number in range(MANY)}
    yield "write, bytes of 64 MB", nothing, lambda: ws.write("large", constant)
    yield "write, bytearray of 64 MB", nothing, lambda: ws.write("large", changing)
    yield "write, str of 64 MB", nothing, lambda: ws.write("large", text)
    yield "write, 1 KB", nothing, lambda: ws.write("small", b"x" * 1000)
    yield "write_many, 2000 files of 1 KB", nothing, lambda: ws.write_many(files)
    yield "write_many, 64 MB", nothing, lambda: ws.write_many({"large": changing})
    yield "checkpoint, 64 MB", lambda: ws.write("large", os.urandom(LARGE_BYTES)), ws.checkpoint
    yield (
        "checkpoint, 2000 files",
        lambda: ws.write_many({path: os.urandom(100) for path in files}),
        ws.checkpoint,
    )
    yield "read, 64 MB", nothing, lambda: ws.read("large")
    yield "read_many, 2000 files", nothing, lambda: ws.read_many(files)
    yield "list, 2000 entries", nothing, lambda: ws.list("many")
    yield "walk, 2000 entries", nothing, lambda: [entry.path for entry in ws.walk()]
    yield "fork", nothing, ws.fork
    first = ws.checkpoint()
    ws.write_many(dict.fromkeys(files, b"other"))
    ws.write("large", b"other")
    second = ws.checkpoint()
    yield "diff, 2000 changes", nothing, lambda: ws.diff(first)
    yield "restore", lambda: ws.restore(second), lambda: ws.restore(first)
    yield "log", nothing, lambda: list(ws.log())
    yield "stats", nothing, repo.stats
    grid = np.random.default_rng(1).random(LARGE_BYTES // 8)

    def touch() -> None:
        grid[:: 8192 * 10] += 1

    yield "state, array of 64 MB", touch, lambda: ws.state.__setitem__("grid", grid)
    yield "state, the same array", nothing, lambda: ws.state.__setitem__("grid", grid)
    yield "state, read the array", nothing, lambda: ws.state["grid"]
    yield "state, bytes of 64 MB", nothing, lambda: ws.state.__setitem__("bytes", constant)
    yield "state, bytearray of 64 MB", nothing, lambda: ws.state.__setitem__("bytes", changing)
    yield "state, read 64 MB", nothing, lambda: ws.state["bytes"]
    numbers, nested = list(range(100_000)), {str(number): {"a": [number]} for number in range(20_000)}
    yield "state, list of 100,000", nothing, lambda: ws.state.__setitem__("list", numbers)
    yield "state, read the list", nothing, lambda: ws.state["list"]
    yield "state, dict of 20,000", nothing, lambda: ws.state.__setitem__("dict", nested)
    yield "state, pickle of the dict", nothing, lambda: ws.state.pickle("pickle", nested)
    view = ws.state.array("grid")
    yield "array, open", nothing, lambda: ws.fork().state.array("grid")
    yield "array, fetch 64 MB", nothing, lambda: np.asarray(ws.fork().state.array("grid"))
    yield "array, write an element", nothing, lambda: view.__setitem__(5, 1.0)
    yield "array, checkpoint of 128 chunks", lambda: view.__setitem__(slice(None, 128 * 8192), grid[0]), ws.checkpoint
    yield "array, fork with 128 chunks", lambda: view.__setitem__(slice(None, 128 * 8192), grid[1]), ws.fork
    yield "journal, append", nothing, lambda: ws.journal.append("tool", text="x" * 100)
    yield "journal, append 1 MB", nothing, lambda: ws.journal.append("tool", data=constant[: 1 << 20])
    for number in range(10_000):
        ws.journal.append("many", number=number)
    yield "journal, iterate", nothing, lambda: sum(1 for _ in ws.journal)
    yield "journal, slice of 1000", nothing, lambda: ws.journal[-1000:]
    yield "journal, query", nothing, lambda: list(ws.journal.query(kind="nothing"))
    yield "journal, flush", lambda: ws.journal.append("tool"), ws.journal.flush
    yield "superpose, 1000", nothing, lambda: repo.superpose(second, 1000)
    yield "merge", nothing, lambda: ws.fork().merge(second)
    place = iter(range(1000))
    yield "materialize, 2000 files", nothing, lambda: ws.materialize(directory / f"tree{next(place)}")
    ws.materialize(directory / "captured")
    yield "capture", nothing, lambda: ws.capture(directory / "captured")
    yield "flush", nothing, repo.flush
    yield "gc", nothing, repo.gc
    yield "scrub", nothing, repo.scrub
    yield "backup", nothing, lambda: repo.backup(directory / f"backup{next(place)}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only calls whose names contain one of these")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    # The spinning thread has to give the lock up at once, or a call would wait for it.
    sys.setswitchinterval(1e-6)
    gc.disable()
    with tempfile.TemporaryDirectory() as place, pyi.open(Path(place) / "store") as repo, Spinner() as spinner:
        floor_us = min(spinner.pause_us(lambda: repo.closed) for _ in range(50))
        print(f"{'call':<36} {'holds the lock, us':>20}")
        for name, before, call in calls(Path(place), repo):
            if options.names and not any(wanted in name for wanted in options.names):
                continue
            pauses = []
            for _ in range(options.rounds):
                before()
                pauses.append(spinner.pause_us(call))
            print(f"{name:<36} {max(min(pauses) - floor_us, 0.0):>20.1f}", flush=True)
    print(f"a call that does nothing: {floor_us:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
