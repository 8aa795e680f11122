"""Agents under load, forks in memory, and peers that go back: what they do is checked, never how long it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pyi
from validation import footprint, workloads
from validation.crowd import Crowd, Order, Team
from validation.experiments import back
from validation.experiments.agents import bench_step
from validation.generator import Tree
from validation.lab import Lab
from validation.peers import agentfs, langgraph, processes, saved
from validation.peers.saved import Edit, Saver

TREE = Tree(60)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    place = tmp_path / "store"
    with pyi.open(place) as repository:
        workspace = repository.workspace()
        workloads.fill(workspace, TREE)
        workspace.publish("main")
    return place


@pytest.mark.parametrize("order", [Order(0.05), Order(0.05, threads=3), Order(0.05, batch=4), Order(0.05, batch=99)])
def test_a_burst_counts_what_it_saves(store: Path, order: Order) -> None:
    with pyi.open(store) as repository:
        before = repository.stats()["objects"]
        took = Crowd(repository, TREE, 8).prepare(order)(time.perf_counter_ns())
        assert took.steps == len(took.calls_ns) * min(order.batch, 8) > 0
        # A file and a checkpoint at least for each, as no two edits are equal.
        assert repository.stats()["objects"] - before >= 2 * took.steps


@pytest.mark.parametrize("batch", [1, 5])
def test_every_step_that_falls_due_is_a_sample(store: Path, batch: int) -> None:
    order = Order(0.2, threads=2, batch=batch, rate=200)
    with Team(store, TREE, agents=10, processes=2) as team:
        took, seconds = team.obey(order)
        again, _ = team.obey(Order(0.05))
    assert took.steps > 0
    assert len(took.due_ns) == took.steps + took.behind
    assert len(took.calls_ns) <= took.steps
    assert min(took.due_ns) > 0
    assert seconds > 0
    assert again.steps > 0


def test_a_load_nobody_can_carry_is_given_up_and_not_forgotten(store: Path) -> None:
    with pyi.open(store) as repository:
        carry_out = Crowd(repository, TREE, 4).prepare(Order(1, rate=500))
        took = carry_out(0)
    assert took.steps <= 1, "the end was long ago"
    assert took.steps + took.behind == len(took.due_ns) > 300


def test_a_team_ends_with_an_error_if_its_store_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with status 1"):
        Team(tmp_path / "none", TREE, agents=1, processes=1)


def test_the_program_in_rust_is_understood_or_refused(tmp_path: Path) -> None:
    program = tmp_path / "bench_step"
    program.write_text(
        '#!/bin/sh\necho "$1 files, $2 agents, $6 processes, $3 threads:'
        ' 4321/s, p50 1.0 p95 2.0 p99 3.0 us, 5 bytes a step"\n'
    )
    program.chmod(0o755)
    rate, said = bench_step(program, tmp_path, 100, 8, 2, 1000, processes=3)
    assert rate == 4321
    assert said.startswith("100 files, 8 agents, 3 processes, 2 threads")
    program.write_text("#!/bin/sh\necho nothing\n")
    with pytest.raises(RuntimeError, match="nothing"):
        bench_step(program, tmp_path, 100, 8, 2, 1000)


def test_forks_are_looked_at_in_a_process_of_their_own(store: Path) -> None:
    found = footprint.measure("forks", store, TREE.count, 20, 3)
    assert list(found) == ["base", "idle", "dirty", "saved", "trimmed at once", "trimmed", "read again"]
    with pytest.raises(RuntimeError, match="does not hold the tree"):
        footprint.measure("forks", store, TREE.count + 1, 20, 3)


def opened(opener: Callable[[Path, Tree, Edit], Saver], place: Path) -> Saver:
    try:
        return opener(place, TREE, workloads.edits(TREE))
    except (ImportError, FileNotFoundError, RuntimeError) as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "opener",
    [saved.pickled, saved.jj, agentfs.written_back, agentfs.copied, langgraph.saver, processes.criu, *back.PLAIN],
    ids=lambda opener: f"{opener.__module__.rpartition('.')[2]}.{opener.__name__}",
)
def test_a_peer_saves_and_is_back(tmp_path: Path, opener: Callable[[Path, Tree, Edit], Saver]) -> None:
    peer = opened(opener, tmp_path)
    try:
        before = peer.place and saved.files_bytes(peer.place)
        assert all(peer.sample(number) > 0 for number in range(3))
        if peer.place is not None and before is not None and peer.guarantees.history:
            assert saved.files_bytes(peer.place) - before >= 3 * workloads.EDIT_BYTES
    finally:
        peer.close()


def test_who_is_not_back_is_found_out() -> None:
    saved.check("it", "a", memoryview(b"old"), b"old")
    with pytest.raises(RuntimeError, match="it is not back: a is not"):
        saved.check("it", "a", b"new", b"old")
    with pytest.raises(RuntimeError):
        saved.check("it", "a", None, b"old")


def test_a_peer_that_cannot_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(place: Path, tree: Tree, edit: Edit) -> Saver:
        raise RuntimeError("not on this kernel")

    monkeypatch.setattr(back, "PEERS", {"pickle": (saved.pickled, False), "broken": (refuse, False)})
    first, second = back.run(Lab(quick=True, scratch=tmp_path))
    for finding in (first, second):
        assert [peer.name for peer in finding.peers] == ["pickle + fsync"]
        assert "broken was not measured: not on this kernel." in finding.notes
        assert finding.step_bytes is not None
        assert finding.step_bytes > workloads.EDIT_BYTES
        assert finding.verdict == "not measured"
    assert os.listdir(tmp_path) == []
