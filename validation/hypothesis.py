"""What a claim is, what a finding is, and how the verdict follows from the finding. Measures nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from validation.statistics import Distribution, Interval, Series, ratio_of_medians

if TYPE_CHECKING:
    from validation.lab import Lab

__all__ = ["Check", "Experiment", "Finding", "Guarantees", "Hypothesis", "Peer", "Verdict", "below", "compare"]

Verdict = Literal["holds", "falls short", "not measured", "no target"]
Relation = Literal["<", "<=", "="]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A claim that a measurement can refute.

    Attributes:
        id: Short and unique, `noun.what`.
        claim: One sentence.
        target: When the claim holds, in words; empty for a comparison without one.
        source: Where the claim is made (`issue 2 g`).
    """

    id: str
    claim: str
    target: str
    source: str


@dataclass(frozen=True, slots=True)
class Check:
    """One number against one limit."""

    what: str
    value: float
    relation: Relation
    limit: float
    unit: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the estimate is on the right side."""
        return self._holds(self.value)

    @property
    def decided(self) -> bool:
        """Whether the whole interval is on the estimate's side: if not, the run was too short or too noisy to tell."""
        ends = [end for end in (self.low, self.high) if end is not None]
        return all(self._holds(end) == self.holds for end in ends)

    def _holds(self, value: float) -> bool:
        if self.relation == "<":
            return value < self.limit
        return value <= self.limit if self.relation == "<=" else value == self.limit


def below(what: str, estimate: Interval | float, limit: float, unit: str = "", *, relation: Relation = "<") -> Check:
    """Return the check that an estimate is below a limit."""
    if isinstance(estimate, Interval):
        return Check(what, estimate.value, relation, limit, unit, estimate.low, estimate.high)
    return Check(what, estimate, relation, limit, unit)


@dataclass(frozen=True, slots=True)
class Guarantees:
    """What a way of working gives besides its speed.

    Attributes:
        isolated: Another agent's change is not seen.
        history: Earlier versions can be brought back.
        survives: What a saved change survives: `nothing`, `kill -9`, `power loss`.
        directory: Ordinary programs can run in it.
    """

    isolated: bool
    history: bool
    survives: str
    directory: bool


@dataclass(frozen=True, slots=True)
class Peer:
    """Something measured in the same run.

    Attributes:
        name: What it is, with its version.
        step: What one sample of it did.
        measured: Its distribution.
        ratio: The median of ours over its median; below 1 we are faster.
        guarantees: What it gives.
        step_bytes: What one step adds to its files, if that is known.
    """

    name: str
    step: str
    measured: Distribution
    ratio: Interval | None = None
    guarantees: Guarantees | None = None
    step_bytes: int | None = None


def compare(
    name: str,
    step: str,
    ours: Series,
    theirs: Series,
    guarantees: Guarantees | None = None,
    step_bytes: int | None = None,
) -> Peer:
    """Return the peer with the ratio of the medians and its interval."""
    return Peer(name, step, theirs.distribution(), ratio_of_medians(ours, theirs), guarantees, step_bytes)


@dataclass(slots=True)
class Finding:
    """What was measured for one hypothesis.

    Attributes:
        hypothesis: Which.
        subject: What one sample did, and on what.
        measured: The distribution of our latency, if the claim is about one.
        changes: Changes (files written, candidates, commits) that all samples together cover.
        durability: Class that the figures hold for; None if nothing was stored.
        checks: Numbers against limits; the verdict follows from them.
        peers: Measured in the same run.
        unmeasured: Why the claim was not measured (in full); it then has no verdict, whatever the numbers are.
        guarantees: What our own side gives, when it is set beside peers.
        step_bytes: What one step of ours adds to the store, when it is set beside peers.
        rows: Further distributions of our own, by what they are.
        values: Further numbers by name.
        notes: What a reader must know.
    """

    hypothesis: Hypothesis
    subject: str = ""
    measured: Distribution | None = None
    changes: int | None = None
    durability: str | None = None
    checks: list[Check] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    unmeasured: str | None = None
    guarantees: Guarantees | None = None
    step_bytes: int | None = None
    rows: dict[str, Distribution] = field(default_factory=dict)
    values: dict[str, float | int | str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """Return what follows from the numbers."""
        if self.unmeasured is not None:
            return "not measured"
        if not self.checks:
            return "no target"
        return "holds" if all(check.holds for check in self.checks) else "falls short"

    @property
    def decided(self) -> bool:
        """Whether noise cannot have turned the verdict: every check that matters for it is decided."""
        if self.verdict == "falls short":
            return any(not check.holds and check.decided for check in self.checks)
        return all(check.decided for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-like data."""
        data = asdict(self)
        for check, found in zip(self.checks, data["checks"], strict=True):
            found.update(holds=check.holds, decided=check.decided)
        return {**data, "verdict": self.verdict, "decided": self.decided}


@dataclass(frozen=True, slots=True)
class Experiment:
    """How some hypotheses are measured.

    Attributes:
        name: Given on the command line.
        hypotheses: All of them get a finding, measured or not.
        run: Yields the findings.
        needs: Names in `pyi` without which it cannot run, such as `Repository.import_git`.
    """

    name: str
    hypotheses: tuple[Hypothesis, ...]
    run: Callable[[Lab], Iterable[Finding]]
    needs: tuple[str, ...] = ()
