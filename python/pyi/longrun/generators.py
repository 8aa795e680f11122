"""Random generators as part of a checkpoint: what of them is stored, and how they are put back.

A generator's *record* is a few bytes and goes into the checkpoint's metadata each time. The 2,500 bytes of a Mersenne
Twister change once in 624 draws; they are kept in the state under a key of their own and written when they changed.
"""

from __future__ import annotations

import random
import struct
import sys
import zlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from pyi._native import GeneratorView
from pyi.errors import Corrupt, InvalidArgument
from pyi.longrun import memory

if TYPE_CHECKING:
    import numpy as np

    from pyi.state import State

__all__ = ["RESERVED", "Kept", "kept"]

RESERVED: Final = "pyi.session/"
"""What the keys of the state begin with that belong to sessions."""

# Position, whether there is a spare normal number, the number, and the checksum of the words that go with them.
_TWISTER: Final = struct.Struct("=I?dI")
# Whether there is a spare half of a number, that half, and the position in the buffer.
_PHILOX: Final = struct.Struct("=iIi")
_PHILOX_ARRAYS_BYTES: Final = 32 + 16 + 32


class Kept(ABC):
    """A generator that is part of every checkpoint.

    Attributes:
        name: What it is called.
        label: The same in UTF-8.
        view: Where its state is in memory; None if only `save` knows it. `SessionCore` makes most records by it, and
            `save` those that are left.
    """

    def __init__(self, name: str) -> None:
        """Keep it under this name."""
        self.name = name
        self.label = name.encode()
        self.view: GeneratorView | None = None

    @abstractmethod
    def save(self, state: State, *, trust: bool) -> Any:
        """Return the record, after storing in `state` what is too much for it.

        Args:
            state: The whole state of the workspace.
            trust: What was stored by the last call is still there.
        """

    @abstractmethod
    def load(self, record: Any, state: State) -> None:
        """Put the generator back to where it was when `record` was made.

        Raises:
            Corrupt: The record is none of this kind of generator, or what goes with it is not in `state`.
        """

    def wrong(self, why: str) -> Corrupt:
        """Return the error for a record that cannot be used."""
        return Corrupt(f"random generator {self.name!r}: {why}; fork_at() goes on from an earlier step")


