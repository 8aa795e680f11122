"""A process that has just opened a store: what going to a checkpoint and the first read of a changed file take."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from validation import workloads
from validation.generator import Tree
from validation.hypothesis import Experiment, Finding, Hypothesis, below
from validation.lab import Lab
from validation.statistics import Series

_FILES = 100_000
_LIMIT_US = 100

COLD = Hypothesis(
    "cold.restore-and-read",
    f"From Python, on {_FILES:,} files, in a process that has opened the store and read nothing: a restore and the"
    f" first read of a changed file take less than {_LIMIT_US} us.",
    f"p50 < {_LIMIT_US} us",
    "issue 4 b",
)

# Every restore is the first one of its process; the files are in the page cache.
_CHILD = """
import json, sys
from time import perf_counter_ns
import pyi
store, checkpoint, path = sys.argv[1:]
with pyi.open(store) as repository:
    workspace = repository.workspace("main")
    before = perf_counter_ns()
    workspace.restore(checkpoint)
    data = workspace.read(path)
    elapsed_ns = perf_counter_ns() - before
    print(json.dumps([elapsed_ns, bytes(data).hex()]))
"""


def run(lab: Lab) -> Iterator[Finding]:
    """Start a process for every sample."""
    tree = Tree(lab.pick(_FILES, 2_000))
    with workloads.filled_store(lab, tree) as (repository, workspace):
        edit = workloads.edits(tree)
        saved: list[tuple[str, str, bytes]] = []
        for number in range(lab.pick(60, 5)):
            path, data = edit(number)
            workspace.write(path, data)
            saved.append((workspace.checkpoint().id, path, data))
        store = Path(repository.path)
        series = Series()
        lab.say("starting processes")
        for number, (checkpoint, path, data) in enumerate(saved):
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, str(store), checkpoint, path], capture_output=True, check=True
            )
            elapsed_ns, found = json.loads(done.stdout)
            if bytes.fromhex(found) != data:
                raise RuntimeError(f"{path} is not what checkpoint {checkpoint} holds")
            series.add(elapsed_ns, number)
    if lab.quick:
        yield Finding(COLD, unmeasured=f"--quick leaves out the tree of {_FILES:,} files")
        return
    yield Finding(
        COLD,
        "workspace.restore(id) and workspace.read(path), the first calls of a fresh process after opening",
        series.distribution(),
        changes=len(series),
        durability=workloads.DURABILITY,
        checks=[below("p50", series.percentile_us(0.5), _LIMIT_US, "us")],
    )


EXPERIMENT = Experiment("cold", (COLD,), run)
