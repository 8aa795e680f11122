"""Races in trouble: two at once, plans that cannot be kept or read, odd names, branches that cannot be made."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import pyi
from pyi.workflow.lock import RaceLock
from pyi.workflow.plan import Plan
from pyi.workflow.result import Status
from pyi.workflow.source import GitSource
from tests.python.helpers import git, wait_until

NUMBERED = 'echo "$PYI_CANDIDATE" >> file1.txt'


def command(*argv: str | bytes) -> list[str | bytes]:
    return [sys.executable, "-m", "pyi", "race", *argv]


def pyi_race(
    *argv: str | bytes, cwd: Path | None = None, env: dict[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.run(command(*argv), cwd=cwd, text=True, check=False, env={**os.environ, **(env or {})}, **streams)


def plans_in(project: Path) -> list[str]:
    with pyi.open(project) as repository:
        return Plan.unfinished(repository)


def marked(path: Path) -> str:
    return path.read_text() if path.exists() else ""


# H1: a sign of life


def test_resume_leaves_a_running_race_alone(project: Path, tmp_path: Path) -> None:
    log, gate = tmp_path / "ran", tmp_path / "gate"
    agent = f"echo x >> {log}; {NUMBERED}; while [ ! -e {gate} ]; do sleep 0.01; done"
    with subprocess.Popen(
        command(str(project), "-n", "1", "--agent", agent, "--onto", "one"), stdout=subprocess.PIPE, text=True
    ) as running:
        wait_until(lambda: marked(log))
        other = pyi_race("--resume", cwd=project)
        assert (other.returncode, other.stdout) == (1, "")
        assert "is still running: it is left alone" in other.stderr
        assert "there is no unfinished race to resume" in other.stderr
        named = pyi_race("--resume", "--onto", "one", cwd=project)
        assert named.returncode == 1
        assert named.stderr.startswith("error: race ")
        assert "onto one is still running" in named.stderr
        beside = pyi_race("--agent", NUMBERED, "-n", "1", "--resume", cwd=project)
        assert beside.returncode == 0, beside.stderr
        gate.write_text("")
        output, _ = running.communicate()
    assert running.returncode == 0
    assert "on branch pyi/one" in output
    assert marked(log) == "x\n"
    assert list((project / ".git" / "pyi" / "races").iterdir()) == []


def test_the_sign_of_life_ends_with_the_process_and_no_child_keeps_it(tmp_path: Path) -> None:
    code = """
import os, subprocess, sys, time
from pathlib import Path
from pyi.workflow.lock import RaceLock
lock = RaceLock.acquire(Path(sys.argv[1]), "it")
sleeper = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
if os.fork() == 0:
    print(sleeper.pid, os.getpid(), flush=True)
    os.close(1)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        children = [int(word) for word in owner.stdout.readline().split()]
        assert RaceLock.acquire(tmp_path, "it") is None
        owner.kill()
        owner.wait()
        try:
            with RaceLock.acquire(tmp_path, "it") or pytest.fail("still locked") as lock:
                assert RaceLock.acquire(tmp_path, "it") is None
                lock.tell({"branch": "pyi/x"})
                assert RaceLock.facts(tmp_path, "it") == {"branch": "pyi/x"}
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
    assert list((tmp_path / "races").iterdir()) == []


