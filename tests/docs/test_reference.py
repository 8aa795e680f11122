"""docs/reference/python.md names everything that is public, and nothing that is not there."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pyi
from pyi import aio
from pyi.arrays import TrackedArray
from pyi.state import State

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "python.md").read_text()
STUB = Path(pyi.__file__).with_name("_native.pyi")
CODE = re.compile(r"`([^`]+)`")
WORD = re.compile(r"\w+")

# Made by the engine and not by callers; one line names them.
INSIDE = {
    "ArrayCore",
    "ArrayMemory",
    "GeneratorView",
    "GitRemote",
    "GitServer",
    "JournalIterator",
    "Log",
    "Push",
    "ScrubCore",
    "SessionCore",
    "StateCore",
    "StoreImage",
    "StoredArray",
    "UploadAnswer",
    "Walk",
}


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section: str) -> dict[str, str]:
    """Name -> its code, for every piece of code in the first cell of a table's rows."""
    found: dict[str, str] = {}
    for line in sections()[section].splitlines():
        if line.startswith("| `"):
            for code in CODE.findall(line.split(" | ")[0]):
                name = WORD.match(code)
                assert name, line
                assert name[0] not in found, f"{section}: {name[0]} stands there twice"
                found[name[0]] = code
    return found


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    return (node for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"))


STUB_BODY = ast.parse(re.sub(r"^type (\w+) = ", r"\1 = ", STUB.read_text(), flags=re.MULTILINE)).body
CLASSES = {node.name: node for node in STUB_BODY if isinstance(node, ast.ClassDef)}


def parameters(function: ast.FunctionDef) -> list[str]:
    given = function.args
    return [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs) if argument.arg != "self"]


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - INSIDE))
def test_a_class_of_the_stub(name: str) -> None:
    described = rows(name)
    members = {function.name: function for function in public(CLASSES[name].body)}
    assert described.keys() == members.keys()
    for member, function in members.items():
        missing = set(parameters(function)) - set(WORD.findall(described[member]))
        assert not missing, f"{name}.{member}: {missing} not in {described[member]}"


@pytest.mark.parametrize(("name", "described"), [("State", State), ("TrackedArray", TrackedArray)])
def test_a_class_in_python(name: str, described: type) -> None:
    assert rows(name).keys() == {member for member in vars(described) if not member.startswith("_")}


def test_the_coroutines() -> None:
    assert rows("pyi.aio").keys() == set(aio.__all__)


RESULTS = [
    pyi.RaceResult,
    pyi.CandidateResult,
    pyi.SwarmReport,
    pyi.SessionReport,
    pyi.ScrubReport,
    pyi.BackupReport,
]


@pytest.mark.parametrize("record", RESULTS, ids=lambda it: it.__name__)
def test_a_result(record: type) -> None:
    fields = {field.name for field in dataclasses.fields(record)}
    others = {name for name in vars(record) if not name.startswith("_")}
    assert rows(record.__name__).keys() == fields | others


def test_a_session() -> None:
    described = rows("Session")
    members = {name for name in vars(pyi.Session) if not name.startswith("_")}
    assert described.keys() == members | (pyi.Session.__annotations__.keys() - members)
    for name in members:
        if inspect.isfunction(found := getattr(pyi.Session, name)):
            missing = set(inspect.signature(found).parameters) - {"self", *WORD.findall(described[name])}
            assert not missing, f"Session.{name}: {missing}"


@pytest.mark.parametrize("function", [pyi.race, pyi.swarm, pyi.session], ids=lambda it: it.__name__)
def test_a_function_with_many_parameters(function: Callable[..., object]) -> None:
    assert list(rows(function.__name__)) == list(inspect.signature(function).parameters)


def test_the_functions_of_the_stub() -> None:
    described = rows("pyi")
    for function in public(STUB_BODY):
        missing = set(parameters(function)) - set(WORD.findall(described[function.name]))
        assert not missing, f"pyi.{function.name}: {missing}"


def test_every_public_name() -> None:
    errors = rows("Errors")
    assert errors.keys() == set(pyi.errors.__all__)
    assert rows("pyi").keys() | errors.keys() == set(pyi.__all__)
    inside = set(CODE.findall(sections()["Inside"]))
    assert inside >= INSIDE
    for name in CLASSES.keys() - INSIDE:
        assert name in sections()


def test_the_kinds_of_the_errors() -> None:
    for name in pyi.errors.__all__:
        kind = getattr(pyi.errors, name).kind
        assert re.search(rf"^\| `{name}` \| `{kind}` \|", sections()["Errors"], re.MULTILINE), f"{name}: {kind}"
