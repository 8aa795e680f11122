"""The recipes of `validation.gitwork`, in small: that they run, and find nothing wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from validation.gitwork.__main__ import main
from validation.gitwork.differential import compare


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
