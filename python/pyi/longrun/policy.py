"""When a session makes a checkpoint: after so many steps, so many seconds, or as seldom as keeps its cost low."""

from __future__ import annotations

import math
from typing import Final

from pyi.errors import InvalidArgument

__all__ = ["Policy", "check_name", "is_count", "is_text"]

_SMOOTHING: Final = 0.25
"""How much of the estimate the latest cost makes up."""


def is_count(value: object) -> bool:
    """Whether it is an int, and not one of the bools that Python counts among them."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(name: str) -> bool:
    """Whether a name has a form in UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(name: object) -> None:
    """Check that it can be a session's name, before a file is made that bears it.

    Raises:
        TypeError: It is no str.
        InvalidArgument: It is empty, or has no form in UTF-8.
    """
    if not isinstance(name, str):
        raise TypeError(f"a session's name is a str, not {type(name).__name__}")
    if not name or not is_text(name):
        raise InvalidArgument(
            f"session name {name!r}: give it one that is text and not empty, by which it is found again"
        )


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


class Policy:
    """Decides after each step; whichever of its limits is reached first counts.

    Args:
        every: Steps between checkpoints; None: however many.
        seconds: Seconds between checkpoints; None: however many.
        cost: The greatest share of the time that checkpoints may take, such as 0.02, by what they cost so far;
            None: any. If all three are None, every step gets its checkpoint.

    Raises:
        InvalidArgument: A limit that makes no sense.
    """

    def __init__(self, every: int | None = None, seconds: float | None = None, cost: float | None = None) -> None:
        """Check and keep the limits."""
        if every is None and seconds is None and cost is None:
            every = 1
        if every is not None and (not is_count(every) or every < 1):
            raise InvalidArgument(f"every={every!r}: the steps between two checkpoints, at least 1")
        if seconds is not None and not (_is_finite(seconds) and seconds >= 0):
            raise InvalidArgument(f"seconds={seconds!r}: the seconds between two checkpoints, at least 0")
        if cost is not None and not 0 < cost < 1:
            raise InvalidArgument(f"cost={cost!r}: a share of the time, between 0 and 1, such as 0.02")
        self.every, self.seconds, self.cost = every, seconds, cost
        self.always = every == 1
        """Whether each step gets one, so that nobody needs to ask."""
        self._estimate_s: float | None = None
        self._last_s = 0.0

    def start(self, now_s: float) -> None:
        """Count from now on: a loop begins. O(1)."""
        self._last_s = now_s

    def due(self, steps: int, now_s: float) -> bool:
        """Whether it is time, so many steps after the last checkpoint. O(1)."""
        if self.every is not None and steps >= self.every:
            return True
        passed_s = now_s - self._last_s
        if self.seconds is not None and passed_s >= self.seconds:
            return True
        return self.cost is not None and passed_s * self.cost >= (self._estimate_s or 0.0)

    def made(self, cost_s: float, now_s: float) -> None:
        """Take note of a checkpoint that took so long and ended now. O(1)."""
        self._last_s = now_s
        known = self._estimate_s
        self._estimate_s = cost_s if known is None else known + _SMOOTHING * (cost_s - known)
