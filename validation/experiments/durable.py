"""Surviving a loss of power: checkpoints a second with few and many writers, beside databases and the disk itself."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, perf_counter_ns

import pyi
from validation import machine, workloads
from validation.generator import Tree
from validation.hypothesis import Experiment, Finding, Hypothesis, Peer, below
from validation.lab import Lab
from validation.peers import databases
from validation.peers.databases import Database, Payload
from validation.peers.floor import RECORD_HEADER_BYTES, measure_dirty
from validation.statistics import Distribution, Interval

_WRITERS = (1, 64, 850)
_FILES = 1_000
_POWER = "power"
# Kept in memory: a flush of these costs nothing, and means nothing.
_NO_DISKS = ("tmpfs", "ramfs", "overlay")

MANY = {
    writers: Hypothesis(
        f"durable.{writers}",
        f"{writers} writers in one process make more `power` checkpoints a second than SQLite (FULL), LMDB and RocksDB"
        " write the same bytes durably on the same disk.",
        "each peer's rate / ours < 1",
        "issue 3 g",
    )
    for writers in _WRITERS[1:]
}
ONE = Hypothesis(
    "durable.1",
    "One writer's `power` checkpoint takes less than 1.5 times one pwrite of its bytes into blocks written before"
    " and fdatasync.",
    "p50 < 1.5x the p50 of pwrite + fdatasync",
    "issue 3 g",
)

Step = Callable[[int, int], None]


@dataclass(slots=True)
class _Runs:
    """All windows of one subject with some number of writers."""

    rates: list[float] = field(default_factory=list)
    samples_ns: list[int] = field(default_factory=list)

    def rate(self) -> float:
        return statistics.median(self.rates)


class _Windows:
    """Lets writers take steps for a while, again and again; their steps are numbered on through all windows."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._taken: dict[int, int] = {}

    def run(self, writers: int, seconds: float, runs: _Runs) -> None:
        """Run one window and add what it gave."""
        begin = threading.Barrier(writers + 1)
        end = [0.0]
        results: list[list[int]] = [[] for _ in range(writers)]
        failures: list[BaseException] = []

        def work(writer: int) -> None:
            number = self._taken.get(writer, 0)
            begin.wait()
            try:
                while perf_counter() < end[0] and not failures:
                    before = perf_counter_ns()
                    self.step(writer, number)
                    results[writer].append(perf_counter_ns() - before)
                    number += 1
            except BaseException as error:
                failures.append(error)
            self._taken[writer] = number

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(writers)]
        for thread in threads:
            thread.start()
        started = perf_counter()
        end[0] = started + seconds
        begin.wait()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        # With the last steps, which end after the window: each of them counts.
        runs.rates.append(sum(map(len, results)) / (perf_counter() - started))
        for samples in results:
            runs.samples_ns.extend(samples)


def _ours(repository: pyi.Repository, tree: Tree) -> Step:
    """Return the step of the n-th writer: one file of 1 KB in a workspace of its own, and a durable checkpoint."""
    base = repository.workspace()
    workspaces = [base.fork() for _ in range(max(_WRITERS))]
    edits = [workloads.edits(tree, seed=100 + writer) for writer in range(max(_WRITERS))]

    def step(writer: int, number: int) -> None:
        workspaces[writer].write(*edits[writer](number))
        workspaces[writer].checkpoint(durability=_POWER)

    return step


def _refusal(place: Path) -> str | None:
    """Return what this build says to a durable checkpoint, or None if it makes one."""
    try:
        with pyi.open(place, durability=_POWER) as repository:
            workspace = repository.workspace()
            workspace.write("probe", b"x")
            workspace.checkpoint(durability=_POWER)
    except pyi.InvalidArgument as error:
        return str(error)
    return None


