"""One process from outside: how long it takes, by the clock and by CPU, and the most memory that it had."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

__all__ = ["Cost", "peak_memory_bytes", "run"]

_CONTINUE, _SEIZE = 7, 0x4206
_STOP_AT_EXIT = 0x40
_EXIT_EVENT = 6


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process cost, and how it ended."""

    clock_ns: int
    cpu_ns: int
    status: int


def run(argv: list[str], directory: Path, env: Mapping[str, str], null: int) -> Cost:
    """Run a program; input and output are the descriptor `null`."""
    ends = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    os.chdir(directory)
    before = perf_counter_ns()
    child = os.posix_spawn(argv[0], argv, env, file_actions=ends)
    _, status, used = os.wait4(child, 0)
    clock_ns = perf_counter_ns() - before
    return Cost(clock_ns, int((used.ru_utime + used.ru_stime) * 1e9), os.waitstatus_to_exitcode(status))


def peak_memory_bytes(argv: list[str], directory: Path, env: Mapping[str, str], null: int) -> int | None:
    """Return the most resident memory that a program has, `None` where the system does not tell.

    `wait4` would do if it did not count what the process had been before it became the program; so the program is
    stopped where it ends, and its own figure is read.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    # The shell waits for a line until it is watched, and then becomes the program.
    script = 'read -r line; cd "$1" && shift && exec "$@" </dev/null'
    wait, start = os.pipe()
    ends = [(os.POSIX_SPAWN_DUP2, number, to) for to, number in enumerate((wait, null, null))]
    child = os.posix_spawn("/bin/sh", ["sh", "-c", script, "sh", str(directory), *argv], env, file_actions=ends)
    os.close(wait)
    watched = libc.ptrace(_SEIZE, child, None, ctypes.c_void_p(_STOP_AT_EXIT)) == 0
    os.write(start, b"\n")
    os.close(start)
    peak = None
    _, status = os.waitpid(child, 0)
    while watched and os.WIFSTOPPED(status):
        if status >> 16 == _EXIT_EVENT:
            lines = Path(f"/proc/{child}/status").read_text().splitlines()
            peak = next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), None)
        number = os.WSTOPSIG(status)
        passed = 0 if status >> 16 or number == signal.SIGTRAP else number
        if libc.ptrace(_CONTINUE, child, None, ctypes.c_void_p(passed)) != 0:
            break
        _, status = os.waitpid(child, 0)
    return peak
