"""Where a Mersenne Twister keeps its words, read in place.

The public ways to a generator's state build 625 Python integers (7 us) or an array element by element (23 us), too much
for every step of a loop. Its memory is read in 0.1 us. What is read is compared with the public way's answer first, in
this process and for these very types; where they differ, or on another Python, there is no view, and callers go the
public way. Nothing is ever written here.
"""

from __future__ import annotations

import random
import struct
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

__all__ = ["WORDS", "WORDS_BYTES", "Memory", "of_legacy", "of_random", "of_twister"]

WORDS = 624
"""Words of a Mersenne Twister's state, 32 bits each."""
WORDS_BYTES = 4 * WORDS

_POSITION_BYTES = 4
_HEADER_BYTES = object.__basicsize__


class Memory(Protocol):
    """Bytes that some object owns, as they are now."""

    @property
    def raw(self) -> bytes:
        """A copy of them."""


def of_random(source: random.Random) -> Memory | None:
    """Return position (4 bytes) and words of a `random.Random`; None if they cannot be had this way. O(1)."""
    if type(source) is not random.Random or not _random_is_as_thought():
        return None
    return _at(id(source) + _HEADER_BYTES, _POSITION_BYTES + WORDS_BYTES)


def of_twister(bits: np.random.BitGenerator) -> Memory | None:
    """Return words and position (4 bytes) of a NumPy `MT19937`; None if they cannot be had this way. O(1)."""
    if type(bits).__name__ != "MT19937" or not _twister_is_as_thought():
        return None
    return _at(bits.ctypes.state_address, WORDS_BYTES + _POSITION_BYTES)


def of_legacy(source: np.random.RandomState) -> Memory | None:
    """Return what a `RandomState` holds beside its bit generator: differs whenever its spare normal number does. O(1).

    None if that cannot be had this way. What else is in there may differ, too, so this tells only that nothing changed.
    """
    if type(source).__name__ != "RandomState" or not _legacy_is_as_thought():
        return None
    return _at(id(source) + _HEADER_BYTES, type(source).__basicsize__ - _HEADER_BYTES)


def _at(address: int, size_bytes: int) -> Memory:
    from ctypes import c_char

    view: Any = (c_char * size_bytes).from_address(address)
    return view  # type: ignore[no-any-return]


def _is_cpython() -> bool:
    # The build without the interpreter lock has another header, and threads that draw while this reads.
    return sys.implementation.name == "cpython" and _HEADER_BYTES == 16


@cache
def _random_is_as_thought() -> bool:
    if not _is_cpython() or random.Random.__mro__[1].__basicsize__ < _HEADER_BYTES + _POSITION_BYTES + WORDS_BYTES:
        return False
    probe = random.Random(1)
    view = _at(id(probe) + _HEADER_BYTES, _POSITION_BYTES + WORDS_BYTES)
    for draws in (0, 1, WORDS):
        for _ in range(draws):
            probe.getrandbits(32)
        internal = probe.getstate()[1]
        if view.raw != struct.pack(f"={WORDS + 1}I", internal[-1], *internal[:-1]):
            return False
    return True


@cache
def _twister_is_as_thought() -> bool:
    import numpy as np

    probe = np.random.MT19937(1)
    view = _at(probe.ctypes.state_address, WORDS_BYTES + _POSITION_BYTES)
    for draws in (0, 1, WORDS):
        probe.random_raw(draws)
        state: Any = probe.state["state"]
        if view.raw != state["key"].astype("=u4").tobytes() + struct.pack("=I", state["pos"]):
            return False
    return True


@cache
def _legacy_is_as_thought() -> bool:
    import numpy as np

    if not _is_cpython():
        return False
    probe = np.random.RandomState(1)
    view = _at(id(probe) + _HEADER_BYTES, type(probe).__basicsize__ - _HEADER_BYTES)
    for _ in range(3):
        before = view.raw
        probe.standard_normal()  # makes two and keeps one, or gives the one that was kept
        if view.raw == before:
            return False
    return True
