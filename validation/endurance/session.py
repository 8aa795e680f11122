"""`session`: a loop of a million steps is killed a thousand times, and ends as one that was not."""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import random
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyi
from validation.endurance.children import Child, Say, spawn
from validation.statistics import Distribution

__all__ = ["add_arguments", "run"]

_NAME = "run"
_MARK_EVERY = 100
_MARKS = 50
_FORKS = 200
_LOOK_S = 0.0002
_EARLY, _EARLY_S = 0.1, 0.05
_REPORT_S = 10.0
# The step that was begun last, and the last one that may go on.
_PLACE = struct.Struct("=QQ")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--steps", type=int, default=1_000_000, help="steps of the loop (default: 1000000)")
    parser.add_argument("--kills", type=int, default=1_000, help="SIGKILLs on the way (default: 1000)")
    parser.add_argument(
        "--generators",
        choices=["philox", "legacy"],
        default="philox",
        help="what the steps draw from (default: philox)",
    )


@dataclass
class Work:
    """What a step computes, with and without a session: nothing in here knows of the engine."""

    generators: str
    rng: Any = None
    place: float = 0.0
    files: dict[str, bytes] = field(default_factory=dict)
    events: list[tuple[int, float]] = field(default_factory=list)

    def seed(self, seed: str) -> None:
        """Begin."""
        import numpy as np

        number = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=4).digest())
        random.seed(number)
        np.random.seed(number)
        self.rng = np.random.Generator(np.random.Philox(number))

    def draw(self) -> float:
        """Draw from all that is drawn from."""
        if self.generators == "philox":
            return float(self.rng.random())
        import numpy as np

        return random.gauss(0, 1) + float(np.random.standard_normal())

    def digest(self) -> str:
        """Return a hash of what is left at the end."""
        found = hashlib.blake2b(struct.pack("<d", self.place))
        for path, data in sorted(self.files.items()):
            found.update(f"{path} {data!r}".encode())
        for number, place in self.events:
            found.update(struct.pack("<Qd", number, place))
        return found.hexdigest()


def _plain(options: argparse.Namespace, wanted: set[int]) -> tuple[str, dict[int, float]]:
    """Run the loop without a session; return its digest, and the places before the wanted steps."""
    work = Work(options.generators)
    work.seed(options.seed)
    places = {}
    for step in range(options.steps):
        if step in wanted:
            places[step] = work.place
        work.place = 0.999 * work.place + work.draw()
        if step % _MARK_EVERY == 0:
            work.files[f"mark/{step // _MARK_EVERY % _MARKS}"] = repr(work.place).encode()
            work.events.append((step, work.place))
    return work.digest(), places


def _child(options: argparse.Namespace, store: Path, shared: mmap.mmap, say: Say) -> None:
    """Run the loop in a session, from wherever it is; say when it goes on, and what is left when it is through."""
    begin = time.perf_counter()
    work = Work(options.generators)
    work.seed(options.seed)
    place_of, count, steps = (
        memoryview(shared)[: _PLACE.size].cast("Q"),
        memoryview(shared)[_PLACE.size :],
        options.steps,
    )
    repository = pyi.open(store)
    rngs = {"walk": work.rng} if options.generators == "philox" else {}
    with pyi.session(repository, _NAME, generators=rngs) as session:
        workspace, state = session.workspace, session.state
        state["place"] = 0.0
        is_first = True
        for step in session.steps(range(steps)):
            count[step] += 1
            place_of[0] = step
            while step > place_of[1]:
                time.sleep(_LOOK_S)  # whoever kills is late
            if is_first:
                is_first = False
                say("on", step, time.perf_counter() - begin)
            place = 0.999 * state["place"] + work.draw()
            state["place"] = place
            if step % _MARK_EVERY == 0:
                workspace.write(f"mark/{step // _MARK_EVERY % _MARKS}", repr(place))
                session.journal.append("mark", step=step, place=place)
        work.place = state["place"]
        work.files = {entry.path: bytes(workspace.read(entry.path)) for entry in workspace.walk()}
        work.events = [(event.data["step"], event.data["place"]) for event in session.journal]
        say("end", work.digest(), session.report.to_dict())
    repository.close()


