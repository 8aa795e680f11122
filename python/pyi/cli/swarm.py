"""``pyi swarm``: many agents at once on one repository, and every byte checked."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from pyi.cli.output import show
from pyi.cli.text import bytes_text, columns, seconds_text, us_text

if TYPE_CHECKING:
    from pyi.workflow.swarm import SwarmReport

__all__ = ["add_parser", "run", "summary"]

_DESCRIPTION = """\
Run many agents at once on one repository, each with its own workspace. A step of an agent reads files, edits some and
ends with a checkpoint; some steps are followed by a rewind to an earlier checkpoint. The edits come from the
repository's own history (each agent replays a stretch of real commits) or from recorded agent runs (--traces).

Printed are the latencies of fork, write, checkpoint, restore and read, checkpoints per second, peak memory and bytes.
Then a fresh process opens the store and compares every checkpoint, byte for byte, with a record kept beside it.

The store is a temporary one, gone afterwards, unless --store or PYI_STORE names one.
"""

_EPILOG = """\
examples:
  pyi swarm . --agents 850 --steps 20
  pyi swarm ~/project --agents 100 --traces traces/openhands_swebench.jsonl.gz
  pyi swarm . --agents 50 --store /tmp/store --record /tmp/record     keep both, to look at or to verify again with
      python -m pyi.workflow.verify /tmp/record /tmp/store

exit status: 0 all right; 1 something is wrong or lost, or no such thing, a record that exists; 2 wrong usage;
3 a failed run; 128 + n after signal n
"""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "swarm",
        help="many agents at once on one repository, every byte checked",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("repo", metavar="REPO", nargs="?", default=".", help="git repository (default: this directory)")
    parser.add_argument("--agents", type=int, default=850, metavar="N", help="number of agents (default: 850)")
    parser.add_argument("--steps", type=int, default=20, metavar="K", help="steps of each agent (default: 20)")
    parser.add_argument("--traces", nargs="+", metavar="FILE", help="recorded runs, .jsonl or .jsonl.gz (behind REPO)")
    parser.add_argument("--threads", type=int, metavar="T", help="threads that take turns (default: processors)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="K", help="the same seed gives the same run (default: 0)"
    )
    parser.add_argument(
        "--rewind-every", type=int, default=8, metavar="K", help="one step in K is rewound, 0: none (default: 8)"
    )
    parser.add_argument("--rev", metavar="REV", default="HEAD", help="commit to start from (default: HEAD)")
    parser.add_argument("--store", metavar="DIR", help="keep the store, here (default: PYI_STORE, or a temporary one)")
    parser.add_argument("--record", metavar="FILE", help="keep the record, here; a file that exists is refused")
    parser.add_argument("--no-verify", action="store_true", help="leave out the comparison by a fresh process")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Run the verb and return its exit status."""
    from pyi.cli.screen import watch_swarm
    from pyi.workflow.swarm import swarm

    with watch_swarm(sys.stderr) as on_event:
        report = swarm(
            options.repo,
            options.agents,
            steps=options.steps,
            traces=options.traces,
            threads=options.threads,
            seed=options.seed,
            rewind_every=options.rewind_every,
            rev=options.rev,
            store=options.store,
            record=options.record,
            verify=not options.no_verify,
            on_event=on_event,
        )
    show(json.dumps(report.to_dict()) if options.json else summary(report))
    return 0 if report else 1


def summary(report: SwarmReport) -> str:
    """Return what a person wants to know about a swarm."""
    rows = [["", "p50", "p95", "p99", "max", "calls"]]
    for name, latency in report.latency.items():
        if latency.count:
            times = (latency.p50_us, latency.p95_us, latency.p99_us, latency.max_us)
            rows.append([name, *map(us_text, times), f"{latency.count:,}"])
    lines = [
        f"{report.agents:,} agents x {report.steps} steps on {report.files:,} files, {report.threads} threads:"
        f" {report.checkpoints:,} checkpoints, {report.edits:,} edits, {report.rewinds:,} rewinds"
        f" in {seconds_text(report.seconds)}",
        "",
        *columns(rows),
        "",
        f"{report.checkpoints_per_s:,.0f} checkpoints/s, peak memory {bytes_text(report.peak_memory_bytes)}",
        f"{bytes_text(report.bytes_logical)} in all checkpoints, {bytes_text(report.bytes_stored)} added to the store",
    ]
    if report.skipped:
        lines.append(f"{report.skipped:,} recorded edits do not fit this tree and were left out")
    if report.wrong_reads:
        lines.append(f"WRONG: {report.wrong_reads:,} reads gave other content than the agent had written")
    for agent, failure in sorted(report.failures.items()):
        lines.append(f"agent {agent} raised {failure.strip().splitlines()[-1]}")
    verdict = report.verdict
    if verdict is None:
        lines.append("not verified (--no-verify)")
    else:
        state = "verified by a fresh process" if verdict["ok"] else "WRONG"
        lines.append(
            f"{state}: {verdict['checkpoints']:,} checkpoints, {verdict['lost']} lost, {verdict['wrong_bytes']} wrong"
            f" bytes; {verdict['files_hashed']:,} contents ({bytes_text(verdict['bytes_hashed'])}) hashed,"
            f" {verdict['walked']:,} trees walked in {seconds_text(verdict['seconds'])}"
        )
        lines += [f"  {problem}" for problem in verdict["problems"]]
    if report.store:
        lines.append(f"store: {report.store}" + (f", record: {report.record}" if report.record else ""))
    return "\n".join(lines)
