"""Starting: what a command costs before it does anything."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns

from validation.hypothesis import Experiment, Finding, Hypothesis, below, compare
from validation.lab import Lab
from validation.statistics import Subject, interleave, ratio_of_medians

START = Hypothesis(
    "startup.version",
    "`pyi` starts, prints its version and ends in less than twice the time of /bin/true.",
    "p50 < 2x the p50 of /bin/true",
    "issue 2 g",
)


def program(name: str = "pyi") -> str | None:
    """Return the program that is installed beside this Python, or the one on PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def _spawns(command: list[str], devnull: int) -> Callable[[int], int]:
    def sample(_: int) -> int:
        actions = [(os.POSIX_SPAWN_DUP2, devnull, 1), (os.POSIX_SPAWN_DUP2, devnull, 2)]
        before = perf_counter_ns()
        child = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status = os.waitpid(child, 0)
        elapsed_ns = perf_counter_ns() - before
        if os.waitstatus_to_exitcode(status) != 0:
            raise RuntimeError(f"{' '.join(command)} failed")
        return elapsed_ns

    return sample


def run(lab: Lab) -> Iterator[Finding]:
    """Spawn `pyi --version`, /bin/true and `git --version` in turns."""
    true = shutil.which("true", path="/bin:/usr/bin")
    ours = program()
    if ours is None or true is None:
        missing = "pyi" if ours is None else "true"
        yield Finding(START, unmeasured=f"the program `{missing}` is not installed")
        return
    commands = {"pyi --version": [ours, "--version"], "/bin/true": [true]}
    if (git := shutil.which("git")) is not None:
        commands["git --version"] = [git, "--version"]
    with open(os.devnull, "wb") as null:
        subjects = [Subject(name, _spawns(command, null.fileno())) for name, command in commands.items()]
        series = interleave(subjects, lab.pick(3000, 300), warmup=20)
    first, *others = series
    yield Finding(
        START,
        "posix_spawn to exit of `pyi --version`",
        series[first].distribution(),
        changes=0,
        checks=[below("p50 / p50 of /bin/true", ratio_of_medians(series[first], series["/bin/true"]), 2, "x")],
        peers=[compare(name, "the same", series[first], series[name]) for name in others],
    )


EXPERIMENT = Experiment("startup", (START,), run)
