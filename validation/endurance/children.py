"""Processes made by fork: warm when they begin, heard through a pipe to the last word, ended by SIGKILL.

The parent must have one thread and no store open.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import selectors
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["Child", "Event", "Say", "hear", "spawn", "wait_while_halted"]

Event: TypeAlias = list[Any]
Say: TypeAlias = Callable[..., None]

_PR_SET_PDEATHSIG = 1
_TEXT_MAX = 3000
_libc = ctypes.CDLL(None, use_errno=True)


class Child:
    """A child and what it says."""

    def __init__(self, kind: str, number: int, pid: int, pipe: int) -> None:
        """Take over a process and the reading end of its pipe."""
        self.kind, self.number, self.pid, self.pipe = kind, number, pid, pipe
        self.born = self.heard = time.monotonic()
        self.kill_at: float | None = None
        self.paused = False
        self.ended = False
        self._rest = b""

    def read(self) -> list[Event]:
        """Return what it said since the last call; waits if it said nothing. `ended` is set at the end of the pipe."""
        data = os.read(self.pipe, 1 << 20)
        if not data:
            self.ended = True
            return []
        self.heard = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def kill(self) -> list[Event]:
        """Kill it, wait for its end, and return its last words."""
        os.kill(self.pid, signal.SIGKILL)
        said: list[Event] = []
        while not self.ended:
            said += self.read()
        self.bury()
        return said

    def has_ended(self) -> bool:
        """Whether it ended by itself; it is still to be buried."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def bury(self) -> int:
        """Wait for the end of a process that ended by itself, and return its exit status (negative: the signal)."""
        os.close(self.pipe)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def where(self) -> str:
        """Return what its threads wait for, as far as the kernel tells."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for name in ("comm", "wchan", "syscall", "stack"):
                try:
                    found.append(f"{task.name} {name}: {(task / name).read_text().strip()}")
                except OSError:
                    continue
        return "\n".join(found)


def spawn(kind: str, number: int, run: Callable[[Say], None]) -> Child:
    """Fork a child that runs `run` and tells with the function it is given: JSON-like values, one event a call."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(kind, number, pid, reading)
    status = 1
    try:
        os.close(reading)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        random.seed()
        status = _run(run, writing)
    finally:
        os._exit(status)


def _run(run: Callable[[Say], None], pipe: int) -> int:
    def say(*event: Any) -> None:
        rest = memoryview(json.dumps(event).encode() + b"\n")
        while rest:
            rest = rest[os.write(pipe, rest) :]

    try:
        run(say)
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        say("error", type(error).__name__, text[-_TEXT_MAX:])
        return 1
    return 0


def wait_while_halted(halt: Callable[[], int], say: Say) -> None:
    """In a child: wait as long as everybody is to wait. `halt` returns the number of the halt, 0 if there is none."""
    number = halt()
    if number:
        say("paused", number)
        while halt() == number:
            time.sleep(0.01)
        say("resumed")


def hear(children: list[Child], seconds: float) -> list[Child]:
    """Wait up to `seconds` for one of the children to say something, and return those that did."""
    with selectors.PollSelector() as selector:
        for child in children:
            selector.register(child.pipe, selectors.EVENT_READ, child)
        return [key.data for key, _ in selector.select(max(0.0, seconds))]
