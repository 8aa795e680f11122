"""Experiments are found, run and reported, whatever happens in them. Nothing here asserts a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import pyi
from validation import __main__ as command
from validation import experiments, workloads
from validation.experiments import roundtrip, swarm
from validation.generator import Tree, git, make_repository
from validation.hypothesis import Experiment, Finding, Hypothesis, below
from validation.lab import Lab, missing
from validation.peers.floor import Dirty, Floor, measure_dirty

ONE = Hypothesis("x.one", "One.", "p95 < 1 us", "issue 0 a")
TWO = Hypothesis("x.two", "Two.", "", "issue 0 b")


def test_every_experiment_is_found_and_whole() -> None:
    known = experiments.load()
    assert {"checkpoint", "fork", "race", "read", "restore", "roundtrip", "startup", "step", "swarm"} <= known.keys()
    for name, experiment in known.items():
        assert experiment.hypotheses, name
        for hypothesis in experiment.hypotheses:
            assert hypothesis.id.startswith(name + "."), hypothesis.id
            assert hypothesis.claim.endswith("."), hypothesis.id
            assert hypothesis.source.startswith("issue "), hypothesis.id


def perform(experiment: Experiment, lab: Lab | None = None) -> list[tuple[Finding, str | None]]:
    return list(command.perform(experiment, lab or Lab()))


def test_findings_come_through() -> None:
    def run(_: Lab) -> Iterator[Finding]:
        yield Finding(ONE, checks=[below("p95", 2, 1)])
        yield Finding(TWO)

    assert [(found.verdict, failure) for found, failure in perform(Experiment("x", (ONE, TWO), run))] == [
        ("falls short", None),
        ("no target", None),
    ]


def test_a_failure_leaves_the_rest_unmeasured_and_comes_with_its_traceback() -> None:
    def run(_: Lab) -> Iterator[Finding]:
        yield Finding(ONE)
        raise OSError("the disk is gone")

    (_, first), (second, failure) = perform(Experiment("x", (ONE, TWO), run))
    assert first is None
    assert second.hypothesis is TWO
    assert second.verdict == "not measured"
    assert second.unmeasured is not None
    assert "the disk is gone" in second.unmeasured
    assert failure is not None
    assert "Traceback" in failure


def test_a_failure_after_the_last_finding_is_not_forgotten() -> None:
    def run(_: Lab) -> Iterator[Finding]:
        yield Finding(ONE)
        raise OSError("while cleaning up")

    assert [failure is not None for _, failure in perform(Experiment("x", (ONE,), run))] == [False, True]


def test_a_hypothesis_without_a_finding_is_a_failure() -> None:
    (found, failure), *rest = perform(Experiment("x", (ONE,), lambda _: []))
    assert found.verdict == "not measured"
    assert failure is not None
    assert rest == []


def test_what_the_build_lacks_is_not_measured_and_no_failure() -> None:
    def run(_: Lab) -> Iterator[Finding]:
        raise AssertionError("it must not run")
        yield

    experiment = Experiment("x", (ONE, TWO), run, needs=("Repository.time_travel",))
    results = perform(experiment)
    assert [failure for _, failure in results] == [None, None]
    assert all("Repository.time_travel" in str(found.unmeasured) for found, _ in results)
    assert missing(SimpleNamespace(a=SimpleNamespace(b=1)), ["a.b", "a.c", "d"]) == ["a.c", "d"]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Lab) -> Iterator[Finding]:
        yield Finding(ONE, checks=[below("p95", 2, 1)])

    def fail(_: Lab) -> Iterator[Finding]:
        raise OSError("no")
        yield

    known = {"x": Experiment("x", (ONE,), run), "broken": Experiment("broken", (TWO,), fail)}
    monkeypatch.setattr(experiments, "load", lambda: known)


@pytest.mark.usefixtures("only")
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["x"], 0),
        (["x.one"], 0),
        (["x", "--strict"], 1),
        (["nothing"], 2),
        (["x", "--repo", "/no/such/place"], 2),
        (["broken"], 3),
        ([], 3),
        (["--list"], 0),
    ],
)
def test_exit_status(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*arguments, "--quiet"]) == status
    assert capsys.readouterr().out or status == 2


@pytest.mark.usefixtures("only")
def test_json_is_written_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["x", "--quiet", "--json", str(tmp_path / "out")]) == 0
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "out").read_text().splitlines()]
    assert kinds == ["finding", "machine"]
    assert "FALLS SHORT" in capsys.readouterr().out


def test_a_directory_of_the_lab_is_gone_afterwards(tmp_path: Path) -> None:
    def use() -> None:
        with Lab(scratch=tmp_path).directory("x") as place:
            (place / "file").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert list(tmp_path.iterdir()) == []


def test_a_tree_is_the_same_every_time_and_has_20_entries_a_directory() -> None:
    files = dict(Tree(8000).items())
    assert files == dict(Tree(8000).items())
    assert files != dict(Tree(8000, seed=1).items())
    assert len(set(files.values())) == len(files) == 8000
    entries: dict[str, set[str]] = {}
    for path in files:
        parts = path.split("/")
        for depth in range(len(parts)):
            entries.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    assert {len(names) for names in entries.values()} == {20}
    assert sum(map(len, Tree(25).batches(10))) == 25


def test_edits_are_the_same_for_everybody_and_never_repeat() -> None:
    tree = Tree(100)
    one, other = workloads.edits(tree), workloads.edits(tree)
    made = [one(number) for number in range(200)]
    assert made == [other(number) for number in range(200)]
    assert len({data for _, data in made}) == 200
    assert {len(data) for _, data in made} == {workloads.EDIT_BYTES}
    assert {workloads.edits(tree, within=1)(number)[0] for number in range(9)} == {tree.path(0)}


def test_a_made_up_repository_has_its_history_and_its_files(tmp_path: Path) -> None:
    tree = Tree(50)
    repository = make_repository(tmp_path / "r", tree, commits=6)
    assert git(repository, "rev-list", "--count", "HEAD").strip() == b"6"
    assert git(repository, "status", "--porcelain") == b""
    assert set(git(repository, "ls-files").decode().split()) == dict(tree.items()).keys()


def test_what_a_checkpoint_hashes_is_counted_and_not_assumed(tmp_path: Path) -> None:
    tree = Tree(400)
    with pyi.open(tmp_path / "store") as repository:
        workspace = repository.workspace()
        workloads.fill(workspace, tree)
        edit = workloads.edits(tree)

        def step(number: int) -> None:
            workspace.write(*edit(number))
            workspace.checkpoint()

        dirty = measure_dirty(repository, step, workloads.EDIT_BYTES, samples=5)
        assert dirty.objects == 4  # the file, its directory, the root, the checkpoint
        assert workloads.EDIT_BYTES < dirty.stored_bytes < 10_000
        with pytest.raises(RuntimeError, match="not a change"):
            measure_dirty(repository, lambda _: None, workloads.EDIT_BYTES, samples=3)


def test_the_floor_writes_what_it_says(tmp_path: Path) -> None:
    floor = Floor.load(tmp_path / "log", Dirty(objects=4, file_bytes=1024, other_bytes=3000, stored_bytes=4224))
    if floor is None:
        pytest.skip("the package blake3 is not installed")
    sample = floor.hash_and_append()
    assert sample(0) > 0
    assert sample(1) > 0
    assert floor.calls()(0) > 0
    floor.close()
    assert (tmp_path / "log").stat().st_size == 2 * 4224


@pytest.mark.skipif(bool(missing(pyi, roundtrip.EXPERIMENT.needs)), reason="this build cannot import or export")
def test_a_round_trip_keeps_trees_and_notices_damage(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", Tree(30), commits=5)
    (tmp_path / "trip").mkdir()
    trip = roundtrip.travel(source, tmp_path / "trip")
    assert (trip.commits, trip.mismatches, trip.damage) == (5, [], [])
    target = tmp_path / "trip" / "target.git"
    blob = git(target, "rev-parse", f"v0:{Tree(30).path(0)}").decode().strip()
    loose = target / "objects" / blob[:2] / blob[2:]
    if not loose.exists():
        pytest.skip("the export wrote a pack")
    loose.chmod(0o600)
    loose.unlink()
    assert any(blob in line for line in roundtrip.damage(target))


@pytest.mark.parametrize("name", ["checkpoint", "fork", "read", "restore", "step"])
def test_an_experiment_runs_on_a_small_tree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way from the store to the findings, with a tree of a size that takes no time."""
    experiment = experiments.load()[name]
    monkeypatch.setattr(f"validation.experiments.{name}.Tree", lambda _: Tree(400))
    monkeypatch.setattr(f"validation.experiments.{name}._FILES", 400, raising=False)
    results = perform(experiment, Lab(quick=True))
    assert [failure for _, failure in results] == [None] * len(experiment.hypotheses)
    assert {found.hypothesis.id for found, _ in results} == {hypothesis.id for hypothesis in experiment.hypotheses}
    for found, _ in results:
        if found.measured is not None:
            row = found.measured
            assert 0 < row.p50_us <= row.p95_us <= row.p99_us <= row.max_us
        assert found.measured is not None or found.unmeasured is not None
        assert json.loads(json.dumps(found.to_dict()))["verdict"] == found.verdict


