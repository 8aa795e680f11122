"""Opening: stores of a million and of ten million objects, and what eight processes on one of them need in memory."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from validation import kernel, workloads
from validation.hypothesis import Experiment, Finding, Hypothesis, below
from validation.lab import Lab
from validation.statistics import Distribution

_MILLION = 1_000_000
_PROCESSES = 8
_PAYLOAD_BYTES = 64
_DISK_BYTES_PER_OBJECT = 260

LIMITS_S = {_MILLION: 1, 10 * _MILLION: 5}
OPEN = {
    objects: Hypothesis(
        f"opening.{objects // _MILLION}m",
        f"Opening a store of {objects:,} objects takes less than {limit} s.",
        f"the slowest of {_PROCESSES} processes < {limit} s",
        "issue 3 i",
    )
    for objects, limit in LIMITS_S.items()
}
SHARED = Hypothesis(
    "opening.shared",
    "Eight processes on one store of 10,000,000 objects share its index: the eighth adds less than 20 MB of memory that"
    " only it has.",
    "private memory of the eighth < 20 MB",
    "issue 3 i",
)
LOOKUP = Hypothesis(
    "opening.lookup",
    "A lookup does not get slower with the number of segments: from 1,000,000 to 10,000,000 objects it takes less than"
    " 3 times as long, found or not.",
    "p50 of the processes' means at 10,000,000 < 3x that at 1,000,000",
    "issue 3 i",
)


def run(lab: Lab) -> Iterator[Finding]:
    """Make each store, open it in eight processes at once, and look objects up in each."""
    program = kernel.built("big_store")
    if isinstance(program, str):
        for hypothesis in (*OPEN.values(), SHARED, LOOKUP):
            yield Finding(hypothesis, unmeasured=program)
        return
    sizes = [lab.pick(objects, objects // 100) for objects in OPEN]
    found: list[list[dict[str, Any]]] = []
    for hypothesis, objects, limit in zip(OPEN.values(), sizes, LIMITS_S.values(), strict=True):
        with lab.directory("opening") as place:
            processes = _measure(lab, program, place / "store", objects)
        found.append(processes)
        slowest_s = max(each["open_us"] for each in processes) / 1e6
        yield _quick(
            lab,
            Finding(
                hypothesis,
                f"FileStore::open of {objects:,} objects of {_PAYLOAD_BYTES} bytes"
                f" in {processes[0]['segments']} segments, in each of {_PROCESSES} processes, from Rust;"
                " files in the page cache",
                Distribution.of([each["open_us"] * 1000 for each in processes]),
                durability=workloads.DURABILITY,
                checks=[below("slowest open", slowest_s, limit, "s")],
                values={
                    "descriptors_after_open": processes[0]["descriptors"],
                    "mapped_indexes": processes[0]["maps"],
                    "lookup_found_ns": _middle(processes, "hit_ns"),
                    "lookup_absent_ns": _middle(processes, "miss_ns"),
                    "get_ns": _middle(processes, "get_ns"),
                },
            ),
        )
    last = found[-1][-1]
    yield _quick(
        lab,
        Finding(
            SHARED,
            f"{_PROCESSES} processes with {sizes[-1]:,} objects open, after 200,000 lookups each;"
            " /proc/self/smaps_rollup of the eighth, less what it had before the open",
            checks=[below("private memory of the eighth", last["private_bytes"] / 1e6, 20, "MB")],
            values={
                "private_mb_right_after_open": last["private_at_open_bytes"] / 1e6,
                "shared_mb": last["shared_bytes"] / 1e6,
            },
        ),
    )
    hit = _middle(found[1], "hit_ns") / _middle(found[0], "hit_ns")
    miss = _middle(found[1], "miss_ns") / _middle(found[0], "miss_ns")
    yield _quick(
        lab,
        Finding(
            LOOKUP,
            "store.contains(id) of ids anywhere in the store; means of 200,000 calls, the median process",
            checks=[below("growth where it is found", hit, 3, "x"), below("growth where it is not", miss, 3, "x")],
        ),
    )


def _measure(lab: Lab, program: Path, store: Path, objects: int) -> list[dict[str, Any]]:
    lab.say(f"making a store of {objects:,} objects ({objects * _DISK_BYTES_PER_OBJECT / 1e9:.1f} GB)")
    subprocess.run([program, "make", store, str(objects), str(_PAYLOAD_BYTES)], check=True, capture_output=True)
    lab.say(f"opening it in {_PROCESSES} processes")
    report = kernel.output(program, "measure", store, objects, _PROCESSES, _PAYLOAD_BYTES)
    processes: list[dict[str, Any]] = report["processes"]
    return processes


def _middle(processes: list[dict[str, Any]], field: str) -> float:
    return float(statistics.median(each[field] for each in processes))


def _quick(lab: Lab, finding: Finding) -> Finding:
    if lab.quick:
        finding.unmeasured = "--quick makes stores of a hundredth of the size"
    return finding


EXPERIMENT = Experiment("opening", (*OPEN.values(), SHARED, LOOKUP), run)
