"""State and journal: a large array of which little changes, beside hashing and writing what has to be; events.

The array has one gigabyte. With `--quick` it has 64 MB, and there is no verdict on it.
"""

from __future__ import annotations

import importlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns
from types import ModuleType
from typing import Any

import pyi
from validation import workloads
from validation.hypothesis import Experiment, Finding, Hypothesis, below, compare
from validation.lab import Lab
from validation.statistics import Series, Subject, interleave

_FULL_BYTES = 1 << 30
_QUICK_BYTES = 64 << 20
_CHUNK_BYTES = 65_536
_CHUNK_ITEMS = _CHUNK_BYTES // 8
_CHANGED_SHARE = 0.01
_EVENTS = 256

TRACKED = Hypothesis(
    "state.tracked",
    "1 GB of NumPy state, 1 % of its chunks of 64 KB changed through a tracked array: the checkpoint (`process`) takes"
    " at most twice what hashing and writing those chunks takes.",
    "p50 < 2x the floor's",
    "issue 4 i",
)
ASSIGNED = Hypothesis(
    "state.assigned",
    "The same changed in a plain array: assignment and checkpoint take at most 1.3 times what hashing the array takes.",
    "p50 < 1.3x one hash pass",
    "issue 4 i",
)
LAZY = Hypothesis(
    "state.lazy",
    "In a store that was just opened: restore, and the first access to one chunk of the array, take less than 1 ms.",
    "p95 < 1,000 us",
    "issue 4 i",
)
APPEND = Hypothesis(
    "state.append",
    f"Appending an event of two fields to the journal takes less than 1 us (means of {_EVENTS}, so with the batches).",
    "p50 < 1 us",
    "issue 4, part 4",
)


def _packages() -> tuple[ModuleType, ModuleType] | str:
    try:
        return importlib.import_module("numpy"), importlib.import_module("blake3")
    except ImportError as error:
        return f"{error.name} is not installed"


class _Array:
    """An array of random bytes, the places that change next, and what a floor needs."""

    def __init__(self, numpy: ModuleType, blake3: ModuleType, size_bytes: int, path: Path) -> None:
        self.plain: Any = numpy.frombuffer(numpy.random.default_rng(7).bytes(size_bytes), "u8").copy()
        self._blake3 = blake3.blake3
        self.chunks = size_bytes // _CHUNK_BYTES
        self._source = random.Random(7)
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def close(self) -> None:
        os.close(self._fd)

    def places(self) -> list[int]:
        """Return the first element of 1 % of the chunks, anywhere."""
        count = max(1, int(self.chunks * _CHANGED_SHARE))
        return [chunk * _CHUNK_ITEMS for chunk in sorted(self._source.sample(range(self.chunks), count))]

    def value(self) -> int:
        return self._source.getrandbits(64)

    def hash_and_write(self, number: int) -> int:
        """Hash 1 % of the chunks one by one and write them with one call: what cannot be saved."""
        bytes_ = memoryview(self.plain).cast("B")
        chunks = [bytes_[place * 8 : place * 8 + _CHUNK_BYTES] for place in self.places()]
        before = perf_counter_ns()
        for chunk in chunks:
            self._blake3(chunk).digest()
        written = os.writev(self._fd, chunks)
        elapsed_ns = perf_counter_ns() - before
        if written != len(chunks) * _CHUNK_BYTES:
            raise OSError("a short write")
        return elapsed_ns

    def hash_pass(self, number: int) -> int:
        """Hash everything once, in one call and one thread."""
        bytes_ = memoryview(self.plain).cast("B")
        before = perf_counter_ns()
        self._blake3(bytes_).digest()
        return perf_counter_ns() - before


def _tracked(workspace: pyi.Workspace, array: _Array) -> Callable[[int], int]:
    view = workspace.state.array("array")

    def sample(number: int) -> int:
        for place in array.places():
            view[place] = array.value()
        before = perf_counter_ns()
        workspace.checkpoint()
        return perf_counter_ns() - before

    return sample


def _assigned(workspace: pyi.Workspace, array: _Array) -> Callable[[int], int]:
    def sample(number: int) -> int:
        for place in array.places():
            array.plain[place] = array.value()
        before = perf_counter_ns()
        workspace.state["array"] = array.plain
        workspace.checkpoint()
        return perf_counter_ns() - before

    return sample


