"""`soak`: writers, collections, scrubs, backups, restores and kills for hours; memory and disk must not grow.

Two writers, a collector that scrubs, and a process that makes backups live from the beginning to the end: their memory
is what is looked at. Two more writers and a second collector are killed again and again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import time
from collections import defaultdict
from pathlib import Path

from validation.endurance.children import Child, Event, spawn
from validation.endurance.fleet import Fleet
from validation.endurance.keeper import Duty, keep_backups
from validation.endurance.slope import Slope
from validation.endurance.verify import verify_backup

__all__ = ["add_arguments", "run"]

_STEADY = ("steady writer", "steady collector", "keeper")
_RESTORE_EVERY = 5
_TRAIL_MARGIN_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--hours", type=float, default=72.0, help="default: 72")
    parser.add_argument(
        "--pause-ms", type=float, default=100.0, help="a writer's mean pause between steps (default: 100)"
    )
    parser.add_argument(
        "--life", type=float, default=3.0, metavar="SECONDS", help="mean life of what is killed (default: 3)"
    )
    parser.add_argument(
        "--age", type=float, default=30.0, metavar="SECONDS", help="retention of checkpoints nobody names"
    )
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="a line, a backup, a verification")
    parser.add_argument(
        "--warm-up", type=float, default=0.2, metavar="SHARE", help="left out of the slopes (default: 0.2)"
    )


class _Soak:
    """One run."""

    def __init__(self, options: argparse.Namespace, store: Path) -> None:
        self.options = options
        self.place = store.parent
        self.fleet = Fleet(store, options.seed, age_s=options.age, keeps_trail=True)
        self.fleet.life_s = options.life
        self.fleet.others["backed up"] = self._backed_up
        self.points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.source = random.Random(options.seed)
        self.to_restore: tuple[Path, float, float] | None = None
        self.begin = time.monotonic()

    def run(self) -> None:
        """Run to the end."""
        fleet, options = self.fleet, self.options
        pause_s = options.pause_ms / 1000
        for number in (0, 1):
            fleet.start_writer(number, pause_s=pause_s, kind="steady writer")
        fleet.start_collector(rest_s=2.0, kind="steady collector", scrub_share=0.3)
        duty = Duty(fleet.store, self.place / "backups", options.every, fleet.halted)
        fleet.add(spawn("keeper", 0, lambda say: keep_backups(duty, say)))
        until = self.begin + 3600 * options.hours
        next_line = self.begin + options.every
        collector_dies = 0.0
        while time.monotonic() < until and len(fleet.violations) < 20:
            self._replace(pause_s)
            if not any(child.kind == "collector" for child in fleet.children):
                fleet.start_collector(rest_s=3.0)
                collector_dies = time.monotonic() + self.source.expovariate(1 / (4 * options.life))
            fleet.listen(0.02)
            now = time.monotonic()
            for child in list(fleet.children):
                due = collector_dies if child.kind == "collector" else child.kill_at
                if child.kind in ("writer", "collector") and due is not None and due <= now:
                    fleet.kill(child)
            if now >= next_line:
                next_line += options.every
                self._check()
                self._line()
        fleet.kill_all()
        fleet.verify(collect=True)

    def _replace(self, pause_s: float) -> None:
        living = {child.number for child in self.fleet.children if child.kind == "writer"}
        for number in {2, 3} - living:
            self.fleet.start_writer(number, pause_s=pause_s)
        steady = [child.kind for child in self.fleet.children if child.kind in _STEADY]
        if len(steady) < 4 and not self.fleet.violations:
            self.fleet.violate(f"of those that must live {steady} are left")

    def _backed_up(self, child: Child, event: Event) -> None:
        _, target, begin, end, full, copied, _ = event
        counts = self.fleet.counts
        counts["backups"] += 1
        counts["full backups"] += full
        counts["backup bytes"] += copied
        # The newest one is restored: where another backup came before that, what counts is when that one was made.
        if counts["backups"] % _RESTORE_EVERY == 1 or self.to_restore is not None:
            self.to_restore = (Path(target), begin - _TRAIL_MARGIN_S, end + _TRAIL_MARGIN_S)

    def _check(self) -> None:
        """Let everybody wait, and have everything compared with what was acknowledged."""
        fleet = self.fleet
        if not fleet.halt():
            late = [f"{child.kind} {child.number}\n{child.where()}" for child in fleet.children if not child.paused]
            fleet.violate("did not come to rest: " + "; ".join(late))
        else:
            fleet.verify(collect=False)
        if self.to_restore is not None:
            target, begin, end = self.to_restore
            place = self.place / "restored"
            fleet.run_alone("restorer", lambda say: verify_backup(target, place, fleet.model, begin, end, say))
            shutil.rmtree(place, ignore_errors=True)
            self.to_restore = None
        fleet.go_on()

    def _line(self) -> None:
        fleet = self.fleet
        seconds = time.monotonic() - self.begin
        store_bytes = sum(_sizes(fleet.store))
        figures: dict[str, float] = {
            "store_bytes": store_bytes,
            "backup_bytes": sum(_sizes(self.place / "backups")),
            "parent_rss_bytes": _memory(os.getpid()),
        }
        if fleet.sizes:
            figures["live_bytes"] = fleet.sizes[-1][1]
        for child in fleet.children:
            if child.kind in _STEADY:
                name = f"{child.kind} {child.number}".replace(" ", "_")
                figures[f"{name}_rss_bytes"] = _memory(child.pid)
                figures[f"{name}_open_files"] = _open_files(child.pid)
        for name, value in figures.items():
            self.points[name].append((seconds, value))
        line = {
            "seconds": round(seconds),
            **figures,
            "violations": len(fleet.violations),
            "gave_up": dict(fleet.gave_up),
            "longest_s": {name: round(value, 3) for name, value in fleet.longest.items()},
            **fleet.counts,
        }
        print(json.dumps(line), flush=True)

    def slopes(self) -> bool:
        """Print the slopes; whether none of those that matter rises."""
        first = self.options.warm_up * (time.monotonic() - self.begin)
        flat = True
        for name, points in self.points.items():
            late = [point for point in points if point[0] >= first]
            if len(late) < 3:
                continue
            slope = Slope.of(late)
            matters = name not in ("backup_bytes", "live_bytes")
            flat = flat and (slope.is_zero or not matters)
            print(
                f"{name}: mean {slope.mean:,.0f}, {slope.per_hour:+,.0f} +- {slope.error_per_hour:,.0f} an hour "
                f"({len(late)} points){'' if slope.is_zero else '  RISES'}"
            )
        return flat


def run(options: argparse.Namespace, store: Path) -> int:
    """Run the recipe and return the exit status."""
    soak = _Soak(options, store)
    soak.run()
    flat = soak.slopes()
    print(f"violations {len(soak.fleet.violations)}")
    return 1 if soak.fleet.violations or not flat else 0


def _sizes(place: Path) -> list[int]:
    found = []
    for directory, _, names in os.walk(place):
        for name in names:
            try:
                found.append((Path(directory) / name).stat().st_blocks * 512)
            except FileNotFoundError:
                continue
    return found


def _memory(pid: int) -> int:
    """Return the private memory of a process: what only it holds, without the files that it maps."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def _open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
