"""Sessions: what a checkpoint behind each step adds to a step of a millisecond."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import perf_counter_ns, thread_time_ns
from typing import Any

import pyi
from validation import workloads
from validation.hypothesis import Experiment, Finding, Hypothesis, below
from validation.lab import Lab
from validation.statistics import Subject, interleave

_STEP_NS = 1_000_000
# Each loop runs for a while: what it does is measured, and not how it begins with what the others left in the caches.
_BURST = 250
_STEPS = 1 << 40

PHILOX = Hypothesis(
    "session.philox",
    "A session with a checkpoint behind each step adds less than 2 % to a step of 1 ms that draws from a counter-based"
    " generator (NumPy's Philox).",
    "p50 of what is added < 20 us; in processor time, on the mean, < 2 %",
    "issue 4 h",
)
LEGACY = Hypothesis(
    "session.legacy",
    "The same with a step that draws a few numbers from Python's `random` and NumPy's legacy generator: less than 6 %.",
    "p50 of what is added < 60 us; in processor time, on the mean, < 6 %",
    "issue 4 h",
)
MANY = Hypothesis(
    "session.legacy-many",
    "The same with so many numbers that all words of both generators are new, and stored, in each step: less than 6 %.",
    "p50 of what is added < 60 us; in processor time, on the mean, < 6 %",
    "issue 4 h",
)
_MANY = 640


class _Run:
    """A loop that is taken one step at a time: the step outside the clock, what the session adds inside."""

    def __init__(self, session: pyi.Session, draw: Callable[[], float]) -> None:
        self._state = session.state
        self._draw = draw
        self._steps = iter(session.steps(range(_STEPS)))
        self._place = 0.0
        self.added_ns = self.work_ns = 0
        next(self._steps)

    def sample(self, _number: int) -> int:
        """Take a step, and return what keeping its result and the checkpoint took."""
        begin = thread_time_ns()
        until = perf_counter_ns() + _STEP_NS
        self._place = 0.999 * self._place + self._draw()
        while perf_counter_ns() < until:
            pass
        worked = thread_time_ns()
        before = perf_counter_ns()
        self._state["place"] = self._place
        next(self._steps)
        took_ns = perf_counter_ns() - before
        self.work_ns += worked - begin
        self.added_ns += thread_time_ns() - worked
        return took_ns


def _philox() -> tuple[dict[str, Any], Callable[[], float]]:
    import numpy as np

    rng = np.random.Generator(np.random.Philox(7))
    return {"walk": rng}, rng.random


def _legacy(numbers: int) -> tuple[dict[str, Any], Callable[[], float]]:
    """Return generators of their own, since loops that take turns in one process cannot share the global ones."""
    import numpy as np

    ours, numpys = random.Random(7), np.random.RandomState(7)

    def draw() -> float:
        return sum([ours.gauss(0, 1) for _ in range(numbers)]) + float(numpys.standard_normal(numbers).sum())

    return {"ours": ours, "numpy's": numpys}, draw


def run(lab: Lab) -> Iterator[Finding]:
    """Take steps in turns with both kinds of generators."""
    with ExitStack() as stack:
        runs: dict[str, _Run] = {}
        for name, make in (("philox", _philox), ("legacy", lambda: _legacy(1)), ("many", lambda: _legacy(_MANY))):
            place = stack.enter_context(lab.directory(name))
            repository = stack.enter_context(pyi.open(place))
            generators, draw = make()
            session = pyi.session(repository, name, generators=generators, global_generators=name == "philox")
            stack.callback(session.close)
            runs[name] = _Run(session, draw)
        lab.say("steps of a millisecond")
        subjects = [Subject(name, one.sample, burst=_BURST) for name, one in runs.items()]
        series = interleave(subjects, lab.pick(20, 10), warmup=2)
    for hypothesis, name, limit in ((PHILOX, "philox", 2), (LEGACY, "legacy", 6), (MANY, "many", 6)):
        measured, one = series[name], runs[name]
        share = 100 * one.added_ns / one.work_ns
        yield Finding(
            hypothesis,
            "state['place'] = ..., and the checkpoint behind the step",
            measured.distribution(),
            changes=len(measured),
            durability=workloads.DURABILITY,
            checks=[
                below("p50", measured.percentile_us(0.5), 10 * limit, "us"),
                below("processor time, on the mean", share, limit, "%"),
            ],
            values={"added_cpu_us_mean": one.added_ns / len(measured) / 1000},
            notes=["The global generators are watched as well, as they are by default."] if name == "philox" else [],
        )


EXPERIMENT = Experiment("session", (PHILOX, LEGACY, MANY), run, needs=("session",))
