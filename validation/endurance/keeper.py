"""A process that makes incremental backups of a store while others write."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from validation.endurance.children import Say, wait_while_halted
from validation.endurance.opening import open_store

__all__ = ["Duty", "keep_backups"]

# Backups only add; after so many a new target is begun, and the one before the last is removed.
_BACKUPS_IN_TARGET = 20
# Between two backups, so that nobody takes it for stuck.
_WORD_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Duty:
    """What to back up, where to, and how often."""

    store: Path
    targets: Path
    pause_s: float
    halt: Callable[[], int]


def keep_backups(duty: Duty, say: Say) -> None:
    """Back up until killed."""
    with open_store(duty.store) as repo:
        number, next_at = 0, time.monotonic()
        heard_at = next_at
        while True:
            wait_while_halted(duty.halt, say)
            if time.monotonic() < next_at:
                time.sleep(0.05)
                if time.monotonic() > heard_at + _WORD_EVERY_S:
                    say("waiting")
                    heard_at = time.monotonic()
                continue
            next_at += duty.pause_s
            target = duty.targets / str(number // _BACKUPS_IN_TARGET)
            begin = time.time()
            report = repo.backup(target)
            say("backed up", str(target), begin, time.time(), report.full, report.bytes_copied, report.bytes_total)
            if report.full and number:
                shutil.rmtree(duty.targets / str(number // _BACKUPS_IN_TARGET - 2), ignore_errors=True)
            number += 1
