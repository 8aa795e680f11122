"""``pyi race``: N candidates for one task, the best becomes a commit."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from pyi.cli.output import show
from pyi.cli.text import bytes_text, columns, seconds_text
from pyi.config import CHECKPOINT_EVERY_S

if TYPE_CHECKING:
    from pyi.workflow.result import CandidateResult, RaceResult

__all__ = ["add_parser", "run", "summary"]

_ROWS = 10
_ID_DIGITS = 12

_DESCRIPTION = """\
Let N candidates try the same task side by side, each in its own copy-on-write directory, and leave the best one as a
commit on branch pyi/NAME. The repository's work tree, index and other branches are not touched.

Each candidate runs CMD (by the shell) in a directory that looks like a checkout of HEAD. In its environment:
  PYI_CANDIDATE   its number, from 0           PYI_SEED   --seed plus its number
  PYI_WORKSPACE   its name in the store        PYI_STORE  the store
What it changes is checkpointed while it runs and at its end; what git ignores is left out. Then the test decides: exit
status 0 passes, and if its last line is a finite decimal number (7, -0.5, 1e3), that is the score; if it is anything
else, the score is 1. Without a test the agent's exit status decides.
Of those that passed wins the highest score; then the fewest changed lines, the fewest changed files, the lowest number.
"""

_EPILOG = """\
examples:
  pyi race -n 8 --agent 'python agent.py' --test 'pytest -q'
  pyi race ~/project -n 64 --agent 'my-agent "fix the failing test"' --test 'make check' --timeout 900 --onto fix
  pyi race -n 4 --setup 'python -m venv .venv && .venv/bin/pip install -e .' --include .env \\
           --agent ./try.sh --test '.venv/bin/pytest -q && cat score.txt'
  pyi race --resume                    after Ctrl-C or a crash: finished candidates are not run again

