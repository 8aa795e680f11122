"""asyncio: what waits lets the event loop run, and any number of tasks can wait."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from pathlib import Path

import pytest

import pyi
from pyi import aio


def test_a_day_of_a_task(tmp_path: Path) -> None:
    async def day() -> None:
        repo = await aio.open(tmp_path / "store")
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "a").write_text("a")
        ws = await aio.import_dir(repo, tmp_path / "src")
        ws.write("b", "b")
        saved = await aio.checkpoint(ws, "one", metadata={"n": 1})
        assert (saved.message, saved.metadata) == ("one", {"n": 1})
        await aio.wait_durable(saved)
        await aio.publish(ws, "main")
        await aio.materialize(ws, tmp_path / "out")
        (tmp_path / "out" / "b").write_text("changed")
        assert [change.path for change in await aio.capture(ws, tmp_path / "out")] == ["b"]
        await aio.restore(ws, saved)
        other = ws.fork("other")
        other.write("c", "c")
        assert len(await aio.checkpoint_many(repo, [other], "both")) == 1
        assert await aio.merge(ws, other)
        assert (await aio.open_workspace(repo, "other")).exists("c")
        await aio.flush(repo)
        assert (await aio.gc(repo)).seconds >= 0
        assert (await aio.scrub(repo)).damaged == []
        assert (await aio.backup(repo, tmp_path / "backup")).full
        assert await aio.run(ws.read, "b") == b"b"
        with pytest.raises(pyi.NotFound):
            await aio.open_workspace(repo, "nobody")
        repo.close()

    asyncio.run(day())


def test_hundreds_wait_for_one_collapse(tmp_path: Path) -> None:
    async def waiting() -> None:
        repo = await aio.open(tmp_path / "store")
        ws = repo.workspace()
        ws.write("a", "a")
        await aio.checkpoint(ws)
        sp = repo.superpose(ws, 3, name="race")
        assert await aio.wait(sp, timeout=0) is None
        assert await aio.wait(sp, timeout=0.02) is None
        observers = [asyncio.create_task(aio.wait(repo.superposition("race"))) for _ in range(300)]
        given_up = asyncio.create_task(aio.wait(sp))
        await asyncio.sleep(0.01)
        given_up.cancel()
        outcome = await aio.collapse(sp, 1)
        assert {found.id for found in await asyncio.gather(*observers) if found} == {outcome.id}
        assert given_up.cancelled() or given_up.cancelling()
        with pytest.raises(pyi.InvalidArgument):
            await aio.wait(sp, timeout=-1)
        for timeout in (float("nan"), float("inf")):  # as `wait` itself
            with pytest.raises(pyi.InvalidArgument):
                sp.wait(timeout)
            with pytest.raises(pyi.InvalidArgument):
                await aio.wait(sp, timeout=timeout)
        repo.close()

    asyncio.run(waiting())


def test_the_loop_runs_while_a_call_waits() -> None:
    begun, done = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert done.wait(30)
        return 7

    async def both() -> None:
        task = asyncio.create_task(aio.run(slow))
        while not begun.is_set():
            await asyncio.sleep(0)
        assert not task.done()
        done.set()
        assert await task == 7

    asyncio.run(both())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_has_threads_of_its_own(tmp_path: Path) -> None:
    assert asyncio.run(aio.run(os.getpid)) == os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if asyncio.run(aio.run(os.getpid)) == os.getpid() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_every_function_is_one_of_the_api() -> None:
    classes = (pyi.Repository, pyi.Workspace, pyi.Checkpoint, pyi.Superposition)
    for name in set(aio.__all__) - {"run", "open"}:
        assert inspect.iscoroutinefunction(getattr(aio, name))
        assert any(hasattr(each, name) for each in classes), name


def test_a_function_that_raises_stop_iteration_ends_the_task() -> None:
    """asyncio cannot hand a StopIteration to a task: the task waited for ever."""

    async def first_of_none() -> None:
        with pytest.raises(RuntimeError, match="next"):
            await asyncio.wait_for(aio.run(next, iter(())), 60)

    asyncio.run(first_of_none())


def test_a_cancelled_call_goes_on_if_it_was_begun_and_is_not_made_if_not() -> None:
    begun, done, made = threading.Semaphore(0), threading.Event(), []

    def busy(number: int) -> None:
        begun.release()
        assert done.wait(60)
        made.append(number)

    async def cancel() -> None:
        running = [asyncio.create_task(aio.run(busy, number)) for number in range(aio._THREADS)]
        for _ in running:
            await asyncio.to_thread(begun.acquire)
        waiting = asyncio.create_task(aio.run(made.append, -1))
        await asyncio.sleep(0)
        waiting.cancel()
        running[0].cancel()
        assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
        done.set()
        await asyncio.gather(*running, return_exceptions=True)
        while len(made) < aio._THREADS:
            await asyncio.sleep(0)

    asyncio.run(cancel())
    assert sorted(made) == list(range(aio._THREADS))


def test_a_collapse_takes_what_superposition_collapse_takes(tmp_path: Path) -> None:
    async def decide() -> None:
        with pyi.open(tmp_path / "store") as repo:
            base = repo.workspace()
            base.checkpoint()
            base.publish("main")
            sp = repo.superpose("main", 2)
            with pytest.raises(pyi.Conflict, match="failed its check"):
                await aio.collapse(sp, 0, verify=lambda _: False)
            outcome = await aio.collapse(sp, 1, onto=base, verify=lambda _: True)
            assert base.head == outcome

    asyncio.run(decide())