def _lazy(store: Path, saved: str, array: _Array) -> Callable[[int], int]:
    def sample(number: int) -> int:
        place = array.places()[0]
        with pyi.open(store, durability=workloads.DURABILITY) as repository:
            workspace = repository.workspace()
            before = perf_counter_ns()
            workspace.restore(saved)
            view = workspace.state.array("array")
            found = view[place]
            elapsed_ns = perf_counter_ns() - before
            if view.chunks[1] != 1:
                raise RuntimeError("more than one chunk was fetched")
        if found != array.plain[place]:
            raise RuntimeError("the array is not what was stored")
        return elapsed_ns

    return sample


def _appends(workspace: pyi.Workspace) -> Callable[[int], int]:
    append = workspace.journal.append

    def sample(number: int) -> int:
        before = perf_counter_ns()
        for index in range(_EVENTS):
            append("tool", number=index, text="ran the tests")
        return (perf_counter_ns() - before) // _EVENTS

    return sample


def run(lab: Lab) -> Iterator[Finding]:
    """Change the array in every way in turns, then open it lazily, then append events."""
    found = _packages()
    if isinstance(found, str):
        for hypothesis in (TRACKED, ASSIGNED, LAZY):
            yield Finding(hypothesis, unmeasured=found)
    else:
        yield from _arrays(lab, *found)
    with lab.directory("journal") as place, pyi.open(place, durability=workloads.DURABILITY) as repository:
        series = interleave([Subject("append", _appends(repository.workspace()))], lab.pick(2000, 50))["append"]
    yield Finding(
        APPEND,
        f"journal.append with two fields, mean of {_EVENTS}",
        series.distribution(),
        changes=len(series) * _EVENTS,
        durability="memory",
        checks=[below("p50", series.percentile_us(0.5), 1, "us")],
    )


def _arrays(lab: Lab, numpy: ModuleType, blake3: ModuleType) -> Iterator[Finding]:
    size_bytes = lab.pick(_FULL_BYTES, _QUICK_BYTES)
    small = None if size_bytes == _FULL_BYTES else f"--quick takes an array of {size_bytes >> 20} MB"
    with lab.directory("state") as place:
        array = _Array(numpy, blake3, size_bytes, place / "floor")
        store = place / "store"
        lab.say(f"storing an array of {size_bytes >> 20} MB")
        with pyi.open(store, durability=workloads.DURABILITY) as repository:
            plain, tracked = repository.workspace(), repository.workspace()
            plain.state["array"] = array.plain
            saved = plain.checkpoint()
            tracked.restore(saved)
            lab.say("changing 1 % of it")
            few = interleave(
                [
                    Subject("tracked", _tracked(tracked, array), burst=3),
                    Subject("floor", array.hash_and_write, burst=3),
                ],
                lab.pick(25, 3),
                warmup=2,
            )
            all_ = interleave(
                [Subject("assigned", _assigned(plain, array)), Subject("hash", array.hash_pass)],
                lab.pick(25, 3),
            )
            saved = plain.checkpoint()
        lab.say("opening it again and again")
        lazy = interleave([Subject("lazy", _lazy(store, saved.id, array))], lab.pick(100, 5))["lazy"]
        array.close()
    changed = len(array.places())
    size = f"{size_bytes >> 20} MB"
    yield _finding(
        TRACKED,
        f"checkpoint after {changed} of {array.chunks} chunks of {size} were written to through state.array",
        few["tracked"],
        few["floor"],
        ("BLAKE3 of those chunks, one writev", 2),
        small,
    )
    yield _finding(
        ASSIGNED,
        f"assignment of {size}, of which {changed} chunks changed, and checkpoint",
        all_["assigned"],
        all_["hash"],
        (f"BLAKE3 of {size} in one call", 1.3),
        small,
    )
    yield Finding(
        LAZY,
        f"restore, state.array, one element of {size}, in a store that was just opened (files in the page cache)",
        lazy.distribution(),
        durability=workloads.DURABILITY,
        checks=[below("p95", lazy.percentile_us(0.95), 1000, "us")],
        unmeasured=small,
    )


def _finding(
    hypothesis: Hypothesis, subject: str, ours: Series, floor: Series, step: tuple[str, float], small: str | None
) -> Finding:
    peer = compare("floor", step[0], ours, floor)
    assert peer.ratio is not None
    return Finding(
        hypothesis,
        subject,
        ours.distribution(),
        changes=len(ours),
        durability=workloads.DURABILITY,
        checks=[below("p50 over the floor's", peer.ratio, step[1], "x")],
        peers=[peer],
        unmeasured=small,
    )


EXPERIMENT = Experiment("state", (TRACKED, ASSIGNED, LAZY, APPEND), run)
