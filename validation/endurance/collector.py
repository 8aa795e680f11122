"""A collector: `repo.gc()` again and again, in all its ways."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from validation.endurance.children import Say, wait_while_halted
from validation.endurance.opening import open_store

__all__ = ["Rounds", "collect"]

# More than any store here holds: every dead byte is removed, and nothing that retention keeps.
_AMPLE_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often what is done, in shares of all rounds, and how long to rest between them."""

    store: Path
    rest_s: float
    halt: Callable[[], int]
    compact_share: float = 0.1
    scrub_share: float = 0.0


def collect(rounds: Rounds, say: Say) -> None:
    """Collect until killed."""
    begin = time.perf_counter()
    with open_store(rounds.store) as repo:
        say("opened", time.perf_counter() - begin)
        source = random.Random()
        while True:
            wait_while_halted(rounds.halt, say)
            if source.random() < rounds.scrub_share:
                report = repo.scrub()
                say("scrubbed", report.clean, report.checked, report.seconds, report.damaged[:5], report.places[:5])
            budget = _AMPLE_BYTES if source.random() < 0.5 else None
            done = repo.gc(budget_bytes=budget, compact=source.random() < rounds.compact_share)
            say(
                "collected",
                done.bytes_before,
                done.bytes_after,
                done.live_bytes,
                done.objects_removed,
                done.seconds,
                done.gave_up,
            )
            time.sleep(source.uniform(0, 2 * rounds.rest_s))
