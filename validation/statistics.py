"""Samples: how they are taken in turns, and how they are summed up. Knows nothing of what is measured.

Percentiles are samples that occurred (nearest rank), never interpolated. Intervals come from resampling whole
stretches of the run: neighbouring samples share a noisy moment of the machine, so they do not count as independent.
"""

from __future__ import annotations

import math
import random
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

__all__ = ["Distribution", "Interval", "Series", "Subject", "interleave", "percentile", "ratio_of_medians"]

_STRETCHES = 40
_RESAMPLES = 400
_MOST_PER_STRETCH = 150
_CONFIDENCE = 0.95
# Resampling fewer than this says nothing: the interval is then everything that was seen.
_FEWEST = 6


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least `share` of all samples do not exceed (nearest rank).

    Args:
        ordered: The samples in ascending order; not empty.
        share: Above 0, at most 1.
    """
    if not ordered:
        raise ValueError("no samples")
    if not 0 < share <= 1:
        raise ValueError(f"a share is above 0 and at most 1, not {share}")
    # The product may come out a hair above a whole number, and the ceiling would then skip a rank.
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Latencies in microseconds, summed up."""

    count: int
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: float

    @classmethod
    def of(cls, samples_ns: Iterable[float]) -> Distribution:
        """Sum up samples in nanoseconds; at least one."""
        ordered = sorted(samples_ns)
        p50, p95, p99 = (percentile(ordered, share) / 1000 for share in (0.50, 0.95, 0.99))
        return cls(len(ordered), p50, p95, p99, ordered[-1] / 1000)

    def to_dict(self) -> dict[str, float]:
        """Return it as JSON-like data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the interval (95 %) that resampling gives it."""

    value: float
    low: float
    high: float


@dataclass(slots=True)
class Series:
    """The samples of one subject, each with the round in which it was taken."""

    samples_ns: array[int] = field(default_factory=lambda: array("q"))
    rounds: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples_ns)

    def add(self, sample_ns: int, number: int) -> None:
        """Append a sample taken in round `number`."""
        self.samples_ns.append(sample_ns)
        self.rounds.append(number)

    def distribution(self) -> Distribution:
        """Sum it up."""
        return Distribution.of(self.samples_ns)

    def median_ns(self) -> float:
        """Return the median sample."""
        return percentile(sorted(self.samples_ns), 0.5)

    def percentile_us(self, share: float, *, seed: int = 0) -> Interval:
        """Return a percentile in microseconds, with its interval from resampled stretches of the run.

        Cost: O(n log n), and about 400 passes over at most 6,000 samples.
        """
        ordered = sorted(self.samples_ns)
        value = percentile(ordered, share) / 1000
        if len(ordered) < _FEWEST:
            return Interval(value, ordered[0] / 1000, ordered[-1] / 1000)
        last = max(self.rounds)
        source = random.Random(seed)
        stretches = _stretches(self, last, source)
        found: list[float] = []
        for _ in range(_RESAMPLES):
            drawn = source.choices(range(len(stretches)), k=len(stretches))
            pool = sorted(sample for index in drawn for sample in stretches[index])
            if pool:
                found.append(percentile(pool, share) / 1000)
        return Interval(value, *_middle(found))


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that takes turns with others.

    Attributes:
        name: How the series is called.
        sample: Takes the n-th sample and returns the nanoseconds; what must not be counted it does outside its clock.
        burst: Samples in one turn. More than one keeps caches as warm as in a program that does only this.
        every: Takes a turn in every so many rounds only; for subjects that are slower by orders of magnitude.
    """

    name: str
    sample: Callable[[int], int]
    burst: int = 1
    every: int = 1


def interleave(
    subjects: Sequence[Subject], rounds: int, *, warmup: int = 1, seconds: float | None = None
) -> dict[str, Series]:
    """Let the subjects take turns (A B A B, and who begins rotates), so that a slow moment falls on all of them.

    Args:
        subjects: With different names.
        rounds: How many turns each of them has (every `every`-th for some).
        warmup: Rounds before the first that counts; all subjects take part.
        seconds: Stop after the round in which this time was over, with the samples there are.

    Returns:
        A series for every subject, in their order.
    """
    if len({subject.name for subject in subjects}) != len(subjects):
        raise ValueError("two subjects have the same name")
    series = {subject.name: Series() for subject in subjects}
    taken = dict.fromkeys(series, 0)
    deadline = None if seconds is None else time.monotonic() + seconds
    for number in range(-warmup, rounds):
        start = number % len(subjects)
        for subject in (*subjects[start:], *subjects[:start]):
            if number >= 0 and number % subject.every:
                continue
            for _ in range(subject.burst):
                elapsed_ns = subject.sample(taken[subject.name])
                taken[subject.name] += 1
                if number >= 0:
                    series[subject.name].add(elapsed_ns, number)
        if deadline is not None and number >= 0 and time.monotonic() > deadline:
            break
    return series


def ratio_of_medians(
    one: Series, other: Series, *, resamples: int = _RESAMPLES, offset_ns: float = 0, seed: int = 0
) -> Interval:
    """Return the median of `one` over the median of `other`, with its interval.

    Both must come from one interleaved run: a resample draws the same stretches of the run for both, so that what
    disturbed both at once cancels out.

    Args:
        one: The numerator.
        other: The denominator.
        resamples: How often to draw.
        offset_ns: Taken off the denominator's median (a calibrated overhead).
        seed: Of the drawing, so that the same samples give the same interval.
    """
    last = max(max(one.rounds), max(other.rounds))
    value = one.median_ns() / max(1.0, other.median_ns() - offset_ns)
    if min(len(one), len(other)) < _FEWEST:
        low = min(one.samples_ns) / max(1.0, max(other.samples_ns) - offset_ns)
        return Interval(value, low, max(one.samples_ns) / max(1.0, min(other.samples_ns) - offset_ns))
    source = random.Random(seed)
    ones, others = _stretches(one, last, source), _stretches(other, last, source)
    found: list[float] = []
    for _ in range(resamples):
        drawn = source.choices(range(len(ones)), k=len(ones))
        upper = sorted(sample for index in drawn for sample in ones[index])
        lower = sorted(sample for index in drawn for sample in others[index])
        if upper and lower:
            found.append(percentile(upper, 0.5) / max(1.0, percentile(lower, 0.5) - offset_ns))
    return Interval(value, *_middle(found))


def _stretches(series: Series, last: int, source: random.Random) -> list[list[int]]:
    """Cut a series into stretches of equal numbers of rounds.

    Long ones are thinned by chance. Every k-th sample would not do: it meets the first samples of bursts, which are
    the cold ones, too often or never.
    """
    cuts: list[list[int]] = [[] for _ in range(min(_STRETCHES, last + 1))]
    for sample, number in zip(series.samples_ns, series.rounds, strict=True):
        cuts[number * len(cuts) // (last + 1)].append(sample)
    return [cut if len(cut) <= _MOST_PER_STRETCH else source.sample(cut, _MOST_PER_STRETCH) for cut in cuts]


def _middle(found: list[float]) -> tuple[float, float]:
    found.sort()
    edge = (1 - _CONFIDENCE) / 2
    return percentile(found, edge), percentile(found, 1 - edge)
