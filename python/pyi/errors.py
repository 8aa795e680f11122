"""Every error that PYI raises on purpose.

::

    Exception
    └── PyiError              kind = "error"
        ├── NotFound          kind = "not-found"           also a KeyError
        ├── Conflict          kind = "conflict"            somebody else was first; look again and retry
        ├── InvalidPath       kind = "invalid-path"        a path that a workspace can never hold, or not there
        ├── InvalidArgument   kind = "invalid-argument"    also a ValueError
        ├── Corrupt           kind = "corrupt"             stored bytes are not what was written
        ├── Closed            kind = "closed"              the repository, or what hangs on it, was closed
        ├── LeaseLost         kind = "lease-lost"          another process owns the named workspace now
        ├── QuotaExceeded     kind = "quota-exceeded"
        ├── StorageError      kind = "storage"             full disk, I/O; also an OSError, `errno` kept
        ├── UnsupportedFormat kind = "unsupported-format"  written by a newer PYI
        └── GitError          kind = "git"                 git's side refused, or is damaged

The message is one line and says what to do about it where there is something to do. ``kind`` never changes between
versions: log it, match on it across languages. An error means that nothing was half applied.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "Closed",
    "Conflict",
    "Corrupt",
    "GitError",
    "InvalidArgument",
    "InvalidPath",
    "LeaseLost",
    "NotFound",
    "PyiError",
    "QuotaExceeded",
    "StorageError",
    "UnsupportedFormat",
]


class PyiError(Exception):
    """Base of all errors of this package."""

    kind: ClassVar[str] = "error"


class NotFound(PyiError, KeyError):
    """No such path, branch, workspace, superposition or checkpoint."""

    kind = "not-found"

    # A KeyError shows the repr of its argument, which is made for keys and not for sentences.
    __str__ = Exception.__str__


class Conflict(PyiError):
    """The name exists already, or it moved since it was looked at."""

    kind = "conflict"


class InvalidPath(PyiError):
    """A path that escapes, that git refuses, that is too long, or that runs through a file or a symlink."""

    kind = "invalid-path"


class InvalidArgument(PyiError, ValueError):
    """An argument that is wrong whatever the repository holds."""

    kind = "invalid-argument"


class Corrupt(PyiError):
    """Bytes in the store do not match their id or their checksum."""

    kind = "corrupt"


class Closed(PyiError):
    """The repository was closed."""

    kind = "closed"


class LeaseLost(PyiError):
    """Another process took over the named workspace."""

    kind = "lease-lost"


class QuotaExceeded(PyiError):
    """A limit that was set on purpose is reached."""

    kind = "quota-exceeded"


class StorageError(PyiError, OSError):
    """The disk is full, or reading or writing failed.

    Args:
        message: One line, what failed and on which file.
        errno: The system's error number, if there is one.
    """

    kind = "storage"

    errno: int | None

    # OSError takes its arguments in __new__, and reads two of them as (errno, text); here the text comes first.
    def __new__(cls, message: str = "", errno: int | None = None) -> StorageError:
        """Make the error with its message alone as `args[0]`."""
        return super().__new__(cls, message)

    def __init__(self, message: str = "", errno: int | None = None) -> None:
        """Keep the message as the text and `errno` beside it."""
        super().__init__(message)
        self.errno = errno

    def __str__(self) -> str:
        """Return the message."""
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, int | None]]:
        """Pickle with the error number."""
        return type(self), (str(self), self.errno)


class UnsupportedFormat(PyiError):
    """The store was written by a newer version; upgrade, nothing was touched."""

    kind = "unsupported-format"


class GitError(PyiError):
    """Git refused, its repository is damaged, or the installed git is missing."""

    kind = "git"
