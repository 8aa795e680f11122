"""A source file as text and tree, with what the mutations ask about it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
Block = list[ast.stmt]

_SIMPLE = (
    ast.Assign,
    ast.AugAssign,
    ast.Expr,
    ast.Return,
    ast.Raise,
    ast.Break,
    ast.Continue,
)
_NOT_MUTATED = ("annotation", "returns", "decorator_list", "bases", "keywords")


@dataclass(frozen=True)
class Edit:
    """Bytes ``start`` to ``stop`` of a file become ``text``."""

    start: int
    stop: int
    text: str


@dataclass(frozen=True)
class Place:
    """Where a statement stands."""

    block: Block
    index: int
    parent: ast.AST
    function: Function | None


class Source:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.tree = ast.parse(self.data)
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.places: dict[ast.stmt, Place] = {}
        self._place(self.tree, None)

    def _place(self, node: ast.AST, function: Function | None) -> None:
        if isinstance(node, Function):
            function = node
        for _, value in ast.iter_fields(node):
            if not isinstance(value, list):
                continue
            for index, child in enumerate(value):
                if isinstance(child, ast.stmt):
                    self.places[child] = Place(value, index, node, function)
                if isinstance(child, ast.AST):
                    self._place(child, function)

    def apply(self, edit: Edit) -> bytes:
        """The whole file after the edit."""
        text = edit.text.encode()
        return self.data[: edit.start] + text + self.data[edit.stop :]

    def text(self, start: int, stop: int) -> str:
        """The source between two offsets."""
        return self.data[start:stop].decode()

    def start(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        """The offset of the first byte of a node."""
        return self._starts[node.lineno - 1] + node.col_offset

    def stop(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        """The offset behind the last byte of a node."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def of(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        """The source of a node."""
        return self.text(self.start(node), self.stop(node))

    def replace(self, node: ast.expr | ast.stmt | ast.keyword, text: str) -> Edit:
        """The edit which puts ``text`` where a node stands."""
        return Edit(self.start(node), self.stop(node), text)

    def line_start(self, node: ast.stmt) -> int:
        """The offset of the line on which a statement starts."""
        return self._starts[node.lineno - 1]

    def line_stop(self, node: ast.stmt) -> int:
        """The offset of the line below a statement."""
        assert node.end_lineno is not None
        return self._starts[node.end_lineno]

    def lines(self, node: ast.stmt) -> str:
        """All lines of a statement, and no part of another one."""
        return self.text(self.line_start(node), self.line_stop(node))

    def header_lines(self, node: ast.stmt) -> range:
        """The numbers of the lines of a statement, without those of its body."""
        assert node.end_lineno is not None
        body = getattr(node, "body", None)
        if isinstance(body, list):
            return range(node.lineno, max(body[0].lineno, node.lineno + 1))
        return range(node.lineno, node.end_lineno + 1)

    def expressions(self, statement: ast.stmt) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Every expression of a statement, not of its body, and its parent."""
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return
        yield from _walk(statement)

    def names(self, function: Function | None) -> list[str]:
        """The local names of a function, in the order of the alphabet."""
        if function is None:
            return []
        args = function.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs]
        found = {arg.arg for arg in every}
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
        return sorted(found - {"self", "cls"})

    @cached_property
    def defined(self) -> set[str]:
        """Names which mean the same in the whole file."""
        local = {name for f in self._functions for name in self.names(f)}
        loaded = {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name)}
        return loaded - local

    @cached_property
    def callees(self) -> list[str]:
        """The names which the file calls as functions."""
        calls = (n for n in ast.walk(self.tree) if isinstance(n, ast.Call))
        return sorted({c.func.id for c in calls if isinstance(c.func, ast.Name)})

    @cached_property
    def attributes(self) -> list[tuple[str, str]]:
        """(owner, attribute) of every ``owner.attribute`` which is not called."""
        called = {n.func for n in ast.walk(self.tree) if isinstance(n, ast.Call)}
        found = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and node not in called:
                found.add((ast.dump(node.value), node.attr))
        return sorted(found)

    @cached_property
    def methods(self) -> list[str]:
        """The names which the file calls as methods."""
        calls = (n for n in ast.walk(self.tree) if isinstance(n, ast.Call))
        return sorted({c.func.attr for c in calls if isinstance(c.func, ast.Attribute)})

    @cached_property
    def constants(self) -> list[int | str]:
        """The numbers and strings of the file."""
        numbers, strings = set(), set()
        for statement in self.places:
            for node, _ in self.expressions(statement):
                if isinstance(node, ast.Constant):
                    if type(node.value) is int:
                        numbers.add(node.value)
                    elif isinstance(node.value, str):
                        strings.add(node.value)
        return [*sorted(numbers), *sorted(strings)]

    @cached_property
    def donors(self) -> list[tuple[str, frozenset[str]]]:
        """Simple statements of one line, and the names which they need."""
        found: dict[str, frozenset[str]] = {}
        for node, place in self.places.items():
            if place.function is None or not isinstance(node, _SIMPLE):
                continue
            if node.lineno != node.end_lineno:
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            found[self.of(node)] = frozenset(used - self.defined - {"self"})
        return list(found.items())

    @property
    def _functions(self) -> Iterator[Function]:
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node


def _walk(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    for name, value in ast.iter_fields(node):
        if name in _NOT_MUTATED and not isinstance(node, ast.Call):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.stmt):
                continue
            if isinstance(child, (ast.JoinedStr, ast.ExceptHandler)):
                continue
            if isinstance(child, ast.expr):
                yield child, node
            yield from _walk(child)
