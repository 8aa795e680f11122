"""The mutation operators, as the literature on mutation testing has them.

Each operator looks at one statement and yields edits.  None knows anything of a
particular project; what an operator inserts (names, methods, constants, whole
statements) it takes from the project itself.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from .source import Edit, Source

Edits = Iterator[Edit]
Operator: TypeAlias = Callable[[Source, ast.stmt, Sequence[Source]], Edits]

_FAMILIES = (
    ("<", "<=", ">", ">=", "==", "!="),
    ("in", "not in"),
    ("is", "is not"),
    ("+", "-", "*", "/", "//", "%", "**"),
    ("&", "|", "^"),
    ("<<", ">>"),
)
_SIGN = re.compile(r"not\s+in|is\s+not|in|is|//|\*\*|<<|>>|[<>=!]=|[-+*/%&|^<>@]")
_NUMERIC = (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.BinOp)
_JUMPS = {"break": ("continue", "return"), "continue": ("break",)}


def _sign(source: Source, start: int, stop: int) -> Edits:
    """Replace the operator sign between two operands by its relatives."""
    between = source.text(start, stop)
    found = _SIGN.search(between)
    if found is None or not between.isascii():
        return
    sign = " ".join(found.group().split())
    for family in _FAMILIES:
        if sign in family:
            for other in family:
                if other != sign:
                    yield Edit(start + found.start(), start + found.end(), other)


def compare(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Another comparison: ``<`` becomes ``<=``, ``in`` becomes ``not in``."""
    for node, _parent in source.expressions(statement):
        if isinstance(node, ast.Compare):
            for left, right in itertools.pairwise([node.left, *node.comparators]):
                yield from _sign(source, source.stop(left), source.start(right))


