"""Watching: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

from pyi.cli.output import Deaf
from pyi.cli.text import seconds_text

if TYPE_CHECKING:
    from rich.table import Table

    from pyi.workflow.candidate import Event
    from pyi.workflow.result import CandidateResult
    from pyi.workflow.swarm import SwarmEvent

__all__ = ["watch_race", "watch_swarm"]

_REFRESH_PER_S = 8
_ROWS = 16
_LINE_EVERY_S = 2.0


@contextmanager
def watch_race(stream: TextIO) -> Generator[Callable[[Event], None]]:
    """Show a race on `stream` while it runs; gives the callback to hand to `race`, which never fails."""
    quiet = cast("TextIO", Deaf(stream))
    if not stream.isatty():
        yield _RaceLines(quiet).on_event
        return
    from rich.console import Console
    from rich.live import Live

    board = _Board()
    console = Console(file=quiet)
    live = Live(get_renderable=board.table, console=console, refresh_per_second=_REFRESH_PER_S, transient=True)

    def on_event(event: Event) -> None:
        if event.kind == "warning":
            console.print(f"pyi race: warning: {event.text}", markup=False, highlight=False)
        board.on_event(event)

    with live:
        yield on_event


class _RaceLines:
    """One line for each candidate that ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def on_event(self, event: Event) -> None:
        if event.kind == "warning":
            line = f"warning: {event.text}"
        elif event.kind == "setup":
            line = f"setup: {event.text}"
        elif event.kind == "done" and event.result is not None:
            line = _result_line(event.result)
        else:
            return
        print(f"pyi race: {line}", file=self._stream, flush=True)


def _result_line(one: CandidateResult) -> str:
    score = f", score {one.score:g}" if one.passed else ""
    earlier = ", finished earlier" if one.resumed else ""
    return f"candidate {one.index} {one.status.value}{score} in {seconds_text(one.seconds)}{earlier}"


class _Board:
    """The state of a race, as a table: who runs, who is best, and counts for the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._title = "race"
        self._phase = "preparing"
        self._running: dict[int, tuple[str, float]] = {}
        self._checkpoints = Counter[int]()
        self._done: dict[int, CandidateResult] = {}

    def on_event(self, event: Event) -> None:
        with self._lock:
            if event.kind == "start":
                self._title = f"race {event.text}"
            elif event.kind in ("setup", "export", "collapse"):
                self._phase = f"{event.kind} {event.text}"
            elif event.index is not None:
                self._candidate(event.kind, event.index, event.result)

    def _candidate(self, kind: str, index: int, result: CandidateResult | None) -> None:
        if kind == "agent":
            self._phase = "racing"
            self._running[index] = ("agent", time.monotonic())
        elif kind == "test":
            self._running[index] = ("test", self._running.get(index, ("", time.monotonic()))[1])
        elif kind == "checkpoint":
            self._checkpoints[index] += 1
        elif kind == "done" and result is not None:
            self._running.pop(index, None)
            self._done[index] = result

    def table(self) -> Table:
        from rich.table import Table

        with self._lock:
            counts = Counter(result.status.value for result in self._done.values())
            words = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
            table = Table(title=f"{self._title}: {self._phase}", caption=words or None, title_justify="left")
            for name in ("#", "state", "score", "time", "files", "lines", "checkpoints"):
                table.add_column(name, justify="left" if name == "state" else "right")
            now = time.monotonic()
            for index, (state, since) in sorted(self._running.items())[:_ROWS]:
                kept = str(self._checkpoints[index] or "")
                table.add_row(str(index), state, "", seconds_text(now - since), "", "", kept, style="cyan")
            best = sorted(self._done.values(), key=lambda one: (not one.passed, one.rank))
            for one in best[: max(3, _ROWS - len(self._running))]:
                score = f"{one.score:g}" if one.passed else "-"
                figures = (seconds_text(one.seconds), str(one.files), str(one.lines))
                kept = str(self._checkpoints[one.index] or "")
                style = "green" if one.passed else "dim"
                table.add_row(str(one.index), one.status.value, score, *figures, kept, style=style)
            return table


@contextmanager
def watch_swarm(stream: TextIO) -> Generator[Callable[[SwarmEvent], None]]:
    """Show a swarm on `stream` while it runs; gives the callback to hand to `swarm`, which never fails."""
    quiet = cast("TextIO", Deaf(stream))
    if not stream.isatty():
        yield _SwarmLines(quiet).on_event
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("checkpoints"),
        TimeElapsedColumn(),
        console=Console(file=quiet),
        transient=True,
    )
    task = bar.add_task("import", total=None)
    with bar:
        yield lambda event: bar.update(
            task, description=event.phase, completed=event.checkpoints, total=event.expected or None
        )


class _SwarmLines:
    """A line at the start of each phase, and one every two seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._phase = ""
        self._printed = 0.0

    def on_event(self, event: SwarmEvent) -> None:
        now = time.monotonic()
        if event.phase == self._phase and now - self._printed < _LINE_EVERY_S:
            return
        self._phase, self._printed = event.phase, now
        if event.phase != "done":
            count = f" {event.checkpoints:,} of {event.expected:,} checkpoints" if event.expected else ""
            print(f"pyi swarm: {event.phase}{count}", file=self._stream, flush=True)
