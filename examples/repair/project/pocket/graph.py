"""Orders and paths in directed graphs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

Graph = Mapping[str, Sequence[str]]


class CycleError(ValueError):
    """The graph has a cycle."""


def nodes(graph: Graph) -> list[str]:
    """All nodes, sorted, with those which only are a target."""
    found = set(graph)
    for targets in graph.values():
        found.update(targets)
    return sorted(found)


def topological_order(graph: Graph) -> list[str]:
    """Nodes ordered so that each comes before its targets; ties by name."""
    incoming = {node: 0 for node in nodes(graph)}
    for targets in graph.values():
        for target in targets:
            incoming[target] += 1
    ready = [node for node, count in incoming.items() if count == 0]
    order: list[str] = []
    while ready:
        ready.sort()
        node = ready.pop(0)
        order.append(node)
        for target in graph.get(node, ()):
            incoming[target] -= 1
            if incoming[target] == 0:
                ready.append(target)
    if len(order) < len(incoming):
        raise CycleError("the graph has a cycle")
    return order


def reachable(graph: Graph, start: str, depth: int | None = None) -> list[str]:
    """Nodes at most ``depth`` steps from ``start``, nearest first."""
    distance = {start: 0}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if depth is not None and distance[node] >= depth:
            continue
        for target in graph.get(node, ()):
            if target not in distance:
                distance[target] = distance[node] + 1
                queue.append(target)
    return list(distance)


def shortest_path(graph: Graph, start: str, goal: str) -> list[str] | None:
    """A path with the fewest steps, or None."""
    previous: dict[str, str] = {}
    queue = deque([start])
    seen = {start}
    while queue:
        node = queue.popleft()
        if node == goal:
            path = [node]
            while node != start:
                node = previous[node]
                path.append(node)
            path.reverse()
            return path
        for target in graph.get(node, ()):
            if target not in seen:
                seen.add(target)
                previous[target] = node
                queue.append(target)
    return None