class _Twister(Kept):
    """What all Mersenne Twisters have in common: words in the state, the rest in the record."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._key = f"{RESERVED}random/{name}"
        self._words = b""
        self._checksum = 0

    def _view(
        self, owner: object, same: list[memory.Memory], found: memory.Memory, words_at: int, **spare: Any
    ) -> GeneratorView:
        """Return the view of `found`: the words begin at `words_at`, and the position has the rest."""
        position_at = 0 if words_at else memory.WORDS_BYTES
        return GeneratorView.twister(
            owner,
            same,
            self._key,
            words=found.part(words_at, memory.WORDS_BYTES),
            position=found.part(position_at, memory.POSITION_BYTES),
            **spare,
        )

    def _record(self, words: bytes, position: int, spare: float | None, state: State, *, trust: bool) -> bytes:
        if words != self._words:
            self._words, self._checksum = words, zlib.crc32(words)
            state[self._key] = words
        elif not trust and state.get(self._key) != words:
            state[self._key] = words
        return _TWISTER.pack(position, spare is not None, spare or 0.0, self._checksum)

    def _parts(self, record: Any, state: State) -> tuple[bytes, int, float | None]:
        words = state.get(self._key)
        if not isinstance(record, bytes) or len(record) != _TWISTER.size:
            raise self.wrong("its record is that of another kind of generator")
        position, has_spare, spare, checksum = _TWISTER.unpack(record)
        if not isinstance(words, bytes) or len(words) != memory.WORDS_BYTES or zlib.crc32(words) != checksum:
            raise self.wrong(f"the state's key {self._key!r} was changed by somebody else")
        return words, position, spare if has_spare else None


class _PythonRandom(_Twister):
    """A `random.Random`, that of the module `random` by default."""

    def __init__(self, name: str, source: Any) -> None:
        super().__init__(name)
        self._source = source
        self._memory = found = memory.of_random(source)
        if found is not None:
            self.view = self._view(source, [], found, memory.POSITION_BYTES, spare_of=source)

    def save(self, state: State, *, trust: bool) -> Any:
        source = self._source
        if self._memory is not None:
            raw = self._memory.raw
            position, words, spare = int.from_bytes(raw[:4], sys.byteorder), raw[4:], source.gauss_next
        else:
            _, internal, spare = source.getstate()
            position, words = internal[-1], struct.pack(f"={memory.WORDS}I", *internal[:-1])
        return self._record(words, position, spare, state, trust=trust)

    def load(self, record: Any, state: State) -> None:
        words, position, spare = self._parts(record, state)
        internal = (*struct.unpack(f"={memory.WORDS}I", words), position)
        self._source.setstate((self._source.VERSION, internal, spare))


class _LegacyNumPy(_Twister):
    """A NumPy `RandomState` on a Mersenne Twister, that of the functions of `numpy.random` by default."""

    def __init__(self, name: str, source: np.random.RandomState) -> None:
        super().__init__(name)
        self._source: Any = source
        self._spare = memory.of_legacy(source)
        self._look_at(source._bit_generator)

    def _look_at(self, bits: Any) -> None:
        self._bits, self._twister, self.view = bits, memory.of_twister(bits), None
        pointer = memory.pointer_in(self._source, bits)
        if self._twister is not None and self._spare is not None and pointer is not None:
            self.view = self._view((self._source, bits), [pointer], self._twister, 0, spare_at=self._spare.memory)

    def save(self, state: State, *, trust: bool) -> Any:
        bits = self._source._bit_generator
        if bits is not self._bits:  # numpy.random.set_bit_generator
            self._look_at(bits)
        if self._twister is None or self._spare is None:
            return self._save_by_asking(state, trust=trust)
        raw, spare = self._twister.raw, self._spare.read()
        position = int.from_bytes(raw[-4:], sys.byteorder)
        return self._record(raw[:-4], position, spare, state, trust=trust)

    def _save_by_asking(self, state: State, *, trust: bool) -> Any:
        found = self._source.get_state(legacy=False)
        spare = found["gauss"] if found["has_gauss"] else None
        if found["bit_generator"] != "MT19937":
            return {"bits": _packed(found), "spare": spare}
        words = found["state"]["key"].astype("=u4").tobytes()
        return self._record(words, found["state"]["pos"], spare, state, trust=trust)

    def load(self, record: Any, state: State) -> None:
        if isinstance(record, dict):
            found = _unpacked(record.get("bits"))
            if not isinstance(found, dict):
                raise self.wrong("its record cannot be read")
        else:
            import numpy as np

            words, position, spare = self._parts(record, state)
            inner = {"key": np.frombuffer(words, "=u4"), "pos": position}
            found = {"bit_generator": "MT19937", "state": inner, "has_gauss": int(spare is not None)}
            found["gauss"] = spare or 0.0
        try:
            self._source.set_state(found)
        except (ValueError, TypeError, KeyError) as error:
            raise self.wrong(f"NumPy refuses its record ({error})") from error


class _NumPyBits(_Twister):
    """A bit generator of NumPy, by itself or of a `Generator` (which holds nothing else)."""

    def __init__(self, name: str, bits: np.random.BitGenerator) -> None:
        super().__init__(name)
        self._bits: Any = bits
        self._memory = memory.of_twister(bits)
        self._is_philox = type(bits).__name__ == "Philox"
        self._philox = memory.of_philox(bits)
        seeds = memory.of_seeds(bits)
        if seeds is not None and self._memory is not None:
            self.view = self._view((bits, bits.seed_seq), seeds, self._memory, 0)
        elif seeds is not None and self._philox is not None:
            self.view = GeneratorView((bits, bits.seed_seq), seeds, self._philox)

    def save(self, state: State, *, trust: bool) -> Any:
        spawned = getattr(self._bits.seed_seq, "n_children_spawned", 0)
        if self._memory is not None:
            raw = self._memory.raw
            place = int.from_bytes(raw[-4:], sys.byteorder)
            record: Any = self._record(raw[:-4], place, None, state, trust=trust)
        elif self._philox is not None:
            counter, key, rest, position = self._philox
            record = counter.raw + key.raw + rest.raw + position.raw
        elif self._is_philox:
            now = self._bits.state
            inner = now["state"]
            record = inner["counter"].tobytes() + inner["key"].tobytes() + now["buffer"].tobytes()
            record += _PHILOX.pack(now["has_uint32"], now["uinteger"], now["buffer_pos"])
        else:
            record = _packed(self._bits.state)
        # What `spawn` counts is not in the generator's own state.
        return [record, spawned] if spawned else record

    def load(self, record: Any, state: State) -> None:
        spawned = 0
        if isinstance(record, list) and len(record) == 2:
            record, spawned = record
        found: Any
        if not isinstance(record, bytes):
            found = _unpacked(record)
        elif self._is_philox:
            found = self._unpacked_philox(record)
        else:
            import numpy as np

            words, position, _ = self._parts(record, state)
            found = {"bit_generator": "MT19937", "state": {"key": np.frombuffer(words, "=u4"), "pos": position}}
        try:
            self._bits.state = found
        except (ValueError, TypeError, KeyError) as error:
            raise self.wrong(f"NumPy refuses its record ({error}); was it another kind of generator?") from error
        if spawned != getattr(self._bits.seed_seq, "n_children_spawned", spawned):
            self._seed_anew(spawned)

    def _seed_anew(self, spawned: int) -> None:
        """Make it count its children from here on; the state stays."""
        import numpy as np

        seeds = self._bits.seed_seq
        seeds = np.random.SeedSequence(
            seeds.entropy, spawn_key=seeds.spawn_key, pool_size=seeds.pool_size, n_children_spawned=spawned
        )
        self._bits.__setstate__((self._bits.state, seeds))

    def _unpacked_philox(self, record: Any) -> dict[str, Any]:
        import numpy as np

        if not isinstance(record, bytes) or len(record) != _PHILOX_ARRAYS_BYTES + _PHILOX.size:
            raise self.wrong("its record is that of another kind of generator")
        numbers = np.frombuffer(record, "=u8", _PHILOX_ARRAYS_BYTES // 8)
        has_half, half, position = _PHILOX.unpack_from(record, _PHILOX_ARRAYS_BYTES)
        return {
            "bit_generator": "Philox",
            "state": {"counter": numbers[:4], "key": numbers[4:6]},
            "buffer": numbers[6:],
            "buffer_pos": position,
            "has_uint32": has_half,
            "uinteger": half,
        }


class _Object(Kept):
    """Anything with `getstate` and `setstate`."""

    def __init__(self, name: str, source: Any) -> None:
        super().__init__(name)
        self._source = source

    def save(self, state: State, *, trust: bool) -> Any:
        return _packed(self._source.getstate())

    def load(self, record: Any, state: State) -> None:
        self._source.setstate(_unpacked(record))


def kept(name: str, source: Any) -> Kept:
    """Return the way to keep a generator.

    Args:
        name: What it is called in the session.
        source: A `random.Random`, NumPy's `Generator`, `BitGenerator` or `RandomState`, or anything with `getstate()`
            and `setstate(state)` whose state is made of None, bool, int, float, str, bytes, list, tuple, dict, arrays.

    Raises:
        InvalidArgument: It is none of these, or has no state that could be kept.

    Cost: O(1).
    """
    if isinstance(source, random.SystemRandom):
        raise InvalidArgument(f"generator {name!r} draws from the system, which cannot be put back: use random.Random")
    if type(source) is random.Random:
        return _PythonRandom(name, source)
    if "numpy" in sys.modules:
        import numpy as np

        if isinstance(source, np.random.Generator):
            return _NumPyBits(name, source.bit_generator)
        if isinstance(source, np.random.BitGenerator):
            return _NumPyBits(name, source)
        if isinstance(source, np.random.RandomState):
            return _LegacyNumPy(name, source)
    if callable(getattr(source, "getstate", None)) and callable(getattr(source, "setstate", None)):
        return _Object(name, source)
    raise InvalidArgument(
        f"generator {name!r} is of type {type(source).__name__}: give a random.Random, a generator of NumPy, or an"
        " object with getstate() and setstate()"
    )


def _packed(value: Any) -> Any:
    """Return a generator's state as metadata can hold it: tuples and arrays become maps that say so."""
    if isinstance(value, dict):
        return {"d": {name: _packed(item) for name, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return {"t" if isinstance(value, tuple) else "l": [_packed(item) for item in value]}
    if type(value).__module__ == "numpy" and hasattr(value, "tobytes") and getattr(value, "ndim", None):
        return {"a": [value.dtype.str, list(value.shape), value.tobytes()]}
    return value


def _unpacked(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "d":
        return {name: _unpacked(item) for name, item in inner.items()}
    if kind in {"t", "l"}:
        items = [_unpacked(item) for item in inner]
        return tuple(items) if kind == "t" else items
    if kind == "a":
        import numpy as np

        return np.frombuffer(inner[2], inner[0]).reshape(inner[1]).copy()
    return value
