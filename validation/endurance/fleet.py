"""Runs writers and collectors on one store, keeps the model of what they say, kills them, and has it all checked."""

from __future__ import annotations

import mmap
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyi.state  # noqa: F401  # the children find it in memory, also while the package is being replaced
from validation.endurance import collector, writer
from validation.endurance.children import Child, Event, Say, hear, spawn
from validation.endurance.model import Model, Value
from validation.endurance.verify import verify

__all__ = ["Fleet"]

_SILENCE_MAX_S = 60.0
_LATE_MAX = 20


class Fleet:
    """Writers and collectors, and what is known from them.

    Attributes:
        counts: How often what happened.
        violations: What must not happen, in words.
        longest: The longest of things that take seconds, by name.
    """

    def __init__(self, store: Path, seed: str, *, age_s: float, keeps_trail: bool = False) -> None:
        """Make the store."""
        self.store, self.seed = store, seed
        self.model = Model(age_s, keeps_trail=keeps_trail)
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.longest: dict[str, float] = {}
        self.children: list[Child] = []
        self.sizes: list[tuple[int, int]] = []
        self.gave_up: Counter[str] = Counter()
        self.others: dict[str, Callable[[Child, Event], None]] = {}
        self._flag = mmap.mmap(-1, mmap.PAGESIZE)
        self._halts = 0
        self._source = random.Random(seed)
        self._lives = 0
        self.run_alone("prepare", lambda say: writer.prepare(store, say, age_s=age_s))

    # Children

    def halted(self) -> int:
        """Return the number of the present halt, 0 if nobody is to wait; the same in all processes."""
        return self._flag[0]

    def start_writer(self, number: int, *, pause_s: float = 0.0, kind: str = "writer") -> Child:
        """Start a writer, at once and with what is known now."""
        self._lives += 1
        self.model.grow_old(time.time())
        job = writer.Job(self.store, number, f"{self.seed}/{number}/{self._lives}", pause_s, self.halted)
        return self.add(spawn(kind, number, lambda say: writer.write(job, self.model, say)))

    def start_collector(self, *, rest_s: float, kind: str = "collector", scrub_share: float = 0.0) -> Child:
        """Start a collector."""
        rounds = collector.Rounds(self.store, rest_s, self.halted, scrub_share=scrub_share)
        return self.add(spawn(kind, 0, lambda say: collector.collect(rounds, say)))

    def add(self, child: Child) -> Child:
        """Listen to a child from now on."""
        self.children.append(child)
        return child

    def kill(self, child: Child) -> None:
        """Kill a child and take its last words."""
        self.children.remove(child)
        self._take(child, child.kill())
        self.counts[f"{child.kind} kills"] += 1

    def listen(self, seconds: float) -> None:
        """Take what children say, for at most so long."""
        for child in hear(self.children, seconds):
            self._take(child, child.read())
            if child.ended:
                self.children.remove(child)
                status = child.bury()
                self.counts[f"{child.kind} ends"] += 1
                if status != 0:
                    self.violate(f"{child.kind} {child.number} ended by itself with status {status}")
        now = time.monotonic()
        for child in self.children:
            if now - child.heard > _SILENCE_MAX_S and not child.paused:
                self.violate(f"{child.kind} {child.number} is silent for {now - child.heard:.0f} s\n{child.where()}")
                self.kill(child)
                break

    def run_alone(self, kind: str, run: Callable[[Say], None]) -> None:
        """Run a child to its end and take what it says; the others go on, unheard."""
        child = spawn(kind, 0, run)
        while not child.ended:
            for _ in hear([child], 600.0):
                self._take(child, child.read())
        status = child.bury()
        if status != 0:
            self.violate(f"{kind} ended with status {status}")

    def kill_all(self) -> None:
        """Kill everybody."""
        for child in list(self.children):
            self.kill(child)

    def halt(self) -> bool:
        """Let everybody wait between two actions; whether all of them do."""
        # Numbered, as somebody may not have noticed yet that the halt before is over.
        self._halts = self._halts % 255 + 1
        for child in self.children:
            child.paused = False
        self._flag[0] = self._halts
        limit = time.monotonic() + _LATE_MAX
        while not all(child.paused for child in self.children) and time.monotonic() < limit:
            self.listen(0.1)
        return all(child.paused for child in self.children)

    def go_on(self) -> None:
        """Let everybody go on."""
        self._flag[0] = 0

    def verify(self, *, collect: bool, bare: bool = False) -> None:
        """Have a fresh process check everything. Nobody may be at work."""
        self.model.grow_old(time.time())
        quiet_since = time.time()
        self.run_alone(
            "verifier",
            lambda say: verify(self.store, self.model, say, quiet_since=quiet_since, collect=collect, bare=bare),
        )

    # What is said

    def violate(self, text: str) -> None:
        """Take note of something that must not happen."""
        self.violations.append(text)
        print(f"{time.strftime('%H:%M:%S')} VIOLATION {text}", flush=True)

    def delay(self, what: str, seconds: float) -> None:
        """Take note of how long something took."""
        self.longest[what] = max(seconds, self.longest.get(what, 0.0))

    def _take(self, child: Child, events: list[Event]) -> None:
        for name, *rest in events:
            other = self.others.get(name)
            if other is not None:
                other(child, [name, *rest])
            else:
                getattr(self, "_on_" + name.replace(" ", "_"))(child, *rest)

    def _on_waiting(self, child: Child) -> None:
        """Nothing to do: it was heard of."""

    def _on_opened(self, child: Child, seconds: float) -> None:
        self.counts[f"{child.kind} lives"] += 1
        self.delay("open", seconds)

    def _on_begin(self, child: Child, key: str, id: str, digest: str, begin: float) -> None:
        self.model.begin(key, Value(id, digest), begin)

    def _on_done(self, child: Child, key: str, id: str, digest: str, end: float, made: float) -> None:
        self._acknowledged(child)
        self.model.done(key, Value(id, digest), end)
        if made:
            self.model.checkpoint(id, digest, made, f"{key} of {child.number}")

    def _on_found(self, child: Child, key: str, id: str, digest: str) -> None:
        if key == "branch:main":
            self.model.main_is(id)
            return
        if key.startswith("kept:"):
            return
        flaw = self.model.found(key, Value(id, digest))
        self.counts["heads compared"] += 1
        if flaw is not None:
            self.violate(f"found by {child.kind} {child.number}: {flaw}")

    def _on_checkpoint(self, child: Child, id: str, digest: str, made: float, by: str) -> None:
        self._acknowledged(child)
        self.model.checkpoint(id, digest, made, f"{by} of {child.number}, pid {child.pid}")

    def _on_main(self, child: Child, id: str, digest: str) -> None:
        self.model.main_is(id)

    def _on_moving(self, child: Child, expect: str, id: str, digest: str) -> None:
        self.model.moving_main(expect, id, digest)

    def _on_moved(self, child: Child, id: str) -> None:
        self._acknowledged(child)
        self.model.moved_main(id)

    def _on_not_moved(self, child: Child, id: str) -> None:
        self.counts["conflicts"] += 1
        self.model.main_not_moved(id)

    def _on_collected(
        self, child: Child, before: int, after: int, live: int, removed: int, seconds: float, gave_up: str | None
    ) -> None:
        self.counts["collections"] += 1
        self.delay("collection", seconds)
        if gave_up is not None:
            self.gave_up[gave_up] += 1
        self.counts["objects removed"] += removed
        self.sizes.append((after, live))
        del self.sizes[:-100]

    def _on_scrubbed(
        self, child: Child, clean: bool, checked: int, seconds: float, damaged: list[str], places: list[Any]
    ) -> None:
        self.counts["scrubs"] += 1
        self.delay("scrub", seconds)
        # What is unclean for good the verifier finds, when nobody is at work.
        if not clean and places and any(place["flaw"] != "garbage" for place in places):
            self.violate(f"scrub beside writers: damaged {damaged}, places {places}")

    def _on_verified(self, child: Child, checked: int, young: int) -> None:
        self.counts["verifications"] += 1
        self.counts["checkpoints verified"] += checked

    def _on_size(self, child: Child, after: int, live: int, names: int) -> None:
        self.counts["names at the end"] = names
        self.sizes.append((after, live))
        self.delay("bytes after gc / live bytes", after / live)

    def _on_restored(self, child: Child, checked: int) -> None:
        self.counts["verified restores"] += 1

    def _on_paused(self, child: Child, halt: int) -> None:
        child.paused = halt == self.halted()

    def _on_resumed(self, child: Child) -> None:
        child.paused = False

    def _on_remains(self, child: Child, text: str) -> None:
        self.counts["scrubs that call remains of a collection or a torn tail damage"] += 1
        if self.counts["scrubs that call remains of a collection or a torn tail damage"] == 1:
            print(f"{time.strftime('%H:%M:%S')} remains: {text}", flush=True)

    def _on_violation(self, child: Child, text: str) -> None:
        self.violate(f"{child.kind} {child.number}: {text}")

    def _on_error(self, child: Child, kind: str, text: str) -> None:
        self.counts[f"errors {kind}"] += 1
        self.violate(f"{child.kind} {child.number} (pid {child.pid}): {text}")

    def _acknowledged(self, child: Child) -> None:
        self.counts["acknowledgements"] += 1
        if child.kill_at is None:
            child.kill_at = time.monotonic() + self.draw_life_s(child)

    def draw_life_s(self, child: Child) -> float:
        """Return how long a writer lives after its first acknowledgement."""
        return self._source.expovariate(1 / self.life_s) if self.life_s else float("inf")

    life_s: float = 0.0