def arithmetic(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Another arithmetic operator, also of ``+=``; a sign put or removed."""
    if isinstance(statement, ast.AugAssign):
        start, stop = source.stop(statement.target), source.start(statement.value)
        yield from _sign(source, start, stop)
    for node, parent in source.expressions(statement):
        if isinstance(node, ast.BinOp):
            yield from _sign(source, source.stop(node.left), source.start(node.right))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield source.replace(node, source.of(node.operand))
        elif isinstance(node, ast.Name) and isinstance(parent, (ast.BinOp, ast.Return, ast.IfExp)):
            yield source.replace(node, f"-{node.id}")


def logic(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """``and`` becomes ``or``, and the reverse."""
    for node, _parent in source.expressions(statement):
        if isinstance(node, ast.BoolOp):
            sign, other = ("and", "or"), ("or", "and")
            before, after = sign if isinstance(node.op, ast.And) else other
            for left, right in itertools.pairwise(node.values):
                start, stop = source.stop(left), source.start(right)
                between = source.text(start, stop)
                if before in between:
                    yield Edit(start, stop, between.replace(before, after))


def negate(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Put ``not`` before a condition, or remove it."""
    for node, parent in source.expressions(statement):
        if not isinstance(node, ast.expr):
            continue
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield source.replace(node, source.of(node.operand))
        elif node is getattr(parent, "test", None) or isinstance(parent, (ast.BoolOp, ast.Return)):
            if isinstance(node, (ast.Name, ast.Call, ast.Attribute)):
                yield source.replace(node, f"not {source.of(node)}")
            else:
                yield source.replace(node, f"not ({source.of(node)})")


def constant(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Another constant: one more, one less, 0, 1, empty, or one of the file."""
    for node, _parent in source.expressions(statement):
        if not isinstance(node, ast.Constant):
            continue
        value = node.value
        others: list[object] = []
        if isinstance(value, bool):
            others = [not value]
        elif isinstance(value, (int, float)):
            same = [c for c in source.constants if isinstance(c, int)]
            others = [value + 1, value - 1, 0, 1, -value, *same]
        elif isinstance(value, str):
            others = ["", *(c for c in source.constants if isinstance(c, str))]
        for other in dict.fromkeys(map(repr, others)):
            if other != repr(value):
                yield source.replace(node, other)


def offset(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """An expression becomes one more or one less."""
    for node, parent in source.expressions(statement):
        if not isinstance(node, _NUMERIC) or isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
            continue
        if isinstance(parent, ast.BinOp):
            form = "({} {} 1)"
        elif _is_no_number(node, parent):
            continue
        else:
            form = "{} {} 1"
        for sign in "+-":
            yield source.replace(node, form.format(source.of(node), sign))


def _is_no_number(node: ast.AST, parent: ast.AST) -> bool:
    """Whether its place shows that an expression is no number."""
    if isinstance(parent, ast.Subscript):
        return node is parent.value
    if isinstance(parent, ast.Call):
        return node is parent.func
    return isinstance(parent, (ast.Attribute, ast.Starred, ast.BoolOp))


def operand(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Leave one side of an operator away."""
    for node, _parent in source.expressions(statement):
        if isinstance(node, ast.BinOp):
            parts = [node.left, node.right]
        elif isinstance(node, ast.BoolOp) and len(node.values) == 2:
            parts = node.values
        elif isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        else:
            continue
        for part in parts:
            yield source.replace(node, source.of(part))


def swap(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Exchange two arguments, operands, or elements."""
    for node, _parent in source.expressions(statement):
        if isinstance(node, ast.Call):
            parts = node.args
        elif isinstance(node, ast.BinOp):
            parts = [node.left, node.right]
        elif isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        elif isinstance(node, (ast.Tuple, ast.List)):
            parts = node.elts
        else:
            continue
        for a, b in itertools.combinations(parts, 2):
            between = source.text(source.stop(a), source.start(b))
            text = source.of(b) + between + source.of(a)
            yield Edit(source.start(a), source.stop(b), text)


def name(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Another local variable, or another function."""
    local = source.names(source.places[statement].function)
    for node, parent in source.expressions(statement):
        if isinstance(node, ast.Name) and node.id != "self":
            called = isinstance(parent, ast.Call) and node is parent.func
            for other in source.callees if called else local:
                if other != node.id:
                    yield source.replace(node, other)


def attribute(source: Source, statement: ast.stmt, every: Sequence[Source]) -> Edits:
    """Another attribute of the same object, or another method."""
    for node, parent in source.expressions(statement):
        if not isinstance(node, ast.Attribute):
            continue
        stop = source.stop(node)
        start = stop - len(node.attr.encode())
        if isinstance(parent, ast.Call) and node is parent.func:
            others = sorted({method for other in every for method in other.methods})
        else:
            owner = ast.dump(node.value)
            others = [attr for who, attr in source.attributes if who == owner]
        for other in others:
            if other != node.attr:
                yield Edit(start, stop, other)


def argument(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """One argument more or less; a bound of a slice less."""
    local = source.names(source.places[statement].function)
    for node, _parent in source.expressions(statement):
        if isinstance(node, ast.Slice):
            for bound in (node.lower, node.upper):
                if bound is not None:
                    yield source.replace(bound, "")
        if not isinstance(node, ast.Call):
            continue
        given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        for i in range(len(given)):
            kept = [source.of(part) for k, part in enumerate(given) if k != i]
            start, stop = source.start(given[0]), source.stop(given[-1])
            yield Edit(start, stop, ", ".join(kept))
        end = source.stop(node) - 1
        for new in ("0", "1", "-1", "None", "True", *local):
            yield Edit(end, end, f", {new}" if given else new)


def result(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Return something else; return what was only computed."""
    if isinstance(statement, ast.Return) and statement.value is not None:
        local = source.names(source.places[statement].function)
        for other in ("None", "True", "False", "0", "1", *local):
            yield source.replace(statement.value, other)
    elif isinstance(statement, ast.Expr):
        yield source.replace(statement, f"return {source.of(statement)}")


def delete(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Leave a statement away, or replace a jump by another one."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return
    for other in _JUMPS.get(source.of(statement), ()):
        yield source.replace(statement, other)
    if len(source.places[statement].block) > 1:
        yield Edit(source.line_start(statement), source.line_stop(statement), "")
    else:
        yield source.replace(statement, "pass")


def move(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Exchange a statement with the next; move it out of or into a block."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return
    place = source.places[statement]
    start, stop = source.line_start(statement), source.line_stop(statement)
    text = source.lines(statement)
    if place.index + 1 < len(place.block):
        after = place.block[place.index + 1]
        between = source.text(stop, source.line_start(after))
        moved = source.lines(after) + between + text
        yield Edit(start, source.line_stop(after), moved)
    elif place.index > 0 and isinstance(place.parent, (ast.If, ast.For, ast.While)):
        outer = place.parent
        if outer.end_lineno == statement.end_lineno:
            yield Edit(start, stop, _indented(text, outer.col_offset))
    if place.index > 0:
        body = getattr(place.block[place.index - 1], "body", None)
        if isinstance(body, list):
            yield Edit(start, stop, _indented(text, body[0].col_offset))


def copy(source: Source, statement: ast.stmt, _: Sequence[Source]) -> Edits:
    """Insert a statement which stands elsewhere in the file."""
    function = source.places[statement].function
    if function is None:
        return
    local = {*source.names(function), "self"}
    indent = " " * statement.col_offset
    for text, needs in source.donors:
        if needs <= local:
            for where in (source.line_start(statement), source.line_stop(statement)):
                yield Edit(where, where, f"{indent}{text}\n")


def _indented(text: str, column: int) -> str:
    """Lines moved so that the first one starts at ``column``."""
    shift = column - (len(text) - len(text.lstrip(" ")))
    lines = text.splitlines(keepends=True)
    if shift >= 0:
        return "".join(" " * shift + line for line in lines)
    return "".join(line[-shift:] for line in lines)


OPERATORS: dict[str, Operator] = {
    "compare": compare,
    "arithmetic": arithmetic,
    "logic": logic,
    "negate": negate,
    "constant": constant,
    "offset": offset,
    "operand": operand,
    "swap": swap,
    "name": name,
    "attribute": attribute,
    "argument": argument,
    "result": result,
    "delete": delete,
    "move": move,
    "copy": copy,
}


def mutants(source: Source, statement: ast.stmt, every: Sequence[Source]) -> dict[str, list[Edit]]:
    """The edits of each operator which has any for this statement."""
    found: dict[str, list[Edit]] = {}
    for kind, operator in OPERATORS.items():
        edits = list(dict.fromkeys(operator(source, statement, every)))
        if edits:
            found[kind] = edits
    return found
