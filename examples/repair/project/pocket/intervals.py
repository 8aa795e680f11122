"""A set of integers, stored as sorted half-open intervals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Interval = tuple[int, int]


class IntervalSet:
    """Integers covered by disjoint intervals ``[start, stop)``."""

    def __init__(self, spans: Iterable[Interval] = ()) -> None:
        self._spans: list[Interval] = []
        for start, stop in spans:
            self.add(start, stop)

    def __iter__(self) -> Iterator[Interval]:
        return iter(self._spans)

    def __len__(self) -> int:
        """How many integers are covered."""
        return sum(stop - start for start, stop in self._spans)

    def __contains__(self, value: int) -> bool:
        low, high = 0, len(self._spans)
        while low < high:
            middle = (low + high) // 2
            start, stop = self._spans[middle]
            if value < start:
                high = middle
            elif value >= stop:
                low = middle + 1
            else:
                return True
        return False

    def add(self, start: int, stop: int) -> None:
        """Cover ``[start, stop)``; touching intervals become one."""
        if start > stop:
            raise ValueError("an interval cannot stop before it starts")
        if start == stop:
            return
        kept: list[Interval] = []
        for span in self._spans:
            if span[1] < start or span[0] > stop:
                kept.append(span)
            else:
                start = min(start, span[0])
                stop = max(stop, span[1])
        kept.append((start, stop))
        kept.sort()
        self._spans = kept

    def remove(self, start: int, stop: int) -> None:
        """Uncover ``[start, stop)``."""
        kept: list[Interval] = []
        for left, right in self._spans:
            if left < start:
                kept.append((left, min(right, start)))
            if right > stop:
                kept.append((max(left, stop), right))
        self._spans = kept

    def gaps(self) -> list[Interval]:
        """The uncovered intervals between the covered ones."""
        found: list[Interval] = []
        for before, after in zip(self._spans, self._spans[1:]):
            found.append((before[1], after[0]))
        return found

    def intersection(self, other: IntervalSet) -> IntervalSet:
        """The integers covered by both sets."""
        result = IntervalSet()
        mine, theirs = list(self), list(other)
        i = j = 0
        while i < len(mine) and j < len(theirs):
            start = max(mine[i][0], theirs[j][0])
            stop = min(mine[i][1], theirs[j][1])
            if start < stop:
                result.add(start, stop)
            if mine[i][1] < theirs[j][1]:
                i += 1
            else:
                j += 1
        return result
