"""Sessions: what a loop has when it is resumed, stopped, left, ended, forked."""

# A loop that is left by an error is what these tests are about.
# ruff: noqa: PT012

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pyi


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[pyi.Repository]:
    with pyi.open(tmp_path / "store") as repo:
        yield repo


class Crash(Exception):
    """What stands for the end of a process."""


def walk(session: pyi.Session, steps: int, crash_at: int | None = None) -> list[int]:
    """A loop whose result depends on state, files, journal and Python's generator, all of them."""
    seen = []
    session.state["sum"] = 0
    session.workspace.write("log.txt", "begin\n")
    for step in session.steps(range(steps)):
        seen.append(step)
        session.state["sum"] = session.state["sum"] + random.randrange(1000)
        if step == crash_at:
            raise Crash
        text = bytes(session.workspace.read("log.txt")).decode()
        session.workspace.write("log.txt", f"{text}{step} {session.state['sum']}\n")
        session.journal.append("step", number=step)
    return seen


def content(session: pyi.Session) -> tuple[object, ...]:
    events = [event.data["number"] for event in session.journal]
    return dict(session.state), bytes(session.workspace.read("log.txt")), events, random.getstate()


def uninterrupted(repo: pyi.Repository, steps: int) -> tuple[object, ...]:
    random.seed(7)
    with pyi.session(repo, "uninterrupted") as session:
        assert walk(session, steps) == list(range(steps))
        return content(session)


def test_a_loop_that_crashed_goes_on_with_everything_as_it_was(repo: pyi.Repository) -> None:
    expected = uninterrupted(repo, 30)
    random.seed(7)
    done: list[int] = []
    for crash_at in (0, 3, 4, 17, 29):
        with pytest.raises(Crash), pyi.session(repo, "crashing") as session:
            walk(session, 30, crash_at)
        random.seed()  # a new process would have it seeded anew
        with pyi.session(repo, "crashing") as session:
            assert session.done == crash_at
            assert session.resumed
    with pyi.session(repo, "crashing") as session:
        done = walk(session, 30)
        assert content(session) == expected
        assert session.report.resumes == 5
        assert session.report.repeated == 5
        assert session.report.done == 30
    assert done == [29]
    assert not session.stopped


