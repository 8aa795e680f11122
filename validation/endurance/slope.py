"""Least squares: does something grow?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Slope"]


@dataclass(frozen=True, slots=True)
class Slope:
    """A straight line through points: its mean, its rise per hour, and the error of the latter (one sigma).

    The error takes the points for independent. Neighbours are not, so it is too small rather than too large.
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
        left = sum((y - mean_y - rise * (x - mean_x)) ** 2 for x, y in points)
        error = math.sqrt(left / (count - 2) / spread)
        return cls(mean_y, rise * 3600, error * 3600)

    @property
    def is_zero(self) -> bool:
        """Whether the rise cannot be told from none: within three errors, or under 1 % of the mean an hour."""
        return self.per_hour <= max(3 * self.error_per_hour, 0.01 * abs(self.mean))
