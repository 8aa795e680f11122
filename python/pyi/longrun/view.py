"""The state as a session's steps see it: without the keys that the session keeps there for itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyi.errors import InvalidArgument
from pyi.longrun.generators import RESERVED
from pyi.state import State

__all__ = ["VisibleState"]


class VisibleState(State):
    """The state of a session's workspace. Keys that begin with `pyi.session/` are hidden, and cannot be set."""

    __slots__ = ()

    def __setitem__(self, key: str, value: Any) -> None:
        if key.startswith(RESERVED):
            raise _reserved(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: object) -> None:
        if isinstance(key, str) and key.startswith(RESERVED):
            raise _reserved(key)
        super().__delitem__(key)

    def __iter__(self) -> Iterator[str]:
        return (key for key in super().__iter__() if not key.startswith(RESERVED))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _reserved(key: str) -> InvalidArgument:
    return InvalidArgument(
        f"state key {key!r}: keys that begin with {RESERVED!r} belong to the session; take another one"
    )
