"""``pyi scrub``: read everything, say what is damaged and whom it affects, repair it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from pyi.cli.output import show
from pyi.cli.store import add_store, open_store
from pyi.cli.text import bytes_text, seconds_text

if TYPE_CHECKING:
    from pyi.backup.report import ScrubReport

__all__ = ["add_parser", "run", "summary"]

_ROWS = 20

_DESCRIPTION = """\
Read and check every segment, index and ref log of the store, beside readers and writers: checksums, places, contents
against their ids. What is damaged or missing is named, with every branch, workspace and checkpoint that cannot be read
in full because of it. Nothing is changed, unless --repair or --repair-from is given.
"""

_EPILOG = """\
examples:
  pyi scrub
  pyi scrub --limit 50                             at most 50 MB/s
  pyi scrub --repair                               what needs no source: indexes, headers
  pyi scrub --repair-from /mnt/backups/project     from a backup, another store, or a git repository
  pyi scrub --repair-from s3://backups/project --repair-from ~/clone --json

exit status: 0 all is whole, be it after the repair; 1 something is damaged, or no store here; 2 wrong usage; 3 a failed
run; 128 + n after signal n
"""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "scrub",
        help="read and check everything in the store; repair it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--repair-from",
        metavar="SOURCE",
        action="append",
        help="repair from a backup, a store or a git repository; may be given again",
    )
    parser.add_argument("--repair", action="store_true", help="repair what needs no source")
    parser.add_argument("--limit", metavar="MB/s", type=_speed, help="read no faster (default: as fast as the disk)")
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def _speed(text: str) -> int:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError("must be more than 0")
    return max(1, round(value * 1e6))


def run(options: argparse.Namespace) -> int:
    """Run the verb and return its exit status."""
    from pyi.cli.progress import watch_bytes

    sources = options.repair_from or ([] if options.repair else None)
    with open_store(options.store) as repo, watch_bytes(sys.stderr, "pyi scrub") as progress:
        report = repo.scrub(repair_from=sources, bytes_per_second=options.limit, progress=progress)
    show(json.dumps(report.to_dict()) if options.json else summary(report, repaired=sources is not None))
    return 0 if report.clean else 1


def summary(report: ScrubReport, *, repaired: bool) -> str:
    """Return what a person wants to know at the end of a scrub."""
    read = f"{report.checked:,} objects, {bytes_text(report.bytes)} in {seconds_text(report.seconds)}"
    if not report.places and not report.damaged:
        return f"{read}: all is whole"
    lines = [f"{read}: {len(report.places)} damaged places, {len(report.damaged)} objects without a whole copy"]
    for place in report.places[:_ROWS]:
        done = ", mended" if place["mended"] else ""
        keys = f", keys {', '.join(place['keys'][:5])}" if place["keys"] else ""
        lines.append(
            f"  {place['file']} offset {place['offset']} length {place['length']}: {place['flaw']}{keys}{done}"
        )
    if len(report.places) > _ROWS:
        lines.append(f"  and {len(report.places) - _ROWS} more (--json lists all)")
    for what, names in report.affected.items():
        if names:
            more = f" and {len(names) - _ROWS} more" if len(names) > _ROWS else ""
            lines.append(f"{what}: {', '.join(name[:40] for name in names[:_ROWS])}{more}")
    if report.healed:
        lines.append(f"{len(report.healed)} objects have a damaged copy and a whole one; nothing of them is lost")
    if repaired:
        lines.append(f"repaired: {len(report.repaired)} objects; still lost: {len(report.lost)}")
    elif not report.clean:
        lines.append("to repair: pyi scrub --repair-from BACKUP (or another store, or a git repository)")
    return "\n".join(lines)
