"""What has to be in the store, after what was acknowledged and what was only begun.

A *register* is something with a value and one writer at a time: a named workspace, a branch of one writer, a kept
checkpoint. Its value is a checkpoint's id and digest. What was begun and not acknowledged when its writer died may have
happened or not. The branch `main` is everybody's: each move of it is an edge from the head that it expects to its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["NOTHING", "Edge", "Model", "Move", "Register", "Value", "Young"]


class Value(NamedTuple):
    """What a register holds. An id of "?" stands for one that is not known yet, an empty one for nothing."""

    id: str
    digest: str

    def fits(self, found: Value) -> bool:
        """Whether `found` in the store can be this."""
        return self.digest == found.digest and self.id in ("?", found.id)


NOTHING = Value("", "")


class Move(NamedTuple):
    """A value that a register got, or was about to get (`begun`)."""

    time: float
    value: Value
    begun: bool


@dataclass(slots=True)
class Register:
    """One register: what it was acknowledged to hold, and what it was about to hold."""

    value: Value = NOTHING
    begun: list[Value] = field(default_factory=list)
    trail: deque[Move] = field(default_factory=lambda: deque(maxlen=2000))

    def allows(self, found: Value) -> bool:
        """Whether the store may have this value there, with nobody writing."""
        return any(value.fits(found) for value in (self.value, *self.begun))

    def allowed_between(self, found: Value, begin: float, end: float) -> bool:
        """Whether it may have had this value at some moment between two times."""
        possible = [NOTHING] if len(self.trail) < (self.trail.maxlen or 0) else []
        for move in self.trail:
            if move.time > end:
                break
            if not move.begun and move.time < begin:
                possible.clear()
            possible.append(move.value)
        return any(value.fits(found) for value in possible)


class Edge(NamedTuple):
    """A move of `main`."""

    expect: str
    acknowledged: bool
    digest: str


class Young(NamedTuple):
    """A checkpoint that was acknowledged, and not made before `time`."""

    id: str
    digest: str
    time: float
    by: str = ""


class Model:
    """Everything that was said by all writers so far."""

    def __init__(self, age_s: float, *, keeps_trail: bool = False) -> None:
        """Start with nothing; checkpoints that nobody names stay for `age_s`."""
        self.age_s = age_s
        self.registers: dict[str, Register] = {}
        self.edges: dict[str, Edge] = {}
        self.main_seen = ""
        self.young: deque[Young] = deque()
        self.old: deque[Young] = deque(maxlen=300)
        self._keeps_trail = keeps_trail

    def begin(self, key: str, value: Value, time: float) -> None:
        """Take note that a register is about to change."""
        register = self.registers.setdefault(key, Register())
        register.begun.append(value)
        if self._keeps_trail:
            register.trail.append(Move(time, value, True))

    def done(self, key: str, value: Value, time: float) -> None:
        """Take note that a register has changed, and that its writer was told."""
        register = self.registers[key]
        register.value = value
        register.begun.clear()
        if self._keeps_trail:
            register.trail.append(Move(time, value, False))
        self._forget(key)

    def refused(self, key: str) -> None:
        """Take note that a change did not happen."""
        self.registers[key].begun.clear()

    def found(self, key: str, value: Value) -> str | None:
        """Take note of what a register was found to hold while nobody else wrote to it; return what is wrong."""
        register = self.registers.setdefault(key, Register())
        if not register.allows(value):
            return f"{key} is {value}, acknowledged was {register.value}, begun {register.begun}"
        register.value = value
        register.begun.clear()
        self._forget(key)
        return None

    def _forget(self, key: str) -> None:
        # No checkpoint is kept twice; names and branches come again.
        if key.startswith("kept") and self.registers[key].value == NOTHING:
            del self.registers[key]

    def checkpoint(self, id: str, digest: str, time: float, by: str) -> None:
        """Take note of a checkpoint that was acknowledged; the time is one before it was made."""
        self.young.append(Young(id, digest, time, by))

    def moving_main(self, expect: str, id: str, digest: str) -> None:
        """Take note that somebody is about to move `main`."""
        self.edges[id] = Edge(expect, False, digest)

    def moved_main(self, id: str) -> None:
        """Take note that `main` has moved, and that its mover was told."""
        self.edges[id] = self.edges[id]._replace(acknowledged=True)

    def main_not_moved(self, id: str) -> None:
        """Take note that a move was refused."""
        self.edges.pop(id, None)

    def check_main(self, head: str) -> str | None:
        """Whether `main` got where it is by moves that were made, with all that were acknowledged among them."""
        place, passed = head, set()
        while place != self.main_seen:
            edge = self.edges.get(place)
            if edge is None or place in passed:
                return f"main is at {head}; {place} on the way from {self.main_seen} was never published"
            passed.add(place)
            place = edge.expect
        lost = [id for id, edge in self.edges.items() if edge.acknowledged and id not in passed]
        return f"main is at {head}; lost on the way: {lost[:5]} ({len(lost)})" if lost else None

    def main_is(self, head: str) -> None:
        """Start over from a head of `main` that was checked, with nobody writing."""
        self.main_seen = head
        self.edges.clear()

    def grow_old(self, now: float) -> None:
        """Forget what is older than retention keeps it; some of it is remembered as such."""
        while self.young and self.young[0].time + self.age_s < now:
            self.old.append(self.young.popleft())
