"""Tests of pocket.intervals."""

import unittest

from pocket.intervals import IntervalSet


class AddTest(unittest.TestCase):
    def test_apart(self) -> None:
        self.assertEqual(list(IntervalSet([(5, 7), (1, 3)])), [(1, 3), (5, 7)])

    def test_overlap(self) -> None:
        self.assertEqual(list(IntervalSet([(1, 4), (3, 7)])), [(1, 7)])

    def test_touching(self) -> None:
        self.assertEqual(list(IntervalSet([(1, 3), (3, 5)])), [(1, 5)])
        self.assertEqual(list(IntervalSet([(3, 5), (1, 3)])), [(1, 5)])

    def test_inside(self) -> None:
        self.assertEqual(list(IntervalSet([(1, 9), (3, 5)])), [(1, 9)])

    def test_bridges_several(self) -> None:
        spans = IntervalSet([(1, 2), (4, 5), (7, 8), (20, 21)])
        spans.add(2, 7)
        self.assertEqual(list(spans), [(1, 8), (20, 21)])

    def test_empty_adds_nothing(self) -> None:
        self.assertEqual(list(IntervalSet([(4, 4)])), [])

    def test_backwards(self) -> None:
        with self.assertRaises(ValueError):
            IntervalSet([(4, 3)])


class LookUpTest(unittest.TestCase):
    def test_contains(self) -> None:
        spans = IntervalSet([(1, 3), (5, 7), (9, 12)])
        inside = [n for n in range(15) if n in spans]
        self.assertEqual(inside, [1, 2, 5, 6, 9, 10, 11])

    def test_contains_nothing(self) -> None:
        self.assertNotIn(0, IntervalSet())

    def test_length(self) -> None:
        self.assertEqual(len(IntervalSet([(1, 3), (5, 9)])), 6)
        self.assertEqual(len(IntervalSet()), 0)


class RemoveTest(unittest.TestCase):
    def setUp(self) -> None:
        self.spans = IntervalSet([(0, 10), (20, 30)])

    def test_middle(self) -> None:
        self.spans.remove(3, 5)
        self.assertEqual(list(self.spans), [(0, 3), (5, 10), (20, 30)])

    def test_left_end(self) -> None:
        self.spans.remove(0, 4)
        self.assertEqual(list(self.spans), [(4, 10), (20, 30)])

    def test_right_end(self) -> None:
        self.spans.remove(25, 30)
        self.assertEqual(list(self.spans), [(0, 10), (20, 25)])

    def test_across(self) -> None:
        self.spans.remove(8, 22)
        self.assertEqual(list(self.spans), [(0, 8), (22, 30)])

    def test_whole(self) -> None:
        self.spans.remove(0, 10)
        self.assertEqual(list(self.spans), [(20, 30)])

    def test_outside(self) -> None:
        self.spans.remove(12, 15)
        self.assertEqual(list(self.spans), [(0, 10), (20, 30)])


class CombineTest(unittest.TestCase):
    def test_gaps(self) -> None:
        spans = IntervalSet([(0, 2), (5, 6), (9, 10)])
        self.assertEqual(spans.gaps(), [(2, 5), (6, 9)])

    def test_gaps_of_one(self) -> None:
        self.assertEqual(IntervalSet([(0, 2)]).gaps(), [])

    def test_intersection(self) -> None:
        a = IntervalSet([(0, 5), (10, 15), (20, 25)])
        b = IntervalSet([(3, 12), (14, 21)])
        expected = [(3, 5), (10, 12), (14, 15), (20, 21)]
        self.assertEqual(list(a.intersection(b)), expected)
        self.assertEqual(list(b.intersection(a)), expected)

    def test_intersection_of_many_with_one(self) -> None:
        a = IntervalSet([(0, 2), (4, 6), (8, 10)])
        b = IntervalSet([(1, 9)])
        self.assertEqual(list(a.intersection(b)), [(1, 2), (4, 6), (8, 9)])

    def test_intersection_disjoint(self) -> None:
        a, b = IntervalSet([(0, 2)]), IntervalSet([(2, 4)])
        self.assertEqual(list(a.intersection(b)), [])
