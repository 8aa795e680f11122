"""Forking: an agent's own copy of a workspace with many files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter_ns

import pyi
from validation import workloads
from validation.generator import Tree
from validation.hypothesis import Experiment, Finding, Hypothesis, Peer, below, compare
from validation.lab import Lab
from validation.peers import sandfs
from validation.statistics import Series, Subject, interleave

_FILES = 100_000

FORK = Hypothesis(
    "fork.unnamed",
    f"From Python, an unnamed fork of a workspace of {_FILES:,} files (20 entries a directory) takes less than 1 us.",
    "p95 < 1 us",
    "issue 2 g",
)
DIRTY = Hypothesis(
    "fork.dirty",
    "The same right after an unsaved change, which the fork takes along.",
    "",
    "issue 2 g",
)


def _forks(workspace: pyi.Workspace, edit: Callable[[int], tuple[str, bytes]] | None = None) -> Callable[[int], int]:
    """Return a sampler of: fork, and let go of the fork before. With `edit`, one unsaved change is made before each."""
    kept = workspace.fork()

    def sample(number: int) -> int:
        nonlocal kept
        if edit is not None:
            workspace.write(*edit(number))
        before = perf_counter_ns()
        kept = workspace.fork()
        return perf_counter_ns() - before

    return sample


def run(lab: Lab) -> Iterator[Finding]:
    """Fork, beside sandfs."""
    tree = Tree(_FILES)
    peer = sandfs.Sandfs.load(tree)
    with workloads.filled_store(lab, tree) as (_, workspace):
        edited = workspace.fork()
        subjects = [
            Subject("clean", _forks(workspace), burst=50),
            Subject("dirty", _forks(edited, workloads.edits(tree)), burst=10),
        ]
        if peer is not None:
            subjects.append(Subject("sandfs", peer.fork(), burst=50))
            subjects.append(Subject("sandfs dirty", peer.fork(workloads.edits(tree)), burst=10))
        lab.say("forking")
        series = interleave(subjects, lab.pick(2000, 200), warmup=20)
        untouched = len(workspace) == tree.count and not workspace.dirty
    if not untouched:
        raise RuntimeError("forking changed the workspace that was forked")

    def peers(ours: Series, theirs: str) -> list[Peer]:
        if peer is None:
            return []
        return [compare(peer.name, "the same", ours, series[theirs], sandfs.GUARANTEES)]

    missing = [] if peer is not None else ["sandfs is not installed: no peer was measured"]
    clean, dirty = series["clean"], series["dirty"]
    yield Finding(
        FORK,
        f"workspace.fork() of {tree.count:,} files, and the release of the fork before",
        clean.distribution(),
        changes=0,
        checks=[below("p95", clean.percentile_us(0.95), 1, "us")],
        peers=peers(clean, "sandfs"),
        notes=["An unnamed fork promises nothing before its first checkpoint: no durability class applies.", *missing],
    )
    yield Finding(
        DIRTY,
        f"the same after one more unsaved change, {len(dirty):,} in the end; the fork before holds nodes of its own by"
        " then, whose release counts",
        dirty.distribution(),
        changes=len(dirty),
        peers=peers(dirty, "sandfs dirty"),
    )


EXPERIMENT = Experiment("fork", (FORK, DIRTY), run)
