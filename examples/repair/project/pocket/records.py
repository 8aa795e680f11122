"""Reading and writing delimited text, with quotes."""

from __future__ import annotations

from collections.abc import Iterable

Row = list[str]


def split_line(line: str, delimiter: str = ",", quote: str = '"') -> Row:
    """Split one line into fields; a doubled quote stands for itself."""
    fields: Row = []
    field = ""
    quoted = False
    i = 0
    while i < len(line):
        char = line[i]
        if quoted:
            if char == quote and line[i + 1 : i + 2] == quote:
                field += quote
                i += 1
            elif char == quote:
                quoted = False
            else:
                field += char
        elif char == quote:
            quoted = True
        elif char == delimiter:
            fields.append(field)
            field = ""
        else:
            field += char
        i += 1
    if quoted:
        raise ValueError("a quote is never closed")
    fields.append(field)
    return fields


def join_fields(fields: Iterable[str], delimiter: str = ",", quote: str = '"') -> str:
    """The inverse of ``split_line``: quote what must be quoted."""
    parts: list[str] = []
    for field in fields:
        if delimiter in field or quote in field:
            field = quote + field.replace(quote, quote + quote) + quote
        parts.append(field)
    return delimiter.join(parts)


def parse(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Rows as dictionaries; the first line names the columns.

    Blank lines and lines which start with ``#`` are skipped, a short row is
    filled with empty fields.
    """
    header: Row | None = None
    rows: list[dict[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = split_line(line, delimiter)
        if header is None:
            header = [name.strip() for name in fields]
            continue
        if len(fields) > len(header):
            raise ValueError(f"line {number} has too many fields")
        fields += [""] * (len(header) - len(fields))
        rows.append(dict(zip(header, fields)))
    return rows


def group_totals(
    rows: Iterable[dict[str, str]], key: str, value: str
) -> dict[str, int]:
    """The sum of column ``value`` for each distinct ``key``."""
    totals: dict[str, int] = {}
    for row in rows:
        name = row[key]
        totals[name] = totals.get(name, 0) + int(row[value] or 0)
    return totals
