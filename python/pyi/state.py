"""``Workspace.state``: the key-value mapping of a workspace."""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from pyi._native import StateCore, StoredArray
from pyi.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from pyi.arrays import TrackedArray

__all__ = ["Pickled", "State"]

_MISSING: Final = object()


class Pickled(bytes):
    """A pickle that was read from a state: its bytes. ``State.unpickle`` makes the object of it."""

    __slots__ = ()


class State(MutableMapping[str, Any]):
    """A mapping of None, bool, int, float, str, bytes, list, dict (with str keys), NumPy arrays, buffers, data frames.

    Reading gives copies and assignment stores: change a value by assigning it again, or an array through ``array``.
    The state is part of every checkpoint, fork and restore. A key has 1 to 4,096 bytes in UTF-8; keys are iterated
    in the order of these bytes. A stored dict keeps the order of its keys.

    Cost: O(log keys) and one encoding of the value. An array, or bytes above 64 KB, costs one hash pass over its
    content; pieces of 64 KB that are what the key had before are not copied.
    """

    __slots__ = ("_core",)

    def __init__(self, core: StateCore) -> None:
        self._core = core

    def __getitem__(self, key: object) -> Any:
        value = self._core.get(key, _MISSING) if isinstance(key, str) else _MISSING
        if value is _MISSING:
            raise _no_key(key)
        return _shown(value) if isinstance(value, StoredArray) else value

    def __setitem__(self, key: str, value: Any) -> None:
        if not self._core.set(key, value):
            _store(self._core, key, value)

    def __delitem__(self, key: object) -> None:
        if not (isinstance(key, str) and self._core.remove(key)):
            raise _no_key(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._core.keys())

    def __len__(self) -> int:
        return len(self._core)

    def __repr__(self) -> str:
        return f"State({dict(self)!r})"

    def array(self, key: str) -> TrackedArray:
        """Return the NumPy array under ``key`` as one that is fetched piece by piece and notes what is written to it.

        Nothing is read yet, and what is written is part of the state at once. Every caller gets the same memory,
        until the key is assigned, removed or restored.

        Raises:
            NotFound: there is no such key.
            InvalidArgument: something else than a NumPy array is there, or NumPy is not installed.
        """
        _numpy()
        from pyi.arrays import TrackedArray

        return TrackedArray(self._core.array(key))

    def adopt(self, key: str, array: Any) -> TrackedArray:
        """Store a NumPy array by taking over its memory, and return it tracked. Costs one hash pass and no second copy.

        ``array`` becomes read-only: write through what is returned. Arrays that were made of the same memory before
        can still write to it, unnoticed; let go of them.

        Raises:
            InvalidArgument: not a writable, C-contiguous array of numbers, text or times.
        """
        numpy = _numpy()
        if not isinstance(array, numpy.ndarray):
            raise InvalidArgument(f"only a NumPy array can be adopted, not {type(array).__name__}; assign it")
        _check_mask(array)
        _check_dtype(array.dtype)
        if not (array.flags.c_contiguous and array.flags.writeable):
            raise InvalidArgument("only a writable, C-contiguous array can be adopted; assign it, or adopt a copy")
        from pyi.arrays import TrackedArray

        core = self._core.adopt(key, array.dtype.str, list(array.shape), array.reshape(-1).view("u1"))
        array.flags.writeable = False
        return TrackedArray(core)

    def pickle(self, key: str, value: object) -> None:
        """Store any object as a pickle. Reading ``state[key]`` gives its bytes and never runs them; ``unpickle`` does.

        Raises:
            InvalidArgument: the object cannot be pickled.
        """
        import pickle

        try:
            data = pickle.dumps(value, protocol=5)
        except Exception as error:
            raise InvalidArgument(f"state key {key!r}: {type(value).__name__} cannot be pickled: {error}") from error
        self._core.set_array(key, "pickle", "|u1", [len(data)], data)

    def unpickle(self, key: str) -> Any:
        """Return the object that ``pickle`` stored. Runs what the pickle says: only for stores whose writers you trust.

        Raises:
            NotFound: there is no such key.
            InvalidArgument: what is there was not stored by ``pickle``.
        """
        import pickle

        value = self[key]
        if not isinstance(value, Pickled):
            raise InvalidArgument(f"state key {key!r} holds no pickle; read it with state[{key!r}]")
        return pickle.loads(value)


