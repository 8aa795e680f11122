"""The journal: queries, slices, the chain, and what is left of it when a workspace goes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyi


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[pyi.Workspace]:
    with pyi.open(tmp_path / "store") as repo:
        yield repo.workspace()


def filled(ws: pyi.Workspace, count: int) -> list[int]:
    for number in range(count):
        ws.journal.append("tool" if number % 10 == 3 else "message", n=number)
        if number % 333 == 0:
            ws.checkpoint()
    return list(range(count))


def numbers(events: Iterator[pyi.Event] | list[pyi.Event]) -> list[int]:
    return [event.data["n"] for event in events]


def test_slices_are_those_of_a_list(ws: pyi.Workspace) -> None:
    model = filled(ws, 700)
    whole = ws.head.journal
    optional = st.none() | st.integers(-1500, 1500)

    @settings(max_examples=200, deadline=None)
    @given(optional, optional, st.none() | st.integers(-400, 400).filter(bool))
    def check(start: int | None, stop: int | None, step: int | None) -> None:
        wanted = slice(start, stop, step)
        assert numbers(ws.journal[wanted]) == model[wanted]
        assert [event.index for event in ws.journal[wanted]] == model[wanted]

    check()
    assert numbers(whole[:]) == model[:667]
    for index in (0, -1, 699, -700):
        assert ws.journal[index].data["n"] == model[index]
    for index in (700, -701, 2**80, -(2**80)):
        with pytest.raises(IndexError):
            ws.journal[index]
    with pytest.raises(TypeError):
        ws.journal["a"]  # type: ignore[call-overload]


def test_queries_by_kind_time_and_index(ws: pyi.Workspace) -> None:
    model = filled(ws, 700)
    tools = [n for n in model if n % 10 == 3]
    times = [event.time for event in ws.journal]
    query = ws.journal.query
    assert numbers(query()) == model
    assert numbers(query(kind="tool")) == tools
    assert numbers(query(kind="tool", limit=3)) == tools[:3]
    assert numbers(query(kind="nothing")) == []
    assert numbers(query(start=-5)) == model[-5:]
    assert numbers(query(kind="tool", start=100, stop=-100)) == [n for n in tools if 100 <= n < 600]
    assert numbers(query(start=9999)) == []
    for since, until in ((0, 699), (350, 351), (300, 600), (600, 300)):
        wanted = [n for n in model if times[since] <= times[n] < times[until]]
        assert numbers(query(since=times[since], until=times[until])) == wanted
    assert numbers(query(since=0.0, until=float("inf"))) == model
    assert numbers(query(since=-1e300)) == model
    assert numbers(ws.head.journal.query(kind="tool", start=600)) == [n for n in tools if 600 <= n < 667]
    for bad in ({"limit": -1}, {"since": float("nan")}, {"kind": "\ud800"}):
        with pytest.raises(pyi.InvalidArgument):
            query(**bad)  # type: ignore[arg-type]
    # A query sees the journal as it was when it was asked.
    events = query(kind="tool")
    ws.journal.append("tool", n=0)
    assert numbers(events) == tools


def test_times_never_go_back(ws: pyi.Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(ws, 300)
    times = [event.time for event in ws.journal]
    assert times == sorted(times)


def test_the_tip_commits_to_the_whole_history(ws: pyi.Workspace) -> None:
    assert ws.journal.tip is None
    assert ws.journal.verify() == 0
    filled(ws, 10)
    noted = ws.journal.tip
    assert noted is not None
    assert ws.journal.tip == noted
    filled(ws, 500)
    assert ws.journal.verify() == 510
    assert ws.journal.verify(noted) == 10
    fork = ws.fork()
    fork.journal.append("message", n=1)
    ws.journal.append("message", n=2)
    assert fork.journal.verify(ws.head.journal.tip) == len(ws.head.journal)
    with pytest.raises(pyi.Corrupt, match="does not go on from"):
        fork.journal.verify(ws.journal.tip)
    with pytest.raises(pyi.InvalidArgument):
        ws.journal.verify("xyz")


def test_what_was_left_by_a_restore_stays_readable(tmp_path: Path) -> None:
    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace().fork("agent")
        ws.journal.append("message", n=0)
        first = ws.checkpoint()
        ws.journal.append("tool", n=1)
        second = ws.checkpoint()
        tip = second.journal.tip
        ws.restore(first)
        ws.journal.append("message", n=2)
        ws.checkpoint()
        assert numbers(ws.journal[:]) == [0, 2]
        audit = second.journal
        assert (numbers(audit[:]), audit.tip, audit.verify(tip)) == ([0, 1], tip, 2)
        assert audit.verify(first.journal.tip) == 1
        left = second.id
    with pyi.open(tmp_path / "store") as repo:
        assert numbers(repo.get_checkpoint(left).journal[:]) == [0, 1]
        assert not hasattr(repo.get_checkpoint(left).journal, "append")
