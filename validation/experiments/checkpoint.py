"""Checkpointing: one changed file, on small and large trees, beside git, sandfs and the floor."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter_ns

import pyi
from validation import machine, workloads
from validation.generator import Tree, make_repository
from validation.hypothesis import Experiment, Finding, Hypothesis, Peer, below, compare
from validation.lab import Lab
from validation.peers import sandfs
from validation.peers.floor import Dirty, Floor, measure_dirty
from validation.peers.git import COMMIT, Git
from validation.statistics import Series, Subject, interleave, ratio_of_medians

_SIZES = (1_000, 100_000, 1_000_000)
_NAMES = {1_000: "1k", 100_000: "100k", 1_000_000: "1m"}
_GIT_SIZES = (1_000, 100_000)
_BURST = 50
_STRETCH = 2_000
_NEAR = 100
# A mounted tree of a million files costs sandfs some gigabytes; the run must not start to swap.
_SANDFS_BYTES_PER_FILE = 4_000

_P95_US = {1_000: 20, 100_000: 20, 1_000_000: 40}
_FLOORS = 2
_FLAT = 100_000
_FLAT_RATIO = 3

ONE = {
    size: Hypothesis(
        f"checkpoint.{_NAMES[size]}",
        f"From Python, on {size:,} files: writing one file of 1 KB and a checkpoint (`process`) take less than"
        f" {_P95_US[size]} us, and no more than {_FLOORS} times the floor.",
        f"p95 < {_P95_US[size]} us; p50 < {_FLOORS}x the floor's",
        "issue 4 b",
    )
    for size in _SIZES
}
LOOP = {
    size: Hypothesis(
        f"checkpoint.loop-{_NAMES[size]}",
        f"The same on {size:,} files in stretches of {_STRETCH:,} steps with nothing in between: what stands in the"
        " processor's caches is this loop's own.",
        f"p95 < {_P95_US[size]} us; p50 < {_FLOORS}x the floor's",
        "issue 4 b",
    )
    for size in _SIZES
}
FLAT = Hypothesis(
    "checkpoint.flat",
    f"The same in one directory of {_FLAT:,} files takes at most {_FLAT_RATIO} times as long as in a tree.",
    f"p50 <= {_FLAT_RATIO}x that of the tree",
    "issue 4 b",
)
NEAR = Hypothesis(
    "checkpoint.near",
    f"The same on the largest tree when all changes fall on {_NEAR} files of a few directories, as an agent's do.",
    "",
    "issue 2 g",
)
GROWTH = Hypothesis(
    "checkpoint.growth",
    "A checkpoint of one changed file costs O(changed): from 1,000 to 1,000,000 files it grows less than 4 times.",
    "p50 at 1,000,000 < 4x p50 at 1,000",
    "issue 2 g",
)


@dataclass(slots=True)
class _Size:
    """What is measured at one size of the tree."""

    size: int
    dirty: Dirty
    floor: Floor | None
    sandfs: sandfs.Sandfs | None = None
    git: Git | None = None
    loops: list[Subject] = field(default_factory=list)
    """What takes turns in long stretches."""

    def name(self, subject: str) -> str:
        return f"{subject} {self.size}"


def _saves(workspace: pyi.Workspace, edit: Callable[[int], tuple[str, bytes]]) -> Callable[[int], int]:
    def sample(number: int) -> int:
        path, data = edit(number)
        before = perf_counter_ns()
        workspace.write(path, data)
        workspace.checkpoint()
        return perf_counter_ns() - before

    return sample


def run(lab: Lab) -> Iterator[Finding]:
    """Save one change at every size in turns, each beside its peers."""
    sizes = lab.pick(_SIZES, _SIZES[:2])
    git_sizes = lab.pick(_GIT_SIZES, _GIT_SIZES[:1])
    with ExitStack() as stack:
        subjects: list[Subject] = []
        rows: list[_Size] = []
        for size in sizes:
            row = _prepare(lab, stack, size, subjects, with_git=size in git_sizes, near=size == sizes[-1])
            rows.append(row)
        flat = _flat(lab, stack)
        subjects.append(Subject("flat", flat, burst=_BURST))
        lab.say("saving one change at a time")
        series = interleave(subjects, lab.pick(300, 30), warmup=2)
        lab.say("saving one change after the other")
        loops = interleave([loop for row in rows for loop in row.loops], lab.pick(10, 2), warmup=1)
        for row in rows:
            yield _finding(row, series)
        for row in rows:
            yield _loop_finding(row, loops)
    yield _flat_finding(series, sizes)
    near = series[f"near {sizes[-1]}"]
    yield Finding(
        NEAR,
        f"the same on {sizes[-1]:,} files, any of the first {_NEAR}",
        near.distribution(),
        changes=len(near),
        durability=workloads.DURABILITY,
    )
    small, large = f"pyi {_SIZES[0]}", f"pyi {_SIZES[-1]}"
    for size in _SIZES:
        if size not in sizes:
            for hypothesis in (ONE[size], LOOP[size]):
                yield Finding(hypothesis, unmeasured=f"--quick leaves out the tree of {size:,} files")
    if large not in series:
        yield Finding(GROWTH, unmeasured=f"--quick leaves out the tree of {_SIZES[-1]:,} files")
        return
    growth = ratio_of_medians(series[large], series[small])
    yield Finding(
        GROWTH,
        f"p50 at {_SIZES[-1]:,} files over p50 at {_SIZES[0]:,}, in turns in one run",
        changes=len(series[small]) + len(series[large]),
        durability=workloads.DURABILITY,
        checks=[below("growth of the p50", growth, 4, "x")],
    )


def _flat(lab: Lab, stack: ExitStack) -> Callable[[int], int]:
    """Return a sampler on one directory of very many files."""
    place = stack.enter_context(lab.directory("flat"))
    count = lab.pick(_FLAT, 2_000)
    lab.say(f"writing {count:,} files into one directory")
    workspace = stack.enter_context(pyi.open(place)).workspace()
    tree = Tree(count)
    numbers = iter(range(count))
    for batch in tree.batches():
        workspace.write_many({f"{next(numbers):06}.txt": data for data in batch.values()})
    workspace.checkpoint()
    source, edit = random.Random(17), workloads.edits(tree, seed=17)
    return _saves(workspace, lambda number: (f"{source.randrange(count):06}.txt", edit(number)[1]))


def _flat_finding(series: dict[str, Series], sizes: tuple[int, ...]) -> Finding:
    if _FLAT not in sizes:
        return Finding(FLAT, unmeasured="--quick leaves out the large directory")
    flat = series["flat"]
    ratio = ratio_of_medians(flat, series[f"pyi {_FLAT}"])
    return Finding(
        FLAT,
        f"workspace.write and workspace.checkpoint() in one directory of {_FLAT:,} files",
        flat.distribution(),
        changes=len(flat),
        durability=workloads.DURABILITY,
        checks=[below("p50 / p50 of the tree", ratio, _FLAT_RATIO, "x", relation="<=")],
    )


def _prepare(lab: Lab, stack: ExitStack, size: int, subjects: list[Subject], *, with_git: bool, near: bool) -> _Size:
    """Build store and peers of one size, and append their subjects."""
    tree = Tree(size)
    repository, workspace = stack.enter_context(workloads.filled_store(lab, tree))
    saves = _saves(workspace, workloads.edits(tree))
    dirty = measure_dirty(repository, _saves(workspace, workloads.edits(tree, seed=11)), workloads.EDIT_BYTES)
    place = stack.enter_context(lab.directory("floor"))
    row = _Size(size, dirty, Floor.load(place / "log", dirty))
    subjects.append(Subject(row.name("pyi"), saves, burst=_BURST))
    loop = _saves(workspace, workloads.edits(tree, seed=19))
    row.loops.append(Subject(row.name("pyi"), loop, burst=_STRETCH))
    if near:
        saves = _saves(workspace.fork(), workloads.edits(tree, seed=13, within=_NEAR))
        subjects.append(Subject(row.name("near"), saves, burst=_BURST))
    if row.floor is not None:
        stack.callback(row.floor.close)
        for name, sample in (("floor", row.floor.hash_and_append()), ("calls", row.floor.calls())):
            subjects.append(Subject(row.name(name), sample, burst=_BURST))
            row.loops.append(Subject(row.name(name), sample, burst=_STRETCH))
    if size * _SANDFS_BYTES_PER_FILE < machine.available_memory_bytes() // 2:
        row.sandfs = sandfs.Sandfs.load(tree)
    if row.sandfs is not None:
        subjects.append(Subject(row.name("sandfs"), row.sandfs.save(workloads.edits(tree)), burst=_BURST))
    if with_git:
        lab.say(f"making a git work tree of {size:,} files")
        work_tree = stack.enter_context(lab.directory("git")) / "repository"
        row.git = Git(make_repository(work_tree, tree))
        subjects.append(Subject(row.name("git"), row.git.commit(workloads.edits(tree)), every=3))
    return row


def _finding(row: _Size, series: dict[str, Series]) -> Finding:
    size, dirty = row.size, row.dirty
    ours = series[row.name("pyi")]
    finding = Finding(
        ONE[size],
        f"workspace.write(path, 1,024 bytes) and workspace.checkpoint(), any file of {size:,}",
        ours.distribution(),
        changes=len(ours),
        durability=workloads.DURABILITY,
        checks=[below("p95", ours.percentile_us(0.95), _P95_US[size], "us")],
        values={"objects_per_checkpoint": dirty.objects, "stored_bytes_per_checkpoint": dirty.stored_bytes},
        notes=[
            f"A checkpoint stores {dirty.objects} objects in {dirty.stored_bytes:,} bytes (medians, from stats());"
            f" {dirty.file_bytes + dirty.other_bytes:,} bytes of them are hashed."
        ],
    )
    _beside_floor(finding, row, series)
    if row.sandfs is not None:
        theirs = series[row.name("sandfs")]
        finding.peers.append(compare(row.sandfs.name, "write, fork kept in memory", ours, theirs, sandfs.GUARANTEES))
    else:
        finding.notes.append("sandfs was not measured: not installed, or too little memory for a tree of this size")
    if row.git is not None:
        theirs = series[row.name("git")]
        finding.peers.append(compare(row.git.name, "write, git add, git commit", ours, theirs, COMMIT))
    return finding


def _loop_finding(row: _Size, series: dict[str, Series]) -> Finding:
    ours = series[row.name("pyi")]
    finding = Finding(
        LOOP[row.size],
        f"the same in {len(ours) // _STRETCH} stretches, any file of {row.size:,}",
        ours.distribution(),
        changes=len(ours),
        durability=workloads.DURABILITY,
        checks=[below("p95", ours.percentile_us(0.95), _P95_US[row.size], "us")],
    )
    _beside_floor(finding, row, series)
    return finding


def _beside_floor(finding: Finding, row: _Size, series: dict[str, Series]) -> None:
    ours, dirty = series[row.name("pyi")], row.dirty
    if row.floor is None:
        finding.unmeasured = "the package `blake3` is not installed: no floor to compare with (pip install blake3)"
    else:
        floor, calls_ns = series[row.name("floor")], series[row.name("calls")].median_ns()
        ratio = ratio_of_medians(ours, floor, offset_ns=calls_ns)
        finding.checks.append(below("p50 / floor's p50", ratio, _FLOORS, "x"))
        finding.peers.append(
            Peer("floor", f"BLAKE3 of {dirty.objects} objects + one append", floor.distribution(), ratio)
        )
        finding.values["floor_p50_us"] = (floor.median_ns() - calls_ns) / 1000
        finding.notes.append(
            f"From the floor's p50 its calls from Python ({calls_ns / 1000:.2f} us, empty input, same run) are taken"
            " off before the ratio is formed; its row shows it with them."
        )


EXPERIMENT = Experiment("checkpoint", (*ONE.values(), *LOOP.values(), FLAT, NEAR, GROWTH), run)
