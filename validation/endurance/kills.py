"""`kills`: writers and a collector are killed thousands of times; what was acknowledged is there after each."""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from validation.endurance.fleet import Fleet

__all__ = ["add_arguments", "run"]

_REPORT_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--kills", type=int, default=10_000, help="SIGKILLs of writers (default: 10000)")
    parser.add_argument("--writers", type=int, default=4, help="writer processes (default: 4)")
    parser.add_argument("--life-ms", type=float, default=35.0, help="mean life after the first answer (default: 35)")
    parser.add_argument("--verify-every", type=int, default=250, metavar="KILLS", help="default: 250")
    parser.add_argument(
        "--age", type=float, default=10.0, metavar="SECONDS", help="retention of checkpoints nobody names"
    )
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="stop after so long, whatever was reached")


def run(options: argparse.Namespace, store: Path) -> int:
    """Run the recipe and return the exit status."""
    fleet = Fleet(store, options.seed, age_s=options.age)
    fleet.life_s = options.life_ms / 1000
    source = random.Random(options.seed)
    begin = reported = time.monotonic()
    until = begin + 60 * options.minutes
    next_check = options.verify_every
    collector_dies = 0.0
    working = True
    while working:
        now = time.monotonic()
        done = fleet.counts["writer kills"]
        working = done < options.kills and now < until and len(fleet.violations) < 20
        numbers = {child.number for child in fleet.children if child.kind == "writer"}
        for number in set(range(options.writers)) - numbers:
            fleet.start_writer(number)
        if not any(child.kind == "collector" for child in fleet.children):
            fleet.start_collector(rest_s=0.01)
            collector_dies = now + source.choice((0.05, 0.3, 3.0)) * source.expovariate(1)
        due = min((child.kill_at for child in fleet.children if child.kill_at is not None), default=now + 0.05)
        fleet.listen(min(due, collector_dies) - now)
        now = time.monotonic()
        for child in list(fleet.children):
            if (child.kind == "collector" and now >= collector_dies) or (child.kill_at or now + 1) <= now:
                fleet.kill(child)
        if done >= next_check or not working:
            next_check = done + options.verify_every
            fleet.kill_all()
            fleet.verify(collect=True)
        if now - reported > _REPORT_S:
            reported = now
            print(_line(fleet, now - begin), flush=True)
    fleet.verify(collect=True, bare=True)
    print(_line(fleet, time.monotonic() - begin))
    after, live = fleet.sizes[-1]
    counts = fleet.counts
    print(
        f"kills {counts['writer kills']} of writers, {counts['collector kills']} of collectors\n"
        f"acknowledgements {counts['acknowledgements']}\n"
        f"heads compared after a kill {counts['heads compared']}\n"
        f"checkpoints read back {counts['checkpoints verified']} in {counts['verifications']} verifications\n"
        f"collections {counts['collections']}, objects removed {counts['objects removed']}, "
        f"gave up {dict(fleet.gave_up)}\n"
        f"scrubs that call remains of a collection or a torn tail damage "
        f"{counts['scrubs that call remains of a collection or a torn tail damage']}\n"
        f"lost or wrong {len(fleet.violations)}\n"
        f"longest open {fleet.longest['open']:.3f} s, longest collection {fleet.longest.get('collection', 0):.3f} s\n"
        f"at the end: bytes after gc {after}, live bytes {live}, ratio {after / live:.3f} "
        f"({counts['names at the end']} names)"
    )
    return 1 if fleet.violations or after > 1.2 * live else 0


def _line(fleet: Fleet, seconds: float) -> str:
    counts = fleet.counts
    after, live = fleet.sizes[-1] if fleet.sizes else (0, 1)
    return (
        f"{seconds:7.0f} s  kills {counts['writer kills']}+{counts['collector kills']}"
        f"  acknowledged {counts['acknowledgements']}  collections {counts['collections']}"
        f"  removed {counts['objects removed']}"
        f"  verified {counts['checkpoints verified']}  bytes/live {after}/{live}  violations {len(fleet.violations)}"
        f"  longest { ({name: round(value, 3) for name, value in fleet.longest.items()}) }"
    )