exit status: 0 somebody won; 1 nobody passed (no branch moved, all candidates are kept), or no such thing, a taken
branch, a race that is still running; 2 wrong usage; 3 a failed run; 128 + n after signal n
"""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "race",
        help="N candidates for one task, the best becomes a commit",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("repo", metavar="REPO", nargs="?", default=".", help="git repository (default: this directory)")
    task = parser.add_argument_group("the task")
    task.add_argument("-n", type=int, metavar="N", help="number of candidates (default: 8)")
    task.add_argument("--agent", metavar="CMD", help="what a candidate does; required unless --resume")
    task.add_argument("--test", metavar="CMD", help="who passes, and how well")
    task.add_argument("--setup", metavar="CMD", help="run once, in the directory that all candidates share")
    task.add_argument(
        "--include", metavar="PATH", action="append", help="bring a path that git ignores; may be given again"
    )
    task.add_argument(
        "--onto", metavar="NAME", help="the winner goes to branch pyi/NAME (default: named after the race)"
    )
    task.add_argument("--rev", metavar="REV", default="HEAD", help="commit to start from (default: HEAD)")
    task.add_argument("--dirty", action="store_true", help="take uncommitted changes of the work tree along")
    how = parser.add_argument_group("how it is run")
    how.add_argument("--timeout", type=_positive, metavar="S", help="seconds for each agent and each test")
    how.add_argument("--jobs", type=_count, metavar="J", help="candidates at a time (default: processors)")
    how.add_argument("--seed", type=int, default=0, metavar="K", help="PYI_SEED of candidate 0 (default: 0)")
    how.add_argument("--first", action="store_true", help="stop as soon as one candidate has passed")
    how.add_argument("--keep", action="store_true", help="keep the other candidates as named workspaces")
    how.add_argument("--resume", action="store_true", help="go on with the last interrupted race (or that onto NAME)")
    how.add_argument(
        "--checkpoint-every",
        type=_positive,
        default=CHECKPOINT_EVERY_S,
        metavar="S",
        help="seconds between checkpoints of a running agent (default: %(default)g)",
    )
    how.add_argument(
        "--backend", choices=("auto", "overlay", "copy"), default="auto", help="kind of directory (default: auto)"
    )
    how.add_argument("--store", metavar="DIR", help="the store (default: PYI_STORE, or REPO/.git/pyi)")
    how.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def run(options: argparse.Namespace) -> int:
    """Run the verb and return its exit status."""
    from pyi.cli.screen import watch_race
    from pyi.workflow.race import race

    with watch_race(sys.stderr) as on_event:
        result = race(
            options.repo,
            options.agent,
            options.n,
            test=options.test,
            onto=options.onto,
            setup=options.setup,
            include=options.include or (),
            timeout=options.timeout,
            jobs=options.jobs,
            keep=options.keep,
            dirty=options.dirty,
            first=options.first,
            resume=options.resume,
            rev=options.rev,
            seed=options.seed,
            checkpoint_every_s=options.checkpoint_every,
            backend=options.backend,
            store=options.store,
            on_event=on_event,
        )
    show(json.dumps(result.to_dict()) if options.json else summary(result))
    return 0 if result else 1


def summary(result: RaceResult) -> str:
    """Return what a person wants to know at the end of a race."""
    n = len(result.candidates)
    lines: list[str] = []
    if result.winner is None:
        lines.append(f"Nobody won: {result.reason}. No branch moved.")
    else:
        lines.append(f"Candidate {result.winner} of {n} won: {result.reason}.")
        if result.commit is not None:
            lines.append(f"It is commit {result.commit[:_ID_DIGITS]} on branch {result.branch}.")
    lines += ["", *_table(result), ""]
    shared = result.shared
    per_candidate = seconds_text(result.seconds / n) if n else "-"
    lines.append(
        f"Took {seconds_text(result.seconds)}, {per_candidate} a candidate. All share {shared.files:,} files"
        f" ({bytes_text(shared.bytes)}), which exist once; the race added {bytes_text(shared.stored)} to the store."
    )
    lines += _next_steps(result)
    return "\n".join(lines)


def _table(result: RaceResult) -> list[str]:
    ranked = [*result.passed, *(one for one in result.candidates if not one.passed)]
    rows = [["", "#", "result", "score", "time", "files", "lines", "new", "checkpoint"]]
    rows += [_row(one, winner=one.index == result.winner) for one in ranked[:_ROWS]]
    lines = columns(rows, left=(0, 2, 8))
    if len(ranked) > _ROWS:
        rest = ranked[_ROWS:]
        passed = sum(one.passed for one in rest)
        lines.append(f"   and {len(rest)} more, {passed} of them passed (--json lists all)")
    return lines


def _row(one: CandidateResult, *, winner: bool) -> list[str]:
    return [
        "*" if winner else "",
        str(one.index),
        one.status.value,
        f"{one.score:g}" if one.passed else "-",
        seconds_text(one.seconds),
        str(one.files),
        str(one.lines),
        bytes_text(one.bytes_new),
        one.checkpoint[:_ID_DIGITS] or "-",
    ]


def _next_steps(result: RaceResult) -> list[str]:
    lines: list[str] = []
    if result.branch is not None:
        lines.append(f"Look at it:      git log -p -1 {result.branch}")
    other = next((one for one in result.candidates if one.index != result.winner and one.checkpoint), None)
    if other is not None and (other.workspace or "").startswith("kept/"):
        kept = sum((one.workspace or "").startswith("kept/") for one in result.candidates)
        where = f"workspaces kept/{result.id}/NUMBER" if kept > 1 else f"workspace {other.workspace}"
        lines.append(f"The others:      are kept as {where}: pyi changes {other.workspace}")
    elif other is not None:
        lines.append(f"At the others:   pyi changes {other.checkpoint[:_ID_DIGITS]}")
    if result.winner is None:
        failed = next((one for one in result.candidates if one.tail.strip()), None)
        if failed is not None:
            last = failed.tail.strip().splitlines()[-1]
            lines.append(f"Candidate {failed.index} said:   {last[:100]}")
    return lines
