"""Superposition: creating candidates, weighing, collapsing; with few and with a thousand, with and without names."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from time import perf_counter_ns

import pyi
from validation import kernel, workloads
from validation.generator import Tree
from validation.hypothesis import Experiment, Finding, Hypothesis, below
from validation.lab import Lab
from validation.statistics import Series, Subject, ratio_of_medians

_FEW = 4
_MANY = 1000
_FILES = 1000

CREATE = Hypothesis(
    "superpose.create",
    f"A superposition of {_MANY:,} candidates, with names or without, is made in less than 2 ms.",
    "p95 < 2 ms, with and without names",
    "issue 4 g",
)
COLLAPSE = Hypothesis(
    "superpose.collapse",
    f"A collapse (`process`) takes less than 200 us: of {_FEW} candidates, of {_MANY:,} without names.",
    "p99 < 200 us",
    "issue 4 g",
)
NAMED = Hypothesis(
    "superpose.collapse-named",
    f"The same for {_MANY:,} candidates with names, all of which are given up in the one record.",
    "p99 < 200 us",
    "issue 4 g",
)
WEIGH = Hypothesis(
    "superpose.weigh",
    f"Weighing one of {_MANY:,} candidates with names costs less than 4 times what one of {_FEW} costs.",
    f"p50 of {_MANY:,} < 4x p50 of {_FEW}",
    "issue 4 g",
)
PYTHON = Hypothesis("superpose.python", f"From Python: superpose({_MANY:,}) and collapse.", "", "issue 4 g")


def run(lab: Lab) -> Iterator[Finding]:
    """Measure from Rust, then what Python sees of it."""
    program = kernel.built("bench_superpose", "pyi-engine")
    if isinstance(program, str):
        for hypothesis in (CREATE, COLLAPSE, NAMED, WEIGH):
            yield Finding(hypothesis, unmeasured=program)
    else:
        with lab.directory("superpose") as place:
            lab.say("superpositions, from Rust")
            report = kernel.output(program, place, lab.pick(400, 20))
        series = {
            name: Series(array("q", samples), array("q", range(len(samples))))
            for name, samples in report["samples_ns"].items()
        }
        for finding in _kernel(series):
            if lab.quick:
                finding.unmeasured = "--quick takes few samples"
            yield finding
    yield _python(lab)


def _kernel(series: dict[str, Series]) -> Iterator[Finding]:
    kinds = ("unnamed", "named")
    yield Finding(
        CREATE,
        f"from Rust: Repository::superpose of {_MANY:,} candidates at {_FILES:,} files; the row is that with names",
        series[f"superpose named {_MANY}"].distribution(),
        changes=1,
        durability=workloads.DURABILITY,
        checks=[
            below(f"p95, {kind}", series[f"superpose {kind} {_MANY}"].percentile_us(0.95), 2000, "us") for kind in kinds
        ],
    )
    subjects = [f"collapse {kind} {count}" for kind, count in (("named", _FEW), ("unnamed", _FEW), ("unnamed", _MANY))]
    yield Finding(
        COLLAPSE,
        f"from Rust: Superposition::collapse to a candidate with a checkpoint; the row is that of {_FEW} with names",
        series[subjects[0]].distribution(),
        changes=1,
        durability=workloads.DURABILITY,
        checks=[below(f"p99, {name[9:]}", series[name].percentile_us(0.99), 200, "us") for name in subjects],
        values={f"p50_us {name[9:]}": series[name].distribution().p50_us for name in subjects},
    )
    many = series[f"collapse named {_MANY}"]
    yield Finding(
        NAMED,
        f"from Rust: the same; one record that deletes {_MANY:,} names, and lets go of as many workspaces",
        many.distribution(),
        changes=1,
        durability=workloads.DURABILITY,
        checks=[below("p99", many.percentile_us(0.99), 200, "us")],
    )
    few, many = series[f"weigh named {_FEW}"], series[f"weigh named {_MANY}"]
    yield Finding(
        WEIGH,
        "from Rust: Superposition::weigh, one record that holds the part of 64 candidates with the one that is weighed",
        many.distribution(),
        changes=1,
        durability=workloads.DURABILITY,
        checks=[below("growth of the p50", ratio_of_medians(many, few), 4, "x")],
    )


def _python(lab: Lab) -> Finding:
    tree = Tree(_FILES)
    with workloads.filled_store(lab, tree) as (repository, _):
        lab.say("superpositions, from Python")
        made: dict[str, pyi.Superposition] = {}

        def create(name: str, count: int) -> Callable[[int], int]:
            def sample(_: int) -> int:
                before = perf_counter_ns()
                made[name] = repository.superpose("main", count)
                return perf_counter_ns() - before

            return sample

        def collapse(name: str) -> Callable[[int], int]:
            def sample(number: int) -> int:
                winner = made[name].candidates[1]
                winner.write("answer", str(number))
                checkpoint = winner.checkpoint()
                before = perf_counter_ns()
                outcome = made[name].collapse(1)
                after = perf_counter_ns()
                if outcome != checkpoint or repository.branches()["main"] != checkpoint.id:
                    raise RuntimeError("the branch is not at the candidate that was chosen")
                return after - before

            return sample

        subjects = []
        for count in (_FEW, _MANY):
            subjects.append(Subject(f"superpose {count}", create(str(count), count)))
            subjects.append(Subject(f"collapse {count}", collapse(str(count))))
        series = _in_order(subjects, lab.pick(300, 30))
    return Finding(
        PYTHON,
        f"superpose(branch, n) and collapse(1), without names; the row is the collapse of {_MANY:,}",
        series[f"collapse {_MANY}"].distribution(),
        changes=1,
        durability=workloads.DURABILITY,
        values={
            f"{share} us {name}": found.percentile_us(at).value
            for name, found in series.items()
            for share, at in (("p50", 0.5), ("p99", 0.99))
        },
    )


def _in_order(subjects: list[Subject], rounds: int) -> dict[str, Series]:
    """Take the subjects in this order in every round: each collapse needs the superposition that was just made."""
    series = {subject.name: Series(array("q"), array("q")) for subject in subjects}
    for number in range(rounds):
        for subject in subjects:
            series[subject.name].add(subject.sample(number), number)
    return series


EXPERIMENT = Experiment("superpose", (CREATE, COLLAPSE, NAMED, WEIGH, PYTHON), run, needs=("Superposition.collapse",))