def run(options: argparse.Namespace, store: Path) -> int:
    """Run the recipe and return the exit status."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # children are forked
    chance = random.Random(options.seed)
    forks = sorted({0, options.steps - 1, *(chance.randrange(options.steps) for _ in range(_FORKS))})
    expected, places = _plain(options, set(forks))
    print("the loop without a session is through", flush=True)
    lives = _Lives(options, store, chance)
    digest, report = lives.lead()
    wrong = list(lives.wrong)
    if digest != expected:
        wrong.append("what is left differs from what the loop without a session leaves")
    executed = lives.executed()
    repeated = sum(executed) - options.steps
    if min(executed) < 1:
        wrong.append(f"{executed.count(0)} steps were never begun")
    if repeated > lives.kills:
        wrong.append(f"{repeated} steps were repeated after {lives.kills} kills")
    if lives.kills < options.kills:
        wrong.append(f"only {lives.kills} kills: the loop was too short for more")
    found_us = list(_forks(store, options, places, wrong))
    resumes = Distribution.of(seconds * 1e9 for seconds in lives.resumes_s)
    if resumes.max_us >= 1e6:
        wrong.append("a resume took a second or more")
    print(
        f"steps {options.steps}, kills {lives.kills}, resumes {report['resumes']}, in {lives.seconds:.0f} s\n"
        f"what is left: {'bit-identical' if digest == expected else 'DIFFERENT'}\n"
        f"steps repeated {repeated} (the session says {report['repeated']}), no step more than {max(executed)} x\n"
        f"resume, from opening the store to the step: p50 {resumes.p50_us / 1e3:.1f} ms,"
        f" p99 {resumes.p99_us / 1e3:.1f} ms, max {resumes.max_us / 1e3:.1f} ms\n"
        f"fork_at at {len(found_us)} steps: p50 {Distribution.of(us * 1e3 for us in found_us).p50_us:.0f} us,"
        f" max {max(found_us):.0f} us\n"
        f"bytes a step: {' '.join(f'{name} {size / options.steps:.0f}' for name, size in _sizes(store).items())}\n"
        f"violations {len(wrong)}{''.join(f'; {what}' for what in wrong[:20])}"
    )
    return 1 if wrong else 0


class _Lives:
    """One process after the other, and what became of them."""

    def __init__(self, options: argparse.Namespace, store: Path, chance: random.Random) -> None:
        self._options, self._store, self._chance = options, store, chance
        self._shared = mmap.mmap(-1, _PLACE.size + options.steps)
        self.kills = 0
        self.resumes_s: list[float] = []
        self.wrong: list[str] = []
        self.seconds = 0.0

    def begun(self) -> int:
        """Return the step that was begun last."""
        return int(_PLACE.unpack_from(self._shared)[0])

    def executed(self) -> bytes:
        """Return how often each step was begun."""
        return self._shared[_PLACE.size :]

    def lead(self) -> tuple[str, dict[str, Any]]:
        """Kill as many as were asked for, and return what the last one says."""
        begin = reported = time.monotonic()
        while True:
            before = self.begun()
            is_first = self.kills == 0
            target = self._plan(before)
            child = spawn("session", self.kills, lambda say: _child(self._options, self._store, self._shared, say))
            said = self._watch(child, target)
            for event in said:
                if event[0] == "on":
                    self.resumes_s.append(event[2])
                    # The step that was in flight, or the one behind it if its checkpoint was there already.
                    if not (event[1] in (before, before + 1) or (is_first and event[1] == 0)):
                        self.wrong.append(f"step {before} was begun last, and the next process went on at {event[1]}")
                elif event[0] == "end":
                    self.seconds = time.monotonic() - begin
                    return event[1], event[2]
                else:
                    raise RuntimeError(f"a child failed: {event}")
            if time.monotonic() - reported > _REPORT_S:
                reported = time.monotonic()
                print(f"{reported - begin:7.0f} s  step {self.begun()}  kills {self.kills}", flush=True)

    def _plan(self, before: int) -> float | None:
        """Choose the step that the next process is killed in, if it is not to live, and let it run to about there."""
        left, last = self._options.kills - self.kills, self._options.steps - 1
        if left <= 0:
            _PLACE.pack_into(self._shared, 0, before, last)
            return None
        mean = (last - before) / (left + 1)
        target: float = min(before + 1 + self._chance.expovariate(1 / max(1.0, mean)), last)
        _PLACE.pack_into(self._shared, 0, before, max(0, min(int(target + 1 + mean / 4), last - 1)))
        return target

    def _watch(self, child: Child, target: float | None) -> list[Any]:
        if target is None:
            return self._to_the_end(child)
        if self._chance.random() < _EARLY:
            time.sleep(self._chance.uniform(0, _EARLY_S))  # while it opens the store and the session
        else:
            while self.begun() < target and not child.has_ended():
                time.sleep(_LOOK_S)
            time.sleep(self._chance.uniform(0, _LOOK_S))  # anywhere in a step, its checkpoint too
        self.kills += 1
        return child.kill()

    def _to_the_end(self, child: Child) -> list[Any]:
        said = []
        while not child.ended:
            said += child.read()
        child.bury()
        return said


def _forks(store: Path, options: argparse.Namespace, places: dict[int, float], wrong: list[str]) -> Iterator[float]:
    """Fork at steps all over the run, and compare; how long each took, in microseconds."""
    rng = Work(options.generators)
    rng.seed(options.seed)
    rngs = {"walk": rng.rng} if options.generators == "philox" else {}
    with pyi.open(store) as repository, pyi.session(repository, _NAME, generators=rngs) as session:
        for step, place in places.items():
            begin = time.perf_counter()
            fork = session.fork_at(step)
            yield 1e6 * (time.perf_counter() - begin)
            if fork.done != step or fork.state["place"] != place:
                wrong.append(f"a fork at step {step} stands at {fork.done} with {fork.state['place']}, not {place}")


def _sizes(store: Path) -> dict[str, int]:
    """Return the bytes of the store's files on the disk, by their kind."""
    found: dict[str, int] = {}
    for path in store.rglob("*"):
        if path.is_file():
            kind = path.suffix.removeprefix(".") or "other"
            found[kind] = found.get(kind, 0) + 512 * path.stat().st_blocks
    return dict(sorted(found.items(), key=lambda item: -item[1]))
