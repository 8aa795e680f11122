"""Scrub and repair from Python and the command line: from a backup, another store, a git repository."""

from __future__ import annotations

import json
import random
import subprocess
import time
from pathlib import Path

import pytest

import pyi
from pyi.config import native_program
from pyi.errors import Corrupt, InvalidArgument


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    with pyi.open(path) as repo:
        ws = repo.workspace()
        ws.write_many({f"src/file{number}.txt": f"content {number} " * 50 for number in range(40)})
        ws.state["k"] = list(range(50))
        ws.checkpoint("one")
        ws.publish("main")
        ws.write("src/file3.txt", "changed")
        ws.checkpoint("two")
        ws.publish("other", expect=None)
        ws.fork("agent")
    return path


def damage(project: Path, text: bytes) -> None:
    """Flip a bit where `text` stands in a segment."""
    for segment in (project / ".pyi" / "segments").glob("*.seg"):
        data = bytearray(segment.read_bytes())
        at = data.find(text)
        if at >= 0:
            data[at] ^= 1
            segment.write_bytes(data)
            return
    raise AssertionError(text)


def test_a_damaged_file_is_named_and_repaired_from_a_backup(project: Path, tmp_path: Path) -> None:
    with pyi.open(project) as repo:
        repo.backup(tmp_path / "backup")
        assert repo.scrub().clean
    damage(project, b"content 3 content 3")
    with pyi.open(project) as repo:
        head = repo.branches()["main"]
        with pytest.raises(Corrupt):
            repo.workspace().read("src/file3.txt")
        assert repo.workspace("other").read("src/file3.txt") == b"changed"
        report = repo.scrub()
        assert not report.clean
        (lost,) = report.damaged
        assert report.affected["branches"] == ["main"]
        assert report.affected["checkpoints"] == [head]
        # Their heads are whole, and an earlier checkpoint of theirs is not.
        assert report.affected["histories"] == ["agent", "other"]
        assert report.affected_by[lost] == report.affected
        assert report.lost == [lost]
        report = repo.scrub(repair_from=tmp_path / "backup")
        assert report.clean
        assert report.repaired == [lost]
        assert repo.workspace().read("src/file3.txt") == b"content 3 " * 50
        assert repo.scrub().clean
        assert not repo.scrub().places


def test_a_new_put_heals(project: Path) -> None:
    damage(project, b"content 5 content 5")
    with pyi.open(project) as repo:
        ws = repo.workspace()
        with pytest.raises(Corrupt):
            ws.read("src/file5.txt")
        other = repo.workspace("other")
        other.write("again", "content 5 " * 50)
        other.checkpoint("the same content again")
        assert ws.read("src/file5.txt") == b"content 5 " * 50
        report = repo.scrub()
        assert not report.damaged
        assert len(report.healed) == 1
    with pyi.open(project) as repo:
        assert repo.workspace().read("src/file5.txt") == b"content 5 " * 50
        assert repo.scrub(repair_from=[]).clean
        assert repo.scrub().clean


def test_from_another_store_and_from_git(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(30):
        (source / f"file{number}.txt").write_text(f"content {number} " * 50)
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    for place, repair_from in (("one", tmp_path / "two"), ("two", source)):
        project = tmp_path / place
        if not project.exists():
            for name in ("one", "two"):
                with pyi.open(tmp_path / name) as repo:
                    repo.import_git(source)
        damage(project, b"content 7 content 7")
        damage(project, b"file11.txt")  # in the directory's node
        with pyi.open(project) as repo:
            report = repo.scrub()
            assert len(report.damaged) == 1, "below a damaged node nothing can be seen"
            report = repo.scrub(repair_from=repair_from)
            assert report.lost == []
            assert len(report.repaired) == 2
            assert repo.workspace().read("file7.txt") == b"content 7 " * 50
            assert repo.workspace().read("file11.txt") == b"content 11 " * 50


def test_bad_sources_are_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pyi.open(project) as repo:
        for source in (tmp_path / "nothing", [tmp_path / "nothing"]):
            with pytest.raises(InvalidArgument):
                repo.scrub(repair_from=source)
        with pytest.raises(InvalidArgument):
            repo.scrub(bytes_per_second=0)


def test_the_speed_is_kept_and_progress_is_told(project: Path) -> None:
    with pyi.open(project) as repo:
        ws = repo.workspace()
        ws.write("large", random.Random(1).randbytes(2_000_000))
        ws.checkpoint("large")
        seen: list[tuple[int, int]] = []
        start = time.monotonic()
        report = repo.scrub(bytes_per_second=4_000_000, progress=lambda done, total: seen.append((done, total)))
        assert 0.4 < time.monotonic() - start < 5
        assert seen[-1][0] == report.bytes >= 2_000_000
        assert seen == sorted(seen)

        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            repo.scrub(progress=stop)
        assert repo.scrub().clean


def test_the_command_line(project: Path, tmp_path: Path) -> None:
    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run([str(native_program()), *words], cwd=project, capture_output=True, text=True)
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout

    run("backup", str(tmp_path / "backup"))
    assert "all is well" in run("fsck-store")
    damage(project, b"content 9 content 9")
    text = run("scrub", status=1)
    assert "branches: main, other" in text
    assert "--repair-from" in text
    facts = json.loads(run("scrub", "--json", "--limit", "100", status=1))
    assert facts["affected"]["branches"] == ["main", "other"]
    assert facts["affected"]["workspaces"] == ["agent"]
    assert "still lost: 0" in run("scrub", "--repair-from", str(tmp_path / "backup"))
    assert "all is whole" in run("scrub")
    log = next((project / ".pyi" / "refs").glob("*.log"))
    whole = log.read_bytes()
    log.write_bytes(whole[:-5])
    assert json.loads(run("fsck-store", "--json", status=1))["places"][0]["file"].startswith("refs/")
    log.write_bytes(whole)
    run("fsck-store")
    run("scrub", "--store", str(tmp_path / "nowhere"), status=1)
