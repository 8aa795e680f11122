"""The errors: their tree, their text, what survives pickling."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import pyi
from pyi import errors

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_a_pyi_error_with_a_kind_of_its_own(error: type[pyi.PyiError]) -> None:
    assert issubclass(error, pyi.PyiError)
    assert [other for other in ALL if other.kind == error.kind] == [error]
    assert getattr(pyi, error.__name__) is error


@pytest.mark.parametrize(
    ("error", "builtin"), [(pyi.NotFound, KeyError), (pyi.InvalidArgument, ValueError), (pyi.StorageError, OSError)]
)
def test_errors_that_python_has_a_name_for_are_caught_by_it(error: type[Exception], builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise error("message")


@pytest.mark.parametrize("error", ALL)
def test_the_text_is_the_message(error: type[pyi.PyiError]) -> None:
    message = "no branch 'x': `pyi import` makes one"
    assert str(error(message)) == message
    again = pickle.loads(pickle.dumps(error(message)))
    assert type(again) is error
    assert str(again) == message


def test_a_storage_error_keeps_the_system_s_number() -> None:
    error = pyi.StorageError("disk full: /store", 28)
    assert (str(error), error.errno) == ("disk full: /store", 28)
    assert pickle.loads(pickle.dumps(error)).errno == 28
    assert pyi.StorageError("no number").errno is None


def test_the_kernel_raises_these_errors(tmp_path: object) -> None:
    with pyi.open(str(tmp_path)) as repository, pytest.raises(pyi.NotFound) as caught:
        repository.workspace("no-such-branch")
    assert "no-such-branch" in str(caught.value)
    assert not str(caught.value).startswith(("'", '"'))


def test_importing_pyi_loads_neither_workflows_nor_rich() -> None:
    code = "import sys, pyi; print([m for m in sys.modules if m.startswith(('pyi.workflow', 'rich', 'asyncio'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lazy_names_are_there_when_asked_for() -> None:
    assert {"race", "swarm", "RaceResult", "SwarmReport"} <= set(dir(pyi))
    assert callable(pyi.race)
    assert callable(pyi.swarm)
    with pytest.raises(AttributeError, match="no_such_name"):
        pyi.no_such_name  # noqa: B018
