"""Tests of pocket.stats."""

import unittest

from pocket.stats import (
    Running,
    longest_run,
    median,
    moving_max,
    moving_mean,
    percentile,
)


class MedianTest(unittest.TestCase):
    def test_odd(self) -> None:
        self.assertEqual(median([3, 1, 2]), 2)
        self.assertEqual(median([7]), 7)

    def test_even(self) -> None:
        self.assertEqual(median([4, 1, 3, 2]), 2.5)

    def test_none(self) -> None:
        with self.assertRaises(ValueError):
            median([])


class PercentileTest(unittest.TestCase):
    def test_ends(self) -> None:
        self.assertEqual(percentile([3, 1, 2], 0), 1)
        self.assertEqual(percentile([3, 1, 2], 100), 3)

    def test_middle(self) -> None:
        self.assertEqual(percentile([1, 2, 3], 50), 2)

    def test_between(self) -> None:
        self.assertAlmostEqual(percentile([0, 10], 25), 2.5)
        self.assertAlmostEqual(percentile([0, 10, 30], 75), 20)

    def test_each_quarter(self) -> None:
        values = [0, 1, 10, 100, 1000]
        quarters = [percentile(values, percent) for percent in (0, 25, 50, 75, 100)]
        self.assertEqual(quarters, values)
        self.assertAlmostEqual(percentile(values, 30), 2.8)
        self.assertAlmostEqual(percentile(values, 90), 640)

    def test_outside(self) -> None:
        for percent in (-1, 101):
            with self.assertRaises(ValueError):
                percentile([1, 2], percent)


class MovingTest(unittest.TestCase):
    def test_mean(self) -> None:
        self.assertEqual(moving_mean([1, 2, 3, 4, 8], 2), [1.5, 2.5, 3.5, 6.0])

    def test_mean_of_all(self) -> None:
        self.assertEqual(moving_mean([1, 2, 6], 3), [3.0])

    def test_mean_of_too_few(self) -> None:
        self.assertEqual(moving_mean([1, 2], 3), [])

    def test_mean_of_each(self) -> None:
        self.assertEqual(moving_mean([4, 2], 1), [4.0, 2.0])

    def test_mean_of_nothing(self) -> None:
        with self.assertRaises(ValueError):
            moving_mean([1, 2], 0)

    def test_max(self) -> None:
        self.assertEqual(moving_max([1, 3, 2, 0, 5, 4], 3), [3, 3, 5, 5])

    def test_max_falls(self) -> None:
        self.assertEqual(moving_max([5, 4, 3, 2, 1], 2), [5, 4, 3, 2])

    def test_max_of_each(self) -> None:
        self.assertEqual(moving_max([2, 1, 3], 1), [2, 1, 3])

    def test_max_of_too_few(self) -> None:
        self.assertEqual(moving_max([2, 1], 3), [])


class RunTest(unittest.TestCase):
    def test_none(self) -> None:
        self.assertEqual(longest_run([]), 0)

    def test_last(self) -> None:
        self.assertEqual(longest_run([5, 1, 2, 2, 7]), 4)

    def test_first(self) -> None:
        self.assertEqual(longest_run([1, 2, 3, 0, 1]), 3)

    def test_falling(self) -> None:
        self.assertEqual(longest_run([3, 2, 1]), 1)


class RunningTest(unittest.TestCase):
    def test_mean(self) -> None:
        running = Running()
        for value in (2, 4, 9):
            running.add(value)
        self.assertEqual(running.count, 3)
        self.assertAlmostEqual(running.mean, 5)

    def test_variance(self) -> None:
        running = Running()
        for value in (2, 4, 4, 4, 5, 5, 7, 9):
            running.add(value)
        self.assertAlmostEqual(running.variance(), 32 / 7)

    def test_variance_of_two(self) -> None:
        running = Running()
        running.add(1)
        running.add(3)
        self.assertAlmostEqual(running.variance(), 2)

    def test_variance_of_few(self) -> None:
        running = Running()
        self.assertEqual(running.variance(), 0.0)
        running.add(5)
        self.assertEqual(running.variance(), 0.0)
