"""Races: who wins and why, what is left behind, and that a race survives its process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import pyi
from pyi.workflow.plan import Plan
from pyi.workflow.result import CandidateResult, Status, best_of, parse_score, reason_for
from tests.python.helpers import git, wait_until

NUMBERED = 'echo "$PYI_CANDIDATE" >> file1.txt'


def pyi_race(
    *argv: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyi", "race", *argv]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )


def snapshot(project: Path) -> tuple[str, ...]:
    """Everything of a repository that a race must not touch."""
    files = sorted(path for path in project.rglob("*") if ".git" not in path.parts)
    index = (project / ".git" / "index").read_bytes().hex()
    return (
        index,
        git(project, "rev-parse", "HEAD", "main"),
        git(project, "symbolic-ref", "HEAD"),
        *(f"{path}:{path.lstat().st_mtime_ns}:{path.lstat().st_size}" for path in files),
    )


# Who wins


def test_the_highest_score_wins_and_becomes_a_commit(project: Path) -> None:
    before = snapshot(project)
    result = pyi.race(
        project, NUMBERED, 5, test='echo checked; echo "-1 $PYI_CANDIDATE" | tr -d " "; exit 0', onto="fix"
    )
    assert [one.score for one in result.candidates] == [-10.0, -11.0, -12.0, -13.0, -14.0]
    assert result.winner == 0
    assert result.branch == "pyi/fix"
    assert result.commit is not None
    assert git(project, "rev-parse", "pyi/fix").strip() == result.commit
    assert git(project, "rev-parse", "pyi/fix^") == git(project, "rev-parse", "main")
    assert git(project, "show", "pyi/fix:file1.txt") == "version two of 1\n0\n"
    assert git(project, "diff", "--name-only", "main", "pyi/fix") == "file1.txt\n"
    message = git(project, "log", "-1", "--format=%B", "pyi/fix")
    assert "Candidate 0 of 5 won" in message
    assert "best score: -10" in message
    assert snapshot(project) == before


def test_a_score_of_a_failed_test_does_not_count(project: Path) -> None:
    result = pyi.race(project, NUMBERED, 3, test='echo $((9 - PYI_CANDIDATE)); test "$PYI_CANDIDATE" = 2')
    assert [one.status for one in result.candidates] == [Status.FAILED, Status.FAILED, Status.PASSED]
    assert [one.score for one in result.candidates] == [0.0, 0.0, 7.0]
    assert result.winner == 2
    assert result.reason == "the only one of 3 candidates that passed"


def test_equal_scores_go_to_the_smallest_change(project: Path) -> None:
    agent = "seq $((4 - PYI_CANDIDATE % 3)) >> file1.txt; touch empty$PYI_CANDIDATE"
    result = pyi.race(project, agent, 6, test="true")
    assert [one.lines for one in result.candidates] == [4, 3, 2, 4, 3, 2]
    assert result.winner == 2
    assert all(one.files == 2 for one in result.candidates)


def test_without_a_test_the_agent_decides(project: Path) -> None:
    result = pyi.race(project, 'exit "$((PYI_CANDIDATE % 2 == 0))"', 4)
    assert [one.status for one in result.candidates] == [Status.FAILED, Status.PASSED] * 2
    assert result.winner == 1


def test_with_a_test_the_agent_s_status_only_breaks_ties(project: Path) -> None:
    agent = 'if [ "$PYI_CANDIDATE" = 0 ]; then exit 3; fi; seq 9 >> file1.txt'
    result = pyi.race(project, agent, 2, test="true")
    assert [one.agent_exit for one in result.candidates] == [3, 0]
    assert all(one.passed for one in result.candidates)
    assert result.winner == 1


def test_nobody_passes(project: Path) -> None:
    before = snapshot(project)
    branches = git(project, "branch", "--list")
    result = pyi.race(project, NUMBERED, 3, test="echo no luck; false")
    assert not result
    assert result.winner is None
    assert result.commit is None
    assert git(project, "branch", "--list") == branches
    assert snapshot(project) == before
    assert all(one.tail == "no luck\n" for one in result.candidates)
    with pyi.open(project) as repository:
        kept = repository.superposition(f"race/{result.id}").candidates
        texts = [bytes(workspace.read("file1.txt")) for workspace in kept]
    assert texts == [b"version two of 1\n%d\n" % number for number in range(3)]


def test_time_is_up(project: Path) -> None:
    result = pyi.race(project, 'echo x > made; [ "$PYI_CANDIDATE" = 1 ] || sleep 1000', 2, timeout=1.0)
    assert [one.status for one in result.candidates] == [Status.TIMEOUT, Status.PASSED]
    assert result.winner == 1
    with pyi.open(project) as repository:
        assert repository.get_checkpoint(result.candidates[0].checkpoint).read("made") == b"x\n"


def test_what_cannot_be_captured_is_one_candidate_s_fault(project: Path) -> None:
    result = pyi.race(project, '[ "$PYI_CANDIDATE" = 1 ] || { echo tried; touch git~1; }', 3, test="true")
    assert [one.status for one in result.candidates] == [Status.ERROR, Status.PASSED, Status.ERROR]
    assert result.candidates[0].tail.startswith("tried\ncannot be captured: ")
    assert "git~1" in result.candidates[0].tail
    assert result.winner == 1


def test_first_stops_the_others(project: Path) -> None:
    result = pyi.race(project, '[ "$PYI_CANDIDATE" = 1 ] || sleep 1000', 4, first=True, jobs=2)
    assert result.winner == 1
    assert {one.status for one in result.candidates if one.index != 1} == {Status.STOPPED}


def test_ranking() -> None:
    def one(index: int, score: float = 1.0, **more: Any) -> CandidateResult:
        return CandidateResult(index, Status.PASSED, score, **more)

    failed = CandidateResult(9, Status.FAILED)
    assert best_of([failed]) is None
    assert reason_for([failed]) == "the only candidate did not pass"
    for better, worse in [
        (one(1, 2.0, lines=9), one(0, 1.0)),
        (one(1, agent_exit=0, lines=9), one(0, agent_exit=1)),
        (one(1, lines=1, files=5), one(0, lines=2)),
        (one(1, lines=1, files=1), one(0, lines=1, files=2)),
        (one(0), one(1)),
    ]:
        assert best_of([failed, worse, better]) is better
        assert reason_for([failed, worse, better]).startswith("2 of 3 candidates passed")


@pytest.mark.parametrize(
    ("output", "score"),
    [
        ("1", 1.0),
        ("a\n-2.5e3 \n\n", -2500.0),
        ("", None),
        ("5 passed", None),
        ("nan", None),
        ("inf\n", None),
        ("1e999", None),
        ("1_000", None),
        ("\u0663", None),
        ("x\u20285", None),
        ("50%\r100", None),
        ("+.5\r\n", 0.5),
        ("7.", 7.0),
        ("3\nx", None),
    ],
)
def test_scores(output: str, score: float | None) -> None:
    assert parse_score(output) == score


# What a candidate sees


def test_the_environment(project: Path) -> None:
    agent = 'echo "$PYI_CANDIDATE $PYI_SEED $PYI_WORKSPACE" > seen'
    result = pyi.race(project, agent, 2, seed=40)
    with pyi.open(project) as repository:
        seen = [bytes(repository.get_checkpoint(one.checkpoint).read("seen")).decode() for one in result.candidates]
    assert seen == [f"{number} {40 + number} race/{result.id}/{number}\n" for number in range(2)]


def test_commands_are_lines_for_the_shell_or_lists_of_arguments(project: Path) -> None:
    result = pyi.race(
        project, ["touch", "a b $PYI_SEED"], 1, test=["test", "-e", "a b $PYI_SEED"], setup=["touch", "env"]
    )
    assert result.winner == 0
    assert git(project, "diff", "--name-only", "main", str(result.branch)) == "a b $PYI_SEED\n"


def test_setup_and_include(project: Path) -> None:
    test = "cat tool build/env && git status --porcelain"
    result = pyi.race(project, "touch mine", 2, setup="cp build/env tool", include=["build"], test=test)
    assert result.winner == 0
    assert result.candidates[0].tail.startswith("made by hand\nmade by hand\n")
    assert git(project, "diff", "--name-only", "main", str(result.branch)) == "mine\n"


def test_a_setup_that_fails_stops_the_race(project: Path) -> None:
    with pytest.raises(pyi.PyiError, match=r"status 4 \(no compiler\)"):
        pyi.race(project, "true", 2, setup="echo no compiler; exit 4")


def test_uncommitted_changes_stay_out_unless_asked_for(project: Path) -> None:
    (project / "file1.txt").write_text("being edited\n")
    (project / "untracked.txt").write_text("new\n")
    (project / "build" / "more").write_text("ignored\n")
    before = snapshot(project)
    warnings = []
    agent = "cat file1.txt; ls"
    clean = pyi.race(
        project, agent, 1, on_event=lambda event: warnings.append(event.text) if event.kind == "warning" else None
    )
    dirty = pyi.race(project, agent, 1, dirty=True)
    assert clean.candidates[0].tail.startswith("version two of 1\n")
    assert "untracked.txt" not in clean.candidates[0].tail
    assert warnings == ["uncommitted changes are left out: commit them, or take them along with --dirty (dirty=True)"]
    assert dirty.candidates[0].tail.startswith("being edited\n")
    assert "untracked.txt" in dirty.candidates[0].tail
    assert "build" not in dirty.candidates[0].tail
    assert dirty.candidates[0].files == 0
    assert git(project, "show", f"{dirty.branch}:untracked.txt") == "new\n"
    assert snapshot(project) == before


def test_the_work_of_a_running_agent_is_checkpointed(project: Path) -> None:
    gate = project.parent / "gate"
    events = []

    def on_event(event: Any) -> None:
        events.append(event.kind)
        if event.kind == "checkpoint":
            gate.write_text("")

    agent = f"echo early > early; while [ ! -e {gate} ]; do sleep 0.01; done; echo late > late"
    result = pyi.race(project, agent, 1, checkpoint_every_s=0.05, on_event=on_event)
    assert events.count("checkpoint") >= 2
    with pyi.open(project) as repository:
        trail = [sorted(entry.path for entry in checkpoint.walk()) for checkpoint in log_of(repository, result)]
    assert any("early" in paths and "late" not in paths for paths in trail)


def log_of(repository: pyi.Repository, result: pyi.RaceResult) -> list[pyi.Checkpoint]:
    return list(repository.workspace(at=result.candidates[0].checkpoint).log(4))


@pytest.mark.parametrize("backend", ["auto", "copy"])
def test_backends_agree(project: Path, backend: str) -> None:
    agent = "echo x >> file0.txt; rm file2.txt; mkdir -p a/b; echo y > a/b/c; echo z > ignored.log; chmod -x run.sh"
    result = pyi.race(project, agent, 2, backend=backend, setup="echo s > setup.txt", onto=backend)
    names = git(project, "diff", "--name-status", "main", f"pyi/{backend}")
    assert names == "A\ta/b/c\nM\tfile0.txt\nD\tfile2.txt\nM\trun.sh\n"
    assert result.backend == ("copy" if backend == "copy" else result.backend)


# Callables


def test_callables(project: Path) -> None:
    def agent(workspace: pyi.Workspace) -> None:
        workspace.write("answer", str(workspace.name).rpartition("/")[2])

    result = pyi.race(project, agent, 4, test=lambda workspace: int(bytes(workspace.read("answer"))) * 1.5)
    assert [one.score for one in result.candidates] == [0.0, 1.5, 3.0, 4.5]
    assert [one.status for one in result.candidates] == [Status.FAILED, *[Status.PASSED] * 3]
    assert result.winner == 3
    assert result.backend == "api"
    assert git(project, "show", f"{result.branch}:answer") == "3"


def test_async_agents_run_at_the_same_time(project: Path) -> None:
    together = asyncio.Event()
    arrived = []

    async def agent(workspace: pyi.Workspace) -> None:
        arrived.append(workspace.name)
        if len(arrived) == 12:
            together.set()
        await together.wait()
        workspace.write("async", b"yes")

    async def check(workspace: pyi.Workspace) -> bool:
        return workspace.exists("async")

    result = pyi.race(project, agent, 12, test=check)
    assert len(result.passed) == 12


def test_callables_that_raise_or_take_too_long(project: Path) -> None:
    def fails(workspace: pyi.Workspace) -> None:
        raise RuntimeError("out of ideas")

    async def hangs(workspace: pyi.Workspace) -> None:
        await asyncio.sleep(1000)

    broken = pyi.race(project, fails, 2)
    assert [one.status for one in broken.candidates] == [Status.ERROR] * 2
    assert "out of ideas" in broken.candidates[0].tail
    late = pyi.race(project, hangs, 2, timeout=0.1)
    assert [one.status for one in late.candidates] == [Status.TIMEOUT] * 2
    with pytest.raises(pyi.InvalidArgument, match="bool or a number"):
        pyi.race(project, lambda workspace: None, 1, test=lambda workspace: "yes")  # type: ignore[arg-type,return-value]


def test_a_callable_agent_and_a_command_as_its_test(project: Path) -> None:
    def agent(workspace: pyi.Workspace) -> None:
        workspace.write("src/new/tool.sh", "echo works", mode=0o755)
        workspace.remove("file0.txt")

    result = pyi.race(project, agent, 2, test="./src/new/tool.sh && test ! -e file0.txt")
    assert len(result.passed) == 2


def test_a_command_as_agent_and_a_callable_test(project: Path) -> None:
    result = pyi.race(project, NUMBERED, 3, test=lambda workspace: b"\n2\n" in bytes(workspace.read("file1.txt")))
    assert result.winner == 2


# An open repository


def test_racing_in_an_open_repository_moves_its_branch(project: Path, tmp_path: Path) -> None:
    with pyi.open(tmp_path / "elsewhere") as repository:
        repository.import_git(project)
        result = pyi.race(repository, NUMBERED, 2)
        assert result.winner == 0
        assert repository.branches()["main"] == result.checkpoint
        assert bytes(repository.workspace("main").read("file1.txt")) == b"version two of 1\n0\n"
        again = pyi.race(repository, NUMBERED, 2, onto="other", base=repository.workspace("main").head)
        assert repository.branches()["other"] == again.checkpoint
        assert repository.superpositions() == []
        assert repository.workspaces() == []
    assert git(project, "show", f"{result.branch}:file1.txt") == "version two of 1\n0\n"


def test_a_directory_that_is_no_git_repository_can_be_raced(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_text("x\n")
    with pyi.open(tmp_path / "store") as repository:
        repository.import_dir(tmp_path / "plain")
        result = pyi.race(repository, "echo y >> file", 2)
        assert (result.winner, result.branch, result.commit) == (0, None, None)
        assert bytes(repository.workspace("main").read("file")) == b"x\ny\n"


def test_keep_gives_the_others_a_name(project: Path) -> None:
    result = pyi.race(project, NUMBERED, 3, keep=True)
    others = [one.workspace for one in result.candidates if one.index != result.winner]
    with pyi.open(project) as repository:
        assert repository.workspaces() == sorted(str(name) for name in others)
        assert bytes(repository.open_workspace(str(others[0])).read("file1.txt")) == b"version two of 1\n1\n"


def test_a_branch_with_work_on_it_is_refused(project: Path) -> None:
    git(project, "branch", "pyi/same")
    one = pyi.race(project, "echo one > made", 1, onto="same")
    with pytest.raises(pyi.Conflict, match="git branch -D pyi/same"):
        pyi.race(project, "echo two > made", 1, onto="pyi/same")
    assert git(project, "rev-parse", "pyi/same").strip() == one.commit
    git(project, "branch", "-D", "pyi/same")
    assert pyi.race(project, "echo two > made", 1, onto="pyi/same")
    assert git(project, "show", "pyi/same:made") == "two\n"


# Refusals


def test_refusals(project: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(pyi.GitError, match="not a git repository"):
        pyi.race(empty, "true", 1)
    git(empty, "init", "-q")
    with pytest.raises(pyi.GitError, match="commit something first"):
        pyi.race(empty, "true", 1)
    with pytest.raises(pyi.NotFound):
        pyi.race(tmp_path / "missing", "true", 1)
    with pytest.raises(pyi.InvalidArgument, match="needs an agent"):
        pyi.race(project)
    with pytest.raises(pyi.InvalidArgument, match="at least one"):
        pyi.race(project, "true", 0)
    with pytest.raises(pyi.GitError, match="not a valid branch name"):
        pyi.race(project, "true", 1, onto="a..b")
    with pytest.raises(pyi.NotFound):
        pyi.race(project, "true", 1, include=["missing"])
    with pytest.raises(pyi.NotFound, match="no unfinished race"):
        pyi.race(project, resume=True)


def test_a_checked_out_branch_is_refused_and_the_race_can_go_on_later(project: Path) -> None:
    agent = f"{NUMBERED}; git -C {project} checkout -q -B pyi/taken"
    with pytest.raises(pyi.PyiError, match="candidates are kept"):
        pyi.race(project, agent, 2, onto="taken", jobs=1)  # one by one: two checkouts at once meet in git's index.lock
    with pytest.raises(pyi.Conflict, match="is checked out"):
        pyi.race(project, "true", 2, onto="taken")
    git(project, "checkout", "-q", "main")
    result = pyi.race(project, resume=True, onto="taken")
    assert result.winner == 0
    assert all(one.resumed for one in result.candidates)
    assert git(project, "show", "pyi/taken:file1.txt") == "version two of 1\n0\n"


# Interruption


def start_race(project: Path, agent: str, *argv: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pyi", "race", str(project), "--agent", agent, *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_silent(beat: Path) -> bool:
    before = beat.stat().st_size
    time.sleep(0.2)  # twenty beats
    return beat.stat().st_size == before


def ran(log: Path) -> Sequence[str]:
    return log.read_text().split() if log.exists() else []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_race_goes_on_without_repeating_what_is_finished(
    project: Path, tmp_path: Path, scratch_space: Path, number: signal.Signals
) -> None:
    log, gate, beat = tmp_path / "ran", tmp_path / "gate", tmp_path / "beat"
    hang = f"while [ ! -e {gate} ]; do echo . >> {beat}; sleep 0.01; done"
    agent = f'echo $PYI_CANDIDATE >> {log}; {NUMBERED}; [ "$PYI_CANDIDATE" -lt 2 ] || {{ {hang}; }}'
    with start_race(project, agent, "-n", "4", "--jobs", "1", "--test", "true", "--onto", "long") as process:
        wait_until(beat.exists)
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == (-number if number is signal.SIGKILL else 128 + number)
    if number is not signal.SIGKILL:
        assert "pyi race --resume" in errors.splitlines()[-1]
        assert list(scratch_space.glob("pyi-*")) == []
    wait_until(lambda: is_silent(beat))  # its death follows its race's, it does not wait for it
    assert ran(log) == ["0", "1", "2"]
    with pyi.open(project) as repository:
        assert len(Plan.unfinished(repository)) == 1

    gate.write_text("")
    done = pyi_race(str(project), "--resume", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert sorted(ran(log)) == ["0", "1", "2", "2", "3"]
    assert [one["resumed"] for one in result["candidates"]] == [True, True, False, False]
    assert result["winner"] == 0
    assert git(project, "show", "pyi/long:file1.txt") == "version two of 1\n0\n"
    assert list(scratch_space.glob("pyi-*")) == []
    with pyi.open(project) as repository:
        assert repository.workspaces() == []
        assert repository.superpositions() == []


def test_resume_refuses_another_task(project: Path) -> None:
    assert not pyi.race(project, NUMBERED, 2, test="false", onto="lost")
    with pytest.raises(pyi.InvalidArgument, match="was started with agent"):
        pyi.race(project, "something else", resume=True, onto="lost")
    with pytest.raises(pyi.InvalidArgument, match="was started with n 2, not 3"):
        pyi.race(project, n=3, resume=True, onto="lost")
    again = pyi.race(project, NUMBERED, 2, test="false", resume=True, onto="lost")
    assert all(one.resumed for one in again.candidates)


def test_callables_have_to_be_given_again(project: Path) -> None:
    def agent(workspace: pyi.Workspace) -> None:
        workspace.write("x", b"x")

    assert not pyi.race(project, agent, 2, test="false", onto="lost")
    with pytest.raises(pyi.InvalidArgument, match="give it again"):
        pyi.race(project, resume=True, onto="lost")
    assert not pyi.race(project, agent, resume=True, onto="lost")


@pytest.mark.parametrize("stop", ["decide", "collapse", "forget"])
def test_killed_at_the_very_end(project: Path, monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    """Between choosing a winner and forgetting the plan there are three steps; each may be the last one."""

    class Killed(BaseException):
        pass

    def killed(*args: object, **kwargs: object) -> None:
        raise Killed

    decide = Plan.decide

    def decide_and_be_killed(*args: Any) -> None:
        decide(*args)
        raise Killed

    with monkeypatch.context() as patch:
        if stop == "collapse":
            patch.setattr(Plan, "decide", decide_and_be_killed)
        else:
            patch.setattr(Plan, stop, killed)
        with pytest.raises(Killed):
            pyi.race(project, NUMBERED, 2, onto="end")
    result = pyi.race(project, resume=True)
    assert result.winner == 0
    assert git(project, "rev-parse", "pyi/end").strip() == result.commit
    with pyi.open(project) as repository:
        assert repository.branches()[str(result.onto)] == result.checkpoint
        assert repository.workspaces() == []
        assert repository.superpositions() == []


# The command line


def test_the_command(project: Path) -> None:
    done = pyi_race("-n", "3", "--agent", NUMBERED, "--test", 'echo "$PYI_CANDIDATE"', "--onto", "cli", cwd=project)
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first == "Candidate 2 of 3 won: 3 of 3 candidates passed; best score: 2 (next 1)."
    assert second.startswith("It is commit ")
    assert second.endswith("on branch pyi/cli.")
    assert "git log -p -1 pyi/cli" in done.stdout
    assert "pyi changes " in done.stdout
    assert sorted(done.stderr.splitlines())[0].startswith("pyi race: candidate 0 passed, score 0 in ")


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        (["--agent", "false"], 1, ""),
        ([], 2, "error: a race needs an agent: --agent CMD"),
        (["--agent", "true", "-n", "x"], 2, "error: argument -n: invalid int value"),
        (["--agent", "true", "--timeout", "-1"], 2, "error: argument --timeout: must be more than 0"),
        (["--agent", "true", "--include", "missing"], 1, "missing does not exist"),
        (["--resume"], 1, "error: there is no unfinished race to resume"),
        (["--agent", "true", "--rev", "no-such"], 3, "has no commit 'no-such'"),
    ],
)
def test_exit_statuses(project: Path, argv: list[str], status: int, text: str) -> None:
    done = pyi_race(*argv, cwd=project)
    assert (done.returncode, len(done.stderr.splitlines()) == 1 or status == 1) == (status, True), done
    assert text in done.stderr


def test_resume_with_nothing_to_resume_starts_a_race(project: Path) -> None:
    done = pyi_race("-n", "1", "--agent", NUMBERED, "--resume", cwd=project)
    assert done.returncode == 0
    assert "there is no unfinished race to resume" in done.stderr


def test_help_is_for_strangers() -> None:
    done = pyi_race("--help")
    assert done.returncode == 0
    for word in ("examples:", "exit status:", "PYI_CANDIDATE", "--resume", "--include PATH", "pyi/NAME"):
        assert word in done.stdout


def test_another_store(project: Path, tmp_path: Path) -> None:
    done = pyi_race("-n", "1", "--agent", NUMBERED, "--store", str(tmp_path / "one"), cwd=project)
    assert done.returncode == 0, done.stderr
    done = pyi_race("-n", "1", "--agent", NUMBERED, cwd=project, env={"PYI_STORE": str(tmp_path / "two")})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one" / "format").exists()
    assert (tmp_path / "two" / "format").exists()
    assert not (project / ".git" / "pyi").exists()


def test_an_agent_may_use_its_workspace_by_name(project: Path) -> None:
    """`PYI_WORKSPACE` invites it: what the agent checkpointed itself stays in the history, and the race goes on."""
    agent = 'echo "$PYI_CANDIDATE" > mine && pyi capture "$PYI_WORKSPACE" . -m own 2> said && echo more >> mine'
    result = pyi.race(project, agent, 2, test="test $PYI_CANDIDATE = 1", keep=True)
    assert result.winner == 1
    assert git(project, "show", f"{result.branch}:said") == ""
    assert git(project, "show", f"{result.branch}:mine") == "1\nmore\n"
    with pyi.open(project) as repo:
        messages = [checkpoint.message for checkpoint in repo.workspace(at=result.candidates[1].checkpoint).log()]
        assert "own" in messages
