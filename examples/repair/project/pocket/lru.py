"""A cache which forgets what was used least recently."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """At most ``capacity`` entries, together no heavier than ``max_weight``."""

    def __init__(self, capacity: int, max_weight: int = 0) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self.capacity = capacity
        self.max_weight = max_weight
        self.weight = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def keys(self) -> list[K]:
        """Keys, the least recently used first."""
        return list(self._entries)

    def get(self, key: K) -> V | None:
        """The value of ``key``, which becomes the most recently used."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Store a value, and evict until the cache is within its bounds."""
        if self.max_weight and weight > self.max_weight:
            raise ValueError("heavier than the whole cache")
        if key in self._entries:
            self.discard(key)
        self._entries[key] = (value, weight)
        self.weight += weight
        while self._is_over():
            oldest = next(iter(self._entries))
            self.discard(oldest)

    def discard(self, key: K) -> bool:
        """Forget ``key``; say whether it was there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self.weight -= entry[1]
        return True

    def fetch(self, key: K, make: Callable[[K], V]) -> V:
        """The cached value of ``key``, made and stored if need be."""
        value = self.get(key)
        if value is None:
            value = make(key)
            self.put(key, value)
        return value

    def hit_rate(self) -> float:
        """The share of look-ups which found their key."""
        lookups = self.hits + self.misses
        if lookups == 0:
            return 0.0
        return self.hits / lookups

    def _is_over(self) -> bool:
        if len(self._entries) > self.capacity:
            return True
        return self.max_weight > 0 and self.weight > self.max_weight
