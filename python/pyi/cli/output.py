"""Writing to streams that may refuse: a full device or a reader that left costs no result and shows no traceback."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from pyi.errors import StorageError

__all__ = ["Deaf", "say", "settle", "show"]


def show(text: str) -> None:
    """Print a result to standard output, all of it when this returns.

    Raises:
        BrokenPipeError: Who read it has enough.
        StorageError: It cannot be written.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _silence(sys.stdout)
        raise
    except OSError as error:
        _silence(sys.stdout)
        raise StorageError(f"cannot write to standard output: {error.strerror}", error.errno) from error


def say(text: str) -> None:
    """Print a line to standard error, if anybody can hear it."""
    print(text, file=Deaf(sys.stderr), flush=True)


def settle() -> None:
    """Flush both streams, so that the interpreter finds nothing to complain about at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _silence(stream)


class Deaf:
    """A stream to which writing never fails; from the first failure on nothing more arrives."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or do not."""
        try:
            return self._stream.write(text)
        except OSError:
            _silence(self._stream)
            return len(text)

    def flush(self) -> None:
        """Flush, or do not."""
        try:
            self._stream.flush()
        except OSError:
            _silence(self._stream)

    def __getattr__(self, name: str) -> object:
        """Be the stream in all else."""
        return getattr(self._stream, name)


def _silence(stream: TextIO) -> None:
    """Let all that is still to be written to `stream`, also what it holds back, go nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # it is no file at all
        pass
