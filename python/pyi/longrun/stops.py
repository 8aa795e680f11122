"""Signals that ask a loop to end: noted while a step runs, acted upon when it is done."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Self

from pyi.errors import InvalidArgument

__all__ = ["Stops", "catchable"]


def catchable(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return the signals, all of which a program can catch: a loop that took over half of them would keep those.

    Raises:
        InvalidArgument: One is no signal, or one of those that nobody can catch.
    """
    found = tuple(numbers)
    for number in found:
        if not isinstance(number, int):
            raise TypeError(f"stop_signals: signals such as signal.SIGTERM, not {type(number).__name__}")
        if number not in signal.valid_signals() or number in {signal.SIGKILL, signal.SIGSTOP}:
            raise InvalidArgument(f"stop_signals: {number!r} is no signal that can be caught; leave it out")
    return found


class Stops:
    """Takes over signals for the time of a loop; as a context manager.

    Only in the main thread, since Python lets no other one; elsewhere, and where a signal is ignored, it does nothing.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        """Name the signals."""
        self._numbers = numbers
        self._previous: dict[int, Any] = {}
        self.received: int | None = None
        """The last signal that came, if one did."""
        _ALL.add(self)

    def __enter__(self) -> Self:
        """Take them over."""
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers:
                previous = signal.getsignal(number)
                # None: a handler that Python did not install and could not put back.
                if previous is not None and previous is not signal.SIG_IGN:
                    self._previous[number] = previous
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back those that nobody else took meanwhile."""
        self.give_back()

    def give_back(self) -> None:
        """Do that; idempotent."""
        if threading.current_thread() is threading.main_thread():
            for number, previous in self._previous.items():
                if signal.getsignal(number) == self._note:
                    signal.signal(number, previous)

    def act(self) -> None:
        """Do what the signal that came would have done: call its handler, or end the program.

        Raises:
            SystemExit: Nobody handles it, and it would have ended the program; 128 and its number, as shells count it.
        """
        if self.received is None:
            return
        previous = self._previous[self.received]
        if callable(previous):
            previous(self.received, None)
        else:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = number


_ALL: weakref.WeakSet[Stops] = weakref.WeakSet()


def _give_back_all() -> None:
    for stops in list(_ALL):
        stops.give_back()


# Whoever forks a worker in a step ends it by SIGTERM (`Process.terminate`), and waits for ever if it only notes that.
os.register_at_fork(after_in_child=_give_back_all)
