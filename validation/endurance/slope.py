"""Least squares: does something grow?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Slope"]

# More would call every slope zero.
_CORRELATION_MAX = 0.9


@dataclass(frozen=True, slots=True)
class Slope:
    """A straight line through points: its mean, its rise per hour, and the error of the latter (one sigma).

    Neighbours are not independent: memory and disk go up and down in saw-teeth of several minutes. What a point says
    about the next one is taken from the distances to the line (their lag-1 correlation r), and the error grows by
    sqrt((1 + r) / (1 - r)), as it does where each value carries on a share r of the one before it.
    """

    mean: float
    per_hour: float
    error_per_hour: float

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> Slope:
        """Fit points of (seconds, value); at least three at different times."""
        if len(points) < 3:
            raise ValueError("three points are the fewest")
        count = len(points)
        mean_x = sum(x for x, _ in points) / count
        mean_y = sum(y for _, y in points) / count
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        if spread == 0:
            raise ValueError("all points are at one time")
        rise = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
        distances = [y - mean_y - rise * (x - mean_x) for x, y in sorted(points)]
        left = sum(distance**2 for distance in distances)
        error = math.sqrt(left / (count - 2) / spread * _inflation(distances, left))
        return cls(mean_y, rise * 3600, error * 3600)

    @property
    def is_zero(self) -> bool:
        """Whether the rise cannot be told from none: within three errors, or under 1 % of the mean an hour."""
        return self.per_hour <= max(3 * self.error_per_hour, 0.01 * abs(self.mean))


def _inflation(distances: Sequence[float], squares: float) -> float:
    """How much larger the variance of a rise is than with independent distances of which these are the squares' sum."""
    if squares == 0:
        return 1.0
    both = sum(left * right for left, right in pairwise(distances))
    correlation = min(max(both / squares, 0.0), _CORRELATION_MAX)
    return (1 + correlation) / (1 - correlation)