def run(lab: Lab) -> Iterator[Finding]:
    """Let all subjects take windows of a few seconds in turns, with each number of writers."""
    with ExitStack() as stack:
        place = stack.enter_context(lab.directory("durable"))
        kind = machine.file_system(place).split()[0]
        refusal = _refusal(place / "probe")
        if refusal is None and kind in _NO_DISKS:
            refusal = f"the scratch directory is on {kind}: name one on a disk with --scratch"
        if refusal is not None:
            for hypothesis in (ONE, *MANY.values()):
                yield Finding(hypothesis, unmeasured=refusal)
            return
        tree = Tree(_FILES)
        repository = stack.enter_context(pyi.open(place / "store", durability=_POWER))
        workspace = repository.workspace()
        workloads.fill(workspace, tree)
        workspace.publish("main")
        step = _ours(repository, tree)
        dirty = measure_dirty(repository, lambda number: step(0, number), workloads.EDIT_BYTES, samples=21)
        each = dirty.other_bytes // (dirty.objects - 1) + RECORD_HEADER_BYTES - 32
        payload = Payload([dirty.file_bytes, *[each] * (dirty.objects - 1)])
        openers, absent = databases.available()
        peers: dict[str, Database] = {}
        for name, opener in openers.items():
            directory = place / name.replace(" ", "-")
            directory.mkdir()
            peers[name] = opener(directory, payload)
            stack.callback(peers[name].close)
        floor = databases.bare(place, payload)
        stack.callback(floor.close)
        subjects = {workloads.PYI: _Windows(step)} | {peer.name: _Windows(peer.step) for peer in peers.values()}
        for writers in _WRITERS:
            chosen = subjects | ({floor.name: _Windows(floor.step)} if writers == 1 else {})
            runs = {name: _Runs() for name in chosen}
            for number in range(lab.pick(3, 1)):
                lab.say(f"{writers} writers, turn {number + 1}")
                order = list(chosen)
                for name in order[number % len(order) :] + order[: number % len(order)]:
                    chosen[name].run(writers, lab.pick(3.0, 0.3), runs[name])
            yield _finding(lab, writers, runs, floor.name, payload, absent)


def _ratio(ours: _Runs, theirs: _Runs) -> Interval:
    """Return their rate over ours: the median of the turns, and all that was seen."""
    turns = [their / our for our, their in zip(ours.rates, theirs.rates, strict=True)]
    return Interval(theirs.rate() / ours.rate(), min(turns), max(turns))


def _finding(
    lab: Lab, writers: int, runs: dict[str, _Runs], floor: str, payload: Payload, absent: list[str]
) -> Finding:
    ours = runs[workloads.PYI]
    measured = Distribution.of(ours.samples_ns)
    bytes_each = sum(payload.sizes) + 32 * len(payload.sizes)
    finding = Finding(
        ONE if writers == 1 else MANY[writers],
        f"{writers} threads, each with a workspace of its own: write 1,024 bytes and checkpoint(durability='{_POWER}')",
        measured,
        changes=len(ours.samples_ns),
        durability=_POWER,
        values={f"steps_per_s {name}": round(found.rate(), 1) for name, found in runs.items()},
        notes=[
            f"A step of a peer: {len(payload.sizes)} new keys with values, {bytes_each:,} bytes, one durable"
            " transaction."
        ],
    )
    for name, found in runs.items():
        if name == workloads.PYI:
            continue
        theirs = Distribution.of(found.samples_ns)
        latency = measured.p50_us / theirs.p50_us
        guarantees = None if name == floor else databases.DURABLE
        finding.peers.append(Peer(name, "the same bytes", theirs, Interval(latency, latency, latency), guarantees))
        if name == floor:
            finding.checks.append(below("p50 / p50 of pwrite + fdatasync", latency, 1.5, "x"))
        elif writers > 1:
            finding.checks.append(below(f"rate of {name} / ours", _ratio(ours, found), 1, "x"))
    if absent:
        missing = f"not installed: {', '.join(absent)} (pip install 'pyi[bench]')"
        finding.notes.append(missing)
        if writers > 1:
            finding.unmeasured = missing
    if lab.quick:
        finding.unmeasured = "--quick takes one window of 0.3 s a subject"
    return finding


EXPERIMENT = Experiment("durable", (ONE, *MANY.values()), run)
