"""Backups: incremental, beside a writer, interrupted, damaged; restores to every position."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import pyi
from pyi.backup import save
from pyi.backup.target import open_target
from pyi.config import native_program
from pyi.errors import Conflict, Corrupt, InvalidArgument, NotFound, StorageError


def content(repo: pyi.Repository) -> dict[str, dict[str, bytes]]:
    """Every file of every branch and named workspace."""
    found = {}
    views = {f"b/{name}": repo.workspace(name) for name in repo.branches()}
    views |= {f"w/{name}": repo.open_workspace(name) for name in repo.workspaces()}
    for name, ws in views.items():
        found[name] = {entry.path: bytes(ws.read(entry.path)) for entry in ws.walk()}
    return found


def step(repo: pyi.Repository, number: int, seed: random.Random) -> None:
    """One change of the refs."""
    kind = number % 5
    names = sorted(repo.branches())
    ws = repo.workspace(seed.choice(names) if names else "main")
    if kind == 3 and len(names) > 2:
        repo.delete_branch(next(name for name in names if name != "main"))
    elif kind == 4:
        ws.fork(f"agent-{number}")
    else:
        ws.write(f"file{seed.randrange(8)}.txt", seed.randbytes(seed.randrange(2000)))
        ws.checkpoint(f"step {number}")
        if kind == 2:
            ws.publish(f"branch-{number}", expect=None)
        elif names:
            ws.publish(seed.choice([name for name in names if repo.branches()[name] == ws.head.parents[0]] or names))
        else:
            ws.publish("main")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_position_can_be_restored(tmp_path: Path) -> None:
    seed = random.Random(5)
    model: dict[int, dict[str, dict[str, bytes]]] = {}
    with pyi.open(tmp_path / "project") as repo:
        number = 0
        while len(model) < 1000:
            number += 1
            try:
                step(repo, number, seed)
            except Conflict:
                continue
            # Contents once in a while and names always: reading everything after every step would take its time.
            model[repo._image().position] = content(repo) if number % 20 == 0 else {}
            if not model[repo._image().position]:
                model[repo._image().position] = {"branches": repo.branches(), "workspaces": repo.workspaces()}  # type: ignore[dict-item]
            if number % 250 == 0:
                repo.backup(tmp_path / "backup")
        repo.backup(tmp_path / "backup")
        positions = {one.position for one in repo.log_positions()}
    assert model.keys() <= positions
    for position, expected in model.items():
        place = tmp_path / "restored"
        with pyi.restore_backup(tmp_path / "backup", place, at=position) as repo:
            # First, as to open a workspace is a change of its own.
            assert repo._image().position == position
            found = (
                {"branches": repo.branches(), "workspaces": repo.workspaces()}
                if "branches" in expected
                else content(repo)
            )
            assert found == expected, position
        shutil.rmtree(place)


def test_only_what_is_new_is_copied(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    with pyi.open(tmp_path / "project") as repo:
        ws = repo.workspace()
        ws.write("large", random.Random(1).randbytes(3_000_000))
        ws.checkpoint("one")
        ws.publish("main")
        first = repo.backup(target)
        assert first.full
        assert first.bytes_copied == first.bytes_total > 3_000_000
        again = repo.backup(target)
        assert not again.full
        assert (again.bytes_copied, again.bytes_total) == (0, first.bytes_total)
        ws.write("small", b"x" * 1000)
        ws.checkpoint("two")
        ws.publish("main")
        third = repo.backup(target)
        assert 1000 < third.bytes_copied < 10_000
        expected = content(repo)
    with pyi.restore_backup(target, tmp_path / "restored") as repo:
        assert content(repo) == expected
        assert repo.scrub().clean
        # A restored store goes on, and so do its backups.
        ws = repo.workspace()
        ws.write("later", b"y")
        ws.checkpoint("three")
        ws.publish("main")
        assert repo.backup(target).bytes_copied < 10_000
        later = content(repo)
    with pyi.restore_backup(target, tmp_path / "second") as repo:
        assert content(repo) == later


def test_times_and_positions(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    with pyi.open(tmp_path / "project") as repo:
        for number in range(5):
            ws = repo.workspace()
            ws.write("n", str(number))
            ws.checkpoint(f"step {number}")
            ws.publish("main")
        positions = [one for one in repo.log_positions() if one.message]
        repo.backup(target)
    assert len(positions) == 5
    assert [one.time for one in positions] == sorted(one.time for one in positions)
    for number, one in enumerate(positions):
        beyond = one.position + (number < 4)
        for at in (one.position, beyond, one.time + timedelta(microseconds=1)):
            with pyi.restore_backup(target, tmp_path / "restored", at=at) as repo:
                assert repo.workspace().read("n") == str(number).encode()
            shutil.rmtree(tmp_path / "restored")
    with pytest.raises(NotFound):
        pyi.restore_backup(target, tmp_path / "restored", at=positions[0].time - timedelta(days=1))
    with pytest.raises(NotFound):
        pyi.restore_backup(target, tmp_path / "restored", at=positions[-1].position + 1)
    with pytest.raises(NotFound):
        pyi.restore_backup(target, tmp_path / "restored", at=3)
    with pytest.raises(InvalidArgument):
        pyi.restore_backup(target, tmp_path / "restored", at="yesterday")  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "project"]


WRITER = """
import sys, pyi
repo = pyi.open(sys.argv[1])
ws = repo.workspace(sys.argv[2])
number = 0
print("ready", flush=True)
while True:
    number += 1
    ws.write(f"file{number % 50}", f"{number} " * 200)
    ws.write("number", str(number))
    ws.checkpoint(str(number))
    ws.publish(sys.argv[2])
