"""Numbers and tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bytes_text", "columns", "seconds_text", "us_text"]


def bytes_text(count: int) -> str:
    """Return a size for people: ``512 B``, ``3.4 kB``, ``12 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 9.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def seconds_text(seconds: float) -> str:
    """Return a duration for people: ``850 ms``, ``3.2 s``, ``4 min 05 s``, ``2 h 03 min``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def us_text(us: float) -> str:
    """Return a latency for people: ``0.42 us``, ``13 us``, ``1.2 ms``."""
    if us < 999.5:
        return f"{us:.2f} us" if us < 9.995 else f"{us:.0f} us"
    return f"{us / 1000:.1f} ms" if us < 999_500 else f"{us / 1e6:.1f} s"


def columns(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Return lines in which the cells stand below each other, right-aligned but for the columns `left`."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
