"""The recipes of endurance: what their model refuses, and short runs of each."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

import pyi
from validation.endurance.model import NOTHING, Model, Value
from validation.endurance.slope import Slope
from validation.endurance.verify import compare_held

ROOT = Path(__file__).parents[2]
ONE, TWO, THREE = (Value(letter * 64, letter) for letter in "abc")


def test_a_register_is_what_was_acknowledged_or_begun() -> None:
    model = Model(10)
    model.begin("name:x", Value("?", "a"), 1)
    assert model.registers["name:x"].allows(NOTHING)
    assert model.registers["name:x"].allows(ONE)
    model.done("name:x", ONE, 2)
    assert not model.registers["name:x"].allows(NOTHING)
    model.begin("name:x", TWO, 3)
    assert model.found("name:x", THREE) is not None
    assert model.found("name:x", TWO) is None
    assert model.found("name:x", ONE) is not None, "it cannot go back after it was seen"


def test_a_register_between_two_times() -> None:
    model = Model(10, keeps_trail=True)
    for time, value in ((1.0, ONE), (3.0, TWO), (5.0, THREE)):
        model.begin("name:x", value, time)
        model.done("name:x", value, time + 1)
    register = model.registers["name:x"]
    assert register.allowed_between(NOTHING, 0.5, 1.5)
    assert [register.allowed_between(value, 2.5, 2.8) for value in (NOTHING, ONE, TWO)] == [False, True, False]
    assert [register.allowed_between(value, 3.5, 3.6) for value in (ONE, TWO, THREE)] == [True, True, False]
    assert [register.allowed_between(value, 4.5, 9.0) for value in (ONE, TWO, THREE)] == [False, True, True]


def test_moves_of_main_are_one_chain() -> None:
    model = Model(10)
    model.main_is("0")
    for expect, id in (("0", "1"), ("1", "2"), ("1", "3")):
        model.moving_main(expect, id, "")
    model.moved_main("1")
    assert model.check_main("1") is None
    assert model.check_main("2") is None, "it may have happened without an answer"
    assert "never published" in str(model.check_main("4"))
    assert "lost" in str(model.check_main("0"))
    model.moved_main("2")
    model.moved_main("3")
    assert "lost" in str(model.check_main("3")), "two winners"


def test_slopes() -> None:
    flat = Slope.of([(x, 1000.0 + (-1) ** x) for x in range(100)])
    assert flat.is_zero
    rising = Slope.of([(x, 1000.0 + x + (-1) ** x) for x in range(100)])
    assert not rising.is_zero
    assert rising.per_hour == pytest.approx(3600, rel=0.01)
    with pytest.raises(ValueError):
        Slope.of([(1, 1), (1, 2), (1, 3)])


def wandering(seed: int, rise: float) -> Slope:
    """Return the slope of values each of which carries on three quarters of its neighbour's distance."""
    source, distance, points = random.Random(seed), 0.0, []
    for x in range(120):
        distance = 0.75 * distance + source.gauss(0, 10)
        points.append((60.0 * x, 1000 + distance + rise * x / 60))
    return Slope.of(points)


def test_a_slope_takes_neighbours_for_what_they_are() -> None:
    beyond = sum(
        abs(slope.per_hour) > 3 * slope.error_per_hour for slope in (wandering(seed, 0) for seed in range(300))
    )
    assert beyond <= 9, (
        "three errors are passed by chance once in 370 times; 74 of these with points taken for independent"
    )
    assert all(not wandering(seed, 60).is_zero for seed in range(100)), "what rises is still seen"


def test_what_names_hold_is_compared(tmp_path: Path) -> None:
    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace()
        ws.write("a", "a")
        head = ws.checkpoint("this is no digest")
        ws.publish("main")
        ws.publish("other", expect=None)
    said: list[str] = []
    compare_held(tmp_path / "store", {"branch:gone": ("1", "2")}, lambda *event: said.append(str(event)))
    assert len(said) == 3
    assert any("branch:gone is None" in text for text in said)
    assert any(f"{head.id} has the content" in text for text in said)


def recipe(place: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "validation.endurance", *arguments, "--scratch", place, "--seed", "7"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "VIOLATION" not in done.stdout, done.stdout
    assert done.stderr == ""
    assert not list(place.iterdir()), "something was left"
    return done.stdout


@pytest.mark.slow
def test_a_few_kills(tmp_path: Path) -> None:
    told = recipe(tmp_path, "kills", "--kills", "60", "--verify-every", "30", "--age", "3")
    assert "\nlost or wrong 0\n" in told


@pytest.mark.slow
def test_a_short_slice_beside_a_collector(tmp_path: Path) -> None:
    told = recipe(
        tmp_path, "beside", "--minutes", "0.1", "--slice", "3", "--cap-mb", "16", "--writers", "8", "--rate", "100"
    )
    assert "names compared [12, 12], wrong or lost 0" in told


@pytest.mark.slow
def test_a_short_soak(tmp_path: Path) -> None:
    told = recipe(tmp_path, "soak", "--hours", "0.004", "--every", "3", "--life", "0.5", "--warm-up", "0")
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert len(lines) >= 3
    assert lines[-1]["verified restores"] >= 1
    assert told.endswith("violations 0\n")


@pytest.mark.slow
@pytest.mark.parametrize("generators", ["philox", "legacy"])
def test_a_session_that_is_killed_now_and_then(tmp_path: Path, generators: str) -> None:
    told = recipe(tmp_path, "session", "--steps", "4000", "--kills", "20", "--generators", generators)
    assert "steps 4000, kills 20" in told
    assert "bit-identical" in told
    assert told.endswith("violations 0\n")
