"""The command line of the laboratory: `python -m validation`."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyi
from validation import experiments, report
from validation.hypothesis import Experiment, Finding
from validation.lab import Lab, missing
from validation.machine import Machine, load_average

__all__ = ["main", "perform"]

_DESCRIPTION = """\
Measure the claims. For each one are printed: the claim, its target, what was measured (p50, p95, p99, max), the number
of samples and changes, the durability class it holds for, the peers of the same run with the ratio of the medians, and
the verdict: holds, falls short, or not measured and why. "Uncertain" says that the interval of a figure reaches beyond
its limit: measure longer, or on a quieter machine.
"""

_EPILOG = """\
exit status: 0 everything ran (whatever the verdicts are), 1 with --strict and something falls short, 2 wrong usage,
3 an experiment failed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    known = experiments.load()
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(_listing(known.values())))
        return 0
    try:
        chosen = _chosen(known, options.experiments)
    except ValueError as error:
        print(f"error: {error} (--list shows what there is)", file=sys.stderr)
        return 2
    for place in [*options.repo, *([options.scratch] if options.scratch else [])]:
        if not place.is_dir():
            print(f"error: {place}: no such directory", file=sys.stderr)
            return 2
    lab = Lab(quick=options.quick, repositories=options.repo, scratch=options.scratch, quiet=options.quiet)
    started = time.monotonic()
    found: list[Finding] = []
    failed: list[str] = []
    with ExitStack() as stack, lab.directory("machine") as scratch:
        machine = Machine.here(scratch.parent)
        lines = None
        if options.json is not None:
            lines = report.JsonLines(stack.enter_context(options.json.open("w", encoding="utf-8")))
        for experiment in chosen:
            lab.say(f"experiment {experiment.name}")
            for finding, failure in perform(experiment, lab):
                found.append(finding)
                print(report.describe(finding) + "\n", flush=True)
                if lines is not None:
                    lines.finding(experiment.name, finding, load_average())
                if failure is not None:
                    failed.append(experiment.name)
                    print(failure, file=sys.stderr)
        load = load_average()
        print(report.summary(found) + "\n\n" + report.machine_text(machine, load))
        if lines is not None:
            lines.machine(machine, load, quick=options.quick, seconds=time.monotonic() - started)
    if failed:
        print(f"error: failed: {', '.join(dict.fromkeys(failed))}", file=sys.stderr)
        return 3
    return 1 if options.strict and any(finding.verdict == "falls short" for finding in found) else 0


def perform(experiment: Experiment, lab: Lab, package: Any = pyi) -> Iterator[tuple[Finding, str | None]]:
    """Run an experiment and yield its findings; every hypothesis gets one, whatever happens.

    A finding that stands for a failure comes with the traceback.
    """
    open_ids = {hypothesis.id: hypothesis for hypothesis in experiment.hypotheses}
    reason, failure = "the experiment gave no finding", None
    absent = missing(package, experiment.needs)
    if absent:
        reason = f"this build of pyi does not have {', '.join(absent)}"
    else:
        gc.collect()
        try:
            for finding in experiment.run(lab):
                open_ids.pop(finding.hypothesis.id, None)
                yield finding, None
        except Exception as error:
            reason = f"the experiment failed: {type(error).__name__}: {error}"
            failure = traceback.format_exc()
        else:
            failure = reason if open_ids else None
    for hypothesis in open_ids.values():
        yield Finding(hypothesis, unmeasured=reason), failure
        failure = None
    if failure is not None and not open_ids:
        yield Finding(experiment.hypotheses[-1], unmeasured=reason), failure


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m validation",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiments", metavar="EXPERIMENT", nargs="*", help="experiment or hypothesis (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes and few samples: does everything run?")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the findings as JSON lines, too")
    parser.add_argument("--list", action="store_true", help="list experiments and hypotheses, measure nothing")
    parser.add_argument(
        "--repo", metavar="PATH", type=Path, action="append", default=[], help="git repository to use; may be repeated"
    )
    parser.add_argument("--scratch", metavar="DIR", type=Path, help="where to work (default: the temporary directory)")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if something falls short")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def _chosen(known: dict[str, Experiment], names: Sequence[str]) -> list[Experiment]:
    """Return the experiments that were asked for, each once; a hypothesis stands for its experiment."""
    if not names:
        return list(known.values())
    by_name = dict(known)
    for experiment in known.values():
        by_name.update({hypothesis.id: experiment for hypothesis in experiment.hypotheses})
    for name in names:
        if name not in by_name:
            raise ValueError(f"no experiment or hypothesis is called {name}")
    return list({by_name[name].name: by_name[name] for name in names}.values())


def _listing(known: Iterable[Experiment]) -> Iterator[str]:
    for experiment in known:
        yield experiment.name
        for hypothesis in experiment.hypotheses:
            yield f"  {hypothesis.id:22} {hypothesis.source:12} {hypothesis.target or 'for comparison'}"


if __name__ == "__main__":
    # Ended by a time limit it still removes its directories, which hold gigabytes.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
