"""Tests of pocket.wrap."""

import unittest

from pocket.wrap import justify, shorten, table, wrap


class WrapTest(unittest.TestCase):
    def test_breaks(self) -> None:
        text = "the quick brown fox jumps"
        self.assertEqual(wrap(text, 10), ["the quick", "brown fox", "jumps"])

    def test_exact_fit(self) -> None:
        self.assertEqual(wrap("ab cd ef", 5), ["ab cd", "ef"])
        self.assertEqual(wrap("abcde", 5), ["abcde"])

    def test_long_word(self) -> None:
        self.assertEqual(wrap("abcdefgh", 3), ["abc", "def", "gh"])
        self.assertEqual(wrap("abcdef", 3), ["abc", "def"])

    def test_long_word_in_text(self) -> None:
        self.assertEqual(wrap("x abcdefg y", 4), ["x", "abcd", "efg", "y"])

    def test_long_word_makes_room(self) -> None:
        self.assertEqual(wrap("abcdef z", 4), ["abcd", "ef z"])

    def test_spaces(self) -> None:
        self.assertEqual(wrap("  a   b\n c ", 10), ["a b c"])
        self.assertEqual(wrap("   ", 10), [])


class JustifyTest(unittest.TestCase):
    def test_even(self) -> None:
        self.assertEqual(justify("a b c", 7), "a  b  c")

    def test_extra_goes_left(self) -> None:
        self.assertEqual(justify("a b c", 8), "a   b  c")
        self.assertEqual(justify("aa b c d", 10), "aa  b  c d")

    def test_one_word(self) -> None:
        self.assertEqual(justify(" word ", 10), "word")
        self.assertEqual(justify("", 10), "")

    def test_exact(self) -> None:
        self.assertEqual(justify("a b", 3), "a b")


class ShortenTest(unittest.TestCase):
    def test_fits(self) -> None:
        self.assertEqual(shorten("abcdef", 6), "abcdef")

    def test_cut(self) -> None:
        self.assertEqual(shorten("abcdefg", 6), "abc...")

    def test_no_space_before_the_mark(self) -> None:
        self.assertEqual(shorten("ab cdefg", 6), "ab...")

    def test_other_mark(self) -> None:
        self.assertEqual(shorten("abcdefg", 6, mark="~"), "abcde~")

    def test_narrow(self) -> None:
        self.assertEqual(shorten("abcdefg", 2), "..")
        self.assertEqual(shorten("abcdefg", 3), "...")


class TableTest(unittest.TestCase):
    def test_numbers_to_the_right(self) -> None:
        rows = [["name", "n"], ["a", "10"], ["bcdef", "-5"]]
        self.assertEqual(table(rows), "name   n\na      10\nbcdef  -5")

    def test_mixed(self) -> None:
        rows = [["a", "1"], ["b", "234"]]
        self.assertEqual(table(rows, gap="|"), "a|  1\nb|234")

    def test_no_space_at_the_end(self) -> None:
        self.assertEqual(table([["a", "b"], ["c", "dd"]]), "a  b\nc  dd")
