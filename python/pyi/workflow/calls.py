"""Calling what the user wrote: plain functions and coroutine functions, with a time limit, from worker threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pyi._native import Workspace

__all__ = ["Caller", "Exited", "Timeout", "is_async"]

_JOIN_S = 5.0


class Timeout(Exception):
    """The call took longer than it was given."""


def is_async(job: object) -> bool:
    """Whether calling `job` gives something to await."""
    return inspect.iscoroutinefunction(job) or inspect.iscoroutinefunction(getattr(job, "__call__", None))  # noqa: B004


class Exited(Exception):
    """The call wanted to end the whole program (`sys.exit`): it ends by itself, as by any other exception."""

    def __init__(self, error: BaseException) -> None:
        """Say by what."""
        super().__init__(f"{error!r} ends this call and not the program")


class Caller:
    """Runs callables for any number of worker threads; coroutines of all of them share one event loop."""

    def __init__(self) -> None:
        """Make a caller; the loop starts with the first coroutine."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Cancel what still runs in the loop and end it; idempotent."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_JOIN_S)

    def call(self, job: Callable[[Workspace], Any], workspace: Workspace, timeout: float | None) -> Any:
        """Call `job` with `workspace` and return what it returns (awaited, if there is something to await).

        A coroutine is cancelled when its time is up. A plain function cannot be: it is left alone in a thread that
        does not keep the process alive, and what it does to the workspace from then on is not looked at.

        Raises:
            Timeout: The time is up.
            Exception: Whatever `job` raises.
        """
        if is_async(job):
            return self._await(job(workspace), timeout)
        value = _call(job, workspace) if timeout is None else self._bounded(job, workspace, timeout)
        if inspect.isgenerator(value) or inspect.isasyncgen(value):
            raise TypeError(
                f"{job!r} is a generator, of which a call runs nothing: return, or await, in place of yield"
            )
        return self._await(value, timeout) if inspect.isawaitable(value) else value

    def _bounded(self, job: Callable[[Workspace], Any], workspace: Workspace, timeout: float) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def work() -> None:
            try:
                future.set_result(_call(job, workspace))
            except BaseException as error:  # handed over, not handled
                future.set_exception(error)

        threading.Thread(target=work, name="pyi-call", daemon=True).start()
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            if future.done():  # raised by the job itself
                raise
            raise Timeout from None

    def _await(self, awaitable: Awaitable[Any], timeout: float | None) -> Any:
        future = asyncio.run_coroutine_threadsafe(_within(awaitable, timeout), self._running_loop())
        return future.result()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(loop,), name="pyi-loop", daemon=True)
                self._thread.start()
            return self._loop


def _call(job: Callable[[Workspace], Any], workspace: Workspace) -> Any:
    try:
        return job(workspace)
    except SystemExit as error:
        raise Exited(error) from error


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        # These two end the event loop, and whoever waits for any of its tasks would wait for ever.
        raise Exited(error) from error


async def _within(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    task = asyncio.ensure_future(_awaited(awaitable))
    done, _ = await asyncio.wait({task}, timeout=timeout)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=_JOIN_S)
        if not task.done() or task.cancelled():  # one that does not heed it is left behind, as a plain function is
            raise Timeout
    return task.result()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(_settled(pending))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _settled(tasks: set[asyncio.Task[Any]]) -> Coroutine[Any, Any, Any]:
    async def settle() -> None:
        await asyncio.wait(tasks, timeout=_JOIN_S)

    return settle()
