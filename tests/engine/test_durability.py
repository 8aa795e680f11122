"""The durability classes, from Python: what each of them does, and what it refuses."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import pyi


@pytest.mark.parametrize("durability", ["process", "power"])
def test_every_verb_works_in_each_class(tmp_path: Path, durability: str) -> None:
    with pyi.open(tmp_path / "store", durability=durability) as repo:
        ws = repo.workspace()
        ws.write("a", "1")
        first = ws.checkpoint("first")
        ws.publish("main")
        named = ws.fork("agent")
        named.write("a", "2")
        named.checkpoint("second", durability="power").wait_durable()
        named.restore(first)
        named.journal.append("note", text="x")
        named.journal.flush()
        named.checkpoint("third", durability="memory")
        choice = repo.superpose(first, 2, name="choice")
        choice.weigh(1, 2.0)
        assert choice.collapse(1).id == first.id
        repo.flush()
        repo.drop("agent")
    with pyi.open(tmp_path / "store", create=False) as repo:
        assert bytes(repo.workspace("main").read("a")) == b"1"
        assert repo.stats()["lost_refs"] == []


def test_many_who_wait_at_once(tmp_path: Path) -> None:
    with pyi.open(tmp_path / "store", durability="power") as repo:
        heads: list[str] = []

        def work(number: int) -> None:
            ws = repo.workspace()
            for step in range(20):
                ws.write("file", f"{number} {step}")
                heads.append(ws.checkpoint().id)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(heads)) == 320
    with pyi.open(tmp_path / "store", create=False) as repo:
        for head in heads:
            assert len(repo.get_checkpoint(head).read("file")) >= 3


def test_a_repository_in_memory_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "store"
    with pyi.open(place, durability="memory") as repo:
        ws = repo.workspace()
        ws.write("a", "1")
        first = ws.checkpoint()
        first.wait_durable()
        ws.publish("main")
        ws.write("a", "2")
        ws.checkpoint()
        ws.restore(first)
        assert bytes(ws.read("a")) == b"1"
        fork = ws.fork("agent")
        fork.materialize(tmp_path / "directory")
        (tmp_path / "directory" / "b").write_text("new")
        assert [change.path for change in fork.capture(tmp_path / "directory", ignore="none")] == ["b"]
        assert not Path(repo.path).is_relative_to(tmp_path)
        scratch = Path(repo.path)
    del repo, ws, fork, first
    assert not place.exists()
    assert not scratch.exists()


def test_memory_does_not_hide_a_store_on_disk(tmp_path: Path) -> None:
    pyi.open(tmp_path / "store").close()
    with pytest.raises(pyi.InvalidArgument, match="on disk"):
        pyi.open(tmp_path / "store", durability="memory")
    with pytest.raises(pyi.NotFound):
        pyi.open(tmp_path / "other", durability="memory", create=False)


def test_an_unknown_class(tmp_path: Path) -> None:
    with pytest.raises(pyi.InvalidArgument, match="forever"):
        pyi.open(tmp_path / "store", durability="forever")
    with pyi.open(tmp_path / "store") as repo:
        ws = repo.workspace()
        with pytest.raises(pyi.InvalidArgument, match="forever"):
            ws.checkpoint(durability="forever")
        assert not ws.dirty
