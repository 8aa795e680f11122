"""Tests of pocket.heap."""

import random
import unittest

from pocket.heap import PriorityQueue


def filled(*priorities: int) -> PriorityQueue[int]:
    """A queue in which each item is its own priority."""
    queue: PriorityQueue[int] = PriorityQueue()
    for priority in priorities:
        queue.push(priority, priority)
    return queue


class QueueTest(unittest.TestCase):
    def test_two(self) -> None:
        self.assertEqual(filled(2, 1).drain(), [1, 2])
        self.assertEqual(filled(1, 2).drain(), [1, 2])

    def test_sorted(self) -> None:
        self.assertEqual(filled(1, 2, 3, 4, 5).drain(), [1, 2, 3, 4, 5])

    def test_reversed(self) -> None:
        self.assertEqual(filled(5, 4, 3, 2, 1).drain(), [1, 2, 3, 4, 5])

    def test_shuffled(self) -> None:
        rng = random.Random(1)
        for size in range(20):
            numbers = [rng.randrange(10) for _ in range(size)]
            self.assertEqual(filled(*numbers).drain(), sorted(numbers))

    def test_descending_sizes(self) -> None:
        for size in range(2, 40):
            numbers = list(range(size, 0, -1))
            self.assertEqual(filled(*numbers).drain(), sorted(numbers))

    def test_every_push_keeps_the_order(self) -> None:
        queue: PriorityQueue[int] = PriorityQueue()
        for number in (9, 7, 8, 5, 6, 3, 4, 1, 2):
            queue.push(number, number)
            for child in range(1, len(queue)):
                parent = (child - 1) // 2
                self.assertLessEqual(queue._heap[parent], queue._heap[child])

    def test_interleaved(self) -> None:
        rng = random.Random(2)
        queue = filled()
        expected: list[int] = []
        for _ in range(60):
            if expected and rng.random() < 0.4:
                self.assertEqual(queue.pop(), expected.pop(0))
            else:
                number = rng.randrange(1000)
                queue.push(number, number)
                expected = sorted([*expected, number])
        self.assertEqual(queue.drain(), expected)

    def test_equal_priorities(self) -> None:
        queue: PriorityQueue[str] = PriorityQueue()
        for letter in "abcdefg":
            queue.push(letter, 1)
        self.assertEqual("".join(queue.drain()), "abcdefg")

    def test_default_priority(self) -> None:
        queue: PriorityQueue[str] = PriorityQueue()
        queue.push("late", 1)
        queue.push("usual")
        queue.push("early", -1)
        self.assertEqual(queue.drain(), ["early", "usual", "late"])

    def test_items_are_not_compared(self) -> None:
        queue: PriorityQueue[object] = PriorityQueue()
        first, second = object(), object()
        queue.push(first)
        queue.push(second)
        self.assertEqual(queue.drain(), [first, second])

    def test_peek(self) -> None:
        queue = filled(3, 1, 2)
        self.assertEqual(queue.peek(), 1)
        self.assertEqual(len(queue), 3)

    def test_pop(self) -> None:
        queue = filled(3, 1, 2)
        self.assertEqual(queue.pop(), 1)
        self.assertEqual(len(queue), 2)
        self.assertEqual(queue.pop(), 2)
        self.assertEqual(queue.pop(), 3)

    def test_empty(self) -> None:
        with self.assertRaises(IndexError):
            filled().pop()
        with self.assertRaises(IndexError):
            filled().peek()

    def test_limit(self) -> None:
        queue = filled(3, 1, 2)
        self.assertEqual(queue.drain(limit=2), [1, 2])
        self.assertEqual(queue.drain(limit=0), [])
        self.assertEqual(queue.drain(limit=5), [3])
