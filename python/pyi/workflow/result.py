"""What a race found: one result per candidate, and why one of them won."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from pyi.errors import Corrupt

__all__ = ["CandidateResult", "RaceResult", "Shared", "Status", "best_of", "parse_score", "reason_for"]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Status(StrEnum):
    """How a candidate ended."""

    PASSED = "passed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    ERROR = "error"
    STOPPED = "stopped"

    @property
    def final(self) -> bool:
        """Whether `resume` leaves it alone."""
        return self is not Status.STOPPED


@dataclass(frozen=True, slots=True)
class CandidateResult:
    """One candidate.

    Attributes:
        index: Its number, from 0.
        status: ``passed``, ``failed`` (its test, or without a test its agent, said no), ``timeout``, ``error`` (a
            callable raised, or what was made cannot be captured), ``stopped`` (before its end, by ``first`` or Ctrl-C).
        score: 0.0 unless it passed; then 1.0, or the number that the test gave.
        agent_exit: Exit status of the agent's command; None for a callable.
        test_exit: Exit status of the test's command; None for a callable, or if it did not get there.
        seconds: Time in agent and test.
        files: Changed files.
        lines: Added and removed lines, a changed line counting as both.
        bytes_new: Bytes of the files that are not the base's; all others are shared.
        checkpoint: Id of its last checkpoint.
        workspace: Its name, for ``open_workspace`` and ``pyi changes``.
        tail: End of its output, or of the traceback.
        resumed: It was finished by an earlier run of this race.
    """

    index: int
    status: Status
    score: float = 0.0
    agent_exit: int | None = None
    test_exit: int | None = None
    seconds: float = 0.0
    files: int = 0
    lines: int = 0
    bytes_new: int = 0
    checkpoint: str = ""
    workspace: str | None = None
    tail: str = ""
    resumed: bool = False

    @property
    def passed(self) -> bool:
        """Whether it may win."""
        return self.status is Status.PASSED

    @property
    def rank(self) -> tuple[float, bool, int, int, int]:
        """Sort key, best first: higher score, agent ended with 0, fewer lines, fewer files, lower number."""
        return (-self.score, self.agent_exit not in (None, 0), self.lines, self.files, self.index)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-like data."""
        return {**asdict(self), "status": self.status.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CandidateResult:
        """Read what `to_dict` made; unknown keys are ignored.

        Raises:
            Corrupt: Something is missing or has no known value.
        """
        try:
            known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
            return cls(**{**known, "status": Status(data["status"])})
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"the record of a candidate cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Shared:
    """What the candidates did not have to copy.

    Attributes:
        files: Files in the base.
        bytes: Bytes in the base; every candidate sees them, they exist once.
        stored: Bytes that the whole race added to the store.
    """

    files: int = 0
    bytes: int = 0
    stored: int = 0


@dataclass(frozen=True, slots=True)
class RaceResult:
    """What `race` returns.

    Attributes:
        id: Name of the race; its superposition is ``race/<id>``.
        winner: Number of the winning candidate, None if none passed.
        reason: Why, as a sentence.
        candidates: All of them, in order.
        checkpoint: Id of the checkpoint that the winner collapsed to.
        onto: Engine branch that holds it.
        branch: Git branch that holds its commit.
        commit: Name of that commit.
        base: Id of the checkpoint that all candidates started from.
        shared: What they shared.
        backend: ``overlay``, ``copy``, or ``api`` if agent and test are callables.
        seconds: Time from start to end of this run.
    """

    id: str
    winner: int | None
    reason: str
    candidates: list[CandidateResult] = field(default_factory=list)
    checkpoint: str | None = None
    onto: str | None = None
    branch: str | None = None
    commit: str | None = None
    base: str = ""
    shared: Shared = field(default_factory=Shared)
    backend: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> list[CandidateResult]:
        """The candidates that passed, best first."""
        return sorted((one for one in self.candidates if one.passed), key=lambda one: one.rank)

    def __bool__(self) -> bool:
        """Whether there is a winner."""
        return self.winner is not None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-like data."""
        return {**asdict(self), "candidates": [one.to_dict() for one in self.candidates]}


def best_of(results: Sequence[CandidateResult]) -> CandidateResult | None:
    """Return the winner: of those that passed, the first by `CandidateResult.rank`; None if none passed."""
    return min((one for one in results if one.passed), key=lambda one: one.rank, default=None)


def reason_for(results: Sequence[CandidateResult]) -> str:
    """Say in one sentence why the winner won, or why nobody did."""
    winner = best_of(results)
    if len(results) == 1:
        return "the only candidate did not pass" if winner is None else "the only candidate passed"
    if winner is None:
        return f"none of {len(results)} candidates passed"
    passed = sorted((one for one in results if one.passed), key=lambda one: one.rank)
    if len(passed) == 1:
        return f"the only one of {len(results)} candidates that passed"
    words = f"{len(passed)} of {len(results)} candidates passed"
    second = passed[1]
    if winner.score != second.score:
        return f"{words}; best score: {winner.score:g} (next {second.score:g})"
    if winner.rank[1] != second.rank[1]:
        return f"{words}, with the same score; the others' agents failed"
    if winner.lines != second.lines:
        return f"{words}, with the same score; fewest changed lines: {winner.lines} (next {second.lines})"
    if winner.files != second.files:
        return f"{words}, with the same score and lines; fewest changed files: {winner.files} (next {second.files})"
    return f"{words}, with the same score and size of change; lowest number"


def parse_score(output: str) -> float | None:
    """Return the decimal number that the last line of a test's output is; None if it is something else.

    A NaN, an infinity or a number too large to be finite is something else: they cannot be compared, or end every
    comparison. So are what only Python takes for a number: `1_000`, digits of other scripts.
    """
    last = output.rstrip().rpartition("\n")[2].strip()
    if _NUMBER.fullmatch(last) is None:
        return None
    score = float(last)
    return score if math.isfinite(score) else None
