"""The store: what an object costs to name, put and get, 850 writers at once, what their workspaces share, restoring."""

from __future__ import annotations

import hashlib
import importlib
import random
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import pyi
from validation import kernel, workloads
from validation.generator import Tree
from validation.hypothesis import Check, Experiment, Finding, Hypothesis, Peer, below, compare
from validation.lab import Lab, missing
from validation.statistics import Series, Subject, interleave, ratio_of_medians

_SIZES = (64, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20)
_AGENTS = 850
_STEPS = 20
_FILES = 5_000
_BACKUP_BYTES = 1 << 30
_PUTS_PER_S = 100_000
_MEMORY_BYTES = 500_000_000

HASH = Hypothesis(
    "store.hash",
    "The id of an object of 64 B to 1 MB takes at most 1.1 times the blake3 crate's hash of it, and up to 64 KB less"
    " than 10 us (a megabyte takes about 120 us on one core).",
    "p50 <= 1.1x the p50 of blake3 at every size; p95 < 10 us up to 64 KB",
    "issue 3 l",
)
PYTHON = Hypothesis(
    "store.hash_python",
    "From Python, BLAKE3 beside SHA-256.",
    "",
    "issue 3 l",
)
PUT = Hypothesis("store.put", "Putting 1 KB (hash and commit of one object) takes less than 10 us.", "p95", "issue 3 l")
CACHED = Hypothesis("store.get_cached", "Getting 1 KB from the cache takes less than 1 us.", "p95 < 1 us", "issue 3 l")
PAGED = Hypothesis(
    "store.get_paged",
    "Getting 1 KB from the page cache, checked, takes less than 10 us.",
    "p95 < 10 us",
    "issue 3 l",
)
WRITERS = Hypothesis(
    "store.writers",
    f"{_AGENTS} writers at once on one store put {_PUTS_PER_S:,} new objects of 1 KB a second, one a commit, in less"
    " than 500 MB of memory.",
    f"puts >= {_PUTS_PER_S:,}/s; peak memory < 500 MB",
    "issue 3 l",
)
SHARED = Hypothesis(
    "store.deduplication",
    f"The workspaces of {_AGENTS} agents over one repository of {_FILES:,} files share at least 95 % of their bytes"
    f" after {_STEPS} recorded steps each.",
    "bytes stored, history included <= 5 % of the workspaces' bytes",
    "issue 3 l",
)
BACKUP = Hypothesis(
    "store.restore_backup", "Restoring a backup of 1 GB takes less than a minute.", "< 60 s", "issue 3 l"
)


def run(lab: Lab) -> Iterator[Finding]:
    """Measure the kernel from Rust, then what Python sees of it."""
    yield from (_quick(lab, finding) for finding in _kernel(lab))
    yield _hash_python(lab)
    yield _quick(lab, _deduplication(lab))
    yield _quick(lab, _restore(lab))


def _quick(lab: Lab, finding: Finding) -> Finding:
    if lab.quick and finding.unmeasured is None:
        finding.unmeasured = "--quick takes few samples of small sizes"
    return finding


def _series(samples: list[int]) -> Series:
    """Return samples of the kernel as a series: one a round, as they were taken in turns."""
    return Series(array("q", samples), array("q", range(len(samples))))


def _kernel(lab: Lab) -> Iterator[Finding]:
    program = kernel.built("bench_objects")
    if isinstance(program, str):
        for hypothesis in (HASH, PUT, CACHED, PAGED, WRITERS):
            yield Finding(hypothesis, unmeasured=program)
        return
    with lab.directory("store") as place:
        lab.say(f"objects, and {_AGENTS} writers, from Rust")
        report = kernel.output(program, place, lab.pick(1000, 100), _AGENTS, lab.pick(5000, 500))
    series = {name: _series(samples) for name, samples in report["samples_ns"].items()}
    yield _hash(series)
    single = (
        (PUT, "put 1024", 10, "batch.put_new and store.commit of one new object of 1,024 bytes"),
        (CACHED, "get cached 1024", 1, "BlobCache::get, any of some thousand objects (a sample: the mean of 8 calls)"),
        (PAGED, "get page cache 1024", 10, "store.get, any of some thousand objects: one read, checksum, hash"),
    )
    for hypothesis, name, limit_us, subject in single:
        ours = series[name]
        yield Finding(
            hypothesis,
            f"from Rust: {subject}",
            ours.distribution(),
            changes=len(ours) if hypothesis is PUT else 0,
            durability=workloads.DURABILITY,
            checks=[below("p95", ours.percentile_us(0.95), limit_us, "us")],
        )
    rate = report["puts_per_s"]
    yield Finding(
        WRITERS,
        f"from Rust: {_AGENTS} threads of one process on one store, each put_new of 1,024 new bytes and commit, again"
        " and again",
        changes=report["puts"],
        durability=workloads.DURABILITY,
        checks=[
            below(f"{_PUTS_PER_S:,} puts/s over ours", _PUTS_PER_S / rate, 1, "x", relation="<="),
            below("peak memory", report["peak_memory_bytes"] / 1e6, _MEMORY_BYTES / 1e6, "MB"),
        ],
        values={"puts_per_s": rate},
    )