def test_a_lock_on_a_removed_file_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the file and locking it, its owner may have removed it."""
    first = RaceLock.acquire(tmp_path, "it")
    assert first is not None
    flock = fcntl.flock
    calls = []

    def late(fd: int, operation: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            first.close()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with RaceLock.acquire(tmp_path, "it") or pytest.fail("locked"):
        assert len(calls) == 2
        assert (tmp_path / "races" / "it.lock").exists()


# H2, L1, M1: what is refused before anything is written


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--store", ""], "the path of the store is empty"),
        (["--agent", " "], "the agent is an empty command"),
        (["--test", ""], "the test is an empty command"),
        (["--setup", ""], "the setup is an empty command"),
        (["-n", "100001"], "at most 100,000 candidates"),
        (["--onto", "x" * 260], "choose a shorter name"),
        (["--onto", b"\xff"], "is not UTF-8"),
        (["--include", "../x"], "cannot include"),
        (["--no-such"], "(see pyi race --help)"),
    ],
)
def test_wrong_usage_writes_nothing(project: Path, argv: list[str | bytes], text: str) -> None:
    done = pyi_race("--agent", "true", *argv, cwd=project)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    assert done.stderr.startswith("error: ")
    assert text in done.stderr
    assert not (project / "format").exists()
    if "--include" not in argv:
        store = project / ".git" / "pyi"
        assert not store.exists() or plans_in(project) == []


def test_an_empty_store_is_refused_by_the_functions_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(pyi.InvalidArgument, match="store is empty"):
        pyi.race(project, "true", 1, store="")
    with pytest.raises(pyi.InvalidArgument, match="store is empty"):
        pyi.swarm(project, 1, steps=1, store="")
    with pytest.raises(pyi.InvalidArgument, match="empty command"):
        pyi.race(project, [], 1)
    assert not (project / "format").exists()
    assert not (project / ".git" / "pyi").exists()


def test_a_plan_that_cannot_be_written_leaves_nothing_behind(project: Path) -> None:
    with pytest.raises(pyi.InvalidArgument, match="cannot be written down"):
        pyi.race(project, "echo \ud800", 2)
    with pyi.open(project) as repository:
        assert repository.workspaces() == []


def test_a_plan_that_cannot_be_read_is_passed_over(project: Path) -> None:
    with pyi.open(project) as repository:
        repository.import_git(project).fork("race/99999999-000000-beef/plan")
    done = pyi_race("--resume", "--agent", NUMBERED, "-n", "1", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "race 99999999-000000-beef cannot be resumed" in done.stderr
    assert "pyi workspaces --drop race/99999999-000000-beef/plan" in done.stderr


# M1, M4: names that are not text, and names with line breaks


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"two\nlines", b"form\x0cfeed", "line\u2028separator".encode(), b"end\n"]
)
def test_a_repository_in_a_directory_of_any_name(project: Path, tmp_path: Path, name: bytes) -> None:
    place = os.path.join(os.fsencode(tmp_path), name)
    os.rename(project, place)
    agent = b"echo '\xff' > made; " + NUMBERED.encode()
    done = pyi_race(place, "-n", "1", "--agent", agent, "--test", b"test -e made # \xfe", "--onto", "odd", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["branch"] == "pyi/odd"
    lost = pyi_race(place, "-n", "1", "--agent", agent, "--test", "false", "--onto", "lost")
    assert lost.returncode == 1, lost.stderr
    again = pyi_race(place, "--agent", agent, "--onto", "lost", "--resume", "--json")
    assert again.returncode == 1, again.stderr
    assert json.loads(again.stdout)["candidates"][0]["resumed"]


# M2: what counts as unfinished


def test_a_lost_race_is_not_unfinished(project: Path) -> None:
    lost = pyi.race(project, NUMBERED, 2, test="echo no; false", onto="lost")
    done = pyi_race("--resume", cwd=project)
    assert done.returncode == 1
    assert "there is no unfinished race to resume" in done.stderr
    again = pyi.race(project, resume=True, onto="lost")
    assert (again.id, again.winner, again.reason) == (lost.id, None, lost.reason)
    assert [one.checkpoint for one in again.candidates] == [one.checkpoint for one in lost.candidates]
    assert all(one.resumed for one in again.candidates)


@pytest.mark.parametrize("end", ["lost", "interrupted"])
def test_a_race_that_was_collapsed_by_hand_is_forgotten(
    project: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    class Killed(BaseException):
        pass

    def killed(*args: object) -> None:
        raise Killed

    if end == "lost":
        race_id = pyi.race(project, NUMBERED, 2, test="false", onto="it").id
    else:
        with monkeypatch.context() as patch:
            patch.setattr("pyi.workflow.runner.best_of", killed)
            with pytest.raises(Killed):
                pyi.race(project, NUMBERED, 2, onto="it")
        (race_id,) = plans_in(project)
    with pyi.open(project) as repository:
        repository.superposition(f"race/{race_id}").collapse(1, onto="by-hand")
    done = pyi_race("--resume", cwd=project)
    assert done.returncode == 1
    assert f"the candidates of race {race_id} are gone" in done.stderr
    assert plans_in(project) == []


# M3: a branch that cannot be made is found before the agents run


@pytest.mark.parametrize(
    ("there", "onto", "text"),
    [
        ("pyi", "x", "beside branch pyi:"),
        ("pyi/a", "a/sub", "beside branch pyi/a:"),
        ("pyi/a/sub", "a", "beside branch pyi/a/sub:"),
    ],
)
def test_a_branch_in_the_way_is_found_first(project: Path, there: str, onto: str, text: str) -> None:
    git(project, "branch", there)
    with pytest.raises(pyi.Conflict, match=text):
        pyi.race(project, f"touch {project}/ran", 1, onto=onto)
    assert not (project / "ran").exists()


def test_a_branch_beside_others_is_fine(project: Path) -> None:
    git(project, "branch", "pyi/ab")
    git(project, "branch", "pyi-x")
    assert pyi.race(project, NUMBERED, 1, onto="a").branch == "pyi/a"


def test_a_branch_that_is_checked_out_elsewhere_is_found_first(project: Path, tmp_path: Path) -> None:
    git(project, "worktree", "add", "-q", "-b", "pyi/there", str(tmp_path / "linked"))
    with pytest.raises(pyi.Conflict, match=f"checked out at {tmp_path}/linked"):
        pyi.race(project, "true", 1, onto="there")


def test_a_repository_that_cannot_be_written_is_found_first(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access

    def refused(path: str, mode: int) -> bool:
        return not str(path).endswith("/objects") and access(path, mode)

    monkeypatch.setattr("pyi.workflow.source.os.access", refused)
    with pytest.raises(pyi.GitError, match="objects is not writable"):
        pyi.race(project, "true", 1)


# M7: git's variables from outside


def test_git_s_variables_do_not_lead_elsewhere(project: Path, tmp_path: Path) -> None:
    other, plain = tmp_path / "other", tmp_path / "plain"
    plain.mkdir()
    other.mkdir()
    git(other, "init", "-q")
    pointers = {"GIT_DIR": str(project / ".git"), "GIT_WORK_TREE": str(plain), "GIT_INDEX_FILE": "/nowhere"}
    done = pyi_race(str(plain), "-n", "1", "--agent", "true", env=pointers)
    assert done.returncode == 3
    assert "is not a git repository" in done.stderr
    assert list(plain.iterdir()) == []
    elsewhere = {"GIT_DIR": str(other / ".git"), "GIT_OBJECT_DIRECTORY": str(other / ".git" / "objects")}
    done = pyi_race(str(project), "-n", "1", "--agent", NUMBERED, "--onto", "mine", env=elsewhere)
    assert done.returncode == 0, done.stderr
    assert git(project, "show", "pyi/mine:file1.txt") == "version two of 1\n0\n"


def test_all_that_git_calls_local_is_dropped(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    from pyi.config import git_environment

    names = git(project, "rev-parse", "--local-env-vars").split()
    for name in names:
        monkeypatch.setenv(name, "x")
    assert not set(names) & set(git_environment())


# M9: remedies


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        (["--agent", "true", "--rev", "no-such"], 3, "`git log --all --oneline` lists"),
        ([], 2, "--agent CMD"),
        (["--agent", "true", "--onto", "main", "--resume", "--include", "build", "-n", "0"], 2, "at least one"),
        (["/no/such/place", "--agent", "true"], 1, "is not a directory"),
    ],
)
def test_errors_begin_alike_and_say_what_to_do(project: Path, argv: list[str], status: int, text: str) -> None:
    done = pyi_race(*argv, cwd=project)
    assert (done.returncode, len(done.stderr.splitlines())) == (status, 1), done
    assert done.stderr.startswith("error: ")
    assert text in done.stderr


def test_without_git_the_remedy_is_to_install_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pyi.GitError, match="install git"):
        GitSource.discover(project)


def test_one_candidate_is_not_candidates(project: Path) -> None:
    done = pyi_race("-n", "1", "--agent", "true", cwd=project)
    assert done.stdout.startswith("Candidate 0 of 1 won: the only candidate passed.")
    done = pyi_race("-n", "1", "--agent", "false", cwd=project)
    assert done.stdout.startswith("Nobody won: the only candidate did not pass.")


def test_the_summary_says_where_the_kept_are(project: Path) -> None:
    done = pyi_race("-n", "3", "--agent", NUMBERED, "--keep", cwd=project)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("The others:"))
    name = line.rpartition(" ")[2]
    with pyi.open(project) as repository:
        assert name in repository.workspaces()
    assert f"workspaces {name.rpartition('/')[0]}/NUMBER" in line


# M5: output that goes nowhere


def test_a_full_standard_error_changes_nothing(project: Path) -> None:
    with open("/dev/full", "w") as full:
        done = pyi_race("-n", "2", "--agent", NUMBERED, "--onto", "won", "--json", cwd=project, stderr=full)
        assert done.returncode == 0
        assert json.loads(done.stdout)["branch"] == "pyi/won"
        assert pyi_race("--no-such", cwd=project, stderr=full).returncode == 2
        assert pyi_race("--agent", "true", "--rev", "x", cwd=project, stderr=full).returncode == 3


def test_a_full_standard_output_is_one_line(project: Path) -> None:
    with open("/dev/full", "w") as full:
        done = pyi_race("-n", "1", "--agent", NUMBERED, "--onto", "won", cwd=project, stdout=full)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "error: cannot write to standard output: No space left on device"
    assert "Traceback" not in done.stderr
    assert git(project, "show", "pyi/won:file1.txt") == "version two of 1\n0\n"


@pytest.mark.parametrize(("stream", "status"), [("stdout", 128 + signal.SIGPIPE), ("stderr", 0)])
def test_a_reader_that_left_is_no_traceback(project: Path, stream: str, status: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = pyi_race("-n", "1", "--agent", NUMBERED, "--onto", "won", cwd=project, **{stream: writing})
    finally:
        os.close(writing)
    assert done.returncode == status
    assert "Traceback" not in (done.stderr or "")
    assert git(project, "show", "pyi/won:file1.txt") == "version two of 1\n0\n"


# L2, M6


@pytest.mark.parametrize(("value", "score"), [("float('inf')", 1.0), ("10**400", 1.0), ("float('nan')", None)])
def test_a_score_that_is_not_finite_is_none(project: Path, value: str, score: float | None) -> None:
    result = pyi.race(project, lambda workspace: None, 1, test=lambda workspace: eval(value))  # type: ignore[arg-type,return-value]
    assert result.candidates[0].status == (Status.FAILED if score is None else Status.PASSED)
    assert result.candidates[0].score == (score or 0.0)


def test_a_hangup_is_an_interruption(project: Path, tmp_path: Path, scratch_space: Path) -> None:
    log = tmp_path / "ran"
    argv = command(str(project), "-n", "1", "--agent", f"echo x > {log}; sleep 1000")
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: marked(log))
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGHUP
    assert errors.splitlines()[-1] == "error: interrupted; `pyi race --resume` goes on"
    assert list(scratch_space.glob("pyi-*")) == []


# What functions do


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_that_exits_is_a_result_of_its_candidate(
    tmp_path: Path, is_async: bool, timeout: float | None
) -> None:
    """`sys.exit` in a plain function ended the whole race; in a coroutine it ended the event loop, and the race waited
    for ever."""

    def plain(ws: pyi.Workspace) -> None:
        if ws.name is not None and ws.name.endswith("/0"):
            sys.exit(3)
        ws.write("done", "x")

    async def coroutine(ws: pyi.Workspace) -> None:
        plain(ws)

    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace()
        ws.checkpoint()
        ws.publish("main")
        agent = coroutine if is_async else plain
        result = pyi.race(repo, agent, 3, test=lambda ws: ws.exists("done"), onto="won", timeout=timeout)
        assert [one.status for one in result.candidates] == [Status.ERROR, Status.PASSED, Status.PASSED]
        assert "SystemExit(3)" in result.candidates[0].tail
        report = pyi.swarm(repo, [coroutine if is_async else plain, lambda _: sys.exit(4)])
        assert report.agents == 2
        assert list(report.failures) == [1]
        assert "SystemExit(4)" in report.failures[1]


def test_a_generator_function_is_no_agent(tmp_path: Path) -> None:
    """A call of it runs nothing, and every candidate passed."""

    def agent(ws: pyi.Workspace) -> Any:
        ws.write("done", "x")
        yield

    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace()
        ws.checkpoint()
        ws.publish("main")
        result = pyi.race(repo, agent, 2, onto="won")
        assert not result
        assert [one.status for one in result.candidates] == [Status.ERROR, Status.ERROR]
        assert "yield" in result.candidates[0].tail


def test_a_swarm_of_what_cannot_be_called(tmp_path: Path) -> None:
    """A command was taken for a list of agents, one for each of its letters, and the report said that all was right."""
    with pyi.open(tmp_path / "store") as repo:
        for agents in ("true", b"true", [5], [print, "true"], None, 1.5):
            with pytest.raises(TypeError, match="callables"):
                pyi.swarm(repo, agents)  # type: ignore[arg-type]


def test_a_coroutine_that_does_not_heed_its_end_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race waited until it ended by itself."""
    monkeypatch.setattr("pyi.workflow.calls._JOIN_S", 0.1)
    over = threading.Event()

    async def stubborn(_: pyi.Workspace) -> None:
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace()
        ws.checkpoint()
        ws.publish("main")
        result = pyi.race(repo, stubborn, 1, onto="won", timeout=0.1)
        over.set()
    assert [one.status for one in result.candidates] == [Status.TIMEOUT]


@pytest.mark.parametrize("seconds", ["inf", "1e300", "3e6"])
def test_times_beyond_what_the_kernel_counts(project: Path, seconds: str) -> None:
    """A limit of more than 24 days was an OverflowError with its traceback, once the test had been started."""
    done = pyi_race(
        *(str(project), "-n", "1", "--agent", NUMBERED, "--test", "true", "--onto", "long"),
        *("--timeout", seconds, "--checkpoint-every", seconds),
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert git(project, "rev-parse", "pyi/long")


def test_limits_that_make_no_sense_in_python(tmp_path: Path) -> None:
    with pyi.open(tmp_path / "store") as repo:
        for wrong in ({"timeout": 0}, {"timeout": float("nan")}, {"checkpoint_every_s": -1}, {"jobs": 0}):
            with pytest.raises(pyi.InvalidArgument, match=next(iter(wrong))):
                pyi.race(repo, lambda _: None, 1, **wrong)  # type: ignore[arg-type]
        for wrong in ({"onto": 5}, {"include": "path"}):
            with pytest.raises(TypeError, match=next(iter(wrong))):
                pyi.race(repo, lambda _: None, 1, **wrong)  # type: ignore[arg-type]
        assert repo.workspaces() == []
