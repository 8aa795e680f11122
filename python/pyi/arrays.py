"""Tracked arrays: arrays of the state that are fetched when they are looked at, and know what was written to them.

Needs NumPy; ``State.array`` and ``State.adopt`` make them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

if TYPE_CHECKING:
    from pyi._native import ArrayCore

__all__ = ["TrackedArray"]

_Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# Functions of NumPy that write to their first argument.
_WRITE_TO_FIRST: Final = frozenset({"copyto", "put", "place", "putmask", "fill_diagonal", "put_along_axis"})


class TrackedArray(NDArrayOperatorsMixin):
    """An array under a key of ``ws.state``, or a part of one, in which writing is noted.

    It indexes, computes and prints as a NumPy array does. Assigning to elements and slices (``view[2:5] = x``), in-
    place operators (``view[2:5] += x``), ``out=view`` and ``fill`` and ``sort`` note the chunks of 64 KB that they
    touch, and the next checkpoint, fork or diff stores those and no others. Indexing with slices gives a part that
    is tracked too; functions of NumPy get a read-only array, so no write goes by unnoticed. For code that needs an
    ordinary writable array there is ``writing``.

    Chunks are fetched when something looks at them. A view shows the state as it is; once the key is assigned,
    removed or restored, it shows what was there and refuses to be written to (``Conflict``).

    Like an ndarray, it is not synchronised: a checkpoint that another thread makes in the middle of a write may see
    half of it, and the next one sees the rest.
    """

    __slots__ = ("_array", "_core", "_memory", "_start")

    def __init__(self, core: ArrayCore) -> None:
        self._core: ArrayCore = core
        # Writable, and never given away.
        writable: Any = core.writable()
        self._array: _Array = np.ndarray(tuple(core.shape), np.dtype(core.dtype), writable)
        # The same memory, read-only, and where it begins.
        self._memory: Any = core.memory()
        self._start: int = self._array.__array_interface__["data"][0]

    def _tracked(self, part: _Array) -> TrackedArray:
        """Return a part of the same array."""
        made = TrackedArray.__new__(TrackedArray)
        made._core, made._array, made._memory, made._start = self._core, part, self._memory, self._start
        return made

    # What and where it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        shape: tuple[int, ...] = self._array.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of an element."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._array.size

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self._array.nbytes

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Chunks of the whole array, those fetched, and those touched since the state last took them in."""
        core = self._core
        return core.chunks, core.chunks - core.missing, core.touched

    def _region(self, array: _Array) -> tuple[int, int, list[tuple[int, int]]]:
        offset = array.__array_interface__["data"][0] - self._start if array.size else 0
        return offset, array.itemsize, list(zip(array.shape, array.strides, strict=True))

    def _fetched(self, array: _Array) -> _Array:
        """Return a part of the memory, all of it there, as an array that nobody can make writable."""
        region = self._region(array)
        self._core.fetch(*region)
        return np.ndarray(array.shape, array.dtype, self._memory, region[0], array.strides)

    def _part(self, index: Any) -> _Array:
        """Return the part of the memory at a basic index, of which single elements are one too."""
        index = index if isinstance(index, tuple) else (index,)
        if not any(each is Ellipsis for each in index):
            index = (*index, Ellipsis)
        part: _Array = self._array[index]
        return part

    # Reading

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> _Array:
        """Return it as an ordinary array: read-only and without a copy, unless one is asked for or another type is."""
        array = self._fetched(self._array)
        if dtype is not None and np.dtype(dtype) != array.dtype:
            if copy is False:
                raise ValueError("another dtype needs a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __getitem__(self, index: Any) -> Any:
        if _is_basic(index):
            part = self._part(index)
            if part.ndim == 0:
                return self._fetched(part)[()]
            return self._tracked(part)
        return self._fetched(self._array)[_plain(index)]

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Any]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[index] for index in range(len(self._array)))

    def __contains__(self, value: object) -> bool:
        return value in self._fetched(self._array)

    def __bool__(self) -> bool:
        return bool(self._fetched(self._array))

    def __int__(self) -> int:
        return int(self._fetched(self._array))

    def __float__(self) -> float:
        return float(self._fetched(self._array))

    def __complex__(self) -> complex:
        return complex(self._fetched(self._array))

    def __index__(self) -> int:
        return operator.index(self._fetched(self._array)[()])

    def __copy__(self) -> _Array:
        return self._fetched(self._array).copy()

    def __deepcopy__(self, memo: object) -> _Array:
        return self._fetched(self._array).copy()

    def __reduce__(self) -> Any:
        return self._fetched(self._array).copy().__reduce__()

    def __repr__(self) -> str:
        shown = repr(self._fetched(self._array)) if self.size <= 1000 else f"{self.shape} of {self.dtype}"
        return f"<TrackedArray {shown}>"

    def __getattr__(self, name: str) -> Any:
        """Give the methods of a read-only array: sum, mean, reshape, T, astype, tobytes, ..."""
        if name.startswith("_"):
            raise AttributeError(f"'TrackedArray' object has no attribute {name!r}")
        return getattr(self._fetched(self._array), name)

    # Writing

    def __setitem__(self, index: Any, value: Any) -> None:
        if _is_basic(index):
            part = self._part(index)
            if isinstance(value, TrackedArray):
                if value._core is self._core and value._region(value._array) == self._region(part):
                    return  # The end of `view[a:b] += x`, which has written already.
                value = np.asarray(value)
            self._write(part, lambda part: part.__setitem__(Ellipsis, value))
            return
        index, value = _plain(index), _plain(value)
        chunks = self._chunks_at(index)
        if chunks is None:
            self._write(self._array, lambda array: array.__setitem__(index, value))
            return
        self._core.begin_chunks(chunks)
        try:
            self._array[index] = value
        finally:
            self._core.end_chunks(chunks)

    def _write(self, part: _Array, write: Callable[[_Array], object]) -> None:
        region = self._region(part)
        self._core.begin(*region)
        try:
            write(part)
        finally:
            self._core.end(*region)

    def _chunks_at(self, index: Any) -> list[int] | None:
        """Return the chunks of what indexes or a mask pick along the first axes; None if it cannot be told."""
        array = self._array
        index = index if isinstance(index, tuple) else (index,)
        picks: list[_Array] = []
        for each in index:
            if not isinstance(each, np.ndarray | np.generic | list | int):
                return None
            pick = np.asarray(each)
            if pick.dtype == bool:
                if pick.ndim == 0 or pick.shape != array.shape[len(picks) : len(picks) + pick.ndim]:
                    return None
                picks.extend(pick.nonzero())
            elif pick.dtype.kind in "iu":
                picks.append(pick)
            else:
                return None
        if not picks or len(picks) > array.ndim:
            return None
        first, _, axes = self._region(array)
        if array.size == 0:
            return []
        steps = [step for _, step in axes]
        inner = axes[len(picks) :]
        low = sum(min(0, (length - 1) * step) for length, step in inner)
        high = sum(max(0, (length - 1) * step) for length, step in inner) + array.itemsize
        chunk_bytes = self._core.chunk_bytes
        if (high - low) > 16 * chunk_bytes:
            return None
        starts = np.asarray(first, dtype=np.int64)
        for pick, length, step in zip(picks, array.shape, steps, strict=False):
            if pick.size and (int(pick.min()) < -length or int(pick.max()) >= length):
                return None  # NumPy says what is wrong.
            pick = pick.astype(np.int64)
            starts = starts + np.where(pick < 0, pick + length, pick) * step
        starts = np.unique(starts)
        spans = [np.unique((starts + at) // chunk_bytes) for at in (*range(low, high, chunk_bytes), high - 1)]
        found: list[int] = np.unique(np.concatenate(spans)).tolist()
        return found

    def fill(self, value: Any) -> None:
        """Set every element to ``value``."""
        self._write(self._array, lambda array: array.fill(value))

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        """Sort in place."""
        self._write(self._array, lambda array: array.sort(axis=axis, kind=kind))

    @contextmanager
    def writing(self, index: Any = Ellipsis) -> Iterator[_Array]:
        """Give an ordinary writable array over the part at a basic index, for code that tells nobody what it writes to.

        The stretch from its first byte to its last counts as touched as long as the array, or anything made of it
        without a copy, is alive. Let go of it when you are done: until then every checkpoint hashes that stretch
        again.

        Raises:
            Conflict: the key was assigned, removed or restored.
        """
        if not _is_basic(index):
            raise TypeError("writing() takes slices and integers; assign to other indexes")
        part = self._part(index)
        offset, item, axes = self._region(part)
        low = offset + sum(min(0, (length - 1) * step) for length, step in axes) if part.size else 0
        high = offset + sum(max(0, (length - 1) * step) for length, step in axes) + item if part.size else 0
        memory: Any = self._core.window(low, high)
        yield np.ndarray(part.shape, part.dtype, memory, offset, part.strides)

    # What NumPy asks for

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        outs = options.get("out", ())
        targets = [each for each in outs if isinstance(each, TrackedArray)]
        if method == "at" and isinstance(inputs[0], TrackedArray):
            targets.append(inputs[0])
        with _being_written(targets):
            plain = [_plain(each, targets if method == "at" else ()) for each in inputs]
            if outs:
                options["out"] = tuple(each._array if isinstance(each, TrackedArray) else each for each in outs)
            result = getattr(ufunc, method)(*plain, **options)
        return _given_back(result, targets)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        targets = []
        out = options.get("out")
        if isinstance(out, TrackedArray):
            targets.append(out)
        if function.__name__ in _WRITE_TO_FIRST and args and isinstance(args[0], TrackedArray):
            targets.append(args[0])
        with _being_written(targets):
            plain = [_plain(each, targets) for each in args]
            named = {name: _plain(each, targets) for name, each in options.items()}
            result = function(*plain, **named)
        return _given_back(result, targets)


def _is_basic(index: object) -> bool:
    """Whether NumPy makes a view of what stands at an index, and not a copy."""
    if isinstance(index, tuple):
        return all(_is_basic(each) for each in index if not isinstance(each, tuple)) and not any(
            isinstance(each, tuple) for each in index
        )
    if isinstance(index, bool | np.bool_ | np.ndarray | TrackedArray | list):
        return False
    return index is None or index is Ellipsis or isinstance(index, slice) or hasattr(index, "__index__")


def _plain(value: Any, written: Sequence[TrackedArray] = ()) -> Any:
    """Return what NumPy gets for a tracked array, or a list of some: a read-only array, but for those being written."""
    if isinstance(value, TrackedArray):
        return value._array if any(value is each for each in written) else value.__array__()
    if type(value) in (list, tuple):
        return type(value)(_plain(each, written) for each in value)
    return value


def _given_back(result: Any, written: Sequence[TrackedArray]) -> Any:
    """Return the tracked array where NumPy gives back the array that it wrote to."""
    if isinstance(result, tuple):
        return tuple(_given_back(each, written) for each in result)
    return next((each for each in written if each._array is result), result)


@contextmanager
def _being_written(arrays: Sequence[TrackedArray]) -> Iterator[None]:
    regions = [(each._core, each._region(each._array)) for each in arrays]
    for core, region in regions:
        core.begin(*region)
    try:
        yield
    finally:
        for core, region in regions:
            core.end(*region)
