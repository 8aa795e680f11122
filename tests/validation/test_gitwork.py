"""The recipes of `validation.gitwork`, in small: that they run, and find nothing wrong."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from validation.gitwork.__main__ import main
from validation.gitwork.differential import compare
from validation.gitwork.process import peak_memory_bytes


def test_agents(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["agents", "--agents", "12", "--commits", "4", "--files", "200", "--rounds", "5"])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "48 of 48 commits, 0 agents with anything mixed" in said
    assert "12 of 12 exported" in said


@pytest.mark.parametrize("seed", [1, 500_000])
def test_generated_scenarios(tmp_path: Path, seed: int) -> None:
    tally = compare(tmp_path, scenarios=300, seed=seed)
    assert not tally.shown, "\n".join(tally.shown)
    assert tally.equal.total() > 200


def test_what_agents_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["git status", "git add -A", "git commit -m 'cut off", "git show 0123abc:README.md", "git push"]
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(json.dumps({"git": line}) + "\n" for line in lines))
    assert main(["traces", "--commands", str(file)]) == 0
    assert "4 of 5 lines are answered (80.0 %), 0 could not be read" in capsys.readouterr().out


def test_speed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    arguments = ["--sizes", "20", "--rounds", "2", "--only", "status,add,commit", "--concurrent", "3"]
    assert main(["speed", *arguments, "--json", str(figures)]) == 0, capsys.readouterr().out
    assert (
        "3 repositories, a command on all of them at once, 5 commands: 0 failures, 0 wrong" in capsys.readouterr().out
    )
    lines = [json.loads(line) for line in figures.read_text().splitlines()]
    operations = [line for line in lines if line["kind"] == "operation"]
    assert {line["command"] for line in operations} == {
        "status",
        "status -s",
        "status --porcelain",
        "add FILE",
        "add -A",
        "commit -m message",
    }
    assert {line["way"] for line in operations} == {"native"}
    assert sum(line["kind"] == "hand-over" for line in lines) == 1


def test_the_memory_of_a_program_is_its_own(tmp_path: Path) -> None:
    with open(os.devnull, "r+b") as null:
        peak = peak_memory_bytes(
            [sys.executable, "-c", "x = b'x' * (64 << 20)"], tmp_path, dict(os.environ), null.fileno()
        )
        small = peak_memory_bytes(["/bin/true"], tmp_path, {}, null.fileno())
    if sys.platform.startswith("linux"):
        assert peak is not None
        assert small is not None
        assert 64 << 20 < peak < 256 << 20
        assert small < 16 << 20