def test_a_finished_loop_gives_nothing_and_what_was_set_up_before_it_is_dropped(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it") as session:
        walk(session, 5)
        expected = content(session)
    random.seed(1)
    with pyi.session(repo, "it") as session:
        assert walk(session, 5) == []
        assert content(session) == expected
        assert session.report.resumes == 0
    with pyi.session(repo, "it") as session:  # a longer range goes on
        assert walk(session, 7) == [5, 6]


def test_set_up_counts_once(repo: pyi.Repository) -> None:
    for run in range(3):
        with pyi.session(repo, "it") as session:
            assert session.resumed == (run > 0)
            session.state["x"] = [*session.state.get("x", []), "set up"]
            for step in session.steps(range(9)):
                assert session.state["x"] == ["set up", *range(step)]
                if step == 2 * (run + 1):
                    break
                session.state["x"] = [*session.state["x"], step]


def test_the_code_between_loops_may_run_again(repo: pyi.Repository) -> None:
    def program(crash: tuple[int, int] | None) -> list[object]:
        with pyi.session(repo, "two") as session:
            for step in session.steps(range(3)):
                if crash == (0, step):
                    raise Crash
                session.state["a"] = session.state.get("a", 0) + 1
            session.state["a"] = session.state["a"] * 10  # not idempotent: what it did before the crash must be dropped
            for letter in session.steps("xyz"):
                if crash == (1, "xyz".index(letter)):
                    raise Crash
                session.state["b"] = session.state.get("b", "") + letter
            return [session.state["a"], session.state["b"]]

    for crash in [(0, 0), (0, 2), (1, 0), (1, 0), (1, 1), (1, 2)]:
        with pytest.raises(Crash):
            program(crash)
    assert program(None) == [30, "xyz"]
    assert program(None) == [30, "xyz"]


def test_what_is_saved_between_loops_is_not_done_twice(repo: pyi.Repository) -> None:
    def program(*, crash: bool) -> int:
        with pyi.session(repo, "two") as session:
            for _ in session.steps(range(2)):
                session.state["a"] = session.state.get("a", 0) + 1
            session.state["a"] = session.state["a"] * 10
            session.save("between")
            for _ in session.steps(range(1)):
                if crash:
                    raise Crash
                session.state["a"] = session.state["a"] + 1
            return int(session.state["a"])

    for _ in range(3):
        with pytest.raises(Crash):
            program(crash=True)
    assert program(crash=False) == 21


def test_stop_counts_the_step_and_ends_the_loop_for_good(repo: pyi.Repository) -> None:
    def program() -> tuple[int, int]:
        with pyi.session(repo, "it") as session:
            for step in session.steps(iter(int, 1)):  # endless
                del step
                session.state["n"] = session.state.get("n", 0) + 1
                if session.state["n"] == 4:
                    session.stop()
            return session.state["n"], session.done

    assert program() == (4, 4)
    assert program() == (4, 4)
    with pyi.session(repo, "it") as session, pytest.raises(pyi.InvalidArgument):
        session.stop()


def test_changes_after_the_last_loop_are_kept(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it") as session:
        for _ in session.steps(range(3)):
            pass
        session.state["result"] = 42
    with pyi.session(repo, "it") as session:
        assert session.state["result"] == 42
        assert list(session.steps(range(3))) == []
        assert session.state["result"] == 42
        assert list(session.steps("ab")) == ["a", "b"]


def test_a_loop_that_was_left_gives_no_more_until_the_session_is_opened_again(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it") as session:
        for step in session.steps(range(5)):
            session.state["x"] = step
            if step == 2:
                break
        assert session.state["x"] == 2
        with pytest.raises(pyi.InvalidArgument, match="stop"):
            session.steps(range(5))
        with pytest.raises(pyi.InvalidArgument):
            session.save()
    with pyi.session(repo, "it") as session:
        assert session.state["x"] == 1  # the step in flight is not there
        assert list(session.steps(range(5))) == [2, 3, 4]


def test_one_loop_at_a_time(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it") as session:
        for _ in session.steps(range(1)):
            with pytest.raises(pyi.InvalidArgument, match="one loop at a time"):
                session.steps(range(1))
            with pytest.raises(pyi.InvalidArgument):
                session.save()
            with pytest.raises(pyi.InvalidArgument):
                session.register("late", random.Random(1))
            with pyi.session(repo, "other") as other, pytest.raises(pyi.InvalidArgument, match="global_generators"):
                other.steps(range(1))
            with pyi.session(repo, "third", global_generators=False) as third:
                assert list(third.steps(range(2))) == [0, 1]


@pytest.mark.parametrize(
    ("policy", "made", "lost"),
    [
        ({"every": 4}, [4, 8, 10], 2),
        ({"seconds": 3600.0}, [10], 6),
        ({"every": 3, "seconds": 0.0}, list(range(1, 11)), 0),
    ],
)
def test_policies(repo: pyi.Repository, policy: dict[str, float], made: list[int], lost: int) -> None:
    with pyi.session(repo, "it", **policy) as session:
        session.state["n"] = 0
        for step in session.steps(range(10)):
            session.state["n"] = step
        assert session.report.checkpoints == len(made) + 1
        assert sorted({int(c.message.split()[1]) for c in session.workspace.log(len(made))}) == made
    with pytest.raises(Crash), pyi.session(repo, "crash", **policy) as session:
        for step in session.steps(range(10)):
            if step == 6:
                raise Crash
    with pyi.session(repo, "crash", **policy) as session:
        assert session.done == 6 - lost
        list(session.steps(range(10)))
        assert session.report.repeated == lost + 1  # and the step in flight


def test_a_limit_on_the_cost_is_kept(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it", cost=0.05) as session:
        for _ in session.steps(range(3000)):
            sum(range(500))
        assert 2 < session.report.checkpoints < 3001
        assert session.report.done == 3000


@pytest.mark.parametrize("policy", [{"every": 0}, {"every": True}, {"seconds": -1.0}, {"cost": 0.0}, {"cost": 1.0}])
def test_limits_that_make_no_sense(repo: pyi.Repository, policy: dict[str, float]) -> None:
    with pytest.raises(pyi.InvalidArgument):
        pyi.session(repo, "it", **policy)  # type: ignore[arg-type]
    assert repo.workspaces() == []


def test_a_session_has_one_owner(repo: pyi.Repository) -> None:
    session = pyi.session(repo, "it")
    with pytest.raises(pyi.Conflict, match="in this process"):
        pyi.session(repo, "it")
    session.close()
    session.close()
    with pytest.raises(pyi.Closed):
        session.steps(range(1))
    for _ in range(2):  # one that is not closed, but gone
        steps = iter(pyi.session(repo, "it").steps(range(3)))
        next(steps)
        del steps
    pyi.session(repo, "it").close()


def test_whoever_takes_the_workspace_stops_the_loop(repo: pyi.Repository, tmp_path: Path) -> None:
    with pytest.raises(pyi.LeaseLost), pyi.session(repo, "it") as session:
        for step in session.steps(range(9)):
            session.state["x"] = step
            if step == 4:
                with pyi.open(tmp_path / "store") as other:
                    other.open_workspace("it")
    with pyi.session(repo, "it") as session:
        assert session.state["x"] == 3
        assert list(session.steps(range(9))) == [4, 5, 6, 7, 8]


def test_checkpoints_of_others_are_passed_over(repo: pyi.Repository) -> None:
    with pytest.raises(Crash), pyi.session(repo, "it") as session:
        for step in session.steps(range(9)):
            session.state["x"] = step
            session.workspace.checkpoint("in the middle of a step")
            if step == 5:
                session.workspace.checkpoint("and another one")
                raise Crash
    with pyi.session(repo, "it") as session:
        assert session.done == 5
        assert session.state["x"] == 4
        list(session.steps(range(9)))
        assert [session.checkpoint_at(step).message for step in (3, 7)] == ["step 3", "step 7"]


def test_what_the_session_keeps_in_the_state_is_hidden_and_safe(repo: pyi.Repository) -> None:
    random.seed(5)
    with pyi.session(repo, "it") as session:
        for step in session.steps(range(6)):
            assert list(session.state) == (["x"] if step else [])
            session.state.clear()
            session.state["x"] = random.random()
            assert len(session.state) == 1
        for refuse in (
            lambda: session.state.__setitem__("pyi.session/x", 1),
            lambda: session.state.pop("pyi.session/random/python"),
        ):
            with pytest.raises(pyi.InvalidArgument, match="session"):
                refuse()
        end = random.random()
    random.seed(5)
    with pyi.session(repo, "other") as session:
        for step in session.steps(range(6)):
            session.state["x"] = random.random()
            if step % 2:  # the words that the generator's record needs are gone from the state, and come back
                session.workspace.restore(session.checkpoint_at(0))
            for key in list(session.workspace.state):
                del session.workspace.state[key]
            session.workspace.checkpoint("emptied")
    random.seed()
    with pyi.session(repo, "other") as session:
        assert list(session.steps(range(6))) == []
        assert random.random() == end


def test_sigterm_ends_the_loop_after_the_step_with_a_checkpoint(repo: pyi.Repository) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, pyi.session(repo, "it", every=100) as session:
        for step in session.steps(range(9)):
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            session.state["x"] = step
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    with pyi.session(repo, "it") as session:
        assert (session.done, session.state["x"]) == (5, 4)
        assert list(session.steps(range(9))) == [5, 6, 7, 8]
        assert session.report.repeated == 0


def test_the_handler_that_was_there_is_called_once_the_checkpoint_is_made(repo: pyi.Repository) -> None:
    called: list[tuple[int, int]] = []

    def handler(number: int, _frame: object) -> None:
        called.append((number, session.workspace.head.message == "step 3"))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pyi.session(repo, "it", stop_signals=[signal.SIGUSR1]) as session:
            for step in session.steps(range(9)):
                if step == 2:
                    os.kill(os.getpid(), signal.SIGUSR1)
            assert session.stopped
            assert called == [(signal.SIGUSR1, True)]
            session.state["after"] = "of half a loop"
            assert list(session.steps(range(5))) == []
        assert signal.getsignal(signal.SIGUSR1) is handler
        with pyi.session(repo, "it", stop_signals=[]) as session:
            assert "after" not in session.state
            rest = []
            for step in session.steps(range(9)):
                os.kill(os.getpid(), signal.SIGUSR1)
                rest.append(step)
            assert rest == [3, 4, 5, 6, 7, 8]
        assert len(called) == 7
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_thread_has_no_signals_and_no_trouble(repo: pyi.Repository) -> None:
    found: list[int] = []

    def work() -> None:
        with pyi.session(repo, "it") as session:
            found.extend(session.steps(range(3)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0, 1, 2]


def test_out_of_memory_in_a_step_costs_that_step(repo: pyi.Repository) -> None:
    with pytest.raises(MemoryError), pyi.session(repo, "it") as session:
        for step in session.steps(range(9)):
            session.state["x"] = step
            if step == 5:
                bytearray(1 << 60)
    with pyi.session(repo, "it") as session:
        assert (session.done, session.state["x"]) == (5, 4)


def test_a_path_is_opened_and_closed(tmp_path: Path) -> None:
    for expected in ([0, 1], []):
        with pyi.session(tmp_path / "store", "it") as session:
            assert list(session.steps(range(2))) == expected
    with pytest.raises(pyi.InvalidArgument):
        pyi.session(tmp_path / "store", "")
    for name in ("a b", "a\udc80", "../x"):
        with pytest.raises(pyi.InvalidArgument):
            pyi.session(tmp_path / "store", name)
    with pyi.open(tmp_path / "memory", durability="memory") as repo, pyi.session(repo, "deep/name") as session:
        assert list(session.steps(range(2))) == [0, 1]


def test_an_iterator_that_outlives_its_session_is_over(repo: pyi.Repository) -> None:
    before = signal.getsignal(signal.SIGTERM)
    session = pyi.session(repo, "x" * 230)
    steps = iter(session.steps(range(9)))
    assert [next(steps), next(steps)] == [0, 1]
    session.close()
    assert list(steps) == []
    assert signal.getsignal(signal.SIGTERM) == before
    with pyi.session(repo, "x" * 230) as session:
        assert list(session.steps(range(4))) == [1, 2, 3]


def test_the_report(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it") as session:
        assert session.report.share == 0.0
        for _ in session.steps(range(10)):
            report = session.report
            assert 0 <= report.checkpoint_seconds <= report.seconds
        data = session.report.to_dict()
    assert (data["name"], data["done"], data["steps"], data["checkpoints"]) == ("it", 10, 10, 11)
    assert 0 < data["share"] < 1
    assert "10 steps" in repr(session)


def test_saves_between_loops_count_once_wherever_it_crashes(repo: pyi.Repository) -> None:

    def program(crash: int | None) -> int:
        here = iter(range(100))

        def place() -> None:
            if next(here) == crash:
                raise Crash

        with pyi.session(repo, "it") as session:
            session.state["a"] = 1
            session.save("set up")
            session.state["a"] = session.state["a"] + 1
            for _ in session.steps(range(2)):
                place()
                session.state["a"] = session.state["a"] * 3
            for factor in (5, 7):
                place()
                session.state["a"] = session.state["a"] * factor
                place()
                session.save()
            place()
            session.state["a"] = session.state["a"] + 1
            for _ in session.steps(range(1)):
                place()
                session.state["a"] = session.state["a"] * 11
            session.save()
            return int(session.state["a"])

    expected = ((1 + 1) * 9 * 35 + 1) * 11
    for crash in (0, 1, 1, 1, 1, 1, 1, 3, 4, 4, 4, 5):
        with pytest.raises(Crash):
            program(crash)
    assert program(None) == expected
    assert program(None) == expected


def test_two_loops_that_were_made_before_either_began(repo: pyi.Repository) -> None:
    """`zip(session.steps(...), session.steps(...))` made both before it began one: they ran at once, and their steps
    counted for each other, so that a run that went on began in the wrong place."""
    with pyi.session(repo, "it") as session:
        with pytest.raises(pyi.InvalidArgument, match="one loop"):
            list(zip(session.steps(range(3)), session.steps(range(3)), strict=True))
        assert session.done == 0
    with (
        pyi.session(repo, "one") as one,
        pyi.session(repo, "two") as two,
        pytest.raises(pyi.InvalidArgument, match="global_generators"),
    ):
        list(zip(one.steps(range(3)), two.steps(range(3)), strict=True))
    with pyi.session(repo, "it") as session:
        assert list(session.steps(range(3))) == [0, 1, 2]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, 0, 999, -1])
def test_signals_that_nobody_can_catch(repo: pyi.Repository, number: int) -> None:
    """They were an OSError in the first step, and SIGTERM, which had been taken over before, was never given back."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(pyi.InvalidArgument, match="stop_signals"):
        pyi.session(repo, "it", stop_signals=[signal.SIGTERM, number])
    assert signal.getsignal(signal.SIGTERM) is before
    with pyi.session(repo, "it") as session:
        assert list(session.steps(range(2))) == [0, 1]


def test_a_base_of_another_store_is_refused(repo: pyi.Repository, tmp_path: Path) -> None:
    """The session was begun in the other store, and the next run, which did not find it here, began anew."""
    with pyi.open(tmp_path / "elsewhere") as other:
        base = other.workspace()
        base.checkpoint()
        with pytest.raises(pyi.NotFound):
            pyi.session(repo, "it", base=base)
        base.write("theirs", "x")
        with pytest.raises(pyi.InvalidArgument, match="another repository"):
            pyi.session(repo, "it", base=base)
        assert other.workspaces() == []
        assert repo.workspaces() == []


def test_a_base_that_was_opened_through_another_object(repo: pyi.Repository, tmp_path: Path) -> None:
    with pyi.open(tmp_path / "store") as same:
        base = same.workspace()
        base.write("a", "x")
        base.checkpoint()
        with pyi.session(repo, "it", base=base) as session:
            assert session.workspace.exists("a")
    with pyi.session(repo, "it") as session:
        assert list(session.steps(range(2))) == [0, 1]


def test_names_that_are_none(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it") as session:
        assert len(list(session.steps(range(3)))) == 3
        for name, kind in {"": pyi.InvalidArgument, "\udcff": pyi.InvalidArgument, 5: TypeError}.items():
            with pytest.raises(kind):
                session.fork_at(1, name)  # type: ignore[arg-type]
            with pytest.raises(kind):
                pyi.session(repo, name)  # type: ignore[arg-type]
    for name in (".", ".."):  # the file of its lock was a directory: a StorageError
        with pytest.raises(pyi.InvalidArgument, match="name"):
            pyi.session(repo, name)


def test_no_way_into_what_the_session_keeps(repo: pyi.Repository) -> None:
    key = "pyi.session/random/python"
    with pyi.session(repo, "it") as session:
        for _ in session.steps(range(1)):
            for call in (
                lambda: session.state.pickle(key, 1),
                lambda: session.state.array(key),
                lambda: session.state.adopt(key, np.ones(3)),
                lambda: session.state.update({key: 1}),
                lambda: session.state.update({key: np.ones(3)}),
                lambda: session.state.pop(key),
            ):
                with pytest.raises(pyi.InvalidArgument, match="belong to the session"):
                    call()
            session.state.update({"mine": 1, "pyi.session": 2})
            assert list(session.state) == ["mine", "pyi.session"]
            assert len(session.state) == 2
            session.state.clear()
            assert key in session.workspace.state
            with pytest.raises(TypeError):
                session.state[5] = 1  # type: ignore[index]


def test_a_function_that_returns_out_of_its_loop_is_told_how_to_end_it(repo: pyi.Repository) -> None:
    @pyi.resumable(repo)
    def first_even(session: pyi.Session) -> int:
        for step in session.steps(range(1, 9)):
            if step % 2 == 0:
                return step
        return -1

    with pytest.raises(pyi.InvalidArgument, match=r"stop\(\)"):
        first_even()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_arguments_that_are_not_equal_to_themselves(repo: pyi.Repository) -> None:
    """NaN is not equal to NaN: the second call was a Conflict, with the arguments that the first one had."""
    np = pytest.importorskip("numpy")
    calls = []

    @pyi.resumable(repo)
    def once(session: pyi.Session, limits: list[float], count: int) -> int:
        calls.append(count)
        return len(list(session.steps(range(count))))

    assert once([float("nan"), 1.0], np.int64(3)) == 3
    assert once([float("nan"), 1.0], 3) == 3
    assert calls == [3]
    with pytest.raises(pyi.Conflict):
        once([float("nan"), 2.0], 3)


def test_a_worker_that_was_forked_in_a_step_heeds_sigterm(repo: pyi.Repository) -> None:
    """It had the loop's handler, which only notes the signal: `Process.terminate()` and `join()` waited for ever."""
    before = signal.getsignal(signal.SIGTERM)
    with pyi.session(repo, "it") as session:
        for _ in session.steps(range(2)):
            child = os.fork()
            if child == 0:
                try:
                    os.kill(os.getpid(), signal.SIGTERM)
                finally:
                    os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert session.done == 2
    assert signal.getsignal(signal.SIGTERM) is before
