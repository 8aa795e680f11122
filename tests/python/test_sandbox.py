"""Sandboxes: what commands see, what is captured, and that nothing of them stays behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyi
from pyi.sandbox import Backend, Base, Cancel, Capabilities, Scratch, detect, sweep
from pyi.sandbox.copying import copy_path
from pyi.sandbox.process import tail_of
from tests.python.helpers import git

BACKENDS = [
    pytest.param(
        Backend.OVERLAY, marks=pytest.mark.skipif(not detect().overlay, reason=f"no overlays: {detect().reason}")
    ),
    Backend.COPY,
]


@pytest.fixture
def workspace(project: Path) -> Iterator[pyi.Workspace]:
    with pyi.open(project) as repository:
        yield repository.import_git(project)


@pytest.fixture(params=BACKENDS)
def base(workspace: pyi.Workspace, request: pytest.FixtureRequest) -> Iterator[Base]:
    with Base(workspace, backend=request.param) as base:
        yield base


def kinds(changes: list[pyi.Change]) -> dict[str, str]:
    return {change.path: change.kind for change in changes}


def test_what_a_command_changes_is_captured(base: Base, workspace: pyi.Workspace) -> None:
    fork = workspace.fork()
    with base.sandbox(0) as sandbox:
        script = "echo new > new.txt; echo more >> src/part1/code.py; rm -r file0.txt src/part2; chmod +x file2.txt"
        outcome = sandbox.run(f"set -e; {script}; ln -s a b; cat file1.txt")
        assert outcome.ok, outcome
        assert outcome.tail == "version two of 1\n"
        sandbox.capture(fork)
    assert kinds(fork.diff(workspace)) == {
        "b": "added",
        "file0.txt": "removed",
        "file2.txt": "mode",
        "new.txt": "added",
        "src/part1/code.py": "modified",
        "src/part2/code.py": "removed",
    }
    assert bytes(fork.read("src/part1/code.py")) == b"VALUE = 1\nmore\n"
    assert fork.readlink("b") == "a"


def test_sandboxes_see_the_base_and_not_each_other(base: Base) -> None:
    with base.sandbox(0) as one, base.sandbox(1) as two:
        assert one.run("echo mine > file0.txt; mkdir made").ok
        assert one.run("cat file0.txt; ls -d made").tail == "mine\nmade\n"
        assert two.run("cat file0.txt; ls -d made").tail.startswith("version one of 0\n")
    assert (base.directory / "file0.txt").read_text() == "version one of 0\n"


def test_capturing_again_takes_back_what_is_gone(base: Base, workspace: pyi.Workspace) -> None:
    fork = workspace.fork()
    with base.sandbox(0) as sandbox:
        sandbox.run("echo draft > draft.txt; echo x > file0.txt")
        sandbox.capture(fork)
        fork.checkpoint("in between")
        sandbox.run("rm draft.txt; echo done > final.txt")
        sandbox.capture(fork)
    assert kinds(fork.diff(workspace)) == {"file0.txt": "modified", "final.txt": "added"}


def test_ignored_files_stay_out(base: Base, workspace: pyi.Workspace) -> None:
    fork = workspace.fork()
    with base.sandbox(0) as sandbox:
        sandbox.run(
            "mkdir build __pycache__; echo x > build/out; echo x > a.log; echo x > __pycache__/a.pyc; echo x > kept"
        )
        sandbox.capture(fork)
    assert kinds(fork.diff(workspace)) == {"kept": "added"}


def test_what_setup_made_is_there_and_is_nobody_s_change(base: Base, workspace: pyi.Workspace) -> None:
    assert base.setup("echo tool > tool.txt; echo changed > file0.txt; rm file2.txt; ln -sfn file1.txt link").ok
    fork = workspace.fork()
    with base.sandbox(0) as sandbox:
        assert sandbox.run("cat tool.txt file0.txt; echo mine > mine.txt").tail == "tool\nchanged\n"
        sandbox.capture(fork)
    assert kinds(fork.diff(workspace)) == {"mine.txt": "added"}


def test_included_paths_are_there_and_stay_ignored(base: Base, workspace: pyi.Workspace, project: Path) -> None:
    assert base.include(project, ["build"]) == 1
    fork = workspace.fork()
    with base.sandbox(0) as sandbox:
        assert sandbox.run("cat build/env").tail == "made by hand\n"
        sandbox.capture(fork)
    assert not fork.dirty


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "src/../../secret", "", ".git", "src/.git/config"])
def test_include_does_not_leave_the_repository(base: Base, project: Path, path: str) -> None:
    with pytest.raises(pyi.InvalidPath):
        base.include(project, [path])


def test_include_does_not_write_through_a_symlink(base: Base, project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (base.directory / "away").symlink_to(outside)
    (project / "away").mkdir()
    (project / "away" / "file").write_text("x")
    with pytest.raises(pyi.InvalidPath):
        base.include(project, ["away/file"])
    assert list(outside.iterdir()) == []


def test_a_missing_path_cannot_be_included(base: Base, project: Path) -> None:
    with pytest.raises(pyi.NotFound, match=r"no-such\.env"):
        base.include(project, ["no-such.env"])


def test_git_works_in_a_sandbox_and_leaves_the_source_alone(base: Base, project: Path) -> None:
    head = git(project, "rev-parse", "HEAD")
    with base.sandbox(0) as sandbox:
        assert sandbox.run("git status --porcelain").tail == ""
        assert sandbox.run("echo x > file0.txt; git status --porcelain").tail == " M file0.txt\n"
        assert "change and remove" in sandbox.run("git log --oneline -1").tail
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "rev-parse", "HEAD") == head


def test_git_s_own_variables_do_not_reach_the_command(
    base: Base, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(project / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(project / ".git" / "index"))
    with base.sandbox(0) as sandbox:
        assert sandbox.run("echo [$GIT_DIR$GIT_INDEX_FILE]").tail == "[]\n"


def test_environment_standard_input_and_exit_status(base: Base) -> None:
    with base.sandbox(0) as sandbox:
        assert sandbox.run("echo $NAME; pwd; cat; exit 7", env={"NAME": "value"}).status == 7
        assert sandbox.log.read_text() == f"value\n{sandbox.directory}\n"
        assert sandbox.run(["sh", "-c", "kill -9 $$"]).status == 128 + signal.SIGKILL
        assert sandbox.run(["/no/such/program"]).status == 127
        assert sandbox.run('echo x > "$TMPDIR/file" && dirname "$TMPDIR"').ok


def test_the_tail_is_the_last_command_s_and_bounded(base: Base) -> None:
    with base.sandbox(0) as sandbox:
        sandbox.run("echo first")
        assert sandbox.run("true").tail == ""
        outcome = sandbox.run("seq 100000")
        assert outcome.tail.endswith("\n100000\n")
        assert len(outcome.tail) <= 4096
        assert outcome.tail.splitlines()[0].isdigit()


def test_a_tick_sees_what_the_command_has_done_so_far(base: Base, workspace: pyi.Workspace) -> None:
    fork = workspace.fork()
    seen = []

    def tick() -> None:
        sandbox.capture(fork)
        if fork.dirty:
            seen.append(kinds(fork.diff()))
            fork.checkpoint("tick")
            gate.write_text("")

    with base.sandbox(0) as sandbox:
        gate = sandbox.log.parent / "tmp" / "gate"
        script = 'echo early > early.txt; while [ ! -e "$TMPDIR/gate" ]; do sleep 0.01; done; echo late > late.txt'
        assert sandbox.run(script, tick=tick, every_s=0.01).ok
        sandbox.capture(fork)
    assert seen[0] == {"early.txt": "added"}
    assert kinds(fork.diff(workspace)) == {"early.txt": "added", "late.txt": "added"}


HEARTBEAT = 'while :; do echo . >> "$BEAT"; sleep 0.01; done'


def beats(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def assert_silent(file: Path) -> None:
    before = beats(file)
    time.sleep(0.2)  # twenty beats
    assert beats(file) == before


def test_time_up_kills_the_whole_group(base: Base, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    with base.sandbox(0) as sandbox:
        outcome = sandbox.run(f"({HEARTBEAT}) & sleep 1000", env={"BEAT": str(beat)}, timeout=0.3)
        assert outcome.timed_out
        assert not outcome.ok
        assert_silent(beat)


def test_what_a_command_leaves_in_the_background_dies_with_it(base: Base, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    started = f"({HEARTBEAT}) & while [ ! -s {beat} ]; do sleep 0.01; done"
    with base.sandbox(0) as sandbox:
        assert sandbox.run(started, env={"BEAT": str(beat)}).ok
        assert_silent(beat)


@pytest.mark.skipif(not detect().namespace, reason="no process namespaces here")
def test_daemons_die_with_their_command(base: Base, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    started = f"setsid sh -c '{HEARTBEAT}' & while [ ! -s {beat} ]; do sleep 0.01; done"
    with base.sandbox(0) as sandbox:
        assert sandbox.run(started, env={"BEAT": str(beat)}).ok
        assert_silent(beat)


def test_cancel_ends_what_runs(base: Base) -> None:
    cancel = Cancel()
    with base.sandbox(0) as sandbox:
        timer = threading.Timer(0.1, cancel.set)
        timer.start()
        outcome = sandbox.run("sleep 1000", cancel=cancel)
        timer.join()
    assert outcome.cancelled
    assert not outcome.timed_out
    cancel.close()


def test_changes_made_through_the_api_are_there(base: Base, workspace: pyi.Workspace) -> None:
    fork = workspace.fork()
    fork.write("new/deep/file", b"new")
    fork.write("run.sh", b"#!/bin/sh\necho other\n")
    fork.write("file0.txt", b"changed\n")
    fork.remove("file1.txt")
    fork.remove("src/part0")
    fork.write("src/part0", b"now a file")
    fork.remove("file2.txt")
    fork.write("file2.txt/inside", b"now a directory")
    fork.remove("link")
    fork.symlink("link", "run.sh")
    with base.sandbox(0) as sandbox:
        sandbox.populate(fork, fork.diff(workspace))
        seen = sandbox.run("cat new/deep/file; ./link; cat file0.txt src/part0 file2.txt/inside; ls file1.txt").tail
        assert seen.startswith("newother\nchanged\nnow a filenow a directory")
        assert "file1.txt" in seen
        again = workspace.fork()
        sandbox.capture(again)
    assert kinds(again.diff(fork)) == {}


def test_nothing_is_left(workspace: pyi.Workspace, scratch_space: Path, base: Base) -> None:
    with base.sandbox(0) as sandbox:
        sandbox.run("mkdir -p locked/in; touch locked/in/x; chmod 0 locked/in locked")
    base.close()
    base.close()
    assert list(scratch_space.glob("pyi-*")) == []


def test_it_is_gone_after_an_exception_too(workspace: pyi.Workspace, scratch_space: Path) -> None:
    with pytest.raises(RuntimeError), Base(workspace):
        raise RuntimeError
    assert list(scratch_space.glob("pyi-*")) == []


def test_scratch_of_the_dead_is_swept_and_of_the_living_is_not(scratch_space: Path) -> None:
    lines = ["s = Scratch()", "print(s.path, flush=True)", "os.kill(os.getpid(), 9)"]
    code = "; ".join(["import os", "from pyi.sandbox import Scratch", *lines])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    dead = Path(done.stdout.strip())
    (dead / "locked").mkdir()
    (dead / "locked" / "file").write_text("x")
    (dead / "locked").chmod(0)
    other = scratch_space / "pyi-not-ours"  # though it looks like one of the dead
    other.mkdir()
    (other / "pid").write_text("1\n")
    with Scratch() as living:
        assert dead.is_dir()
        assert sweep() == 1
        assert not dead.exists()
        assert living.path.is_dir()
        assert other.is_dir()


def test_the_lock_file_goes_last(scratch_space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left when its owner is killed while it cleans up, the next one can tell that it is scratch."""
    scratch = Scratch()
    (scratch.path / "candidates").mkdir()
    (scratch.path / "setup.log").write_text("x")
    seen = []

    def remove(path: Path) -> None:
        seen.append((scratch.path / "pid").exists())
        path.rmdir()

    monkeypatch.setattr("pyi.sandbox.scratch.remove_tree", remove)
    scratch.close()
    assert seen == [True]
    assert not scratch.path.exists()


