"""The recipes of `validation.gitwork`, in small: that they run, and find nothing wrong."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from validation.gitwork.__main__ import main
from validation.gitwork.differential import compare
from validation.gitwork.process import peak_memory_bytes
from validation.gitwork.tools import TABLE, step_of


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


@pytest.mark.skipif(shutil.which("pyi") is None, reason="no pyi on PATH")
def test_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "git status",
        "git diff main...HEAD -- pkg/tool.py",
        "git add -A",
        "git commit -m lost its quotes",
        'git commit -m "cut off… (ctrl+r to expand)',
        "git log --oneline --since=2 weeks ago",
        "git restore --staged README.md &…",
        "git mv docs/old.md docs/new.md",
        "git show 0123abcd --stat",
        "git push",
        "echo git",
    ]
    file, figures = tmp_path / "lines.jsonl", tmp_path / "figures"
    step = {"trace_id": "some/trace"}
    file.write_text("".join(json.dumps(step | {"step": at, "git": line}) + "\n" for at, line in enumerate(lines)))
    assert main(["replay", "--commands", str(file), "--json", str(figures)]) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "10 of 11 lines are read" in said
    assert "not read (1): no command: echo git" in said
    rows = [json.loads(line) for line in figures.read_text().splitlines()]
    ways = {(row["command"], row["way"]) for row in rows[:-1]}
    assert ("push", "git") in ways
    assert rows[-1]["native_percent"] == 90.0
    assert rows[-1]["equal_percent"] == 100.0
    assert rows[-1]["as_recorded_percent"] == 100.0


_TEST = """#!/bin/sh
# Just enough to be one of git's.
PATH=$GIT_TEST_INSTALLED:$PATH
GIT_EXEC_PATH=$GIT_TEST_EXEC_PATH
export PATH GIT_EXEC_PATH
cd "${1#--root=}" || exit 1
git init -q . && echo "ok 1 - init"
git status >said && echo "ok 2 - status"
git cat-file -e 1234 2>said && echo "not ok" || echo "not ok 3 - there is no such object"
echo "ok 4 # skip what is not there"
echo "not ok 5 - a fault of git # TODO known breakage"
echo 1..5
"""


@pytest.mark.skipif(shutil.which("pyi") is None, reason="no pyi on PATH")
def test_suite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, files, log = tmp_path / "source", tmp_path / "files", tmp_path / "log"
    (source / "t").mkdir(parents=True)
    (source / "bin-wrappers").mkdir()
    git = shutil.which("git")
    assert git is not None
    (source / "git").symlink_to(git)
    (source / "t" / "t7508-status.sh").write_text(_TEST)
    files.write_text("# status (2)\nt7508-status.sh t7509-not-there.sh\n")
    words = ["suite", "--source", str(source), "--files", str(files), "--log", str(log)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "not in this version of git: t7509-not-there" in said
    assert "| t7508-status | status | 2 | 2 | 0 | 1 | 2 |" in said
    assert [json.loads(line)["side"] for line in log.read_text().splitlines()] == ["git", "pyi"]
    # Git's own run is taken from the log, and is what counts.
    log.write_text(log.read_text().replace('"passed": [1, 2]', '"passed": [1, 2, 3]', 1))
    assert main([*words, "--baseline", str(log), "--native", "status"]) == 1
    said = capsys.readouterr().out
    assert "lost t7508-status.3: there is no such object" in said
    assert "| status | 1 | 3 | 2 | 66.67 | 1 | 0 |" in said


@pytest.mark.skipif(shutil.which("pyi") is None, reason="no pyi on PATH")
def test_alternate(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["alternate", "--seconds", "4", "--repositories", "2", "--files", "30", "--seed", "5"])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "times `git fsck --strict`" in said


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


def test_what_tools_issue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "--tool", "gitk", "--tool", "tig"]) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "31 commands (0 end with a failure), 0 differences" in said


def test_the_table_of_tools_can_be_read() -> None:
    table = json.loads(TABLE.read_text())
    assert all(tool["source"] and tool["steps"] for tool in table.values())
    places = {"work": "/w", "origin": "0"}
    steps = [step_of(line, places) for tool in table.values() for line in tool["steps"]]
    assert all(step.words or step.edit for step in steps)
    input_line = step_of("env A=b git commit -F - <<< 'two words'", places)
    assert (input_line.words, input_line.env, input_line.stdin) == (("commit", "-F", "-"), {"A": "b"}, b"two words\n")
    assert step_of("git rev-parse 'HEAD^{{object}}' {work}", places).words == ("rev-parse", "HEAD^{object}", "/w")
    with pytest.raises(ValueError, match="neither git nor edit"):
        step_of("hg status", places)
