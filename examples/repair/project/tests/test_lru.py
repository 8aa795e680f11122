"""Tests of pocket.lru."""

import unittest

from pocket.lru import LRUCache


class BoundsTest(unittest.TestCase):
    def test_capacity(self) -> None:
        cache: LRUCache[str, int] = LRUCache(2)
        for i, key in enumerate("abc"):
            cache.put(key, i)
        self.assertEqual(cache.keys(), ["b", "c"])
        self.assertEqual(len(cache), 2)

    def test_capacity_is_reached(self) -> None:
        cache: LRUCache[str, int] = LRUCache(2)
        cache.put("a", 1)
        cache.put("b", 2)
        self.assertEqual(cache.keys(), ["a", "b"])

    def test_capacity_of_nothing(self) -> None:
        with self.assertRaises(ValueError):
            LRUCache(0)

    def test_capacity_of_one(self) -> None:
        cache: LRUCache[str, int] = LRUCache(1)
        cache.put("a", 1)
        cache.put("b", 2)
        self.assertEqual(cache.keys(), ["b"])

    def test_weight(self) -> None:
        cache: LRUCache[str, int] = LRUCache(10, max_weight=10)
        cache.put("a", 1, weight=4)
        cache.put("b", 2, weight=6)
        self.assertEqual(cache.keys(), ["a", "b"])
        cache.put("c", 3, weight=5)
        self.assertEqual(cache.keys(), ["c"])
        self.assertEqual(cache.weight, 5)

    def test_too_heavy(self) -> None:
        cache: LRUCache[str, int] = LRUCache(10, max_weight=10)
        cache.put("a", 1, weight=10)
        with self.assertRaises(ValueError):
            cache.put("b", 1, weight=11)
        self.assertEqual(cache.keys(), ["a"])

    def test_weight_without_bound(self) -> None:
        cache: LRUCache[str, int] = LRUCache(2)
        cache.put("a", 1, weight=1000)
        self.assertEqual(cache.weight, 1000)


class UseTest(unittest.TestCase):
    def setUp(self) -> None:
        self.cache: LRUCache[str, int] = LRUCache(3)
        for i, key in enumerate("abc"):
            self.cache.put(key, i)

    def test_get(self) -> None:
        self.assertEqual(self.cache.get("b"), 1)
        self.assertIsNone(self.cache.get("z"))

    def test_get_refreshes(self) -> None:
        self.cache.get("a")
        self.assertEqual(self.cache.keys(), ["b", "c", "a"])
        self.cache.put("d", 4)
        self.assertEqual(self.cache.keys(), ["c", "a", "d"])

    def test_contains_does_not_refresh(self) -> None:
        self.assertIn("a", self.cache)
        self.assertNotIn("z", self.cache)
        self.assertEqual(self.cache.keys(), ["a", "b", "c"])

    def test_put_again(self) -> None:
        self.cache.put("a", 9, weight=3)
        self.assertEqual(self.cache.keys(), ["b", "c", "a"])
        self.assertEqual(self.cache.get("a"), 9)
        self.assertEqual(self.cache.weight, 5)

    def test_discard(self) -> None:
        self.assertTrue(self.cache.discard("b"))
        self.assertFalse(self.cache.discard("b"))
        self.assertEqual(self.cache.keys(), ["a", "c"])
        self.assertEqual(self.cache.weight, 2)


class CountTest(unittest.TestCase):
    def test_rate_of_nothing(self) -> None:
        cache: LRUCache[str, int] = LRUCache(3)
        self.assertEqual(cache.hit_rate(), 0.0)

    def test_rate(self) -> None:
        cache: LRUCache[str, int] = LRUCache(3)
        cache.put("a", 1)
        for key in "aaab":
            cache.get(key)
        self.assertEqual(cache.hit_rate(), 0.75)

    def test_fetch_makes_once(self) -> None:
        cache: LRUCache[str, int] = LRUCache(3)
        made: list[str] = []

        def make(key: str) -> int:
            made.append(key)
            return len(key)

        self.assertEqual(cache.fetch("four", make), 4)
        self.assertEqual(cache.fetch("four", make), 4)
        self.assertEqual(made, ["four"])