def test_what_has_no_lock_file_goes_when_it_is_old_and_empty(scratch_space: Path) -> None:
    fresh, old, full = (scratch_space / f"pyi-scratch-{name}" for name in ("fresh", "old", "full"))
    for directory in (fresh, old, full):
        directory.mkdir()
    (full / "file").write_text("x")
    for directory in (old, full):
        os.utime(directory, (0, 0))
    assert sweep() == 1
    assert not old.exists()
    assert fresh.is_dir()
    assert full.is_dir()


def test_a_backend_that_does_not_exist_or_not_work_is_refused(workspace: pyi.Workspace) -> None:
    with pytest.raises(pyi.InvalidArgument, match="auto, overlay or copy"):
        Base(workspace, backend="magic")
    without = Capabilities(None, overlay=False, namespace=False, reason="not here")
    assert without.backend is Backend.COPY
    with pytest.raises(pyi.PyiError, match="not here"):
        without.choose("overlay")
    assert without.command(["true"], directory=Path("/")) == ["true"]


def test_without_the_native_program_copies_work(
    workspace: pyi.Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without = Capabilities(None, overlay=False, namespace=False, reason="missing")
    monkeypatch.setattr("pyi.sandbox.base.detect", lambda: without)
    beat = tmp_path / "beat"
    with Base(workspace) as base, base.sandbox(0) as sandbox:
        assert base.backend is Backend.COPY
        assert sandbox.run(f"({HEARTBEAT}) & pwd", env={"BEAT": str(beat)}).tail == f"{sandbox.directory}\n"
        assert_silent(beat)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.skipif(detect().launcher is None, reason="no native program")
def test_the_launcher_works_for_an_ordinary_user(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    nobody = 65534
    home = Path(f"/tmp/pyi-test-{os.getpid()}")
    home.mkdir()
    try:
        program = home / "pyi"
        program.write_bytes(Path(str(detect().launcher)).read_bytes())
        program.chmod(0o755)
        for name in ("lower", "upper", "work"):
            (home / name).mkdir()
        (home / "lower" / "old").write_text("old")
        for path in (home, *home.iterdir(), home / "lower" / "old"):
            os.chown(path, nobody, nobody)
        layers = [f"--{name}={home / name}" for name in ("lower", "upper", "work")]
        argv = [str(program), "sandbox-exec", *" ".join(layers).replace("=", " ").split(), "--at", str(home / "lower")]
        done = subprocess.run(
            [*argv, "--", "sh", "-c", "id -u; rm old; mkdir dir; echo new > dir/new; ls"],
            user=nobody,
            group=nobody,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        if "namespace" in done.stderr or "mount" in done.stderr:
            pytest.skip(f"user namespaces do not allow it here: {done.stderr}")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{nobody}\ndir\n", "")
        assert stat.S_ISCHR((home / "upper" / "old").lstat().st_mode)
        assert (home / "upper" / "dir" / "new").read_text() == "new\n"
        assert (home / "lower" / "old").exists()
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)


def test_copies_keep_modes_times_and_links(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    (source / "program").write_text("#!/bin/sh\n")
    (source / "program").chmod(0o755)
    os.utime(source / "program", ns=(1_000_000_000, 2_000_000_001))
    (source / "sub" / "empty").write_text("")
    (source / "sub" / "large").write_bytes(os.urandom(3_000_000))
    (source / "sub" / "link").symlink_to("/does/not/exist")
    os.mkfifo(source / "pipe")
    (target / "sub").mkdir(parents=True)
    (target / "sub" / "large").write_text("in the way")
    assert copy_path(source, target) == 4
    assert (target / "program").stat().st_mode == (source / "program").stat().st_mode
    assert (target / "program").stat().st_mtime_ns == 2_000_000_001
    assert (target / "sub" / "large").read_bytes() == (source / "sub" / "large").read_bytes()
    assert (target / "sub" / "link").readlink() == Path("/does/not/exist")
    assert not (target / "pipe").exists()


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail_of(log) == ""
    log.write_bytes(b"one\ntwo\nthree\xff\n")
    assert tail_of(log) == "one\ntwo\nthree�\n"
    assert tail_of(log, 9) == "three�\n"