def _hash(series: dict[str, Series]) -> Finding:
    checks: list[Check] = []
    values: dict[str, float | int | str] = {}
    peers: list[Peer] = []
    for size in _SIZES:
        ours, theirs = series[f"id_of {size}"], series[f"blake3 {size}"]
        checks.append(below(f"p50 / blake3's, {size} B", ratio_of_medians(ours, theirs), 1.1, "x", relation="<="))
        if size <= 64 << 10:
            checks.append(below(f"p95, {size} B", ours.percentile_us(0.95), 10, "us"))
        values[f"p50_us {size} B"] = ours.distribution().p50_us
        values[f"p95_us {size} B"] = ours.distribution().p95_us
        peers.append(compare(f"blake3 {size} B", "blake3::hash", ours, theirs))
    return Finding(
        HASH,
        "from Rust: Kind::id_of, in turns with blake3::hash of the same bytes; below 16 KB a sample is the mean of a"
        " burst",
        series[f"id_of {_SIZES[-1]}"].distribution(),
        changes=0,
        checks=checks,
        peers=peers,
        values=values,
        notes=[f"The row of pyi is that of {_SIZES[-1]:,} bytes; the others stand below as values."],
    )


def _hash_python(lab: Lab) -> Finding:
    try:
        blake3: Callable[[bytes], Any] = importlib.import_module("blake3").blake3
    except ImportError:
        return Finding(PYTHON, unmeasured="the package `blake3` is not installed")
    source = random.Random(1)

    def sampler(function: Callable[[bytes], Any], content: bytes) -> Callable[[int], int]:
        def sample(_: int) -> int:
            before = perf_counter_ns()
            function(content).digest()
            return perf_counter_ns() - before

        return sample

    subjects = []
    for size in _SIZES:
        content = source.randbytes(size)
        burst = 50 if size < 1 << 20 else 2
        subjects.append(Subject(f"blake3 {size} B", sampler(blake3, content), burst=burst))
        subjects.append(Subject(f"sha256 {size} B", sampler(hashlib.sha256, content), burst=burst))
    series = interleave(subjects, lab.pick(200, 20), warmup=2)
    first, *_ = series
    values: dict[str, float | int | str] = {}
    for name, found in series.items():
        values[f"p50_us {name}"] = found.distribution().p50_us
        values[f"p95_us {name}"] = found.distribution().p95_us
    return Finding(
        PYTHON,
        "blake3(content).digest() and hashlib.sha256(content).digest() of the same bytes, in turns",
        series[first].distribution(),
        changes=0,
        values=values,
        notes=["pyi does not offer its hash by itself; reads and checkpoints from Python are measured elsewhere."],
    )


def _deduplication(lab: Lab) -> Finding:
    agents = lab.pick(_AGENTS, 50)
    tree = Tree(lab.pick(_FILES, 500))
    with workloads.filled_store(lab, tree) as (repository, workspace):
        lab.say(f"{agents} agents, {_STEPS} steps each")
        forks = []
        for agent in range(agents):
            fork = workspace.fork()
            edit = workloads.edits(tree, seed=1000 + agent)
            for step in range(_STEPS):
                fork.write(*edit(step))
                fork.checkpoint()
            forks.append(fork)
        stored = int(repository.stats()["bytes_stored"])
        # What an edit does to a size is left out: files of a median of 600 bytes become 1,024 bytes long.
        whole = sum(len(tree.data(number)) for number in range(tree.count)) * agents
    share = stored / whole
    return Finding(
        SHARED,
        f"{agents} forks of a workspace of {tree.count:,} files, each with {_STEPS} files of 1 KB changed and as many"
        " checkpoints; all bytes in segments (history, nodes, headers) over the bytes of the files of all workspaces",
        changes=agents * _STEPS,
        durability=workloads.DURABILITY,
        checks=[below("stored / held", share * 100, 5, "%", relation="<=")],
        values={"stored_mb": stored / 1e6, "workspaces_mb": whole / 1e6, "deduplicated_percent": (1 - share) * 100},
    )


def _restore(lab: Lab) -> Finding:
    absent = missing(pyi, ("restore_backup", "Repository.backup"))
    if absent:
        return Finding(BACKUP, unmeasured=f"this build has no {', '.join(absent)}")
    size = lab.pick(_BACKUP_BYTES, 32 << 20)
    with lab.directory("backup") as place:
        lab.say(f"a backup of {size / 1e9:.2f} GB")
        elapsed_s, wrong = _backup_and_restore(place, size)
    return Finding(
        BACKUP,
        f"pyi.restore_backup of {size / 1e9:.2f} GB in files of 1 MB, from a directory on the same disk; every file is"
        " compared afterwards",
        changes=0,
        durability=workloads.DURABILITY,
        checks=[below("restore", elapsed_s, 60, "s"), below("wrong files", wrong, 0, relation="=")],
    )


def _call(owner: Any, name: str) -> Callable[..., Any]:
    """Return what a build may lack, which a check of its types must not depend on."""
    found: Callable[..., Any] = getattr(owner, name)
    return found


def _backup_and_restore(place: Path, size: int) -> tuple[float, int]:
    """Make a store and a backup of it, restore that, and return the seconds of that and the files that differ."""
    source = random.Random(2)
    contents = [source.randbytes(1 << 20) for _ in range(64)]

    def content(number: int) -> bytes:
        return number.to_bytes(8, "big") + contents[number % 64][8:]

    count = size >> 20
    with pyi.open(place / "store", durability=workloads.DURABILITY) as repository:
        workspace = repository.workspace()
        for number in range(count):
            workspace.write(f"f{number}", content(number))
        workspace.checkpoint()
        workspace.publish("main")
        _call(repository, "backup")(place / "backup")
    begin = perf_counter()
    restored = _call(pyi, "restore_backup")(place / "backup", place / "restored")
    elapsed_s = perf_counter() - begin
    with restored:
        workspace = restored.workspace()
        wrong = sum(workspace.read(f"f{number}") != content(number) for number in range(count))
    return elapsed_s, wrong


EXPERIMENT = Experiment("store", (HASH, PUT, CACHED, PAGED, WRITERS, PYTHON, SHARED, BACKUP), run)
