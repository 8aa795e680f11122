"""The calls that may wait, for programs on asyncio.

    from pyi import aio

    saved = await aio.checkpoint(ws, "step")
    await aio.wait_durable(saved)

What waits for the disk, for other writers, or for a lot of work runs in threads of its own, a few of them, shared
by all event loops of the process; they are not those of ``asyncio.to_thread``, so neither keeps the other waiting.
``wait`` takes no thread at all, so any number of tasks can wait for superpositions. Everything else of the API
takes microseconds and is called as it is.

A task that is cancelled stops waiting; the call that it made goes on, and what it does is done. Whether a
checkpoint was made all the same, ``ws.head`` tells. A call that no thread had begun yet is not made.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from pyi import _native
from pyi._native import Change, Checkpoint, GcReport, MergeResult, Repository, Superposition, Workspace
from pyi.backup.report import BackupReport, ScrubReport
from pyi.errors import InvalidArgument

__all__ = [
    "backup",
    "capture",
    "checkpoint",
    "checkpoint_many",
    "collapse",
    "export_git",
    "flush",
    "gc",
    "import_dir",
    "import_git",
    "materialize",
    "merge",
    "open",
    "open_workspace",
    "publish",
    "restore",
    "run",
    "scrub",
    "wait",
    "wait_durable",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREADS = 16
_POLL_LEAST_SECONDS = 0.001
_POLL_MOST_SECONDS = 0.05

_lock = threading.Lock()
_pool: tuple[int, ThreadPoolExecutor] | None = None


def _executor() -> ThreadPoolExecutor:
    """Return the threads of this process: those of a parent do not exist in its child."""
    global _pool
    with _lock:
        if _pool is None or _pool[0] != os.getpid():
            _pool = (os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="pyi-aio"))
        return _pool[1]


async def run(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call any function in one of the threads: what this module has no name for.

    Raises what the function raises; of a ``StopIteration``, which no coroutine can raise, a ``RuntimeError``.
    """
    call = partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_executor(), _finished, call)


def _finished(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except StopIteration as error:
        # asyncio cannot hand it on, and the task would wait for ever.
        raise RuntimeError("the function raised StopIteration; next(iterator, None) returns None instead") from error


async def wait(sp: Superposition, timeout: float | None = None) -> Checkpoint | None:
    """Wait until a superposition collapsed, here or elsewhere; the outcome, or None when the time (seconds) is over.

    Looks often at first and every 50 ms in the end. Raises what ``Superposition.wait`` raises.
    """
    if timeout is not None and not 0 <= timeout < float("inf"):
        raise InvalidArgument(
            f"timeout={timeout}: seconds, a finite number of at least 0; leave it out to wait for ever"
        )
    loop = asyncio.get_running_loop()
    until = None if timeout is None else loop.time() + timeout
    pause = _POLL_LEAST_SECONDS
    while True:
        outcome = sp.wait(0)
        if outcome is not None:
            return outcome
        if until is not None:
            pause = min(pause, until - loop.time())
            if pause <= 0:
                return None
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _POLL_MOST_SECONDS)


async def open(path: str | bytes | os.PathLike[str], **options: Any) -> Repository:
    """``pyi.open``."""
    return await run(_native.open, path, **options)


async def import_git(repo: Repository, source: str | bytes | os.PathLike[str], *args: Any, **options: Any) -> Workspace:
    """``Repository.import_git``."""
    return await run(repo.import_git, source, *args, **options)


async def import_dir(repo: Repository, directory: str | bytes | os.PathLike[str], branch: str = "main") -> Workspace:
    """``Repository.import_dir``."""
    return await run(repo.import_dir, directory, branch)


async def open_workspace(repo: Repository, name: str) -> Workspace:
    """``Repository.open_workspace``: takes the name's lease."""
    return await run(repo.open_workspace, name)


async def flush(repo: Repository) -> None:
    """``Repository.flush``."""
    await run(repo.flush)


async def gc(repo: Repository, **options: Any) -> GcReport:
    """``Repository.gc``."""
    return await run(repo.gc, **options)


async def scrub(repo: Repository, **options: Any) -> ScrubReport:
    """``Repository.scrub``; ``progress`` is called in another thread."""
    return await run(repo.scrub, **options)


async def backup(repo: Repository, target: Any, **options: Any) -> BackupReport:
    """``Repository.backup``; ``progress`` is called in another thread."""
    return await run(repo.backup, target, **options)


async def checkpoint_many(
    repo: Repository, workspaces: Sequence[Workspace], *args: Any, **options: Any
) -> list[Checkpoint]:
    """``Repository.checkpoint_many``."""
    return await run(repo.checkpoint_many, workspaces, *args, **options)


async def checkpoint(ws: Workspace, message: str = "", **options: Any) -> Checkpoint:
    """``Workspace.checkpoint``."""
    return await run(ws.checkpoint, message, **options)


async def restore(ws: Workspace, to: Checkpoint | str) -> None:
    """``Workspace.restore``."""
    await run(ws.restore, to)


async def merge(ws: Workspace, other: Workspace | Checkpoint | str, **options: Any) -> MergeResult:
    """``Workspace.merge``."""
    return await run(ws.merge, other, **options)


async def publish(ws: Workspace, branch: str, **options: Any) -> None:
    """``Workspace.publish``."""
    await run(ws.publish, branch, **options)


async def materialize(ws: Workspace, directory: str | bytes | os.PathLike[str], **options: Any) -> None:
    """``Workspace.materialize``."""
    await run(ws.materialize, directory, **options)


async def capture(ws: Workspace, directory: str | bytes | os.PathLike[str], **options: Any) -> list[Change]:
    """``Workspace.capture``."""
    return await run(ws.capture, directory, **options)


async def export_git(ws: Workspace, repository: str | bytes | os.PathLike[str], branch: str, **options: Any) -> str:
    """``Workspace.export_git``."""
    return await run(ws.export_git, repository, branch, **options)


async def wait_durable(saved: Checkpoint) -> None:
    """``Checkpoint.wait_durable``. Tasks that wait at the same time share one flush."""
    await run(saved.wait_durable)


async def collapse(sp: Superposition, i: int, *, onto: str | Workspace = "main", **options: Any) -> Checkpoint:
    """``Superposition.collapse``; ``verify`` is called in another thread."""
    return await run(sp.collapse, i, onto=onto, **options)
