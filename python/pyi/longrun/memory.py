"""Where random generators keep their states, read in place.

The public ways to a generator's state build 625 Python integers (7 us), or an array element by element (23 us): too
much for every step of a loop. Memory is read in 0.1 us. What is read is compared with the public way's answer first, in
this process and for these very types; where they differ, or on another Python, there is no view, and callers go the
public way. Nothing is ever written here.

A `GeneratorView` (native) does for each step what needs no Python: it sees whether anything changed at all, and makes
the record again where only numbers in it did.
"""

from __future__ import annotations

import random
import struct
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "POSITION_BYTES",
    "WORDS",
    "WORDS_BYTES",
    "Memory",
    "Spare",
    "of_legacy",
    "of_philox",
    "of_random",
    "of_seeds",
    "of_twister",
    "pointer_in",
]

WORDS = 624
"""Words of a Mersenne Twister's state, 32 bits each."""
WORDS_BYTES = 4 * WORDS

POSITION_BYTES = 4
"""Bytes of its position among them."""

_HEADER_BYTES = object.__basicsize__


class Memory(NamedTuple):
    """Bytes that some object owns, which whoever has this must keep alive."""

    address: int
    size_bytes: int

    @property
    def raw(self) -> bytes:
        """A copy of them, as they are now."""
        from ctypes import string_at

        return string_at(self.address, self.size_bytes)

    def part(self, offset: int, size_bytes: int) -> Memory:
        """Return a part of it."""
        return Memory(self.address + offset, size_bytes)


def of_random(source: random.Random) -> Memory | None:
    """Return position (4 bytes) and words of a `random.Random`; None if they cannot be had this way. O(1)."""
    if type(source) is not random.Random or not _random_is_as_thought():
        return None
    return _at(id(source) + _HEADER_BYTES, POSITION_BYTES + WORDS_BYTES)


def of_twister(bits: np.random.BitGenerator) -> Memory | None:
    """Return words and position (4 bytes) of a NumPy `MT19937`; None if they cannot be had this way. O(1)."""
    if type(bits).__name__ != "MT19937" or not _twister_is_as_thought():
        return None
    return _at(bits.ctypes.state_address, WORDS_BYTES + POSITION_BYTES)


def of_philox(bits: np.random.BitGenerator) -> tuple[Memory, Memory, Memory, Memory] | None:
    """Return counter, key, buffer with the spare half (whether there is one, and it), and position of a NumPy `Philox`.

    32, 16, 32 and 4 and 4, and 4 bytes. None if they cannot be had this way. O(1).
    """
    if type(bits).__name__ != "Philox" or not _philox_is_as_thought():
        return None
    return _parts_of_philox(bits)


@dataclass(frozen=True, slots=True)
class Spare:
    """The normal number that a `RandomState` has left over from the last two."""

    memory: Memory

    def read(self) -> float | None:
        """Return it; None if there is none."""
        has, number = _SPARE.unpack(self.memory.raw)
        return number if has else None


def of_legacy(source: np.random.RandomState) -> Spare | None:
    """Return where a `RandomState` keeps its spare normal number; None if it cannot be had this way. O(1)."""
    offset = _spare_offset() if type(source).__name__ == "RandomState" else None
    return None if offset is None else Spare(_around(source).part(offset, _SPARE.size))


def of_seeds(bits: np.random.BitGenerator) -> list[Memory] | None:
    """Return where a bit generator says what its seeds are, and where these count their children; neither may change.

    None if they cannot be had this way. O(1).
    """
    import numpy as np

    seeds = bits.seed_seq
    if type(seeds) is not np.random.SeedSequence or not _seeds_are_as_thought():
        return None
    pointer = pointer_in(bits, seeds)
    return None if pointer is None else [pointer, _around(seeds)]


def pointer_in(source: object, target: object) -> Memory | None:
    """Return where in the memory of `source` its reference to `target` stands; None if it is not found. O(its size)."""
    if not _is_cpython() or struct.calcsize("P") != 8:
        return None
    around = _around(source)
    offset = around.raw.find(struct.pack("=Q", id(target)))
    return around.part(offset, 8) if offset >= 0 and offset % 8 == 0 else None


