"""Reading: a small file that was read a moment ago."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns

import pyi
from validation import workloads
from validation.generator import Tree
from validation.hypothesis import Experiment, Finding, Hypothesis, below, compare
from validation.lab import Lab
from validation.peers import sandfs
from validation.statistics import Subject, interleave

_FILES = 100_000
_HOT = 100
_BYTES = 1024

HOT = Hypothesis(
    "read.hot",
    f"From Python, a hot read of {_BYTES:,} bytes in a workspace of {_FILES:,} files takes less than 1 us.",
    "p50 < 1 us",
    "issue 2 g",
)


def _reads(workspace: pyi.Workspace, paths: list[str]) -> Callable[[int], int]:
    def sample(number: int) -> int:
        path = paths[number % len(paths)]
        before = perf_counter_ns()
        workspace.read(path)
        return perf_counter_ns() - before

    return sample


def _files(directory: Path, paths: list[str]) -> Callable[[int], int]:
    names = [str(directory / path) for path in paths]

    def sample(number: int) -> int:
        name = names[number % len(names)]
        before = perf_counter_ns()
        with open(name, "rb") as file:
            file.read()
        return perf_counter_ns() - before

    return sample


def run(lab: Lab) -> Iterator[Finding]:
    """Read hot files, beside sandfs and the file system."""
    tree = Tree(_FILES)
    peer = sandfs.Sandfs.load(tree)
    paths = [tree.path(number * (_FILES // _HOT)) for number in range(_HOT)]
    contents = {path: tree.text(_FILES + index, _BYTES) for index, path in enumerate(paths)}
    with workloads.filled_store(lab, tree) as (_, workspace), lab.directory("files") as directory:
        workspace.write_many(contents)
        workspace.checkpoint()
        for path, data in contents.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)
            if peer is not None:
                peer.workspace.write(sandfs.PREFIX + path, data)
            if bytes(workspace.read(path)) != data:
                raise RuntimeError(f"{path} is not what was written")
        subjects = [
            Subject("pyi", _reads(workspace, paths), burst=_HOT),
            Subject("file", _files(directory, paths), burst=_HOT),
        ]
        if peer is not None:
            subjects.append(Subject("sandfs", peer.read(paths), burst=_HOT))
        lab.say("reading")
        series = interleave(subjects, lab.pick(1000, 100), warmup=10)
    ours = series["pyi"]
    peers = [compare("file system", "open, read, close of a file in the page cache", ours, series["file"])]
    if peer is not None:
        peers.append(compare(peer.name, "the same", ours, series["sandfs"], sandfs.GUARANTEES))
    yield Finding(
        HOT,
        f"workspace.read(path) of {_BYTES:,} bytes, {_HOT} checkpointed files in turn, {tree.count:,} files in all",
        ours.distribution(),
        changes=_HOT,
        durability=workloads.DURABILITY,
        checks=[below("p50", ours.percentile_us(0.5), 1, "us")],
        peers=peers,
        notes=[] if peer is not None else ["sandfs is not installed: it was not measured"],
    )


EXPERIMENT = Experiment("read", (HOT,), run)
