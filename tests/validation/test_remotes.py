"""The recipes of `validation.remotes`, in small: that they run, and find nothing wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import pyi
from validation.remotes import many
from validation.remotes.__main__ import main

pytest.importorskip("dulwich")
pytest.importorskip("uvicorn")


@pytest.mark.parametrize(
    "command",
    [
        "many --thin 6 --git 2 --git-at-once 2 --processes 2 --rounds 2 --files 20",
        "idle --connections 40 --clones 2 --files 40",
        "kills --pushes 12 --clients 3 --life-ms 300 --bytes 2000",
        "moving --clones 2 --rate 100 --files 20",
    ],
)
def test_recipe(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 0, capsys.readouterr().out


def test_many_notices_what_is_not_there(tmp_path: Path) -> None:
    with pyi.open(tmp_path / "store") as repository:
        (tmp_path / "files").mkdir()
        workspace = repository.import_dir(tmp_path / "files").fork("agents/1")
        workspace.write("round0.txt", many._content("http://x/it/agents/agents/1.git", 0))
        workspace.write("round1.txt", "another round\n")
        workspace.checkpoint()
        assert many._lost(repository, ["agents/1"], 3) == ["agents/1: round1.txt", "agents/1: round2.txt"]
