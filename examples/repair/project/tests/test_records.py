"""Tests of pocket.records."""

import unittest

from pocket.records import group_totals, join_fields, parse, split_line


class SplitTest(unittest.TestCase):
    def test_plain(self) -> None:
        self.assertEqual(split_line("a,b,c"), ["a", "b", "c"])

    def test_empty_fields(self) -> None:
        self.assertEqual(split_line(",b,"), ["", "b", ""])
        self.assertEqual(split_line(""), [""])

    def test_quoted_delimiter(self) -> None:
        self.assertEqual(split_line('"a,b",c'), ["a,b", "c"])

    def test_doubled_quote(self) -> None:
        self.assertEqual(split_line('"say ""hi""",c'), ['say "hi"', "c"])
        self.assertEqual(split_line('"",c'), ["", "c"])

    def test_other_signs(self) -> None:
        self.assertEqual(split_line("a;'b;c'", ";", "'"), ["a", "b;c"])

    def test_open_quote(self) -> None:
        with self.assertRaises(ValueError):
            split_line('"a,b')


class JoinTest(unittest.TestCase):
    def test_plain(self) -> None:
        self.assertEqual(join_fields(["a", "", "c"]), "a,,c")

    def test_delimiter(self) -> None:
        self.assertEqual(join_fields(["a,b", "c"]), '"a,b",c')

    def test_quote(self) -> None:
        self.assertEqual(join_fields(['say "hi"']), '"say ""hi"""')

    def test_round_trip(self) -> None:
        for fields in (["a,b", '"', ""], ['",', "x", '""']):
            self.assertEqual(split_line(join_fields(fields)), fields)


class ParseTest(unittest.TestCase):
    def test_rows(self) -> None:
        rows = parse("name, age\nAda,36\nAlan,41\n")
        self.assertEqual(
            rows, [{"name": "Ada", "age": "36"}, {"name": "Alan", "age": "41"}]
        )

    def test_skips(self) -> None:
        rows = parse("# people\nname,age\n\n  \nAda,36\n#Alan,41\n")
        self.assertEqual(rows, [{"name": "Ada", "age": "36"}])

    def test_short_row(self) -> None:
        self.assertEqual(parse("a,b,c\n1"), [{"a": "1", "b": "", "c": ""}])

    def test_long_row(self) -> None:
        with self.assertRaisesRegex(ValueError, "line 3 has"):
            parse("a,b\n1,2\n1,2,3\n")

    def test_delimiter(self) -> None:
        self.assertEqual(parse("a;b\n1,5;2", ";"), [{"a": "1,5", "b": "2"}])

    def test_nothing(self) -> None:
        self.assertEqual(parse(""), [])


class TotalsTest(unittest.TestCase):
    def test_totals(self) -> None:
        rows = parse("who,cents\nAda,5\nAlan,7\nAda,11\n")
        self.assertEqual(group_totals(rows, "who", "cents"), {"Ada": 16, "Alan": 7})

    def test_empty_counts_as_nothing(self) -> None:
        rows = parse("who,cents\nAda,\nAda,3\n")
        self.assertEqual(group_totals(rows, "who", "cents"), {"Ada": 3})
