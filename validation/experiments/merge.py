"""Diff and merge: two versions of a million files that differ in ten, and a merge that has only to follow."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from time import perf_counter_ns

from validation import kernel, workloads
from validation.generator import Tree
from validation.hypothesis import Experiment, Finding, Hypothesis, below
from validation.lab import Lab
from validation.statistics import Series, Subject, interleave

_FILES = 1_000_000
_PYTHON_FILES = 100_000
_DIFFERENT = 10

DIFF = Hypothesis(
    "merge.diff",
    f"The diff of two versions of {_FILES:,} files that differ in {_DIFFERENT} takes less than 200 us.",
    "p95 < 200 us",
    "issue 4 f",
)
MERGE = Hypothesis(
    "merge.merge",
    f"A merge of two versions of {_FILES:,} files that differ in {_DIFFERENT} takes less than 1 ms.",
    "p95 < 1 ms",
    "issue 4 f",
)
FOLLOW = Hypothesis("merge.fast-forward", "A fast-forward merge takes less than 1 us.", "p95 < 1 us", "issue 4 f")
PYTHON = Hypothesis("merge.python", f"The same from Python, on {_PYTHON_FILES:,} files.", "", "issue 4 f")


def run(lab: Lab) -> Iterator[Finding]:
    """Measure from Rust, then what Python sees of it."""
    program = kernel.built("bench_merge", "pyi-engine")
    if isinstance(program, str):
        for hypothesis in (DIFF, MERGE, FOLLOW):
            yield Finding(hypothesis, unmeasured=program)
    else:
        files = lab.pick(_FILES, _FILES // 100)
        with lab.directory("merge") as place:
            lab.say(f"merges of {files:,} files, from Rust")
            report = kernel.output(program, place, files, lab.pick(1000, 50))
        claims = (
            (DIFF, "diff", 200, "Workspace::diff of two forks, each with five changed files and a checkpoint"),
            (
                MERGE,
                "merge",
                1000,
                "Workspace::merge of the two; the result is compared with both outside of the clock",
            ),
            (FOLLOW, "fast-forward", 1, "the same into a fork of the base (a sample: the mean of 64 such forks)"),
        )
        for hypothesis, name, limit_us, subject in claims:
            samples = report["samples_ns"][name]
            ours = Series(array("q", samples), array("q", range(len(samples))))
            finding = Finding(
                hypothesis,
                f"from Rust, {files:,} files: {subject}",
                ours.distribution(),
                changes=0 if name == "diff" else _DIFFERENT,
                checks=[below("p95", ours.percentile_us(0.95), limit_us, "us")],
                notes=["Diff and merge are in memory: what a merge did is durable with the next checkpoint."],
            )
            if lab.quick:
                finding.unmeasured = "--quick takes a hundredth of the files"
            yield finding
    yield _python(lab)


def _python(lab: Lab) -> Finding:
    tree = Tree(lab.pick(_PYTHON_FILES, 1000))
    with workloads.filled_store(lab, tree) as (_, base):
        lab.say("merges, from Python")
        edit = workloads.edits(tree)

        def forks(number: int) -> tuple[object, object]:
            pair = (base.fork(), base.fork())
            for side in pair:
                for at in range(_DIFFERENT // 2):
                    side.write(*edit(number * _DIFFERENT + at))
                side.checkpoint()
            return pair

        def diff(number: int) -> int:
            ours, theirs = forks(number)
            before = perf_counter_ns()
            ours.diff(theirs)  # type: ignore[attr-defined]
            return perf_counter_ns() - before

        def merge(number: int) -> int:
            ours, theirs = forks(number)
            before = perf_counter_ns()
            result = ours.merge(theirs)  # type: ignore[attr-defined]
            after = perf_counter_ns()
            if not result.clean:
                raise RuntimeError("edits of different files are in conflict")
            return after - before

        _, ahead = forks(0)

        def follow(_: int) -> int:
            behind = base.fork()
            before = perf_counter_ns()
            behind.merge(ahead)  # type: ignore[arg-type]
            return perf_counter_ns() - before

        subjects = [Subject("diff", diff), Subject("merge", merge), Subject("fast-forward", follow, burst=20)]
        series = interleave(subjects, lab.pick(300, 30), warmup=2)
    values: dict[str, float | int | str] = {}
    for name, found in series.items():
        values[f"p50_us {name}"] = found.distribution().p50_us
        values[f"p95_us {name}"] = found.distribution().p95_us
    return Finding(
        PYTHON,
        f"workspace.diff(other) and workspace.merge(other), {tree.count:,} files; the row is the merge",
        series["merge"].distribution(),
        changes=_DIFFERENT,
        values=values,
    )


EXPERIMENT = Experiment("merge", (DIFF, MERGE, FOLLOW, PYTHON), run)
