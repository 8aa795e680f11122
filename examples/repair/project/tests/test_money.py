"""Tests of pocket.money."""

import unittest

from pocket.money import (
    allocate,
    format_amount,
    instalments,
    parse_amount,
    percentage,
    round_half_even,
)


class ParseTest(unittest.TestCase):
    def test_whole(self) -> None:
        self.assertEqual(parse_amount("12"), 1200)

    def test_decimals(self) -> None:
        self.assertEqual(parse_amount("12.34"), 1234)
        self.assertEqual(parse_amount("12.5"), 1250)
        self.assertEqual(parse_amount(".05"), 5)

    def test_thousands(self) -> None:
        self.assertEqual(parse_amount(" 1,234,567.89 "), 123456789)

    def test_minus(self) -> None:
        self.assertEqual(parse_amount("-3.20"), -320)

    def test_parentheses(self) -> None:
        self.assertEqual(parse_amount("(3.20)"), -320)

    def test_half_a_parenthesis(self) -> None:
        for text in ("(3.20", "3.20)"):
            with self.assertRaises(ValueError):
                parse_amount(text)

    def test_too_fine(self) -> None:
        with self.assertRaises(ValueError):
            parse_amount("1.234")


class FormatTest(unittest.TestCase):
    def test_small(self) -> None:
        self.assertEqual(format_amount(5), "0.05")
        self.assertEqual(format_amount(0), "0.00")

    def test_thousands(self) -> None:
        self.assertEqual(format_amount(123456789, "$"), "$1,234,567.89")

    def test_negative(self) -> None:
        self.assertEqual(format_amount(-150, "$"), "-$1.50")
        self.assertEqual(format_amount(-99), "-0.99")


class RoundTest(unittest.TestCase):
    def test_below_half(self) -> None:
        self.assertEqual(round_half_even(12, 10), 1)

    def test_above_half(self) -> None:
        self.assertEqual(round_half_even(17, 10), 2)

    def test_ties(self) -> None:
        self.assertEqual([round_half_even(n, 2) for n in (1, 3, 5, 7)], [0, 2, 2, 4])

    def test_negative(self) -> None:
        self.assertEqual([round_half_even(n, 10) for n in (-12, -17)], [-1, -2])
        self.assertEqual([round_half_even(n, 2) for n in (-1, -3)], [0, -2])

    def test_percentage(self) -> None:
        self.assertEqual(percentage(1000, 19), 190)
        self.assertEqual(percentage(50, 5), 2)
        self.assertEqual(percentage(70, 5), 4)


class AllocateTest(unittest.TestCase):
    def test_even(self) -> None:
        self.assertEqual(allocate(900, [1, 1, 1]), [300, 300, 300])

    def test_rest_goes_first(self) -> None:
        self.assertEqual(allocate(1000, [1, 1, 1]), [334, 333, 333])
        self.assertEqual(allocate(1001, [1, 1, 1]), [334, 334, 333])

    def test_weights(self) -> None:
        self.assertEqual(allocate(1000, [7, 3]), [700, 300])

    def test_no_weight_gets_nothing(self) -> None:
        self.assertEqual(allocate(100, [0, 1, 1, 1]), [0, 34, 33, 33])

    def test_bad_weights(self) -> None:
        for weights in ([0, 0], [-1, 2]):
            with self.assertRaises(ValueError):
                allocate(100, weights)


class InstalmentsTest(unittest.TestCase):
    def test_even(self) -> None:
        self.assertEqual(instalments(1200, 3), [400, 400, 400])

    def test_rest_goes_last(self) -> None:
        self.assertEqual(instalments(1000, 3), [333, 333, 334])

    def test_rate(self) -> None:
        self.assertEqual(instalments(1000, 2, rate=5), [525, 525])

    def test_one(self) -> None:
        self.assertEqual(instalments(999, 1), [999])
