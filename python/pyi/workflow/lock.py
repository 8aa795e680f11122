"""A race's sign of life: a file beside its store that the process which runs it holds a lock on.

The kernel releases the lock when that process ends, however it ends, so that a race which can be locked is not running.
"""

from __future__ import annotations

import fcntl
import json
import os
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pyi.errors import StorageError

__all__ = ["RaceLock"]

_DIRECTORY = "races"
_SUFFIX = ".lock"


class RaceLock:
    """The lock on one race, made by `acquire`; `close` gives it back and removes its file."""

    def __init__(self, path: Path, fd: int) -> None:
        """Own the locked file at `path`."""
        self._path = path
        self._fd = fd
        _HELD.add(self)

    @classmethod
    def acquire(cls, store: Path, race_id: str) -> Self | None:
        """Lock a race, or return None if it is running, in whatever process.

        Raises:
            StorageError: The file cannot be made, or the file system knows no locks.

        Cost: an open and a lock; it never waits.
        """
        path = _path(store, race_id)
        try:
            path.parent.mkdir(exist_ok=True)
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_at(fd, path):
                        return cls(path, fd)
                except BlockingIOError:
                    os.close(fd)
                    return None
                except BaseException:
                    os.close(fd)
                    raise
                os.close(fd)  # its last owner removed it between our open and our lock
        except OSError as error:
            raise StorageError(f"cannot lock race {race_id} at {path}: {error.strerror}", error.errno) from error

    @staticmethod
    def facts(store: Path, race_id: str) -> dict[str, object]:
        """Return what the owner of a running race says of it; nothing if it says nothing (yet)."""
        with suppress(OSError, ValueError):
            found = json.loads(_path(store, race_id).read_bytes())
            if isinstance(found, dict):
                return found
        return {}

    def tell(self, facts: Mapping[str, object]) -> None:
        """Say something of the race to whoever finds it running."""
        with suppress(OSError):  # a full disk: those who look see a running race without a name
            os.pwrite(self._fd, json.dumps(facts).encode(), 0)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Remove the file and release the lock; idempotent."""
        if self._fd >= 0:
            with suppress(OSError):
                self._path.unlink()
            self._leave()

    def _leave(self) -> None:
        """Close the descriptor alone: in a forked child this keeps nothing locked and releases nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


_HELD: weakref.WeakSet[RaceLock] = weakref.WeakSet()


def _leave_all() -> None:
    for lock in list(_HELD):
        lock._leave()


# Close-on-exec is not enough: a callable may fork without exec, and its child may outlive the race.
os.register_at_fork(after_in_child=_leave_all)


def _path(store: Path, race_id: str) -> Path:
    return store / _DIRECTORY / (race_id + _SUFFIX)


def _is_at(fd: int, path: Path) -> bool:
    mine = os.fstat(fd)
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