def _at(address: int, size_bytes: int) -> Memory:
    return Memory(address, size_bytes)


def _is_cpython() -> bool:
    # The build without the interpreter lock has another header, and threads that draw while this reads.
    return sys.implementation.name == "cpython" and _HEADER_BYTES == 16


@cache
def _random_is_as_thought() -> bool:
    if not _is_cpython() or random.Random.__mro__[1].__basicsize__ < _HEADER_BYTES + POSITION_BYTES + WORDS_BYTES:
        return False
    probe = random.Random(1)
    view = _at(id(probe) + _HEADER_BYTES, POSITION_BYTES + WORDS_BYTES)
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
    view = _at(probe.ctypes.state_address, WORDS_BYTES + POSITION_BYTES)
    for draws in (0, 1, WORDS):
        probe.random_raw(draws)
        state: Any = probe.state["state"]
        if view.raw != state["key"].astype("=u4").tobytes() + struct.pack("=I", state["pos"]):
            return False
    return True


@cache
def _seeds_are_as_thought() -> bool:
    import numpy as np

    bits: Any = np.random.Philox(1)
    if not _is_cpython() or pointer_in(bits, bits.seed_seq) is None:
        return False
    around = _around(bits.seed_seq)
    before = around.raw
    bits.random_raw(9)
    if around.raw != before:
        return False
    bits.seed_seq.spawn(1)
    return around.raw != before


def _parts_of_philox(bits: Any) -> tuple[Memory, Memory, Memory, Memory]:
    # Two pointers, to counter and key; position; buffer; whether there is a spare half, and that half.
    address = bits.ctypes.state_address
    counter, key = struct.unpack("=QQ", _at(address, 16).raw)
    return _at(counter, 32), _at(key, 16), _at(address + 24, 40), _at(address + 16, 4)


@cache
def _philox_is_as_thought() -> bool:
    import numpy as np

    if struct.calcsize("P") != 8:
        return False
    probe = np.random.Philox(1)
    draw = np.random.Generator(probe)
    # Pointers first: a struct of another form must not be followed to where there is nothing.
    first, second = struct.unpack("=QQ", _at(probe.ctypes.state_address, 16).raw)
    inside = range(id(probe), id(probe) + type(probe).__basicsize__)
    if first not in inside or second not in inside:
        return False
    counter, key, rest, position = _parts_of_philox(probe)
    for _ in range(9):
        draw.integers(1 << 20, dtype=np.uint32)
        state: Any = probe.state
        inner = state["state"]
        half = struct.pack("=iI", state["has_uint32"], state["uinteger"])
        if (counter.raw, key.raw) != (inner["counter"].tobytes(), inner["key"].tobytes()):
            return False
        if rest.raw != state["buffer"].tobytes() + half or position.raw != struct.pack("=i", state["buffer_pos"]):
            return False
    return True


# Whether there is one (an int, and as many bytes between), and the number.
_SPARE = struct.Struct("=ixxxxd")


def _around(source: object) -> Memory:
    return _at(id(source) + _HEADER_BYTES, type(source).__basicsize__ - _HEADER_BYTES)


@cache
def _spare_offset() -> int | None:
    """Return where the spare number stands in the memory of a `RandomState`."""
    import numpy as np

    if not _is_cpython():
        return None
    probe = np.random.RandomState(1)
    probe.standard_normal()  # makes two and keeps one
    known: Any = probe.get_state(legacy=False)
    view = _around(probe)
    offset = view.raw.find(_SPARE.pack(1, known["gauss"])[8:]) - 8
    if offset < 0:
        return None
    spare = Spare(view.part(offset, _SPARE.size))
    for _ in range(7):
        known = probe.get_state(legacy=False)
        if spare.read() != (known["gauss"] if known["has_gauss"] else None):
            return None
        probe.standard_normal()
    return offset
