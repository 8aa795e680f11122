"""Measuring: latencies without disturbing what is measured, and the process's memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Latencies", "Latency", "peak_memory_bytes"]


@dataclass(frozen=True, slots=True)
class Latency:
    """The distribution of one operation's latency, in microseconds."""

    count: int
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: float

    @classmethod
    def of(cls, samples_ns: Iterable[int]) -> Latency:
        """Return the distribution of samples in nanoseconds (nearest rank, no interpolation).

        Cost: O(n log n).
        """
        ordered = sorted(samples_ns)
        if not ordered:
            return cls(0, 0.0, 0.0, 0.0, 0.0)

        def rank(share: float) -> float:
            return ordered[max(0, math.ceil(share * len(ordered)) - 1)] / 1000

        return cls(len(ordered), rank(0.50), rank(0.95), rank(0.99), ordered[-1] / 1000)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-like data."""
        return asdict(self)


class Latencies:
    """The samples of one thread: eight bytes each, one array per operation."""

    OPERATIONS = ("fork", "write", "checkpoint", "restore", "read")

    def __init__(self) -> None:
        """Make it empty."""
        self.fork = array("Q")
        self.write = array("Q")
        self.checkpoint = array("Q")
        self.restore = array("Q")
        self.read = array("Q")

    def add(self, other: Latencies) -> None:
        """Take over another thread's samples."""
        for name in self.OPERATIONS:
            getattr(self, name).extend(getattr(other, name))

    def summary(self) -> dict[str, Latency]:
        """Return the distribution of every operation."""
        return {name: Latency.of(getattr(self, name)) for name in self.OPERATIONS}


def peak_memory_bytes() -> int:
    """Return the most memory that this process ever had resident (VmHWM).

    Cost: reads one file of /proc.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
