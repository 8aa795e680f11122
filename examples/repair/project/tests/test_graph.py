"""Tests of pocket.graph."""

import unittest

from pocket.graph import CycleError, nodes, reachable, shortest_path, topological_order

DIAMOND = {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e"]}


class OrderTest(unittest.TestCase):
    def test_nodes(self) -> None:
        self.assertEqual(nodes({"b": ["c"], "a": []}), ["a", "b", "c"])

    def test_diamond(self) -> None:
        self.assertEqual(topological_order(DIAMOND), ["a", "b", "c", "d", "e"])

    def test_ties_by_name(self) -> None:
        self.assertEqual(topological_order({"z": [], "y": [], "x": []}), list("xyz"))
        graph = {"m": ["a"], "b": [], "z": ["c"]}
        self.assertEqual(topological_order(graph), ["b", "m", "a", "z", "c"])

    def test_against_the_alphabet(self) -> None:
        self.assertEqual(topological_order({"c": ["b"], "b": ["a"]}), list("cba"))

    def test_empty(self) -> None:
        self.assertEqual(topological_order({}), [])

    def test_cycle(self) -> None:
        with self.assertRaises(CycleError):
            topological_order({"a": ["b"], "b": ["c"], "c": ["b"]})

    def test_loop(self) -> None:
        with self.assertRaises(CycleError):
            topological_order({"a": ["a"]})


class ReachableTest(unittest.TestCase):
    def test_all(self) -> None:
        self.assertEqual(reachable(DIAMOND, "a"), ["a", "b", "c", "d", "e"])
        self.assertEqual(reachable(DIAMOND, "c"), ["c", "d", "e"])

    def test_depth(self) -> None:
        self.assertEqual(reachable(DIAMOND, "a", 0), ["a"])
        self.assertEqual(reachable(DIAMOND, "a", 1), ["a", "b", "c"])
        self.assertEqual(reachable(DIAMOND, "a", 2), ["a", "b", "c", "d"])

    def test_cycle(self) -> None:
        self.assertEqual(reachable({"a": ["b"], "b": ["a"]}, "a"), ["a", "b"])


class PathTest(unittest.TestCase):
    def test_fewest_steps(self) -> None:
        graph = {"a": ["b", "x"], "b": ["c"], "c": ["d"], "x": ["d"]}
        self.assertEqual(shortest_path(graph, "a", "d"), ["a", "x", "d"])

    def test_first_of_equals(self) -> None:
        self.assertEqual(shortest_path(DIAMOND, "a", "e"), ["a", "b", "d", "e"])

    def test_nowhere_to_go(self) -> None:
        self.assertEqual(shortest_path(DIAMOND, "b", "b"), ["b"])

    def test_no_path(self) -> None:
        self.assertIsNone(shortest_path(DIAMOND, "d", "a"))

    def test_cycle(self) -> None:
        graph = {"a": ["b"], "b": ["a", "c"]}
        self.assertEqual(shortest_path(graph, "a", "c"), ["a", "b", "c"])
        self.assertIsNone(shortest_path(graph, "a", "z"))
