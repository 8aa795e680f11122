"""A session's sign of life: a file beside the store that the process which runs it holds a lock on.

The kernel releases the lock when that process ends, however it ends: so a session whose file can be locked is not
running. The lease of its workspace is what protects the content; this is for telling people early. The file also says
which step was begun last, written through shared memory: it survives the process and costs nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import weakref
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from pyi.errors import Conflict, StorageError

__all__ = ["Presence"]

_DIRECTORY: Final = "sessions"
_NAME_MAX: Final = 200
"""Longer names of files are refused by file systems at 255."""
_PLACE: Final = struct.Struct("=QQQQ")
"""Steps begun, the process, resumes, steps repeated."""


class Presence:
    """The lock on one session of a store, from `acquire` to `close`."""

    def __init__(self, fd: int) -> None:
        """Own the locked file."""
        self._fd = -1  # if the next line fails, the file is still the caller's
        self._memory = mmap.mmap(fd, _PLACE.size)
        self.counts = memoryview(self._memory).cast("Q")
        """Steps begun, the process, resumes, steps repeated: in memory that the file shares, so a kill leaves them."""
        self.counts[1] = os.getpid()
        self._fd = fd
        _HELD.add(self)

    @classmethod
    def acquire(cls, store: Path, name: str) -> Self:
        """Say that this process runs the session.

        Raises:
            Conflict: Some process does, this one or another.
            StorageError: The file cannot be made, or the file system knows no locks.

        Cost: an open and a lock; it never waits.
        """
        path = store / _DIRECTORY / _file_name(name)
        fd = -1
        try:
            path.parent.mkdir(exist_ok=True)
            # Never removed, so whoever opened it has the file that everybody locks.
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_size < _PLACE.size:
                os.pwrite(fd, bytes(_PLACE.size), 0)  # not only the length: a write through memory finds room then
            return cls(fd)
        except BlockingIOError as error:
            found = os.pread(fd, _PLACE.size, 0)
            os.close(fd)
            pid = _PLACE.unpack(found)[1] if len(found) == _PLACE.size else 0
            if pid == os.getpid():
                raise Conflict(f"session {name!r} is open in this process: close() it first") from error
            raise Conflict(
                f"session {name!r} is running in process {pid or '?'}: end that one, it can be resumed at once"
            ) from error
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            raise StorageError(f"cannot lock session {name!r} at {path}: {error.strerror}", error.errno) from error

    def begin(self, done: int = 0) -> None:
        """Say that a session begins, with so many steps done already."""
        self.counts[0], self.counts[2], self.counts[3] = done, 0, 0

    def close(self) -> None:
        """Release the lock; idempotent. In a forked child this releases nothing that the parent holds."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            shared, self.counts = self.counts, memoryview(bytearray(_PLACE.size)).cast("Q")
            shared.release()
            self._memory.close()  # it has a descriptor of its own, which keeps the lock as well
            os.close(fd)

    def __del__(self) -> None:
        """Close: a session that nobody holds any more, and nobody closed, is not running."""
        self.close()


def _file_name(name: str) -> str:
    quoted = quote(name, safe="")
    is_usable = len(quoted) <= _NAME_MAX and quoted not in {".", ".."}
    return quoted if is_usable else f"%{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}"


_HELD: weakref.WeakSet[Presence] = weakref.WeakSet()


def _leave_all() -> None:
    for presence in list(_HELD):
        presence.close()


# A child that does not exec, and outlives the session, would keep it locked.
os.register_at_fork(after_in_child=_leave_all)
