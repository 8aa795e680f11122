"""The record of a session, and the way back to any step of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyi
from pyi.longrun.record import KEY, Record, Trail, last_of, step_at


@dataclass
class Stored:
    """What a checkpoint is to the code under test."""

    id: str
    metadata: dict[str, Any]
    parents: list[str] = field(default_factory=list)


class Store:
    """A repository of which the last checkpoints are counted as they are read."""

    def __init__(self) -> None:
        self.held: dict[str, Stored] = {}
        self.reads = 0

    def get_checkpoint(self, id: str) -> Stored:
        self.reads += 1
        if id not in self.held:
            raise pyi.NotFound(id)
        return self.held[id]

    def add(self, metadata: dict[str, Any], parent: Stored | None) -> Stored:
        stored = Stored(f"{len(self.held):064x}", metadata, [parent.id] if parent else [])
        self.held[stored.id] = stored
        return stored


def history(steps: list[int], *, reopen_every: int = 0, foreign_every: int = 0) -> tuple[Any, Stored, list[int]]:
    """A session whose checkpoints had so many more steps done each time."""
    store: Any = Store()
    trail, parent, done, all_done = Trail(), None, 0, []
    for number, more in enumerate(steps):
        done += more
        record = Record("it", done=done, number=trail.number, jump=trail.jump)
        parent = store.add(record.encode(), parent)
        trail.add(done, parent.id)
        all_done.append(done)
        if reopen_every and number % reopen_every == 0:
            trail = Trail.behind(store, parent, record)  # type: ignore[arg-type]
        if foreign_every and number % foreign_every == 0:
            parent = store.add({"somebody": "else"}, parent)
    assert parent is not None
    return store, parent, all_done


@given(
    steps=st.lists(st.integers(0, 3), min_size=1, max_size=200),
    wanted=st.integers(0, 600),
    reopen=st.sampled_from([0, 1, 7]),
    foreign=st.sampled_from([0, 1, 5]),
)
def test_any_step_is_found(steps: list[int], wanted: int, reopen: int, foreign: int) -> None:
    steps[0] = 0
    store, head, all_done = history(steps, reopen_every=reopen, foreign_every=foreign)
    found = last_of(store, head, "it")  # type: ignore[arg-type]
    assert found is not None
    checkpoint, record = step_at(store, *found, wanted)
    expected = max(number for number, done in enumerate(all_done) if done <= wanted)
    assert (record.number, record.done) == (expected, all_done[expected])
    assert Record.of(checkpoint) == record
    assert last_of(store, head, "other") is None  # type: ignore[arg-type]


def test_the_way_is_logarithmic() -> None:
    store, head, _ = history([0] + [1] * 20_000, reopen_every=997)
    record = Record.of(head)  # type: ignore[arg-type]
    assert record is not None
    worst = 0
    for wanted in [*range(0, 20_000, 373), 0, 1, 19_999]:
        store.reads = 0
        assert step_at(store, head, record, wanted)[1].done == wanted  # type: ignore[arg-type]
        worst = max(worst, store.reads)
    assert worst <= 4 * 15  # 2^15 > 20,000
    store.reads = 0
    Trail.behind(store, head, record)  # type: ignore[arg-type]
    assert store.reads <= 2 * 15


def test_what_retention_took_is_not_found() -> None:
    store, head, _ = history([0] + [1] * 100)
    record = Record.of(head)  # type: ignore[arg-type]
    assert record is not None
    for id in list(store.held)[:50]:
        del store.held[id]
    assert step_at(store, head, record, 70)[1].done == 70  # type: ignore[arg-type]
    with pytest.raises(pyi.NotFound):
        step_at(store, head, record, 20)  # type: ignore[arg-type]
    assert Trail.behind(store, head, record).number == 101  # type: ignore[arg-type]


RECORDS = st.builds(
    Record,
    name=st.text(max_size=20),
    done=st.integers(0, 2**63),
    loop=st.integers(-1, 2**62),
    at=st.integers(-1, 2**62),
    phase=st.integers(0, 2**32 - 1),
    number=st.just(0),
    resumes=st.integers(0, 2**32),
    repeated=st.integers(0, 2**32),
    random=st.dictionaries(st.text(min_size=1, max_size=9), st.binary(max_size=99) | st.just({"d": {}})),
)


@given(RECORDS)
def test_a_record_comes_back(record: Record) -> None:
    assert Record.of(Stored("0" * 64, record.encode())) == record  # type: ignore[arg-type]


@given(RECORDS, st.data())
def test_damaged_records_are_told(record: Record, data: st.DataObject) -> None:
    whole = record.encode()[KEY]
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    garbage = data.draw(st.binary(max_size=300))
    for found in (cut, garbage, b"\x01" + garbage):
        try:
            Record.of(Stored("0" * 64, {KEY: found}))  # type: ignore[arg-type]
        except (pyi.Corrupt, pyi.UnsupportedFormat):
            continue
    assert Record.of(Stored("0" * 64, {KEY: {"of": "somebody else"}})) is None  # type: ignore[arg-type]
    with pytest.raises(pyi.UnsupportedFormat):
        Record.of(Stored("0" * 64, {KEY: b"\x02" + whole[1:]}))  # type: ignore[arg-type]


class Counter:
    """A generator whose state is no bytes."""

    def __init__(self) -> None:
        self.drawn = 0

    def getstate(self) -> object:
        return {"drawn": self.drawn}

    def setstate(self, state: Any) -> None:
        self.drawn = state["drawn"]


def test_steps_write_what_records_say(tmp_path: Path) -> None:
    """The record of a step is made by the kernel: byte for byte that of `Record.encode`, with the jumps of `Trail`."""
    with pyi.open(tmp_path / "store") as repository:
        for stop in (0, 1, 2, 70, 200):
            counter, rng = Counter(), random.Random(5)
            with pyi.session(repository, "lo\u0308op", generators={"counter": counter, "r\u00e4ndom": rng}) as session:
                for step in session.steps(range(stop)):
                    counter.drawn += 1
                    session.state["sum"] = session.state.get("sum", 0.0) + rng.random()
                    assert counter.drawn == step + 1
                head = session.workspace.head
        made = [(checkpoint, Record.of(checkpoint)) for checkpoint in repository.workspace(at=head).log()]
        trail, last = Trail(), None
        for checkpoint, record in made[::-1]:
            if record is None:  # what the session was forked from
                continue
            assert (record.number, record.jump) == (trail.number, trail.jump)
            assert record.encode() == checkpoint.metadata
            trail.add(record.done, checkpoint.id)
            last = record
        assert last is not None
        assert (last.done, last.number) == (200, trail.number - 1)
        assert last.random["counter"] == {"d": {"drawn": 200}}
