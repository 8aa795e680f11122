"""Restoring: going back and forth between checkpoints of one workspace."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from time import perf_counter_ns

import pyi
from validation import workloads
from validation.generator import Tree
from validation.hypothesis import Experiment, Finding, Hypothesis, below, compare
from validation.lab import Lab
from validation.peers import sandfs
from validation.statistics import Subject, interleave

_FILES = 100_000
_CHECKPOINTS = 100
_BURST = 50
_KEPT_MAX = 400
"""Checkpoints of one changed file that stay in memory whether anybody looks at them or not, and then some."""

RESTORE = Hypothesis(
    "restore.alternating",
    f"From Python, on {_FILES:,} files: a restore that alternates among {_CHECKPOINTS} checkpoints, each followed by a"
    " read of a changed file, takes less than 10 us.",
    "p95 of the restore < 10 us",
    "issue 2 g",
)
READ = Hypothesis("restore.then-read", "The read of the changed file that follows such a restore.", "", "issue 2 g")
FIRST = Hypothesis(
    "restore.first",
    "The first restore of a checkpoint that this process made so long ago that its nodes have left its memory.",
    "",
    "issue 4 a",
)


def _order(number: int) -> int:
    """Return which checkpoint is next: far from the last one, and each as often as the others."""
    return number * 37 % _CHECKPOINTS


def run(lab: Lab) -> Iterator[Finding]:
    """Restore and read, beside a fork of a kept fork of sandfs and the same read."""
    tree = Tree(_FILES)
    peer = sandfs.Sandfs.load(tree)
    with workloads.filled_store(lab, tree) as (_, workspace):
        early = _made(workspace, workloads.edits(tree, seed=8), lab.pick(2_000, 200) + _KEPT_MAX)[:-_KEPT_MAX]
        edit = workloads.edits(tree)
        made = [edit(number) for number in range(_CHECKPOINTS)]
        saved: list[pyi.Checkpoint] = []
        for path, data in made:
            workspace.write(path, data)
            saved.append(workspace.checkpoint())
        reads: list[int] = []

        def restore(number: int) -> int:
            which = _order(number)
            checkpoint, (path, data) = saved[which], made[which]
            before = perf_counter_ns()
            workspace.restore(checkpoint)
            between = perf_counter_ns()
            found = workspace.read(path)
            after = perf_counter_ns()
            if found != data:
                raise RuntimeError(f"{path} is not what checkpoint {checkpoint.id} holds")
            reads.append(after - between)
            return between - before

        subjects = [Subject("restore", restore, burst=_BURST)]
        if peer is not None:
            subjects.append(Subject("sandfs", _sandfs_restore(peer, made), burst=_BURST))
        lab.say("restoring")
        rounds, warmup = lab.pick(400, 40), 5
        series = interleave(subjects, rounds, warmup=warmup)
        first = _first_restores(workspace, early)
    ours = series["restore"]
    peers = []
    if peer is not None:
        peers.append(compare(peer.name, "fork of a kept fork", ours, series["sandfs"], sandfs.GUARANTEES))
    yield Finding(
        RESTORE,
        f"workspace.restore(checkpoint), in one process, {_CHECKPOINTS} checkpoints of {tree.count:,} files in turn",
        ours.distribution(),
        changes=_CHECKPOINTS,
        durability=workloads.DURABILITY,
        checks=[below("p95", ours.percentile_us(0.95), 10, "us")],
        peers=peers,
        notes=[
            "The checkpoints were made by this process; each was restored before, and stays in its memory since.",
            "The content read after each restore is compared with what was written, outside the clock.",
            *([] if peer is not None else ["sandfs is not installed: no peer was measured"]),
        ],
    )
    counted = reads[warmup * _BURST :]
    yield Finding(
        READ,
        f"workspace.read(path) of {workloads.EDIT_BYTES:,} bytes right after the restore",
        type(ours.distribution()).of(counted),
        changes=_CHECKPOINTS,
        durability=workloads.DURABILITY,
    )
    yield Finding(
        FIRST,
        f"workspace.restore(checkpoint) of {len(first):,} checkpoints, each once, at least {_KEPT_MAX} after it",
        type(ours.distribution()).of(first),
        changes=len(first),
        durability=workloads.DURABILITY,
    )


_Made = tuple[pyi.Checkpoint, str, bytes]


def _made(workspace: pyi.Workspace, edit: Callable[[int], tuple[str, bytes]], count: int) -> list[_Made]:
    """Change a file and checkpoint, so many times."""
    made = []
    for number in range(count):
        path, data = edit(number)
        workspace.write(path, data)
        made.append((workspace.checkpoint(), path, data))
    return made


def _first_restores(workspace: pyi.Workspace, early: list[_Made]) -> list[int]:
    """Restore each of them once, in no order, and return what each restore took, in nanoseconds."""
    taken = []
    for checkpoint, path, data in random.Random(9).sample(early, len(early)):
        before = perf_counter_ns()
        workspace.restore(checkpoint)
        taken.append(perf_counter_ns() - before)
        if workspace.read(path) != data:
            raise RuntimeError(f"{path} is not what checkpoint {checkpoint.id} holds")
    return taken


def _sandfs_restore(peer: sandfs.Sandfs, made: list[tuple[str, bytes]]) -> Callable[[int], int]:
    versions = []
    for path, data in made:
        peer.workspace.write(sandfs.PREFIX + path, data)
        versions.append(peer.workspace.fork())

    def sample(number: int) -> int:
        which = _order(number)
        version, (path, data) = versions[which], made[which]
        before = perf_counter_ns()
        current = version.fork()
        elapsed_ns = perf_counter_ns() - before
        if current.read(sandfs.PREFIX + path) != data:
            raise RuntimeError(f"sandfs: {path} is not what was kept")
        return elapsed_ns

    return sample


EXPERIMENT = Experiment("restore", (RESTORE, READ, FIRST), run)
