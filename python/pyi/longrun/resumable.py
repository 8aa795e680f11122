"""`resumable`: a function that goes on where it was stopped, and is not run again when it is through."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from os import PathLike
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from pyi._native import Repository
from pyi.errors import Conflict, InvalidArgument
from pyi.longrun.generators import RESERVED
from pyi.longrun.opening import session
from pyi.longrun.session import Session

__all__ = ["resumable"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_ARGUMENTS: Final = f"{RESERVED}arguments"
_RESULT: Final = f"{RESERVED}result"


def resumable(
    repo: Repository | str | PathLike[str], name: str | None = None, **options: Any
) -> Callable[[Callable[Concatenate[Session, _P], _R]], Callable[_P, _R]]:
    """Make a function of one that takes a session before its own arguments.

    A call opens the session and runs the function, which loops over `session.steps(...)`. If it is stopped, the next
    call with the same arguments goes on from the last checkpoint. When it returns, the result is kept in the session,
    and later calls return it without running anything.

    Args:
        repo: An open repository, or the path of one.
        name: The session's name, by default the function's. Parameters in braces are filled in, so that calls with
            other arguments have sessions of their own: "heat-{size}".
        **options: As for `session`.

    Raises:
        InvalidArgument: The function is async, or a generator.
        Conflict: From the call: the session was begun with other arguments, or is running.
        InvalidArgument: From the call: the arguments or the result are of a kind that the state does not hold.
    """

    def decorate(function: Callable[Concatenate[Session, _P], _R]) -> Callable[_P, _R]:
        signature = inspect.signature(function)
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise InvalidArgument(
                f"{function.__name__} is async or a generator: resumable takes a function that returns"
            )

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            bound = signature.bind(None, *args, **kwargs)
            bound.apply_defaults()
            arguments = dict(list(bound.arguments.items())[1:])
            called = _filled_in(function.__name__ if name is None else name, arguments)
            with session(repo, called, **options) as run:
                state = run.workspace.state
                _check_arguments(run, arguments)
                if _RESULT not in state:
                    state[_RESULT] = function(run, *args, **kwargs)
                    run.save("result")
                result: _R = state[_RESULT]
            return result

        # The session is the decorator's to give.
        call.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=list(signature.parameters.values())[1:]
        )
        return call

    return decorate


def _filled_in(name: str, arguments: Mapping[str, Any]) -> str:
    try:
        return name.format_map(arguments)
    except (LookupError, ValueError, AttributeError) as error:
        known = ", ".join(arguments) or "none"
        raise InvalidArgument(
            f"session name {name!r}: what is in braces is no parameter (there are: {known})"
        ) from error


def _check_arguments(run: Session, arguments: Mapping[str, Any]) -> None:
    given = _plain(arguments)
    state = run.workspace.state
    known = state.get(_ARGUMENTS)
    if known is None:
        state[_ARGUMENTS] = given
    elif not _same(known, given):
        raise Conflict(
            f"session {run.name!r} was begun with other arguments ({known!r}): call it with those, or put what differs"
            ' into the name, as in "name-{parameter}"'
        )


def _same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal; NaN is equal to NaN here, or its call could never be resumed."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other or (one != one and other != other))


def _plain(value: Any) -> Any:
    """Return an argument as the state gives it back."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return _plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    raise InvalidArgument(
        f"an argument of type {type(value).__name__} cannot be compared with that of an earlier call: pass numbers,"
        " text, lists and dicts, and make the rest inside the function"
    )
