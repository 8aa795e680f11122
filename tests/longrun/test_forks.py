"""What is made of a session: forks at any step, other sessions, functions that go on where they were stopped."""

# A loop that is left by an error is what some of these tests are about.

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyi


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[pyi.Repository]:
    with pyi.open(tmp_path / "store") as repo:
        yield repo


class Crash(Exception):
    """What stands for the end of a process."""


def test_fork_at_any_step(repo: pyi.Repository) -> None:
    random.seed(3)
    values = {}
    with pyi.session(repo, "it") as session:
        for step in session.steps(range(40)):
            values[step] = (session.state.get("sum", 0), random.getstate())
            session.state["sum"] = session.state.get("sum", 0) + random.randrange(100)
        end = session.state["sum"]
        for step in range(40):
            checkpoint = session.checkpoint_at(step)
            assert checkpoint.message == (f"step {step}" if step else "begin it")
            with session.fork_at(step) as fork:
                assert fork.done == step
                assert next(iter(fork.steps(range(40)))) == step
                assert (fork.state.get("sum", 0), random.getstate()) == values[step]
        assert session.state["sum"] == end
        for wrong in (-1, 41, True):
            with pytest.raises(pyi.InvalidArgument):
                session.fork_at(wrong)
        with session.fork_at(20, "what-if") as fork:
            for step in fork.steps(range(40)):
                fork.state["sum"] = 1000 * step
                if step == 25:
                    break
        with pytest.raises(pyi.Conflict):
            session.fork_at(3, "what-if")
    with pyi.session(repo, "what-if") as fork:
        assert (fork.done, fork.state["sum"]) == (25, 24000)
        assert fork.checkpoint_at(22).message == "step 22"
        assert fork.checkpoint_at(11).id == pyi.session(repo, "it").checkpoint_at(11).id


def test_a_fork_of_a_running_loop_goes_another_way(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it", global_generators=False) as session:
        for step in session.steps(range(6)):
            session.state["x"] = step
            if step == 3:
                with session.fork_at(2, global_generators=False) as fork:
                    for other in fork.steps(range(6)):
                        fork.state["x"] = -other
                    assert fork.state["x"] == -5
        assert session.state["x"] == 5


def test_sparse_checkpoints_are_found_by_the_step_before(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it", every=10) as session:
        list(session.steps(range(95)))
        found = [session.fork_at(step).done for step in (0, 9, 10, 11, 89, 94, 95)]
    assert found == [0, 0, 10, 10, 80, 90, 95]


def test_a_branch_made_of_one_session_is_the_beginning_of_another(repo: pyi.Repository) -> None:
    with pyi.session(repo, "first") as session:
        for step in session.steps(range(4)):
            session.workspace.write("result.txt", str(step))
        session.workspace.publish("main")
    with pyi.session(repo, "second") as session:
        assert bytes(session.workspace.read("result.txt")) == b"3"
        assert not session.resumed
        assert list(session.steps(range(2))) == [0, 1]
    repo.workspace().fork("plain")  # somebody else's workspace, at a session's checkpoint
    with pyi.session(repo, "plain") as session:
        assert not session.resumed
        assert list(session.steps(range(2))) == [0, 1]
    with pyi.session(repo, "elsewhere", base=repo.branches()["main"]) as session:
        assert session.done == 0


def test_resumable_functions(repo: pyi.Repository) -> None:
    runs: list[int] = []
    crash = [5]

    @pyi.resumable(repo, "sum-{n}")
    def total(session: pyi.Session, n: int, *, factor: float = 1.0) -> float:
        """Add up."""
        session.state["sum"] = 0.0
        for step in session.steps(range(n)):
            runs.append(step)
            if step in crash:
                crash.remove(step)
                raise Crash
            session.state["sum"] = session.state["sum"] + factor * step
        return float(session.state["sum"])

    assert total.__doc__ == "Add up."
    with pytest.raises(Crash):
        total(10)
    assert total(10) == 45.0
    assert runs == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]
    assert total(10) == 45.0
    assert len(runs) == 11
    with pytest.raises(pyi.Conflict, match="other arguments"):
        total(10, factor=2.0)
    assert total(3, factor=2.0) == 6.0
    with pytest.raises(pyi.InvalidArgument):
        total(4, factor=object())  # type: ignore[arg-type]
    assert "sum-10" in repo.workspaces()
    for wrong in ("it-{m}", "it-{", "it-{n.x}", "it-{}"):
        with pytest.raises(pyi.InvalidArgument):
            pyi.resumable(repo, wrong)(lambda session, n: n)(3)

    async def later(session: pyi.Session) -> None:
        del session

    with pytest.raises(pyi.InvalidArgument, match="async"):
        pyi.resumable(repo)(later)


def test_retention_decides_how_far_back_a_fork_reaches(repo: pyi.Repository) -> None:
    def gone(step: int) -> bool:
        with pyi.session(repo, "it") as session:
            try:
                assert session.fork_at(step).state["x"] == step - 1
            except pyi.NotFound:
                return True
            return False

    with pyi.session(repo, "it") as session:
        for step in session.steps(range(60)):
            session.state["x"] = step
            session.workspace.write("file.txt", f"{step}" * 1000)
    repo.retention(age=0, heads=0)
    repo.gc()
    assert not any(gone(step) for step in range(1, 61))
    repo.retention(history=20)
    repo.gc()
    assert [gone(step) for step in (60, 50, 41, 30, 1)] == [False, False, False, True, True]
    with pyi.session(repo, "it") as session:
        for step in session.steps(range(70)):
            session.state["x"] = step
    assert [gone(step) for step in (70, 61, 45, 30)] == [False, False, False, True]
