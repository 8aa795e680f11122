"""Agents by the thousand: checkpoints a second when all of them save at once, and how long a step takes under load."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyi
from validation import kernel, workloads
from validation.crowd import Order, Team
from validation.generator import Tree
from validation.hypothesis import Experiment, Finding, Hypothesis, below
from validation.lab import Lab
from validation.statistics import Distribution, Interval

_AGENTS = (850, 10_000)
_FILES = 5_000
_BURST_SECONDS = 10.0
_PYTHON_PER_S = 50_000
_RUST_PER_S = 100_000
_OFFERED_PER_S = 10_000
_SHARES = (10, 25, 50, 75, 90)
_RUST_STEPS = 1_000_000
# A program that was built before: so a laboratory without cargo, or on a busy machine, can measure it, too.
_BUILT = "PYI_BENCH_STEP"

PYTHON = Hypothesis(
    "agents.burst",
    f"From Python, {_AGENTS[0]} and {_AGENTS[1]:,} agents on {_FILES:,} files that each change one of eight files of"
    f" 1 KB and are saved in batches make {_PYTHON_PER_S:,} checkpoints a second (`process`) in a burst of 10 s.",
    f"the best batch: >= {_PYTHON_PER_S:,}/s with either number of agents",
    "issue 4 c",
)
RUST = Hypothesis(
    "agents.burst_rust",
    "The same from Rust, one checkpoint a call, from 1, 8 and 64 threads and from 4 processes:"
    f" {_RUST_PER_S:,} a second in total on two cores.",
    f"the best of these ways: >= {_RUST_PER_S:,}/s with either number of agents",
    "issue 4 c",
)
OFFERED = Hypothesis(
    "agents.offered",
    f"At an offered load of {_OFFERED_PER_S:,} steps a second a step takes less than 1 ms from when it was due, from"
    " 1, 8 and 64 threads and from 4 processes.",
    "p99 < 1 ms each way, with either number of agents",
    "issue 4 c",
)
CURVE = {
    name: Hypothesis(
        f"agents.curve_{name}",
        f"Latency against load: {words}, at {', '.join(f'{share} %' for share in _SHARES)} of the greatest rate.",
        "",
        "issue 4 c",
    )
    for name, words in (
        ("single", "one checkpoint a call, 8 threads"),
        ("batched", "one thread that saves by one call what has fallen due, at most 256"),
    )
}


@dataclass(frozen=True, slots=True)
class _Way:
    """How the agents are driven."""

    processes: int = 1
    threads: int = 1
    batch: int = 1

    def name(self, agents: int) -> str:
        driver = f"{self.processes} processes" if self.processes > 1 else f"{self.threads} threads"
        driver = "1 thread" if driver == "1 threads" else driver
        return f"{agents:,} agents, {driver}" + (f", batches of {self.batch}" if self.batch > 1 else "")

    def order(self, seconds: float, rate: float = 0) -> Order:
        return Order(seconds, self.threads, self.batch, rate, spin=self.threads == self.processes == 1)


_ONE_BY_ONE = (_Way(), _Way(threads=8), _Way(threads=64), _Way(processes=4))
_BATCHED = (_Way(batch=16), _Way(batch=64), _Way(batch=256), _Way(processes=4, batch=64))
_CURVE = {"single": _Way(threads=8), "batched": _Way(batch=256)}


@dataclass(slots=True)
class _Burst:
    """All windows of one way."""

    rates: list[float] = field(default_factory=list)
    samples_ns: list[int] = field(default_factory=list)
    steps: int = 0
    bytes_each: int = 0

    def rate(self) -> float:
        return statistics.median(self.rates)


@contextmanager
def _team(lab: Lab, tree: Tree, agents: int, way: _Way) -> Iterator[tuple[Team, Path]]:
    """Give a fresh store and the agents on it: every window finds the same, and gigabytes are gone after each."""
    # What the window before wrote, and the disk has not taken yet, is not this one's load.
    os.sync()
    with lab.directory("agents") as place:
        with pyi.open(place, durability=workloads.DURABILITY) as repository:
            workspace = repository.workspace()
            workloads.fill(workspace, tree)
            workspace.publish("main")
        with Team(place, tree, agents, way.processes) as team:
            yield team, place


def _burst(lab: Lab, tree: Tree, agents: int, way: _Way, runs: _Burst) -> None:
    with _team(lab, tree, agents, way) as (team, place):
        before = _segment_bytes(place)
        took, seconds = team.obey(way.order(lab.pick(_BURST_SECONDS, 0.3)))
        runs.bytes_each = (_segment_bytes(place) - before) // took.steps
    runs.rates.append(took.steps / seconds)
    runs.samples_ns.extend(took.calls_ns)
    runs.steps += took.steps


def _segment_bytes(place: Path) -> int:
    """Return what a fresh look at the store says it holds."""
    with pyi.open(place, durability=workloads.DURABILITY) as repository:
        return int(repository.stats()["bytes_stored"])


def run(lab: Lab) -> Iterator[Finding]:
    """Let each way take its window in turns, then offer loads."""
    tree = Tree(lab.pick(_FILES, 500))
    counts = lab.pick(_AGENTS, (50, 850))
    bursts = {(agents, way): _Burst() for agents in counts for way in (*_ONE_BY_ONE, *_BATCHED)}
    for turn in range(lab.pick(2, 1)):
        order = list(bursts)
        for agents, way in order[turn * 3 :] + order[: turn * 3]:
            lab.say(f"all at once, turn {turn + 1}: {way.name(agents)}")
            _burst(lab, tree, agents, way, bursts[agents, way])
    yield _quick(lab, _python(counts, bursts, tree))
    yield _rust(lab, counts)
    yield _quick(lab, _offered(lab, tree, counts))
    for name, way in _CURVE.items():
        yield _quick(lab, _curve(lab, tree, counts[-1], name, way, bursts[counts[-1], way].rate()))


def _quick(lab: Lab, finding: Finding) -> Finding:
    if lab.quick and finding.unmeasured is None:
        finding.unmeasured = "--quick takes short windows of small sizes"
    return finding


def _python(counts: tuple[int, ...], bursts: dict[tuple[int, _Way], _Burst], tree: Tree) -> Finding:
    finding = Finding(
        PYTHON,
        f"every agent in turn writes 1,024 bytes to one of eight files of its own, anywhere among {tree.count:,}, and"
        " checkpoints, or is checkpointed by checkpoint_many; a sample is one such write and call, and with batches one"
        " whole batch; making the edit counts in the rates",
        changes=sum(found.steps for found in bursts.values()),
        durability=workloads.DURABILITY,
        rows={way.name(agents): Distribution.of(found.samples_ns) for (agents, way), found in bursts.items()},
        values={f"per_s {way.name(agents)}": round(found.rate()) for (agents, way), found in bursts.items()},
        notes=["Stored bytes a step: " + _spread([found.bytes_each for found in bursts.values()]) + "."],
    )
    for agents in counts:
        way = max(_BATCHED, key=lambda way: bursts[agents, way].rate())
        rates = bursts[agents, way].rates
        ratio = Interval(
            _PYTHON_PER_S / statistics.median(rates), _PYTHON_PER_S / max(rates), _PYTHON_PER_S / min(rates)
        )
        finding.checks.append(below(f"{_PYTHON_PER_S:,}/s over ours, {way.name(agents)}", ratio, 1, "x", relation="<="))
    return finding


def _spread(found: list[int]) -> str:
    return f"{min(found):,} to {max(found):,}"


def _rust(lab: Lab, counts: tuple[int, ...]) -> Finding:
    given = os.environ.get(_BUILT)
    if given is None and lab.quick:
        return Finding(RUST, unmeasured=f"--quick builds nothing; {_BUILT} names no built bench_step")
    program = Path(given) if given is not None else kernel.built("bench_step", "pyi-engine")
    if isinstance(program, str):
        return Finding(RUST, unmeasured=program)
    finding = Finding(
        RUST,
        f"{program.name}: every agent writes 1,024 bytes to one of eight files of its own, anywhere among {_FILES:,},"
        " and checkpoints; beside it, in the best of the ways, to any file",
        durability=workloads.DURABILITY,
        changes=0,
    )
    steps = lab.pick(_RUST_STEPS, 10_000)
    for agents in counts:
        rates = {}
        for way in _ONE_BY_ONE:
            lab.say(f"from Rust: {way.name(agents)}")
            with lab.directory("agents") as place:
                rates[way], said = bench_step(program, place, _FILES, agents, way.threads, steps, "own", way.processes)
            finding.notes.append(said)
            finding.changes = (finding.changes or 0) + steps
            finding.values[f"per_s {way.name(agents)}"] = rates[way]
        best = max(rates, key=rates.__getitem__)
        with lab.directory("agents") as place:
            anywhere, said = bench_step(program, place, _FILES, agents, best.threads, steps, processes=best.processes)
        finding.notes.append(f"{said}, any file")
        finding.changes = (finding.changes or 0) + steps
        finding.values[f"per_s {best.name(agents)}, any file"] = anywhere
        what = f"{_RUST_PER_S:,}/s over ours, {best.name(agents)}"
        finding.checks.append(below(what, _RUST_PER_S / rates[best], 1, "x", relation="<="))
    return _quick(lab, finding)


def bench_step(
    program: Path, place: Path, files: int, agents: int, threads: int, steps: int, mode: str = "any", processes: int = 1
) -> tuple[float, str]:
    """Run the program of pyi-engine in `place` and return the steps a second and its line.

    `mode` says which files are edited; each of the processes has as many threads.

    Raises:
        RuntimeError: It failed, or said something else.
    """
    command = [str(program.resolve()), str(files), str(agents), str(threads), str(steps), mode, str(processes)]
    environment = {**os.environ, "PYI_BENCH_DIR": str(place)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=place)
    said = done.stdout.strip()
    rate = re.search(r" threads: (\d+)/s,", said)
    if done.returncode != 0 or rate is None:
        raise RuntimeError(f"{program.name} ended with {done.returncode}: {(done.stderr or said)[-500:]}")
    return float(rate[1]), said


def _offered(lab: Lab, tree: Tree, counts: tuple[int, ...]) -> Finding:
    rate = lab.pick(_OFFERED_PER_S, 1_000)
    seconds = lab.pick(_BURST_SECONDS, 0.5)
    finding = Finding(
        OFFERED,
        f"{rate:,} steps a second fall due at random times (Poisson), whether the one before has ended or not; a sample"
        " is the time from when a step was due to the end of its checkpoint",
        changes=0,
        durability=workloads.DURABILITY,
        notes=[
            "One thread waits by spinning; several threads, or processes, wait by sleeping, and what they wake up late"
            " counts: with fewer processors than there are of them, who spins takes the time of who works."
        ],
    )
    given_up = 0
    for agents in counts:
        for way in (*_ONE_BY_ONE, _CURVE["batched"]):
            name = way.name(agents)
            lab.say(f"{rate:,}/s offered: {name}")
            with _team(lab, tree, agents, way) as (team, _):
                took, _seconds = team.obey(way.order(seconds, rate))
            found = Distribution.of(took.due_ns)
            finding.rows[name] = found
            finding.values[f"p99_us from a call's begin, {name}"] = Distribution.of(took.calls_ns).p99_us
            finding.checks.append(below(f"p99, {name}", found.p99_us / 1000, 1, "ms"))
            given_up += took.behind
            finding.changes = (finding.changes or 0) + took.steps
    finding.checks.append(below("steps given up a second after the end", given_up, 0, relation="="))
    return finding


def _curve(lab: Lab, tree: Tree, agents: int, name: str, way: _Way, greatest: float) -> Finding:
    finding = Finding(
        CURVE[name],
        f"{way.name(agents)}; from when a step was due to the end of its checkpoint; the greatest rate of this run was"
        f" {greatest:,.0f}/s",
        changes=0,
        durability=workloads.DURABILITY,
    )
    for share in _SHARES:
        rate = greatest * share / 100
        lab.say(f"{share} % of {greatest:,.0f}/s: {way.name(agents)}")
        with _team(lab, tree, agents, way) as (team, _):
            took, _seconds = team.obey(way.order(lab.pick(_BURST_SECONDS / 2, 0.3), rate))
        row = f"{share} % ({rate:,.0f}/s)"
        finding.rows[row] = Distribution.of(took.due_ns)
        finding.changes = (finding.changes or 0) + took.steps
        if took.behind:
            finding.notes.append(f"{row}: {took.behind:,} steps were given up a second after the end.")
    return finding


EXPERIMENT = Experiment("agents", (PYTHON, RUST, OFFERED, *CURVE.values()), run, needs=("Repository.checkpoint_many",))
