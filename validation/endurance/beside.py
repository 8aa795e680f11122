"""`beside`: many writers at a fixed offered load, without and with a collector below a cap, in turns.

Two stores take turns, a slice each: one has no cap and is never collected, the other one collects by itself. The
offered load is the same for both, and so are the processes.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyi
from validation.endurance.children import Child, Event, Say, hear, spawn
from validation.endurance.offered import Load, fill, offer
from validation.endurance.verify import compare_held
from validation.statistics import Distribution

__all__ = ["add_arguments", "run"]

_PROCESSES = 2
_FILLED = 0.8
_SAMPLE_S = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--minutes", type=float, default=10.0, help="in total (default: 10)")
    parser.add_argument("--writers", type=int, default=64, help="threads in two processes (default: 64)")
    parser.add_argument("--rate", type=float, default=400.0, help="offered steps a second, all together (default: 400)")
    parser.add_argument("--cap-mb", type=int, default=128, help="cap of the store that collects (default: 128)")
    parser.add_argument("--slice", type=float, default=30.0, metavar="SECONDS", help="default: 30")


def run(options: argparse.Namespace, store: Path) -> int:
    """Run the recipe and return the exit status."""
    cap_bytes = options.cap_mb << 20
    stores = (store.with_name("free"), store.with_name("capped"))
    trouble: list[str] = []
    held: list[dict[str, tuple[str, str]]] = [{}, {}]
    took: list[tuple[int, int, int]] = []

    def take(events: list[Event]) -> None:
        for name, *rest in events:
            if name in ("violation", "error"):
                trouble.append(" ".join(str(part) for part in rest))
                print(f"VIOLATION {trouble[-1]}", flush=True)
            elif name == "held":
                which, key, id, said = rest
                held[which][key] = (id, said)
            elif name == "took":
                took.extend((row[0], row[1], row[2]) for row in rest[0])

    for place in stores:
        _alone(lambda say, place=place: fill(place, say, bytes_to_fill=int(cap_bytes * _FILLED)), take)  # type: ignore[misc]
    _alone(lambda say: _set_cap(stores[1], cap_bytes), take)

    slices = max(2, round(options.minutes * 60 / options.slice))
    begin, threads = time.monotonic() + 2, options.writers // _PROCESSES
    children = []
    for process in range(_PROCESSES):
        interval = options.writers / options.rate
        load = Load(stores, process, threads, process * threads, interval, begin, options.slice, slices)
        children.append(spawn("writers", process, lambda say, load=load: offer(load, say)))  # type: ignore[misc]
    sizes = _watch(children, stores[1], begin, take)
    for place, names in zip(stores, held, strict=True):
        _alone(lambda say, place=place, names=names: compare_held(place, names, say), take)  # type: ignore[misc]

    free, capped = (sorted(row for row in took if row[0] % 2 == which) for which in (0, 1))
    print(
        f"offered {options.rate:.0f}/s by {options.writers} threads, {slices} slices of {options.slice:.0f} s; "
        f"steps {len(took)}"
    )
    ratios = []
    for column, what in ((1, "from when it was due"), (2, "from its begin")):
        one, two = (Distribution.of(row[column] * 1000 for row in rows) for rows in (free, capped))
        ratios.append(two.p99_us / one.p99_us)
        for name, found in (("without", one), ("with gc", two)):
            print(f"{name} {what}: {_text(found)}")
        print(f"ratio of p99, {what}: {ratios[-1]:.2f}")
        for number in range(slices):
            rows = [row[column] * 1000 for row in took if row[0] == number]
            if rows:
                print(f"  slice {number} {'with gc' if number % 2 else 'without'}: {_text(Distribution.of(rows))}")
    most = max(size for _, size, _ in sizes)
    largest = max(largest for _, _, largest in sizes)
    falls = sum(1 for before, after in itertools.pairwise(sizes) if after[1] < before[1])
    print(
        f"capped store: at most {most} bytes of {cap_bytes} ({most / cap_bytes:.3f}), largest segment {largest}, "
        f"collections seen {falls}; every 10 s: {[round(size / 2**20) for _, size, _ in sizes[::40]]} MB"
    )
    print(f"names compared {[len(names) for names in held]}, wrong or lost {len(trouble)}")
    return 1 if trouble or ratios[0] > 2 else 0


def _text(found: Distribution) -> str:
    p50, p95, p99, most = (value / 1000 for value in (found.p50_us, found.p95_us, found.p99_us, found.max_us))
    return f"p50 {p50:.3f} p95 {p95:.3f} p99 {p99:.3f} max {most:.1f} ms ({found.count} steps)"


def _watch(
    children: list[Child], store: Path, begin: float, take: Callable[[list[Event]], None]
) -> list[tuple[float, int, int]]:
    """Listen to the writers until they end, and look how large the segments of a store are meanwhile."""
    sizes = []
    while children:
        for child in hear(children, _SAMPLE_S):
            take(child.read())
            if child.ended:
                children.remove(child)
                child.bury()
        found = _segment_sizes(store)
        sizes.append((time.monotonic() - begin, sum(found), max(found, default=0)))
        time.sleep(0 if not children else _SAMPLE_S / 10)
    return sizes


def _segment_sizes(store: Path) -> list[int]:
    found = []
    for place in (store / ".pyi" / "segments").glob("*.seg"):
        try:
            found.append(place.stat().st_size)
        except FileNotFoundError:
            continue
    return found


def _alone(run: Callable[[Say], Any], take: Callable[[list[Event]], None]) -> None:
    child = spawn("helper", 0, run)
    while not child.ended:
        take(child.read())
    if child.bury() != 0:
        raise SystemExit("error: a helper failed")


def _set_cap(store: Path, cap_bytes: int) -> None:
    with pyi.open(store) as repo:
        repo.retention(cap_bytes=cap_bytes)
