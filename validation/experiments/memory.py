"""Memory: what ten thousand forks of a large tree need, and what the engine adds to a process that holds much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyi
from validation import footprint, workloads
from validation.generator import Tree
from validation.hypothesis import Experiment, Finding, Hypothesis, below
from validation.lab import Lab

_FORKS = 10_000
_FILES = 100_000
_CHANGES = 10
_DIRTY_KB = 64
_CLEAN_KB = 4
_IDLE_KB = 1
_OWN_BYTES = 1 << 30
_STEPS = 1_000
_OVERHEAD_PERCENT = 5

FORKS = Hypothesis(
    "memory.forks",
    f"{_FORKS:,} forks of a tree of {_FILES:,} paths, each with {_CHANGES} changed files of 1 KB, need less than"
    f" {_DIRTY_KB} KB of private memory each before a checkpoint, less than {_CLEAN_KB} KB once all are checkpointed"
    f" and clean nodes are given back, and less than {_IDLE_KB} KB while nothing is changed in them.",
    f"above the base: < {_DIRTY_KB} KB, < {_CLEAN_KB} KB and < {_IDLE_KB} KB a fork",
    "issue 4 d",
)
BESIDE = Hypothesis(
    "memory.beside",
    f"In a process that holds 1 GB of its own, the engine with a tree of {_FILES:,} paths, read once, and {_STEPS:,}"
    f" steps adds less than {_OVERHEAD_PERCENT} % of that.",
    f"< {_OVERHEAD_PERCENT} %",
    "issue 4 d",
)


def run(lab: Lab) -> Iterator[Finding]:
    """Fill a store once, and take each measurement in a fresh process; the worst of them counts."""
    tree = Tree(lab.pick(_FILES, 2_000))
    with lab.directory("memory") as place:
        lab.say(f"writing {tree.count:,} files into a store")
        with pyi.open(place, durability=workloads.DURABILITY) as repository:
            workspace = repository.workspace()
            workloads.fill(workspace, tree)
            workspace.publish("main")
        forks = lab.pick(_FORKS, 500)
        yield _quick(lab, _forks(lab, place, tree, forks))
        yield _quick(lab, _beside(lab, place, tree))


def _quick(lab: Lab, finding: Finding) -> Finding:
    if lab.quick:
        finding.unmeasured = "--quick takes small sizes"
    return finding


def _forks(lab: Lab, place: Path, tree: Tree, forks: int) -> Finding:
    runs = []
    for number in range(lab.pick(2, 1)):
        lab.say(f"{forks:,} forks, run {number + 1}")
        runs.append(footprint.measure("forks", place, tree.count, forks, _CHANGES))

    def each(stage: str) -> float:
        return max(found[stage] - found["base"] for found in runs) / forks / 1024

    last = runs[-1]
    return Finding(
        FORKS,
        f"anonymous memory (RssAnon) of a process that opened the store and walked the tree of {tree.count:,} files,"
        f" above that: after {forks:,} forks; after {_CHANGES} writes of 1,024 bytes in each; after a checkpoint of"
        " each; after repository.trim() and two seconds in which files are read now and then, as the allocator returns"
        " pages by and by. The worst of all runs",
        changes=forks * _CHANGES * len(runs),
        durability=workloads.DURABILITY,
        checks=[
            below("changed, before a checkpoint", each("dirty"), _DIRTY_KB, "KB a fork"),
            below("checkpointed and trimmed", each("trimmed"), _CLEAN_KB, "KB a fork"),
            below("nothing changed", each("idle"), _IDLE_KB, "KB a fork"),
        ],
        values={
            "kb_a_fork checkpointed, before trim()": each("saved"),
            "kb_a_fork right after trim()": each("trimmed at once"),
            **{f"mb {stage}": round(found / 1e6, 1) for stage, found in last.items()},
        },
        notes=["Afterwards the changed files of some forks are read again and compared; the last value is after that."],
    )


def _beside(lab: Lab, place: Path, tree: Tree) -> Finding:
    own = lab.pick(_OWN_BYTES, 64 << 20)
    lab.say(f"beside {own / 1e9:.2f} GB")
    found = footprint.measure("beside", place, tree.count, own, _STEPS)
    share = 100 * (found["stepped"] - found["own"]) / own
    return Finding(
        BESIDE,
        f"anonymous memory (RssAnon) of a process that holds {own / 1e9:.2f} GB, above that: after it opened the store,"
        f" walked a tree of {tree.count:,} files and took {_STEPS:,} steps (write of 1,024 bytes, checkpoint); no"
        " trim()",
        changes=_STEPS,
        durability=workloads.DURABILITY,
        checks=[below("added", share, _OVERHEAD_PERCENT, "%")],
        values={f"mb_added {stage}": round((found[stage] - found["own"]) / 1e6, 1) for stage in list(found)[1:]},
    )


EXPERIMENT = Experiment("memory", (FORKS, BESIDE), run, needs=("Repository.trim",))
