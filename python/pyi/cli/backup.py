"""``pyi backup`` and ``pyi restore-backup``: copy a store elsewhere, and make a store of such a copy."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from pyi.cli.output import show
from pyi.cli.store import add_store, open_store
from pyi.cli.text import bytes_text, seconds_text

if TYPE_CHECKING:
    from pyi.backup.report import BackupReport

__all__ = ["add_parsers", "run_backup", "run_restore"]

_BACKUP = """\
Copy the store to TARGET, while writers go on: everything the first time, later only what is new. An interrupted backup
leaves the earlier ones as they were. TARGET is a directory, or s3://BUCKET/PREFIX of any S3-compatible store, with the
usual AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL (and AWS_ALLOW_HTTP=true for http);
that needs `pip install 'pyi[s3]'`.
"""

_BACKUP_EPILOG = """\
examples:
  pyi backup /mnt/backups/project
  pyi backup s3://backups/project --store /srv/agents.pyi --json

exit status: 0 done; 1 no store here; 2 wrong usage; 3 a failed run; 128 + n after signal n
"""

_RESTORE = """\
Make a store at PATH, a new or empty directory, of the backups at SOURCE: as it was at the last backup, or with --at as
it was after the last change at or before a position (a number, as `repo.log_positions()` gives) or a time (ISO 8601;
without a zone: local time). Every byte is checked on the way, and at the end whether everything that a name leads to is
there.
"""

_RESTORE_EPILOG = """\
examples:
  pyi restore-backup /mnt/backups/project /srv/restored
  pyi restore-backup /mnt/backups/project /srv/restored --at 2026-11-22T14:30
  pyi restore-backup /mnt/backups/project --list
  pyi restore-backup s3://backups/project /srv/restored --at 4294968512 --json

exit status: 0 done; 1 no such backup or position, or PATH is taken; 2 wrong usage; 3 a failed run; 128 + n after
signal n
"""


def add_parsers(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the arguments of both verbs."""
    backup = verbs.add_parser(
        "backup",
        help="copy the store to a directory or an S3 bucket, only what is new",
        description=_BACKUP,
        epilog=_BACKUP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    backup.set_defaults(run=run_backup)
    backup.add_argument("target", metavar="TARGET", help="a directory, or s3://BUCKET/PREFIX")
    add_store(backup)
    backup.add_argument("--json", action="store_true", help="print the report as one JSON object")
    restore = verbs.add_parser(
        "restore-backup",
        help="make a store of a backup, as of any position or time",
        description=_RESTORE,
        epilog=_RESTORE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    restore.set_defaults(run=run_restore)
    restore.add_argument("source", metavar="SOURCE", help="what `pyi backup` wrote to")
    restore.add_argument("path", metavar="PATH", nargs="?", help="the store's directory: new or empty")
    restore.add_argument(
        "--at", metavar="POSITION|TIME", type=_moment, help="go back to here (default: the last backup)"
    )
    restore.add_argument(
        "--list", action="store_true", help="list the backups and the moments that they hold, and stop"
    )
    restore.add_argument("--no-verify", action="store_true", help="leave out the look at what names lead to")
    restore.add_argument("--json", action="store_true", help="print the outcome as one JSON object")


def _moment(text: str) -> int | datetime:
    if text.isdecimal():
        return int(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a position nor a time such as 2026-11-22T14:30"
        ) from None


def run_backup(options: argparse.Namespace) -> int:
    """Run ``pyi backup`` and return its exit status."""
    from pyi.cli.progress import watch_bytes

    with open_store(options.store) as repo, watch_bytes(sys.stderr, "pyi backup") as progress:
        report = repo.backup(options.target, progress=progress)
    show(json.dumps(report.to_dict()) if options.json else backup_summary(report))
    return 0


def backup_summary(report: BackupReport) -> str:
    """Return what a person wants to know at the end of a backup."""
    what = "The first backup" if report.full else "What is new"
    return (
        f"{what}: {bytes_text(report.bytes_copied)} of {bytes_text(report.bytes_total)} copied to {report.target}"
        f" in {seconds_text(report.seconds)}; {report.objects:,} objects, position {report.position}"
    )


def run_restore(options: argparse.Namespace) -> int:
    """Run ``pyi restore-backup`` and return its exit status."""
    from pyi.backup.restore import restore_backup
    from pyi.cli.progress import watch_bytes
    from pyi.errors import InvalidArgument

    if options.list:
        return _list(options)
    if options.path is None:
        raise InvalidArgument("name the directory to restore to, or --list what there is")
    with watch_bytes(sys.stderr, "pyi restore-backup") as progress:
        repo = restore_backup(
            options.source, options.path, at=options.at, verify=not options.no_verify, progress=progress
        )
    with repo:
        position = repo._image().position
        branches = repo.branches()
        facts = {"store": str(repo.path), "position": position, "branches": branches}
        names = f"{len(branches)} branches, {len(repo.workspaces())} workspaces"
    show(json.dumps(facts) if options.json else f"Restored to {facts['store']}: position {position}, {names}")
    return 0


def _list(options: argparse.Namespace) -> int:
    from pyi.backup.manifest import all_manifests
    from pyi.backup.report import time_of
    from pyi.backup.target import open_target

    manifests = all_manifests(open_target(options.source, create=False))
    rows = [
        {
            "time": time_of(one.taken_ns).isoformat(),
            "position": one.position,
            "bytes": one.bytes,
            "objects": one.objects,
        }
        for one in manifests
    ]
    if options.json:
        show(json.dumps(rows))
    else:
        for row in rows:
            show(f"{row['time']}  position {row['position']}  {bytes_text(int(str(row['bytes'])))}")
    return 0 if rows else 1
