"""Random generators: each kind goes on exactly where it was, whatever was drawn from it in between."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyi
from pyi.longrun import generators, memory
from pyi.longrun.generators import kept


class Counter:
    """A generator that nobody knows, with the two methods that make one."""

    def __init__(self) -> None:
        self.state: tuple[int, dict[str, Any]] = (0, {})

    def getstate(self) -> object:
        return (*self.state, np.arange(3.0), [None, b"x", (1,)])

    def setstate(self, state: Any) -> None:
        assert isinstance(state, tuple)
        assert state[2].tolist() == [0, 1, 2]
        assert state[3] == [None, b"x", (1,)]
        self.state = state[:2]

    def draw(self) -> int:
        self.state = (self.state[0] + 1, {"n": -self.state[0]})
        return self.state[0]


def bits(make: Callable[[int], Any]) -> tuple[Any, list[Callable[[], Any]]]:
    rng = np.random.Generator(make(9))
    return rng, [
        rng.random,
        rng.standard_normal,
        lambda: rng.integers(1 << 16, dtype=np.uint32),
        lambda: rng.bytes(5),
        lambda: rng.random(700)[-1],
    ]


def python() -> tuple[Any, list[Callable[[], Any]]]:
    rng = random.Random(9)
    return rng, [rng.random, lambda: rng.gauss(0, 1), lambda: rng.getrandbits(40), lambda: rng.randbytes(3000)]


def legacy(source: Any = None) -> tuple[Any, list[Callable[[], Any]]]:
    rng = np.random.RandomState(source if source is not None else 9)
    return rng, [rng.random_sample, rng.standard_normal, lambda: rng.randint(9), lambda: rng.random_sample(700)[-1]]


def unknown() -> tuple[Any, list[Callable[[], Any]]]:
    counter = Counter()
    return counter, [counter.draw]


def child_seeds(make: Callable[[int], Any] = np.random.PCG64) -> tuple[Any, list[Callable[[], Any]]]:
    rng = np.random.Generator(make(9))
    return rng, [rng.random, lambda: rng.spawn(2)[1].random()]


KINDS: dict[str, Callable[[], tuple[Any, list[Callable[[], Any]]]]] = {
    "python": python,
    "legacy": legacy,
    "legacy on PCG64": lambda: legacy(np.random.PCG64(3)),
    "philox": lambda: bits(np.random.Philox),
    "pcg": lambda: bits(np.random.PCG64),
    "dxsm": lambda: bits(np.random.PCG64DXSM),
    "sfc": lambda: bits(np.random.SFC64),
    "twister": lambda: bits(np.random.MT19937),
    "spawn": child_seeds,
    "spawn of philox": lambda: child_seeds(np.random.Philox),
    "spawn of twister": lambda: child_seeds(np.random.MT19937),
    "unknown": unknown,
}


@pytest.fixture(params=["in memory", "by asking"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "by asking":
        for name in ("of_random", "of_twister", "of_legacy", "of_philox"):
            monkeypatch.setattr(memory, name, lambda _: None)
    return str(request.param)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="other Pythons keep it elsewhere")
def test_on_this_python_the_memory_is_where_it_is_looked_for() -> None:
    assert memory.of_random(random.Random(1)) is not None
    assert memory.of_legacy(np.random.RandomState(1)) is not None
    assert memory.of_twister(np.random.MT19937(1)) is not None
    assert memory.of_twister(np.random.Philox(1)) is None
    assert memory.of_philox(np.random.Philox(1)) is not None
    assert memory.of_philox(np.random.MT19937(1)) is None

    class Other(random.Random):
        pass

    assert memory.of_random(Other(1)) is None


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=5), cut=st.integers(0, 4))
def test_a_generator_goes_on_where_it_was_saved(kind: str, way: str, plan: list[list[int]], cut: int) -> None:
    source, draws = KINDS[kind]()
    state: dict[str, Any] = {}
    keeper = kept("it", source)
    for part in plan:  # saved many times: what did not change is not written again
        for draw in part:
            draws[draw % len(draws)]()
        record = keeper.save(state, trust=True)  # type: ignore[arg-type]
    expected = [draw() for draw in draws * 2]
    fresh, draws = KINDS[kind]()
    for draw in draws[: cut + 1]:
        draw()
    other = kept("it", fresh)
    for number in range(2):  # and back again from anywhere
        other.load(record, state)  # type: ignore[arg-type]
        assert [draw() for draw in draws * 2] == expected, number


def test_a_state_that_somebody_changed_is_noticed() -> None:
    state: dict[str, Any] = {}
    keeper = kept("it", random.Random(1))
    record = keeper.save(state, trust=True)  # type: ignore[arg-type]
    words = state["pyi.session/random/it"]
    for wrong in (words[:-1], bytes([words[0] ^ 1]) + words[1:], "text", None):
        with pytest.raises(pyi.Corrupt, match="changed by somebody else"):
            keeper.load(record, {"pyi.session/random/it": wrong})  # type: ignore[arg-type]
    for other in (b"", {"d": {}}, None):
        with pytest.raises(pyi.Corrupt):
            keeper.load(other, state)  # type: ignore[arg-type]
    philox = kept("it", np.random.Philox(1))
    for other in (b"", b"\0" * 90, {"d": {}}, record, None):
        with pytest.raises(pyi.Corrupt):
            philox.load(other, state)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [random.SystemRandom(), object(), 7, None, random])
def test_what_cannot_be_kept_is_refused(wrong: object) -> None:
    if wrong is random:  # the module has getstate and setstate; it is kept as its own generator would be
        assert isinstance(kept("it", wrong), generators.Kept)
        return
    with pytest.raises(pyi.InvalidArgument):
        kept("it", wrong)


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[pyi.Repository]:
    with pyi.open(tmp_path / "store") as repo:
        yield repo


def program(repo: pyi.Repository, name: str, crash_at: int | None) -> list[float]:
    """A loop on all generators there are; what it drew."""
    mine = random.Random(4)
    rngs = {"philox": np.random.Generator(np.random.Philox(4)), "pcg": np.random.default_rng(4)}
    with pyi.session(repo, name, generators=rngs) as session:
        session.register("mine", mine)
        assert session.register("legacy", np.random.RandomState(4)) is not None
        session.state["drawn"] = []
        for step in session.steps(range(12)):
            drawn = [random.random(), random.gauss(0, 1), np.random.random(), np.random.standard_normal()]
            drawn += [mine.random(), rngs["philox"].random(), float(rngs["pcg"].standard_normal())]
            if step == crash_at:
                raise ZeroDivisionError
            session.state["drawn"] = [*session.state["drawn"], *drawn]
        return list(session.state["drawn"])


def test_all_of_them_in_a_session(repo: pyi.Repository) -> None:
    def seed() -> None:
        random.seed(1)
        np.random.seed(1)

    seed()
    expected = program(repo, "whole", None)
    seed()
    for crash_at in (0, 1, 5, 11):
        with pytest.raises(ZeroDivisionError):
            program(repo, "cut", crash_at)
        random.seed()
        np.random.seed()
    assert program(repo, "cut", None) == expected


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=6))
def test_each_step_has_the_generator_as_it_was(
    kind: str, way: str, tmp_path_factory: pytest.TempPathFactory, plan: list[list[int]]
) -> None:
    """Most records are made of the one before: whatever was drawn, or was not, each must be the right one."""
    source, draws = KINDS[kind]()
    after = []
    with (
        pyi.open(tmp_path_factory.mktemp("store")) as repo,
        pyi.session(repo, "it", global_generators=False) as session,
    ):
        session.register("it", source)
        for step in session.steps(range(len(plan))):
            for draw in plan[step]:
                draws[draw % len(draws)]()
            after.append(copy.deepcopy(source))
        for done, then in enumerate(after, start=1):
            fresh, redraws = KINDS[kind]()
            with session.fork_at(done, generators={"it": fresh}, global_generators=False) as fork:
                list(fork.steps(range(done)))
                record = kept("it", then).save({}, trust=True)  # type: ignore[arg-type]
                assert kept("it", fresh).save({}, trust=True) == record  # type: ignore[arg-type]
                assert len(redraws) == len(draws)


def test_a_generator_that_only_uses_up_its_spare_number_has_changed(repo: pyi.Repository) -> None:
    """`gauss` makes two numbers and keeps one: the second call moves no word and no position."""
    for number, make in enumerate((random.Random, np.random.RandomState)):
        source: Any = make(3)
        draw = source.gauss if number == 0 else source.normal
        with pyi.session(repo, f"spare-{number}", generators={"it": source}) as session:
            drawn = [draw(0, 1) for _ in session.steps(range(5))]
        for step in range(5):
            with session_at(repo, f"spare-{number}", step, make(9)) as (fork, again):
                draw_again = again.gauss if number == 0 else again.normal
                assert [draw_again(0, 1) for _ in fork.steps(range(5))] == drawn[step:]


@contextmanager
def session_at(repo: pyi.Repository, name: str, step: int, source: Any) -> Iterator[tuple[pyi.Session, Any]]:
    with (
        pyi.session(repo, name, generators={"it": random.Random()}) as session,
        session.fork_at(step, generators={"it": source}) as fork,
    ):
        yield fork, source


def test_words_that_come_back_are_stored_again_whoever_stored_others_meanwhile(repo: pyi.Repository) -> None:
    """Most words are stored without asking the keeper, which must not take what it stored last for what is there."""
    rng = np.random.Generator(np.random.MT19937(3))
    first = rng.bit_generator.state
    with pyi.session(repo, "it", generators={"it": rng}) as session:
        for step in session.steps(range(4)):
            if step == 1:
                rng.random(700)  # all words new
            if step == 2:
                rng.bit_generator.state = first
                rng.spawn(1)  # the keeper is asked
        fresh = np.random.Generator(np.random.MT19937(4))
        with session.fork_at(3, generators={"it": fresh}) as fork:
            next(iter(fork.steps(range(4))))
            assert fresh.random(5).tolist() == np.random.Generator(np.random.MT19937(3)).random(5).tolist()


def test_words_that_were_taken_back_by_hand_are_stored_again(repo: pyi.Repository) -> None:
    """A restore in a step puts the state back, and with it the words that were stored there meanwhile."""
    source = random.Random(3)
    with pyi.session(repo, "it", generators={"it": source}) as session:
        for step in session.steps(range(8)):
            if step == 1:
                source.seed(4)  # all words new
            if step == 5:
                session.workspace.restore(session.checkpoint_at(1))
            if step == 6:
                break
            source.random()
    expected = source.random()
    fresh = random.Random()
    with pyi.session(repo, "it", generators={"it": fresh}) as session:
        next(iter(session.steps(range(8))))
        assert fresh.random() == expected


def test_a_generator_that_is_missing_or_of_another_kind_is_told(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it", generators={"walk": np.random.Philox(1)}) as session:
        next(iter(session.steps(range(3))))
    with pyi.session(repo, "it") as session, pytest.raises(pyi.InvalidArgument, match="'walk'"):
        session.steps(range(3))
    for other in (np.random.PCG64(1), random.Random(1)):
        with pyi.session(repo, "it", generators={"walk": other}) as session, pytest.raises(pyi.Corrupt, match="'walk'"):
            session.steps(range(3))
    with pyi.session(repo, "it", generators={"walk": np.random.Philox(1), "new": random.Random(1)}) as session:
        assert list(session.steps(range(3))) == [0, 1, 2]
    for name in ("python", "numpy", "", "walk", "\udc80"):
        with (
            pytest.raises(pyi.InvalidArgument),
            pyi.session(repo, "other", generators={"walk": random.Random()}) as session,
        ):
            session.register(name, random.Random(1))


def test_global_generators_can_be_left_alone(repo: pyi.Repository) -> None:
    with pyi.session(repo, "it", global_generators=False) as session:
        for step in session.steps(range(3)):
            if step == 1:
                break
    random.seed(11)
    expected = random.getstate()
    with pyi.session(repo, "it", global_generators=False) as session:
        assert list(session.steps(range(3))) == [1, 2]
    assert random.getstate() == expected


def test_numpys_bit_generator_may_be_exchanged(repo: pyi.Repository) -> None:
    before = np.random.get_bit_generator()
    try:
        with pyi.session(repo, "it") as session:
            for step in session.steps(range(6)):
                if step == 2:
                    np.random.set_bit_generator(np.random.MT19937(5))
                if step == 4:
                    break
                np.random.random(3)
        expected = np.random.random()
        with pyi.session(repo, "it") as session:
            for _ in session.steps(range(5)):
                assert np.random.random() == expected
    finally:
        np.random.set_bit_generator(before)
