"""Laying out plain text."""

from __future__ import annotations

from collections.abc import Sequence


def wrap(text: str, width: int) -> list[str]:
    """Break text into lines of at most ``width``; a longer word is cut."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        while len(word) > width:
            if line:
                lines.append(line)
                line = ""
            lines.append(word[:width])
            word = word[width:]
        if not word:
            continue
        if not line:
            line = word
        elif len(line) + 1 + len(word) <= width:
            line = line + " " + word
        else:
            lines.append(line)
            line = word
    if line:
        lines.append(line)
    return lines


def justify(line: str, width: int) -> str:
    """Spread the words over ``width``; the extra spaces go to the left gaps."""
    words = line.split()
    if len(words) < 2:
        return line.strip()
    spaces = width - sum(len(word) for word in words)
    gaps = len(words) - 1
    each, extra = divmod(spaces, gaps)
    out = words[0]
    for i, word in enumerate(words[1:]):
        out += " " * each
        if i < extra:
            out += " "
        out += word
    return out


def shorten(text: str, width: int, mark: str = "...") -> str:
    """Cut text which is longer than ``width``, and mark the cut."""
    if len(text) <= width:
        return text
    keep = max(width - len(mark), 0)
    return text[:keep].rstrip() + mark[:width]


def table(rows: Sequence[Sequence[str]], gap: str = "  ") -> str:
    """Columns padded to their widest cell; numbers stand to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    lines: list[str] = []
    for row in rows:
        cells: list[str] = []
        for cell, width in zip(row, widths):
            if cell.lstrip("-").isdigit():
                cells.append(cell.rjust(width))
            else:
                cells.append(cell.ljust(width))
        lines.append(gap.join(cells).rstrip())
    return "\n".join(lines)
