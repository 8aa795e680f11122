"""``Workspace.state``: the key-value mapping of a workspace."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Final

from pyi._native import StateCore
from pyi.errors import NotFound

__all__ = ["State"]

_MISSING: Final = object()


class State(MutableMapping[str, Any]):
    """A mapping of None, bool, int, float, str, bytes, list, dict (with str keys) and NumPy arrays.

    Reading gives copies and assignment stores: change a value by assigning it again. The state is part of every
    checkpoint, fork and restore. A key has 1 to 4,096 bytes in UTF-8; keys are iterated in the order of these bytes,
    and so are those of a stored dict (shorter ones first).

    Cost: O(log keys) and one encoding of the value; an array costs one hash pass over its content.
    """

    __slots__ = ("_core",)

    def __init__(self, core: StateCore) -> None:
        self._core = core

    def __getitem__(self, key: object) -> Any:
        value = self._core.get(key, _MISSING) if isinstance(key, str) else _MISSING
        if value is _MISSING:
            raise NotFound(f"state key {key!r}: there is none; list(ws.state) shows what there is")
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._core.set(key, value)

    def __delitem__(self, key: object) -> None:
        if not (isinstance(key, str) and self._core.remove(key)):
            raise NotFound(f"state key {key!r}: there is none; list(ws.state) shows what there is")

    def __iter__(self) -> Iterator[str]:
        return iter(self._core.keys())

    def __len__(self) -> int:
        return len(self._core)

    def __repr__(self) -> str:
        return f"State({dict(self)!r})"
