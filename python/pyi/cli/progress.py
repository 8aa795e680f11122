"""A bar for work that is counted in bytes: on a terminal, and nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO, cast

from pyi.cli.output import Deaf

__all__ = ["watch_bytes"]


@contextmanager
def watch_bytes(stream: TextIO, title: str) -> Generator[Callable[[int, int], None] | None]:
    """Show a bar on `stream`; gives the callback to hand on, or None where nobody would see a bar."""
    if not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=cast("TextIO", Deaf(stream))),
        transient=True,
    )
    task = bar.add_task(title, total=None)
    with bar:
        yield lambda done, total: bar.update(task, completed=done, total=total)
