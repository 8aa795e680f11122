"""Measure how long programs take from spawn to exit, against /bin/true, in one interleaved run.

    python tools/startup.py [-n RUNS] PROGRAM...        each PROGRAM is one shell-quoted command line

Prints p50, p95 and p99 in microseconds and the ratio of the p50 to that of /bin/true. The programs take turns, so that
a slow moment of the machine falls on all of them.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import time


def spawn_us(command: list[str], devnull: int) -> float:
    program = shutil.which(command[0]) or command[0]
    started = time.perf_counter_ns()
    actions = [(os.POSIX_SPAWN_DUP2, devnull, 1), (os.POSIX_SPAWN_DUP2, devnull, 2)]
    child = os.posix_spawn(program, command, os.environ, file_actions=actions)
    _, status = os.waitpid(child, 0)
    elapsed_us = (time.perf_counter_ns() - started) / 1000
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"error: {shlex.join(command)} failed")
    return elapsed_us


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how long programs take from spawn to exit.")
    parser.add_argument("-n", "--runs", type=int, default=500, help="runs of each program (default: 500)")
    parser.add_argument("programs", nargs="+", metavar="PROGRAM", help="a command line")
    options = parser.parse_args()

    commands = [["/bin/true"], *(shlex.split(program) for program in options.programs)]
    samples: list[list[float]] = [[] for _ in commands]
    with open(os.devnull, "wb") as null:
        for run in range(options.runs + 20):
            for command, found in zip(commands, samples, strict=True):
                elapsed_us = spawn_us(command, null.fileno())
                if run >= 20:  # the first ones fill the page cache
                    found.append(elapsed_us)
    base = sorted(samples[0])[options.runs // 2]
    for command, found in zip(commands, samples, strict=True):
        found.sort()
        p50, p95, p99 = (found[len(found) * percent // 100] for percent in (50, 95, 99))
        print(f"{shlex.join(command):50} p50 {p50:7.0f}  p95 {p95:7.0f}  p99 {p99:7.0f} us  {p50 / base:.2f}x")


if __name__ == "__main__":
    main()
