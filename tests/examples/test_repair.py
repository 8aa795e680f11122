"""The repair example: its project, its bugs, its agent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.repair.make_repo import DEMO_BUG, HERE, PROJECT, Bug, copy_project, load_bugs, make_repo
from examples.repair.odds import Attempt, chance, table

BUGS = load_bugs()
WINNING_SEED = 9


def run_tests(root: Path) -> subprocess.CompletedProcess[str]:
    """The project's test command, as a race would run it."""
    return subprocess.run(
        [sys.executable, "-m", "unittest", "-q"],
        cwd=root,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_agent(root: Path, seed: int) -> str:
    """One candidate; what it printed."""
    env = {**os.environ, "PYI_SEED": str(seed)}
    env.pop("REPAIR_TRIES", None)
    command = [sys.executable, str(HERE / "agent.py")]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a tree but those of git."""
    files = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_project_passes(tmp_path: Path) -> None:
    copy_project(tmp_path)
    done = run_tests(tmp_path)
    assert done.returncode == 0, done.stderr


def test_there_are_twenty_bugs() -> None:
    assert len(BUGS) == 20
    assert DEMO_BUG in BUGS


@pytest.mark.parametrize("bug", BUGS.values(), ids=lambda bug: bug.id)
def test_bug_is_planted_once_and_noticed(bug: Bug, tmp_path: Path) -> None:
    assert (PROJECT / bug.file).read_text(encoding="utf-8").count(bug.original) == 1
    copy_project(tmp_path, bug)
    done = run_tests(tmp_path)
    assert done.returncode == 1
    assert "FAILED" in done.stderr


def test_repository_has_the_same_commit_each_time(tmp_path: Path) -> None:
    first = make_repo(BUGS[DEMO_BUG], tmp_path / "a")
    second = make_repo(BUGS[DEMO_BUG], tmp_path / "b")
    assert first == second
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path / "a", capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


def test_repository_needs_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(FileExistsError):
        make_repo(BUGS[DEMO_BUG], tmp_path)
    assert contents(tmp_path) == {"mine": b"keep"}


def test_agent_repairs_the_demo_bug(tmp_path: Path) -> None:
    copy_project(tmp_path, BUGS[DEMO_BUG])
    before = contents(tmp_path)
    report = run_agent(tmp_path, WINNING_SEED)
    assert report.startswith("repaired"), report
    after = contents(tmp_path)
    assert before.keys() == after.keys(), "the agent leaves no other file"
    assert [name for name in before if before[name] != after[name]] == [BUGS[DEMO_BUG].file]
    assert run_tests(tmp_path).returncode == 0


@pytest.mark.parametrize("seed", [WINNING_SEED, 1000])
def test_agent_is_deterministic_by_seed(seed: int, tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        copy_project(tmp_path / name, BUGS[DEMO_BUG])
        report = run_agent(tmp_path / name, seed)
        results.append((report, contents(tmp_path / name)))
    assert results[0] == results[1]


def test_agent_leaves_a_correct_project_alone(tmp_path: Path) -> None:
    copy_project(tmp_path)
    before = contents(tmp_path)
    assert run_agent(tmp_path, 1) == "no test fails"
    assert contents(tmp_path) == before


def test_agent_survives_code_which_hangs(tmp_path: Path) -> None:
    """A test which never ends is a failing test, and its loop is repaired."""
    (tmp_path / "count.py").write_text(
        "def count(limit):\n    n = 0\n    while n < limit:\n        n -= 1\n    return n\n"
    )
    (tmp_path / "test_count.py").write_text(
        "import unittest\nfrom count import count\n\n\n"
        "class CountTest(unittest.TestCase):\n"
        "    def test_count(self):\n        self.assertEqual([count(5), count(9), count(0)], [5, 9, 0])\n"
    )
    report = run_agent(tmp_path, 2)
    assert report.startswith("repaired"), report
    assert run_tests(tmp_path).returncode == 0


def test_odds() -> None:
    assert chance(64, 0, 64) == 0
    assert chance(64, 16, 1) == 0.25
    assert chance(64, 1, 64) == 1
    attempts = [Attempt("heap-rise", seed, seed < 2, seed < 1, 1.0, "") for seed in range(4)]
    row = table(attempts, BUGS.values()).splitlines()[2]
    assert [cell.strip() for cell in row.split("|")[1:6]] == ["heap-rise", "negate", "2 of 4", "1", "50%"]
