"""Statistics of short sequences, and of a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """The middle value; of an even count, the mean of the middle two."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile, interpolated between its two neighbours."""
    if not 0 <= percent <= 100:
        raise ValueError("a percentile lies between 0 and 100")
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    share = position - below
    return ordered[below] * (1 - share) + ordered[above] * share


def moving_mean(values: Sequence[float], size: int) -> list[float]:
    """The mean of each run of ``size`` neighbours."""
    if size < 1:
        raise ValueError("size must be at least 1")
    if len(values) < size:
        return []
    total = sum(values[:size])
    means = [total / size]
    for i in range(size, len(values)):
        total += values[i] - values[i - size]
        means.append(total / size)
    return means


def moving_max(values: Sequence[float], size: int) -> list[float]:
    """The greatest of each run of ``size`` neighbours, in linear time."""
    best: deque[int] = deque()
    result: list[float] = []
    for i, value in enumerate(values):
        while best and values[best[-1]] <= value:
            best.pop()
        best.append(i)
        if best[0] <= i - size:
            best.popleft()
        if i >= size - 1:
            result.append(values[best[0]])
    return result


def longest_run(values: Sequence[float]) -> int:
    """The length of the longest run of neighbours which do not decrease."""
    longest = current = 0
    for i, value in enumerate(values):
        if i > 0 and value >= values[i - 1]:
            current += 1
        else:
            current = 1
        longest = max(longest, current)
    return longest


class Running:
    """Count, mean and variance of a stream, by Welford's method."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, value: float) -> None:
        """Take one more value into account."""
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self._squares += delta * (value - self.mean)

    def variance(self) -> float:
        """The sample variance; 0 of fewer than two values."""
        if self.count < 2:
            return 0.0
        return self._squares / (self.count - 1)