def _no_key(key: object) -> NotFound:
    return NotFound(f"state key {key!r}: there is none; list(ws.state) shows what there is")


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise InvalidArgument("this is an array: install NumPy (pip install numpy) to read it") from error
    return numpy


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise InvalidArgument("this is a data frame: install pyarrow (pip install 'pyi[arrow]')") from error
    return pyarrow


def _check_mask(array: Any) -> None:
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(array, masked.MaskedArray):
        raise InvalidArgument("a masked array would lose its mask: store array.data and array.mask under two keys")


def _check_dtype(dtype: Any) -> None:
    if dtype.hasobject or dtype.names is not None:
        raise InvalidArgument(
            f"an array of dtype {dtype}: object and structured arrays cannot be stored; store their columns as arrays"
        )


def _shown(stored: StoredArray) -> Any:
    """Return what was stored in chunks as what it was."""
    buffer: Any = stored
    if stored.form is None:
        numpy = _numpy()
        return numpy.ndarray(tuple(stored.shape), numpy.dtype(stored.dtype), buffer)
    if stored.form == "bytes":
        return stored.to_bytes()
    if stored.form == "pickle":
        return Pickled(buffer)
    if stored.form == "arrow":
        arrow = _arrow()
        return arrow.ipc.open_stream(arrow.py_buffer(buffer)).read_all()
    raise InvalidArgument(
        f"a value of the form {stored.form!r}, which is unknown to this version of pyi; use a newer one"
    )


def _store(core: StateCore, key: str, value: Any) -> None:
    """Store what is no plain value: an array, a data frame, a pickle, or what a buffer holds."""
    if isinstance(value, Pickled):
        core.set_array(key, "pickle", "|u1", [len(value)], value)
        return
    if isinstance(value, bytes | bytearray | memoryview):
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        if size > _LARGE_BYTES:
            core.set_array(key, "bytes", "|u1", [size], value)
        else:
            core.set_value(key, bytes(value))
        return
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if "pyi.arrays" in sys.modules and isinstance(value, sys.modules["pyi.arrays"].TrackedArray):
            value = value.__array__()
        if isinstance(value, numpy.ndarray):
            _store_array(core, key, value)
            return
        if isinstance(value, numpy.generic):
            core.set_value(key, value)
            return
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        core.set_array(key, "arrow", "|u1", *_stream(value))
        return
    try:
        view = memoryview(value)
    except TypeError:
        core.set_value(key, value)
        return
    dtype = _DTYPES.get(view.format.lstrip("@="))
    if dtype is None:
        raise InvalidArgument(f"a buffer of the format {view.format!r}: store its bytes, or an array made of it")
    order = "|" if view.itemsize == 1 else "<" if sys.byteorder == "little" else ">"
    core.set_array(key, None, f"{order}{dtype}{view.itemsize}", list(view.shape or ()), view)


# Kinds of numbers by the letters of the struct module.
_DTYPES: Final = {
    **dict.fromkeys("bhilqn", "i"),
    **dict.fromkeys("BHILQN", "u"),
    **dict.fromkeys("efd", "f"),
    "?": "b",
}
_LARGE_BYTES: Final = 65_536


def _store_array(core: StateCore, key: str, array: Any) -> None:
    import numpy

    _check_mask(array)
    _check_dtype(array.dtype)
    flat: Any = numpy.ascontiguousarray(array).reshape(-1)
    flat = flat.view("u1") if flat.size else b""
    core.set_array(key, None, array.dtype.str, list(array.shape), flat)


def _stream(frame: Any) -> tuple[list[int], Any]:
    """Return the size and the bytes of a frame as a stream of Arrow's interprocess format."""
    arrow = _arrow()
    if hasattr(frame, "__arrow_c_stream__"):
        table = arrow.table(frame)
    else:
        table = arrow.Table.from_batches([arrow.record_batch(frame)])
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    return [data.size], data