"""


def test_beside_writers(tmp_path: Path) -> None:
    project = tmp_path / "project"
    with pyi.open(project) as repo:
        for name in ("main", "other"):
            ws = repo.workspace()
            ws.write("number", "0")
            ws.checkpoint("begin")
            ws.publish(name, expect=None)
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(project), name], stdout=subprocess.PIPE, text=True)
            for name in ("main", "other")
        ]
        try:
            for writer in writers:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "ready\n"
            reports = [repo.backup(tmp_path / "backup") for _ in range(8)]
        finally:
            for writer in writers:
                writer.kill()
                writer.communicate()
    assert len({report.position for report in reports}) > 1
    for report in reports:
        # verify=True: everything that a name leads to is there.
        with pyi.restore_backup(tmp_path / "backup", tmp_path / "restored", at=report.position) as repo:
            assert repo.scrub().clean
            for name in ("main", "other"):
                view = repo.workspace(name)
                number = int(bytes(view.read("number")))
                if number:
                    assert bytes(view.read(f"file{number % 50}")) == (f"{number} " * 200).encode()
        shutil.rmtree(tmp_path / "restored")


class Interrupted(Exception):
    pass


def test_an_interrupted_backup_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(save, "PART_BYTES", 100_000)
    target = tmp_path / "backup"
    with pyi.open(tmp_path / "project") as repo:
        ws = repo.workspace()
        ws.write("a", random.Random(1).randbytes(500_000))
        ws.checkpoint("one")
        ws.publish("main")
        repo.backup(target)
        before = content(repo)
        ws.write("b", random.Random(2).randbytes(1_000_000))
        ws.checkpoint("two")
        ws.publish("main")
        after = content(repo)

        real = open_target(target, create=True)
        for survived in (0, 1, 3, 7):

            class Breaks:
                url = real.url
                left = survived

                def put(self, name: str, data: bytes) -> None:
                    if self.left == 0:
                        # What a kill leaves.
                        Path(real.url, "parts", f"tmp-999999999-{self.left}").write_bytes(data[:10])
                        raise Interrupted
                    self.left -= 1
                    real.put(name, data)

                get, names, sweep = real.get, real.names, real.sweep

            with pytest.raises(Interrupted):
                repo.backup(Breaks())
            with pyi.restore_backup(target, tmp_path / "restored") as restored:
                assert content(restored) == before
            shutil.rmtree(tmp_path / "restored")
        report = repo.backup(target)
        # What the interrupted ones copied is not copied again, and what they left is gone.
        assert report.bytes_copied < 400_000
        assert not list((target / "parts").glob("tmp-*"))
    with pyi.restore_backup(target, tmp_path / "restored") as restored:
        assert content(restored) == after


def test_refusals(tmp_path: Path) -> None:
    with pyi.open(tmp_path / "one") as one, pyi.open(tmp_path / "two") as two:
        one.backup(tmp_path / "backup")
        with pytest.raises(InvalidArgument, match="another store"):
            two.backup(tmp_path / "backup")
        with pytest.raises(InvalidArgument):
            one.backup("ftp://there/it/is")
        with pytest.raises(InvalidArgument):
            one.backup("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(Conflict):
        pyi.restore_backup(tmp_path / "backup", tmp_path / "full")
    with pytest.raises(NotFound):
        pyi.restore_backup(tmp_path / "nothing", tmp_path / "restored")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound):
        pyi.restore_backup(tmp_path / "empty", tmp_path / "restored")
    with pyi.restore_backup(tmp_path / "backup", tmp_path / "empty") as repo:
        assert repo.branches() == {}
    file = tmp_path / "file"
    file.write_text("x")
    with pyi.open(tmp_path / "one") as one:
        for place in (file, file / "below"):
            with pytest.raises(StorageError, match=f"cannot make {place}: .*; name a directory"):
                one.backup(place)
        # A place that cannot be made is no backup that is missing.
        with pytest.raises(StorageError, match="name a directory that can be made"):
            one.backup("/proc/none")


def test_a_damaged_backup_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    with pyi.open(tmp_path / "project") as repo:
        for number in range(3):
            ws = repo.workspace()
            ws.write("n", str(number) * 1000)
            ws.checkpoint("step")
            ws.publish("main")
            repo.backup(target)
    manifests = sorted((target / "manifests").iterdir())
    for damaged in (*manifests, *(target / "parts").iterdir()):
        whole = damaged.read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 1):
            damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            try:
                with pyi.restore_backup(target, tmp_path / "restored") as repo:
                    assert bytes(repo.workspace().read("n")) in {number * 1000 for number in (b"0", b"1", b"2")}
                    assert (
                        damaged != manifests[-1]
                        or bytes(repo.workspace().read("n")) == b"1" * 1000
                        or at == len(whole) - 1
                    )
                shutil.rmtree(tmp_path / "restored")
            except Corrupt:
                assert not (tmp_path / "restored").exists()
        damaged.write_bytes(whole)


def test_a_path_in_a_manifest_does_not_lead_out(tmp_path: Path) -> None:
    from pyi.backup.manifest import File, Manifest, decode

    for name in ("../x.seg", "segments/../../x.seg", "segments/0000000000000001.idx", "/etc/passwd", "refs/x.log"):
        manifest = Manifest("0" * 32, 1, 1, 1, b"", (File(name, "", False, ()),))
        with pytest.raises(Corrupt):
            decode(manifest.encode(), "here")


def test_a_strange_manifest_is_refused_by_name(tmp_path: Path) -> None:
    """Its checksum is right, and it is no manifest all the same. The fuzzer found these."""
    from pyi.backup.manifest import File, Manifest, Part, _canonical, decode

    name = "segments/0000000000000001.seg"
    file = File(name, "", False, (Part("a" * 64, 10),))
    whole = Manifest("0" * 32, 1, 1, 1, b"", (file,))
    assert decode(whole.encode(), "here") == whole

    def changed(**entries: Any) -> bytes:
        body = {**json.loads(whole.encode()), **entries}
        del body["sha256"]
        return _canonical({**body, "sha256": hashlib.sha256(_canonical(body)).hexdigest()})

    one = {"name": name, "seal": "", "final": False, "parts": [["a" * 64, 10]]}
    for strange in (
        b"[" * 100_000,  # deeper than any parser goes
        changed(files=[one, one]),  # restored into the same file twice
        changed(position=1 << 64),  # more than the store counts to
        changed(files=[{**one, "parts": [["a" * 64, (1 << 64) - 1]] * 2}]),
        changed(files=[{**one, "seal": [1]}]),
        changed(files=[{**one, "final": "no"}]),
        changed(files=[{**one, "name": 7}]),
    ):
        with pytest.raises(Corrupt, match="manifest here is damaged"):
            decode(strange, "here")


def test_one_backup_at_a_time_is_not_needed(tmp_path: Path) -> None:
    with pyi.open(tmp_path / "project") as repo:
        ws = repo.workspace()
        ws.write("a", random.Random(1).randbytes(2_000_000))
        ws.checkpoint("one")
        ws.publish("main")
        failures: list[BaseException] = []

        def run() -> None:
            try:
                repo.backup(tmp_path / "backup")
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        expected = content(repo)
    with pyi.restore_backup(tmp_path / "backup", tmp_path / "restored") as repo:
        assert content(repo) == expected


def test_the_command_line(tmp_path: Path) -> None:
    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run([str(native_program()), *words], cwd=tmp_path / "project", capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return done.stdout

    with pyi.open(tmp_path / "project") as repo:
        ws = repo.workspace()
        ws.write("a", b"a")
        ws.checkpoint("one")
        ws.publish("main")
        head = repo.branches()["main"]
    target, restored = str(tmp_path / "backup"), str(tmp_path / "restored")
    report = json.loads(run("backup", target, "--json"))
    assert report["full"]
    assert "What is new: 0 B" in run("backup", target)
    assert json.loads(run("restore-backup", target, "--list", "--json"))[0]["position"] == report["position"]
    facts = json.loads(run("restore-backup", target, restored, "--json"))
    assert facts["branches"] == {"main": head}
    assert os.path.samefile(facts["store"], restored)
    run("restore-backup", target, restored, status=1)
    run("restore-backup", target, restored + "2", "--at", "soon", status=2)
    run("restore-backup", target, restored + "2", "--at", "2001-01-01T00:00", status=1)
    assert "all is whole" in run("scrub", "--store", restored)
    assert json.loads(run("fsck-store", "--json", "--store", restored))["clean"]