def swarm_report(**changed: object) -> dict[str, object]:
    report: dict[str, object] = {"agents": 2, "steps": 20, "checkpoints": 40, "wrong_bytes": 0, "wrong_reads": 0}
    return {**report, "lost": 0, "peak_memory_bytes": 50_000_000, "verdict": {"ok": True}, **changed}


@pytest.mark.parametrize(
    ("changed", "fails"),
    [
        ({}, []),
        ({"wrong_bytes": 1}, ["wrong bytes"]),
        ({"wrong_reads": 1}, ["wrong reads"]),
        ({"lost": 1}, ["lost checkpoints"]),
        ({"checkpoints": 39}, ["agents' steps without a checkpoint"]),
        ({"peak_memory_bytes": 150_000_000}, []),
        ({"peak_memory_bytes": 150_000_001}, ["peak memory above one agent's"]),
    ],
)
def test_a_swarm_is_judged_by_its_worst_run(changed: dict[str, object], fails: list[str]) -> None:
    checks = swarm._checks([swarm_report()], [swarm_report(), swarm_report(**changed)])
    assert [check.what for check in checks if not check.holds] == fails


def test_a_swarm_that_nobody_verified_is_no_result() -> None:
    with pytest.raises(RuntimeError, match="not verified"):
        swarm._checks([swarm_report()], [swarm_report(verdict=None)])


def test_this_repository_survives_a_round_trip(tmp_path: Path) -> None:
    (tmp_path / "trip").mkdir()
    trip = roundtrip.travel(Path(__file__).resolve().parents[2], tmp_path / "trip")
    assert trip.commits > 0
    assert trip.mismatches == []
    assert trip.damage == []
