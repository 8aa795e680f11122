"""Percentiles are samples that occurred, intervals cover what they should, and everybody gets his turn."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validation.statistics import Distribution, Series, Subject, interleave, percentile, ratio_of_medians


def series(samples_ns: list[int]) -> Series:
    made = Series()
    for number, sample in enumerate(samples_ns):
        made.add(sample, number)
    return made


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(range(1, 101), share) == expected


def test_the_median_of_two_is_one_of_them() -> None:
    assert percentile([1, 9], 0.5) == 1


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_share_outside_of_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        percentile([1], share)


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_a_percentile_occurred_and_no_smaller_sample_would_do(samples: list[int], share: float) -> None:
    ordered = sorted(samples)
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(sample <= found for sample in ordered) >= share * len(ordered) - 1e-6
    assert sum(sample < found for sample in ordered) < share * len(ordered)


def test_a_distribution_is_in_microseconds_and_does_not_care_for_order() -> None:
    samples_ns = [number * 1000 for number in range(1, 1001)]
    random.Random(0).shuffle(samples_ns)
    assert Distribution.of(samples_ns) == Distribution(1000, 500, 950, 990, 1000)


def test_the_interval_of_a_ratio_contains_the_truth() -> None:
    source = random.Random(1)
    one = series([int(source.lognormvariate(0, 0.3) * 3000) for _ in range(2000)])
    other = series([int(source.lognormvariate(0, 0.3) * 1000) for _ in range(2000)])
    ratio = ratio_of_medians(one, other)
    assert ratio.low <= ratio.value <= ratio.high
    assert ratio.low < 3 < ratio.high
    assert ratio.high / ratio.low < 1.2


def test_what_disturbs_both_cancels_out() -> None:
    """A machine that is ten times slower for half of the run makes both slower: the ratio hardly moves."""
    slow = [10 if number < 200 else 1 for number in range(400)]
    one = series([2000 * factor + number % 7 for number, factor in enumerate(slow)])
    other = series([1000 * factor + number % 5 for number, factor in enumerate(slow)])
    ratio = ratio_of_medians(one, other)
    assert 1.9 < ratio.low <= ratio.high < 2.1


def test_a_slow_stretch_widens_the_interval_of_a_percentile() -> None:
    """Noise that comes in stretches counts as few observations and not as many."""
    source = random.Random(2)
    stretches = [5000 if number // 100 % 10 == 0 else 1000 for number in range(4000)]
    shuffled = stretches.copy()
    source.shuffle(shuffled)
    wide, narrow = series(stretches).percentile_us(0.9), series(shuffled).percentile_us(0.9)
    assert wide.low == 1
    assert wide.high == 5
    assert narrow.value == wide.value


def test_the_first_sample_of_a_burst_does_not_bias_the_interval() -> None:
    """A long series is thinned for the bootstrap. Taking every second sample of bursts of ten doubled the share of the
    first ones, which are slow: the interval then lay above the percentile itself."""
    source = random.Random(4)
    made = Series()
    for number in range(1000):
        for position in range(10):
            made.add(source.randrange(1000, 2000) + (2000 if position == 0 else 0), number)
    found = made.percentile_us(0.85)
    assert found.low <= found.value <= found.high < 2


def test_the_same_samples_give_the_same_interval() -> None:
    one, other = series([random.Random(3).randrange(1000, 2000) for _ in range(100)]), series([1000] * 100)
    assert ratio_of_medians(one, other) == ratio_of_medians(one, other)


def test_a_few_samples_get_the_widest_interval() -> None:
    ratio = ratio_of_medians(series([2000, 4000]), series([1000, 2000]))
    assert (ratio.low, ratio.high) == (1, 4)
    assert series([3000, 1000, 2000]).percentile_us(0.5).low == 1


def test_a_calibrated_overhead_is_taken_off_the_denominator() -> None:
    ratio = ratio_of_medians(series([9000] * 10), series([4000] * 10), offset_ns=1000)
    assert (ratio.low, ratio.value, ratio.high) == (3, 3, 3)


def recorder(name: str, order: list[str]) -> Callable[[int], int]:
    def sample(number: int) -> int:
        order.append(f"{name}{number}")
        return number

    return sample


def test_subjects_take_turns_and_who_begins_rotates() -> None:
    order: list[str] = []
    subjects = [Subject("a", recorder("a", order)), Subject("b", recorder("b", order))]
    found = interleave(subjects, 3, warmup=0)
    assert order == ["a0", "b0", "b1", "a1", "a2", "b2"]
    assert list(found) == ["a", "b"]
    assert list(found["a"].samples_ns) == [0, 1, 2]


def test_the_warm_up_is_taken_and_not_counted() -> None:
    order: list[str] = []
    found = interleave([Subject("a", recorder("a", order), burst=2)], 2, warmup=1)
    assert order == ["a0", "a1", "a2", "a3", "a4", "a5"]
    assert list(found["a"].samples_ns) == [2, 3, 4, 5]
    assert list(found["a"].rounds) == [0, 0, 1, 1]


def test_a_slow_subject_takes_part_in_some_rounds() -> None:
    found = interleave([Subject("fast", lambda n: n), Subject("slow", lambda n: n, every=5)], 20, warmup=0)
    assert len(found["fast"]) == 20
    assert list(found["slow"].rounds) == [0, 5, 10, 15]


def test_a_budget_of_seconds_ends_after_a_whole_round() -> None:
    found = interleave([Subject("a", lambda n: n), Subject("b", lambda n: n)], 10, warmup=0, seconds=0)
    assert len(found["a"]) == len(found["b"]) >= 1


def test_two_subjects_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        interleave([Subject("a", lambda n: n), Subject("a", lambda n: n)], 1)
