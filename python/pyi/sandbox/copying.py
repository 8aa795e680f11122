"""Copying trees: a shared extent where the file system can, bytes moved inside the kernel where it cannot."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from pyi.errors import NotFound, StorageError

__all__ = ["copy_path"]

_FICLONE = 0x40049409
_CHUNK_BYTES = 1 << 30
_NO_CLONE = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ETXTBSY, errno.ENOSYS})
_NO_RANGE = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def copy_path(source: Path, target: Path) -> int:
    """Copy a file, a symlink or a directory to `target` and return the number of files copied.

    Modes and times are kept, symlinks are copied as such, existing directories are filled up and existing files
    replaced. Sockets, pipes and devices are left out. Parents of `target` are made.

    Raises:
        NotFound: There is no `source`.
        StorageError: Reading or writing failed.

    Cost: O(tree); nearly nothing per byte on btrfs, XFS, bcachefs.
    """
    if not os.path.lexists(source):
        raise NotFound(f"{source} does not exist")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return _Copier().copy(os.fspath(source), os.fspath(target))
    except OSError as error:
        raise StorageError(f"cannot copy {source} to {target}: {error.strerror or error}", error.errno) from error


class _Copier:
    """Remembers what the file system refused, so that it is asked once."""

    def __init__(self) -> None:
        self._can_clone = True
        self._can_range = True

    def copy(self, source: str, target: str) -> int:
        status = os.lstat(source)
        if stat.S_ISDIR(status.st_mode):
            return self._directory(source, target, status)
        if stat.S_ISLNK(status.st_mode):
            _clear(target)
            os.symlink(os.readlink(source), target)
            return 1
        if stat.S_ISREG(status.st_mode):
            self._file(source, target, status)
            return 1
        return 0

    def _directory(self, source: str, target: str, status: os.stat_result) -> int:
        if not os.path.isdir(target) or os.path.islink(target):
            _clear(target)
            os.mkdir(target, 0o700)
        copied = 0
        with os.scandir(source) as entries:
            for entry in entries:
                copied += self.copy(entry.path, os.path.join(target, entry.name))
        os.chmod(target, stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        return copied

    def _file(self, source: str, target: str, status: os.stat_result) -> None:
        _clear(target)
        reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if status.st_size and not self._clone(reading, writing):
                    self._bytes(reading, writing)
                os.fchmod(writing, stat.S_IMODE(status.st_mode))
                os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _clone(self, reading: int, writing: int) -> bool:
        if not self._can_clone:
            return False
        try:
            fcntl.ioctl(writing, _FICLONE, reading)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            self._can_clone = False
            return False
        return True

    def _bytes(self, reading: int, writing: int) -> None:
        while self._can_range:
            try:
                moved = os.copy_file_range(reading, writing, _CHUNK_BYTES)
            except OSError as error:
                if error.errno not in _NO_RANGE:
                    raise
                self._can_range = False
                break
            if moved == 0:
                return
        while os.sendfile(writing, reading, None, _CHUNK_BYTES):
            pass


def _clear(target: str) -> None:
    """Remove a file or symlink that stands where a new one comes; a directory there is the caller's error."""
    if os.path.lexists(target):
        os.unlink(target)
