"""Running one command: in its own session, its output in a file, ended as a group, never outliving its purpose."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyi.config import TAIL_BYTES
from pyi.errors import StorageError

__all__ = ["Cancel", "Command", "Outcome", "as_argv", "run", "tail_of"]

Command = str | Sequence[str]
"""A line for the shell, or a list of arguments."""

SIGNAL_BASE = 128

# Set by git around hooks and aliases; inside a sandbox they would point back at the user's own repository.
_GIT_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_WORK_TREE",
    }
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: Exit status; 128 + n after signal n.
        seconds: Wall-clock time from start to end.
        tail: The last `TAIL_BYTES` of its output.
        timed_out: It was killed because its time was up.
        cancelled: It was killed because nobody wants its result any more.
    """

    status: int
    seconds: float
    tail: str
    timed_out: bool = False
    cancelled: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.status == 0 and not self.timed_out and not self.cancelled


class Cancel:
    """A flag that wakes up everybody who waits for a process; set once, never cleared."""

    def __init__(self) -> None:
        """Make an unset flag."""
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._set = False

    @property
    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._set

    def set(self) -> None:
        """Set the flag: all commands that run under it are killed."""
        self._set = True
        if self._fd >= 0:
            os.eventfd_write(self._fd, 1)

    def fileno(self) -> int:
        """Return a descriptor that is readable from `set` on."""
        return self._fd

    def close(self) -> None:
        """Give the descriptor back; idempotent. Only when nothing runs under the flag any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def as_argv(command: Command) -> list[str]:
    """Return the arguments to execute: a string goes to the shell."""
    return ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without git's pointers to a repository, plus `extra`."""
    inherited = {name: value for name, value in os.environ.items() if name not in _GIT_VARIABLES}
    return {**inherited, **extra}


def tail_of(log: Path, limit: int = TAIL_BYTES) -> str:
    """Return the end of a log file, from the start of a line on where that fits; empty if there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            data = file.read(limit)
    except FileNotFoundError:
        return ""
    if size > limit:
        _, newline, rest = data.partition(b"\n")
        data = rest if newline and rest else data
    return data.decode("utf-8", "replace")


def run(
    argv: Sequence[str],
    *,
    directory: Path,
    env: Mapping[str, str],
    log: Path,
    timeout: float | None = None,
    cancel: Cancel | None = None,
    tick: Callable[[], None] | None = None,
    every_s: float = 1.0,
) -> Outcome:
    """Run a command to its end and return how it went.

    Args:
        argv: The program and its arguments.
        directory: Where it starts.
        env: Its whole environment.
        log: File that its output (both streams) is appended to.
        timeout: Seconds after which it is killed.
        cancel: Flag that kills it.
        tick: Called about every `every_s` seconds while it runs; later if the last call took long (at most a tenth of
            the time is spent in it).
        every_s: See `tick`.

    Returns:
        The outcome. When this returns, or raises, no process of the command's group is left.

    Raises:
        StorageError: It could not be started.

    Cost: one process start; waiting takes no processor time.
    """
    offset = log.stat().st_size if log.exists() else 0
    started = time.monotonic()
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv,
                cwd=directory,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise StorageError(f"cannot start {argv[0]}: {error.strerror}", error.errno) from error
    timed_out = cancelled = False
    try:
        deadline = None if timeout is None else started + timeout
        ended = _wait(process.pid, deadline, cancel, tick, every_s)
        cancelled = not ended and cancel is not None and cancel.is_set
        timed_out = not ended and not cancelled
    finally:
        # Before it is reaped: until then the group's number cannot be anybody else's.
        _kill_group(process.pid)
        status = process.wait()
    fresh = max(0, log.stat().st_size - offset)
    return Outcome(
        status=status if status >= 0 else SIGNAL_BASE - status,
        seconds=time.monotonic() - started,
        tail=tail_of(log, min(TAIL_BYTES, fresh)),
        timed_out=timed_out,
        cancelled=cancelled,
    )


_WAIT_MOST_MS = 86_400_000.0


def _wait(
    pid: int, deadline: float | None, cancel: Cancel | None, tick: Callable[[], None] | None, every_s: float
) -> bool:
    """Wait until the process ends (True), or its time is up or it is cancelled (False); leave it unreaped."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if cancel is not None:
            poll.register(cancel.fileno(), select.POLLIN)
        next_tick = None if tick is None else time.monotonic() + every_s
        while True:
            due = [moment for moment in (deadline, next_tick) if moment is not None]
            # In turns of a day: the kernel counts milliseconds in 32 bits, which end after 24 days.
            wait_ms = min(max(0.0, min(due) - time.monotonic()) * 1000 + 1, _WAIT_MOST_MS) if due else None
            ready = [fd for fd, _ in poll.poll(wait_ms)]
            if pidfd in ready:
                return True
            now = time.monotonic()
            if ready or (deadline is not None and now >= deadline):
                return False
            if tick is not None and next_tick is not None and now >= next_tick:
                tick()
                spent = time.monotonic() - now
                next_tick = now + spent + max(every_s, 9 * spent)
    finally:
        os.close(pidfd)


def _kill_group(pid: int) -> None:
    """Kill what is left of the command's session; nothing may be left, or only what changed its user."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
