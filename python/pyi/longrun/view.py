"""The state as a session's steps see it: without the keys that the session keeps there for itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyi.errors import InvalidArgument
from pyi.longrun.generators import RESERVED
from pyi.state import State

if TYPE_CHECKING:
    from pyi.arrays import TrackedArray

__all__ = ["VisibleState"]


class VisibleState(State):
    """The state of a session's workspace. Keys that begin with `pyi.session/` are hidden, and cannot be set."""

    __slots__ = ()

    def __setitem__(self, key: str, value: Any) -> None:
        _check(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: object) -> None:
        _check(key)
        super().__delitem__(key)

    def __iter__(self) -> Iterator[str]:
        return (key for key in super().__iter__() if not _is_reserved(key))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def array(self, key: str) -> TrackedArray:
        """As ``State.array``."""
        _check(key)
        return super().array(key)

    def adopt(self, key: str, array: Any) -> TrackedArray:
        """As ``State.adopt``."""
        _check(key)
        return super().adopt(key, array)

    def pickle(self, key: str, value: object) -> None:
        """As ``State.pickle``."""
        _check(key)
        super().pickle(key, value)


def _is_reserved(key: object) -> bool:
    return isinstance(key, str) and key.startswith(RESERVED)


def _check(key: object) -> None:
    if _is_reserved(key):
        raise InvalidArgument(
            f"state key {key!r}: keys that begin with {RESERVED!r} belong to the session; take another one"
        )
