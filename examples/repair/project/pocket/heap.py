"""A priority queue which keeps equal priorities in order of arrival."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class PriorityQueue(Generic[T]):
    """A binary heap: the lowest priority number leaves first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, item: T, priority: int = 0) -> None:
        """Add an item."""
        self._heap.append((priority, self._arrivals, item))
        self._arrivals += 1
        self._rise(len(self._heap) - 1)

    def peek(self) -> T:
        """The item which would leave next."""
        if not self._heap:
            raise IndexError("the queue is empty")
        return self._heap[0][2]

    def pop(self) -> T:
        """Remove and return the item with the lowest priority number."""
        top = self.peek()
        last = self._heap.pop()
        if self._heap:
            self._heap[0] = last
            self._sink(0)
        return top

    def drain(self, limit: int | None = None) -> list[T]:
        """Pop until the queue is empty, or ``limit`` items have left."""
        items: list[T] = []
        while self._heap and (limit is None or len(items) < limit):
            items.append(self.pop())
        return items

    def _before(self, a: int, b: int) -> bool:
        return self._heap[a][:2] < self._heap[b][:2]

    def _swap(self, a: int, b: int) -> None:
        self._heap[a], self._heap[b] = self._heap[b], self._heap[a]

    def _rise(self, child: int) -> None:
        while child > 0:
            parent = (child - 1) // 2
            if not self._before(child, parent):
                break
            self._swap(child, parent)
            child = parent

    def _sink(self, parent: int) -> None:
        size = len(self._heap)
        while True:
            left = 2 * parent + 1
            right = left + 1
            first = parent
            if left < size and self._before(left, first):
                first = left
            if right < size and self._before(right, first):
                first = right
            if first == parent:
                break
            self._swap(parent, first)
            parent = first
