"""How often 1, 8 and 64 candidates repair each seeded bug.

Runs the agent alone, without PYI: each candidate gets a temporary copy of the
project and its own seed, and has won if the project's test command succeeds
there afterwards.  The chance of n candidates is the chance that a draw of n of
the measured ones holds a winner.

    python odds.py                          all bugs, 64 candidates each
    python odds.py --bugs heap-rise         some bugs
    python odds.py --read odds.jsonl        the table of an earlier run
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

if not __package__:  # started as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = Path(__file__).resolve().parent.name

from .make_repo import HERE, PROJECT, Bug, copy_project, load_bugs

SIZES = (1, 8, 64)
TEST = [sys.executable, "-m", "unittest", "-q"]


@dataclass(frozen=True)
class Attempt:
    """What one candidate did."""

    bug: str
    seed: int
    won: bool
    original: bool
    seconds: float
    report: str


def attempt(bug: Bug, seed: int) -> Attempt:
    """Run one candidate and the project's tests after it."""
    env = {**os.environ, "PYI_SEED": str(seed), "PYI_CANDIDATE": str(seed)}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    with tempfile.TemporaryDirectory(prefix="repair-") as name:
        root = Path(name)
        copy_project(root, bug)
        began = time.monotonic()
        agent = subprocess.run(
            [sys.executable, str(HERE / "agent.py")],
            cwd=root,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = time.monotonic() - began
        try:
            verdict = subprocess.run(TEST, cwd=root, env=env, capture_output=True, timeout=20, check=False)
            won = verdict.returncode == 0
        except subprocess.TimeoutExpired:
            won = False
        original = won and _tree(root / bug.file) == _tree(PROJECT / bug.file)
    report = agent.stdout.strip()
    return Attempt(bug.id, seed, won, original, round(seconds, 3), report)


def _tree(path: Path) -> str:
    return ast.dump(ast.parse(path.read_bytes()))


def chance(candidates: int, winners: int, drawn: int) -> float:
    """That ``drawn`` of the candidates hold at least one winner."""
    if drawn > candidates:
        return math.nan
    losers = math.comb(candidates - winners, drawn)
    return 1 - losers / math.comb(candidates, drawn)


def table(attempts: Sequence[Attempt], bugs: Iterable[Bug]) -> str:
    """The odds of each bug, and their mean, as a Markdown table."""
    rows = [
        ["bug", "needs", "winners", "as the original", *map(str, SIZES)],
        ["---", "---", *["---:"] * (2 + len(SIZES))],
    ]
    sums = [0.0] * len(SIZES)
    measured = 0
    for bug in bugs:
        mine = [a for a in attempts if a.bug == bug.id]
        if not mine:
            continue
        measured += 1
        won = sum(a.won for a in mine)
        same = sum(a.original for a in mine)
        odds = [chance(len(mine), won, size) for size in SIZES]
        sums = [total + p for total, p in zip(sums, odds, strict=True)]
        counts = [f"{won} of {len(mine)}", str(same)]
        rows.append([bug.id, bug.needs, *counts, *(f"{p:.0%}" for p in odds)])
    means = [f"{total / measured:.0%}" for total in sums]
    rows.append(["**mean**", "", "", "", *means])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in rows)


def main() -> int:
    """Measure, write one line of JSON per candidate, and print the table."""
    parser = argparse.ArgumentParser(description="Measure how often candidates win.")
    parser.add_argument("--bugs", nargs="+", metavar="BUG", help="only these bugs")
    parser.add_argument("-n", type=int, default=64, help="candidates per bug (64)")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("odds.jsonl"))
    parser.add_argument("--read", type=Path, help="measure nothing, read this file")
    options = parser.parse_args()
    bugs = load_bugs()
    unknown = set(options.bugs or ()) - set(bugs)
    if unknown:
        parser.error(f"no bug {min(unknown)!r}")
    chosen = [bugs[name] for name in options.bugs or bugs]
    attempts: list[Attempt] = []
    if options.read:
        lines = options.read.read_text(encoding="utf-8").splitlines()
        attempts = [Attempt(**json.loads(line)) for line in lines]
    else:
        with (
            ThreadPoolExecutor(options.jobs) as pool,
            options.out.open("w", encoding="utf-8") as out,
        ):
            for bug in chosen:
                for done in pool.map(attempt, [bug] * options.n, range(options.n)):
                    attempts.append(done)
                    out.write(json.dumps(asdict(done)) + "\n")
                out.flush()
                print(f"{bug.id} measured", file=sys.stderr)
    if not attempts:
        parser.error("nothing was measured")
    print(table(attempts, chosen))
    times = sorted(a.seconds for a in attempts)
    print(f"\nseconds per candidate: median {times[len(times) // 2]}, max {times[-1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
