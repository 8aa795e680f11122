"""Swarms: every checkpoint is what the record says, and a record that lies is found out."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pyi
from pyi.workflow.history import History
from pyi.workflow.ledger import Record
from pyi.workflow.measure import Latency, peak_memory_bytes
from pyi.workflow.model import EXECUTABLE, FILE, SYMLINK, BaseTree, Edit, Model, digest_of
from pyi.workflow.steps import Step
from pyi.workflow.traces import Traces
from pyi.workflow.verify import verify
from tests.python.helpers import git, wait_until


def edit(path: str, data: bytes | None, mode: int = FILE) -> Edit:
    return Edit(path, data, mode, "" if data is None else digest_of("sha256", data))


class Scripted:
    """Steps that the test wrote."""

    def __init__(self, *steps: list[Edit]) -> None:
        self._steps = steps

    def step(self, agent: int, agents: int, number: int, model: Model) -> Step:
        return Step(["file0.txt"], self._steps[number % len(self._steps)])

    def close(self) -> None:
        pass


class Unique:
    """Every step of every agent writes something that nobody else writes."""

    def step(self, agent: int, agents: int, number: int, model: Model) -> Step:
        text = f"agent {agent}, step {number}\n".encode()
        edits = [edit("file0.txt", text), edit(f"made/by/{agent}", text)]
        return Step(["file0.txt"], [*edits, edit("file1.txt", None if number == 1 else text)])

    def close(self) -> None:
        pass


def verified(record: Path, store: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyi.workflow.verify", str(record), str(store)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_swarm_replays_history_and_every_byte_is_right(project: Path, tmp_path: Path) -> None:
    record, store = tmp_path / "record", tmp_path / "store"
    report = pyi.swarm(project, 30, steps=9, store=store, record=record, rewind_every=3, threads=3)
    assert report.ok
    assert report
    assert (report.checkpoints, report.lost, report.wrong_bytes, report.wrong_reads) == (270, 0, 0, 0)
    assert report.rewinds > 20
    assert report.edits > 200
    assert report.files == len(git(project, "ls-files").split())
    assert report.latency["fork"].count == 30
    assert report.latency["checkpoint"].count == 270
    assert report.latency["restore"].count == report.rewinds
    assert report.verdict is not None
    assert report.verdict["walked"] == 30
    assert len(Record(record).agents()) == 30
    assert git(project, "status", "--porcelain") == ""
    assert not (project / ".git" / "pyi").exists()
    json.dumps(report.to_dict())


def test_the_same_seed_gives_the_same_swarm(project: Path, tmp_path: Path) -> None:
    def contents(name: str, seed: int) -> list[Any]:
        record = tmp_path / name
        pyi.swarm(project, 5, steps=6, record=record, store=tmp_path / f"{name}.store", seed=seed, rewind_every=2)
        read = Record(record)
        return [[(line.step, line.changed) for line in read.lines(agent)] for agent in read.agents()]

    assert contents("one", 1) == contents("two", 1)


def test_files_become_directories_links_and_programs(project: Path, tmp_path: Path) -> None:
    source = Scripted(
        [edit("file0.txt", None), edit("file0.txt/inside", b"now a directory"), edit("x/y/z", b"deep")],
        [edit("x/y/z", None), edit("run.sh", b"plain", FILE), edit("tool", b"#!", EXECUTABLE)],
        [edit("tool", b"file1.txt", SYMLINK), edit("link", b"a file", FILE), edit("new-link", b"nowhere", SYMLINK)],
        [edit("file1.txt/not/possible", b"x"), edit("src", b"x"), edit("file2.txt", None), edit("file2.txt", b"back")],
        [],
    )
    report = pyi.swarm(project, 4, steps=10, source=source, rewind_every=2, store=tmp_path / "store")
    assert report.ok, report
    assert report.skipped > 0
    assert report.wrong_reads == 0


def test_paths_that_the_engine_refuses_are_left_out(project: Path) -> None:
    source = Scripted([edit(".git/config", b"x"), edit("a/.GIT/b", b"x"), edit("fine", b"x")])
    report = pyi.swarm(project, 3, steps=3, source=source, rewind_every=1)
    assert report.ok
    assert report.skipped == 18
    assert report.edits == 9


# Traces

ACTIONS: list[dict[str, Any]] = [
    {"trace_id": "t/1", "step": 0, "op": "view", "path": "file1.txt", "bytes": 17},
    {"trace_id": "t/1", "step": 1, "op": "create", "path": "pkg/new.py", "bytes": 100},
    {"trace_id": "t/1", "step": 2, "sub": 1, "op": "edit", "path": "pkg/new.py", "bytes": 50, "old_bytes": 20},
    {"trace_id": "t/1", "step": 2, "sub": 2, "op": "edit", "path": "pkg/new.py", "bytes": 5, "old_bytes": 0},
    {"trace_id": "t/1", "step": 3, "op": "run", "command": "pytest", "mentions": ["file0.txt", "/tmp/x"]},
    {"trace_id": "t/1", "step": 4, "op": "delete", "path": "file2.txt"},
    {"trace_id": "t/2", "step": 0, "op": "create", "path": "/outside", "bytes": 9},
    {"trace_id": "t/2", "step": 1, "op": "edit", "path": "./src//part0/code.py", "add_lines": 3},
    {"trace_id": "t/2", "step": 2, "op": "create", "path": ".git/hooks/x", "bytes": 9},
]


@pytest.fixture(params=["plain", "gz"])
def traces(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    text = "".join(json.dumps(action) + "\n" for action in ACTIONS)
    if request.param == "plain":
        path = tmp_path / "traces.jsonl"
        path.write_text(text)
    else:
        path = tmp_path / "traces.jsonl.gz"
        path.write_bytes(gzip.compress(text.encode()))
    return path


def test_a_swarm_replays_traces(project: Path, traces: Path) -> None:
    report = pyi.swarm(project, 6, steps=8, traces=[traces], rewind_every=3)
    assert report.ok, report
    assert report.checkpoints == 48
    assert report.edits > 0


def test_traces_have_the_recorded_sizes_and_contents_of_their_own(project: Path, traces: Path) -> None:
    base = BaseTree.from_git(project, "HEAD")
    source = Traces([traces], base)
    model = Model(base)
    sizes = []
    for number in range(5):
        step = source.step(0, 2, number, model)
        assert step == source.step(0, 2, number, model)
        sizes.append([None if one.data is None else len(one.data) for one in model.allowed(step.edits)])
    assert sizes == [[], [100], [130, 135], [], [None]]
    assert source.step(0, 2, 0, Model(base)).reads == ["file1.txt"]
    assert source.step(0, 2, 3, Model(base)).reads == ["file0.txt"]
    assert source.step(1, 2, 0, Model(base)).edits == []
    other = source.step(2, 4, 1, Model(base)).edits[0]
    mine = source.step(0, 4, 1, Model(base)).edits[0]
    assert (len(other.data or b""), other.path) == (len(mine.data or b""), mine.path)
    assert other.data != mine.data
    assert source.step(1, 2, 1, Model(base)).edits[0].path == "src/part0/code.py"


@pytest.mark.parametrize("line", ["not json", '{"trace_id": "t"}', "[]", '{"trace_id": 1, "step": "x", "op": "view"}'])
def test_what_is_not_a_trace_is_refused_with_its_line(project: Path, tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(ACTIONS[0]) + "\n" + line + "\n")
    with pytest.raises(pyi.InvalidArgument, match=r"bad\.jsonl:2 "):
        pyi.swarm(project, 1, traces=[path])
    with pytest.raises(pyi.NotFound, match=r"missing\.jsonl"):
        pyi.swarm(project, 1, traces=[tmp_path / "missing.jsonl"])


# The record


@pytest.fixture
def recorded(project: Path, tmp_path: Path) -> tuple[Path, Path]:
    record, store = tmp_path / "record", tmp_path / "store"
    report = pyi.swarm(project, 6, steps=6, source=Unique(), store=store, record=record, rewind_every=3, verify=False)
    assert report.verdict is None
    return record, store


def change(record: Path, key: str, alter: Any) -> None:
    """Change the middle one of the lines that have `key`."""
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    able = [line for line in lines if line.get(key)]
    alter(able[len(able) // 2])
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))


def other_digest(line: dict[str, Any]) -> None:
    line["written"][0][3] = line["written"][0][3][:-1] + ("0" if line["written"][0][3][-1] != "0" else "1")


def other_mode(line: dict[str, Any]) -> None:
    line["written"][0][1] = EXECUTABLE


def one_edit_less(line: dict[str, Any]) -> None:
    line["written"].pop()


def one_edit_more(line: dict[str, Any]) -> None:
    line["written"].append(["never/written", FILE, 1, digest_of("sha256", b"x")])


def one_removal_more(line: dict[str, Any]) -> None:
    line["removed"].append("run.sh")


def other_base(line: dict[str, Any]) -> None:
    line["digest"] = "git-sha1:" + "0" * 40


@pytest.mark.parametrize(
    ("key", "alter"),
    [
        ("written", other_digest),
        ("written", other_mode),
        ("written", one_edit_less),
        ("written", one_edit_more),
        ("checkpoint", one_removal_more),
        ("file", other_base),
    ],
)
def test_a_checkpoint_that_is_not_what_the_record_says_is_found(
    recorded: tuple[Path, Path], key: str, alter: Any
) -> None:
    record, store = recorded
    good = verified(record, store)
    assert (good.returncode, json.loads(good.stdout)["checkpoints"]) == (0, 36), good.stderr
    change(record, key, alter)
    bad = verified(record, store)
    assert bad.returncode == 1, bad
    verdict = json.loads(bad.stdout)
    assert not verdict["ok"]
    assert verdict["wrong"] >= 1
    assert verdict["problems"]


def test_a_lost_checkpoint_is_found(recorded: tuple[Path, Path]) -> None:
    record, store = recorded

    def lose(line: dict[str, Any]) -> None:
        line["checkpoint"] = "ab" * 32

    change(record, "checkpoint", lose)
    verdict = verify(record, store)
    assert verdict.lost == 1
    assert not verdict.ok


def test_a_record_that_was_cut_short_is_refused(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    record, store = recorded
    lines = record.read_text().splitlines(keepends=True)
    for kept in (lines[:-1], lines[:-5] + lines[-1:], ["{}\n", *lines[1:]], [*lines[:-1], "garbage\n"]):
        record.write_text("".join(kept))
        done = verified(record, store)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "", 1)
    assert verified(tmp_path / "missing", store).returncode == 3
    assert verified(record, tmp_path / "missing").returncode == 3


# Callables


def test_guests(project: Path) -> None:
    def writes(workspace: pyi.Workspace) -> None:
        workspace.write("new", b"1")
        workspace.checkpoint("one")
        workspace.write("new", b"2")
        workspace.remove("src/part1")
        workspace.checkpoint("two")
        workspace.symlink("to", "new")

    async def waits(workspace: pyi.Workspace) -> None:
        await asyncio.sleep(0)
        workspace.write("file0.txt", b"async", mode=0o755)

    def raises(workspace: pyi.Workspace) -> None:
        workspace.write("half", b"done")
        raise RuntimeError("gave up")

    def rests(workspace: pyi.Workspace) -> None:
        pass

    report = pyi.swarm(project, [writes, waits, raises, rests, waits])
    assert report.ok, report
    assert report.agents == 5
    assert report.checkpoints == 6
    assert list(report.failures) == [2]
    assert "gave up" in report.failures[2]


def test_an_open_repository(project: Path, tmp_path: Path) -> None:
    with pyi.open(tmp_path / "elsewhere") as repository:
        repository.import_git(project)
        report = pyi.swarm(repository, 4, steps=4)
        assert report.ok
        assert report.store == str(repository.path)
        assert report.checkpoints == 16
        assert list(repository.branches()) == ["main"]


def test_refusals(project: Path, tmp_path: Path) -> None:
    for agents, steps in ((0, 1), (1, 0)):
        with pytest.raises(pyi.InvalidArgument, match="needs agents and steps"):
            pyi.swarm(project, agents, steps=steps)
    with pytest.raises(pyi.StorageError) as caught:
        pyi.swarm(project, 1, steps=1, record=tmp_path / "no" / "such" / "directory")
    assert caught.value.errno is not None


def test_numbers_out_of_range_are_refused(project: Path) -> None:
    for argv, text in (
        ({"agents": 1_000_001}, "at most 1,000,000 agents"),
        ({"threads": 0}, "at least one thread"),
        ({"rewind_every": -1}, "0 means none"),
    ):
        with pytest.raises(pyi.InvalidArgument, match=text):
            pyi.swarm(project, **{"agents": 1, "steps": 1, **argv})
    assert not (project / ".git" / "pyi").exists()


def test_a_record_that_exists_is_not_overwritten(project: Path, tmp_path: Path) -> None:
    record = tmp_path / "record"
    record.write_text("precious")
    done = pyi_swarm(str(project), "--agents", "1", "--record", str(record), "--store", str(tmp_path / "store"))
    assert (done.returncode, done.stderr.splitlines()[-1].startswith("error: the record ")) == (1, True)
    assert record.read_text() == "precious"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["cut.jsonl.gz", "garbage.jsonl.gz", "latin.jsonl"])
def test_a_damaged_trace_is_one_line(project: Path, tmp_path: Path, name: str) -> None:
    whole = gzip.compress(json.dumps({"trace_id": "a", "step": 0, "op": "view", "path": "file0.txt"}).encode() * 9)
    data = {"cut.jsonl.gz": whole[:-9], "garbage.jsonl.gz": b"no gzip", "latin.jsonl": b"\xff\n"}[name]
    (tmp_path / name).write_bytes(data)
    done = pyi_swarm(str(project), "--agents", "1", "--steps", "1", "--traces", str(tmp_path / name))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert name in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_an_interrupted_swarm_leaves_nothing(project: Path, scratch_space: Path, number: signal.Signals) -> None:
    argv = [sys.executable, "-m", "pyi", "swarm", str(project), "--agents", "9", "--steps", "1000000"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: list(scratch_space.glob("pyi-scratch-*/record")))
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert errors.splitlines()[-1] == "error: interrupted"
    assert list(scratch_space.glob("pyi-*")) == []


def test_what_a_killed_swarm_left_is_swept_by_the_next(project: Path, scratch_space: Path) -> None:
    argv = [sys.executable, "-m", "pyi", "swarm", str(project), "--agents", "9", "--steps", "1000000"]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: list(scratch_space.glob("pyi-scratch-*/record")))
        process.kill()
    assert list(scratch_space.glob("pyi-*"))
    assert pyi.swarm(project, 1, steps=1, verify=False)
    assert list(scratch_space.glob("pyi-*")) == []


# Measuring


def test_percentiles_are_samples() -> None:
    latency = Latency.of(range(1000, 101_000, 1000))
    assert (latency.count, latency.p50_us, latency.p95_us, latency.p99_us, latency.max_us) == (100, 50, 95, 99, 100)
    assert Latency.of([7000]) == Latency(1, 7.0, 7.0, 7.0, 7.0)
    assert Latency.of([]).count == 0


def test_peak_memory_is_that_of_this_process() -> None:
    assert peak_memory_bytes() > 4 << 20


def test_steps_do_not_depend_on_when_they_are_asked_for(project: Path) -> None:
    base = BaseTree.from_git(project, "HEAD")
    with History(project, "HEAD", base, wanted=100) as history:
        assert len(history) == 8
        forward = [history.step(2, 5, number, Model(base)) for number in range(10)]
        backward = [history.step(2, 5, number, Model(base)) for number in reversed(range(10))]
    assert forward == backward[::-1]
    assert all(
        one.data is None or one.digest == digest_of("sha256", one.data) for step in forward for one in step.edits
    )


# The command line


def pyi_swarm(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pyi", "swarm", *argv], capture_output=True, text=True, check=False)


def test_the_command(project: Path, tmp_path: Path) -> None:
    done = pyi_swarm(str(project), "--agents", "5", "--steps", "4", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["checkpoints"], report["lost"], report["wrong_bytes"], report["ok"]) == (20, 0, 0, True)
    for name in ("fork", "write", "checkpoint", "restore", "read"):
        assert set(report["latency"][name]) == {"count", "p50_us", "p95_us", "p99_us", "max_us"}
    done = pyi_swarm(str(project), "--agents", "5", "--steps", "4", "--store", str(tmp_path / "store"))
    assert done.returncode == 0, done.stderr
    assert "verified by a fresh process: 20 checkpoints, 0 lost, 0 wrong bytes" in done.stdout
    assert "p99" in done.stdout
    assert (tmp_path / "store" / "format").exists()


def test_usage(project: Path) -> None:
    assert pyi_swarm(str(project), "--agents", "0").returncode == 2
    assert pyi_swarm(str(project), "--agents", "x").returncode == 2
    assert pyi_swarm("/no/such/place").returncode == 1
    assert "examples:" in pyi_swarm("--help").stdout
