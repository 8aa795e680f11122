"""Scratch directories that do not outlive their process for long.

A scratch directory is ``<tmp>/pyi-scratch-<random>`` with a file ``pid`` in it, on which its owner holds a lock for as
long as it lives. Whoever starts next removes those whose lock is free: their owner was killed before it could do so
itself. The lock file is the first thing in the directory and the last one out: without it, there is nothing in there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pyi.errors import StorageError

__all__ = ["Scratch", "remove_tree", "sweep"]

_PREFIX = "pyi-scratch-"
_LOCK = "pid"
# A directory without a filled-in lock file may be one that is just being made.
_GRACE_S = 60.0
# One without a lock file is empty: its owner was killed right before making it, or right after removing it.
_EMPTY_GRACE_S = 3600.0


class Scratch:
    """A directory of this process alone, removed by `close` or, after ``kill -9``, by the next process's `sweep`."""

    path: Path

    def __init__(self, parent: Path | None = None) -> None:
        """Make the directory in `parent` (default: the system's place for temporary files) and lock it.

        Raises:
            StorageError: It cannot be made.
        """
        try:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)).resolve()
            self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            os.write(self._lock, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise StorageError(f"cannot make a scratch directory: {error}", error.errno) from error
        self._closed = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Remove the directory; idempotent. What cannot be removed is left to the next `sweep`, with a warning."""
        if not self._closed:
            self._closed = True
            _remove_or_warn(self.path)
            os.close(self._lock)


def sweep(parent: Path | None = None) -> int:
    """Remove scratch directories of dead processes; return how many.

    Cost: one directory listing, plus what there is to remove.
    """
    removed = 0
    for entry in os.scandir(parent or tempfile.gettempdir()):
        if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
            removed += _remove_if_dead(Path(entry.path))
    return removed


def _remove_if_dead(path: Path) -> bool:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # gone, not ready yet, or never to be
        return _remove_if_forgotten(path)
    except OSError:  # not one of ours, or somebody else's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(lock)
        if status.st_size == 0 and time.time() - status.st_mtime < _GRACE_S:
            return False
        return _remove_or_warn(path)
    except BlockingIOError:  # its owner lives
        return False
    finally:
        os.close(lock)


def _remove_if_forgotten(path: Path) -> bool:
    """Remove an old directory without a lock file, if there is nothing else in it either."""
    try:
        if time.time() - path.stat().st_mtime < _EMPTY_GRACE_S:
            return False
        path.rmdir()
    except OSError:
        return False
    return True


def _remove_or_warn(path: Path) -> bool:
    """Remove a scratch directory, its lock file last, so that a kill in between leaves one that `sweep` knows."""
    try:
        with suppress(FileNotFoundError):
            for entry in os.scandir(path):
                if entry.is_dir(follow_symlinks=False):
                    remove_tree(Path(entry.path))
                elif entry.name != _LOCK:
                    os.unlink(entry.path)
            (path / _LOCK).unlink()
            path.rmdir()
    except OSError as error:
        warnings.warn(f"{path} could not be removed ({error}); the next run tries again", ResourceWarning, stacklevel=3)
        return False
    return True


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it, directories without permissions (overlayfs, read-only caches) included.

    Raises:
        OSError: Something could not be removed. A missing directory is fine.
    """
    with suppress(FileNotFoundError):
        try:
            shutil.rmtree(path)
        except PermissionError:
            _open_up(path)
            shutil.rmtree(path)


def _open_up(path: Path) -> None:
    """Give the owner every right on the directories below `path`, top down, as each must be opened to go on."""
    path.chmod(0o700)
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            _open_up(Path(entry.path))
