"""The generators of a session: those that were registered, and the global ones, as one thing to save and to load."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from pyi.errors import InvalidArgument
from pyi.longrun.generators import Kept, kept
from pyi.longrun.policy import is_text
from pyi.state import State

__all__ = ["Keepers"]

_PYTHON: Final = "python"
_NUMPY: Final = "numpy"


class Keepers:
    """Generators by name.

    Args:
        with_global: Keep those of the modules `random` and `numpy.random`, too, under names of their own.
    """

    def __init__(self, *, with_global: bool) -> None:
        """Begin with none; the global ones are taken up when they are needed."""
        self.with_global = with_global
        self._kept: dict[str, Kept] = {}

    def add(self, name: str, source: object) -> None:
        """Keep one more.

        Raises:
            InvalidArgument: The name is taken, or the generator cannot be kept.
        """
        if not isinstance(name, str):
            raise TypeError(f"a generator's name is a str, not {type(name).__name__}")
        if not name or not is_text(name) or name in self._kept or name in {_PYTHON, _NUMPY}:
            raise InvalidArgument(f"generator {name!r}: the name is taken, empty or no text; take another one")
        self._kept[name] = kept(name, source)

    def all(self) -> dict[str, Kept]:
        """Return them by name, in the order in which they were added, with the global ones if there are any by now."""
        if self.with_global:
            self._take_up_global()
        return self._kept

    def load(self, records: Mapping[str, Any], state: State) -> None:
        """Put all of them back to where they were when `records` were made; what has no record stays where it is.

        Raises:
            InvalidArgument: One is missing.
            Corrupt: A record cannot be used.
        """
        if self.with_global:
            if _NUMPY in records:
                with suppress(ImportError):  # then nothing can draw from it, either
                    import numpy  # noqa: F401
            self._take_up_global()
        for name, record in records.items():
            known = self._kept.get(name)
            if known is not None:
                known.load(record, state)
            elif name not in {_PYTHON, _NUMPY}:
                raise InvalidArgument(
                    f"generator {name!r} is part of the session: register it (generators=) before the loop begins, as"
                    " in the last run"
                )

    def _take_up_global(self) -> None:
        known = self._kept
        if _PYTHON not in known:
            known[_PYTHON] = kept(_PYTHON, random._inst)
        if _NUMPY not in known and _NUMPY in sys.modules:
            # Absent while another thread is importing it.
            source = getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
            if source is not None:
                known[_NUMPY] = kept(_NUMPY, source)
