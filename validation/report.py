"""Findings as text for people and as JSON lines for programs. Judges nothing: verdicts come with the findings."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from typing import Any, TextIO

from validation.hypothesis import Check, Finding, Guarantees
from validation.machine import Machine
from validation.statistics import Distribution, Interval

__all__ = ["JsonLines", "describe", "machine_text", "summary"]

_WIDTH = 110


def describe(finding: Finding) -> str:
    """Return everything about one finding, in a block of lines."""
    hypothesis = finding.hypothesis
    lines = [
        f"{hypothesis.id}   [{finding.verdict.upper()}{_doubt(finding)}]   {hypothesis.source}",
        *_wrapped("claim", hypothesis.claim),
        *_wrapped("target", hypothesis.target or "none: printed for comparison"),
    ]
    if finding.subject:
        lines += _wrapped("measured", finding.subject)
    if finding.changes is not None or finding.durability is not None:
        changes = "" if finding.changes is None else f"{finding.changes:,} changes"
        lines += _wrapped("covers", ", ".join(filter(None, [changes, f"durability: {finding.durability or 'none'}"])))
    rows: list[list[str]] = []
    # A column that nobody fills is left out.
    with_bytes = finding.step_bytes is not None or any(peer.step_bytes is not None for peer in finding.peers)
    if finding.measured is not None:
        rows.append(
            ["pyi", *_latency(finding.measured), "", _bytes(finding.step_bytes), _guarantees(finding.guarantees)]
        )
    rows += [[name, *_latency(found), "", "", ""] for name, found in finding.rows.items()]
    for peer in finding.peers:
        ratio = "" if peer.ratio is None else _interval(peer.ratio) + "x"
        guarantees = _guarantees(peer.guarantees)
        rows.append([peer.name, *_latency(peer.measured), ratio, _bytes(peer.step_bytes), guarantees])
    if rows:
        rows.insert(0, ["", "p50", "p95", "p99", "max", "samples", "ratio of p50 (95 %)", "bytes a step", ""])
        lines += _table(rows if with_bytes else [[*row[:7], row[8]] for row in rows])
        lines += [f"      {peer.name}: {peer.step}" for peer in finding.peers if peer.step]
    for check in finding.checks:
        lines += _wrapped("check", _check(check))
    for name, value in finding.values.items():
        lines += _wrapped("value", f"{name} = {_value(value)}")
    for note in finding.notes:
        lines += _wrapped("note", note)
    if finding.unmeasured is not None:
        lines += _wrapped("reason", finding.unmeasured)
    return "\n".join(lines)


def summary(findings: Iterable[Finding]) -> str:
    """Return one line for each hypothesis, and the counts."""
    found = list(findings)
    width = max((len(finding.hypothesis.id) for finding in found), default=0)
    lines = []
    counts: dict[str, int] = {}
    for finding in found:
        counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
        figures = "; ".join(f"{check.what} {_number(check.value)} {check.unit}".rstrip() for check in finding.checks)
        if not finding.checks and finding.measured is not None:
            figures = f"p50 {_us(finding.measured.p50_us)}, p95 {_us(finding.measured.p95_us)}"
        shown = figures if finding.unmeasured is None else "; ".join(filter(None, [figures, finding.unmeasured]))
        verdict = finding.verdict + _doubt(finding)
        lines.append(f"{finding.hypothesis.id:{width}}  {verdict:26}  {textwrap.shorten(shown, 120)}")
    lines.append("; ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "nothing was measured")
    return "\n".join(lines)


def machine_text(machine: Machine, load_after: tuple[float, float, float]) -> str:
    """Return what the figures were measured on."""
    peers = ", ".join(f"{name} {version}" for name, version in machine.peers.items()) or "none installed"
    return "\n".join(
        [
            f"{machine.cpu}, {machine.cores} cores, {machine.memory_bytes / 2**30:.1f} GiB, {machine.kernel}",
            f"scratch directory {machine.scratch}: {machine.file_system}",
            f"python {machine.python}, pyi {machine.pyi}, git {machine.git}, peers: {peers}",
            f"load average {_load(machine.load_before)} before, {_load(load_after)} after; started {machine.time}",
            f"reading the clock twice costs {machine.clock_ns} ns, which is part of every sample",
        ]
    )


class JsonLines:
    """One JSON object a line: each finding as soon as it is there, the machine at the end."""

    def __init__(self, file: TextIO) -> None:
        """Write to an open file."""
        self._file = file

    def finding(self, experiment: str, finding: Finding, load: tuple[float, float, float]) -> None:
        """Write a finding, with the load under which it was made."""
        self._write({"kind": "finding", "experiment": experiment, **finding.to_dict(), "load": load})

    def machine(self, machine: Machine, load_after: tuple[float, float, float], *, quick: bool, seconds: float) -> None:
        """Write the machine and the run."""
        run = {"load_after": load_after, "quick": quick, "seconds": round(seconds, 3)}
        self._write({"kind": "machine", **machine.to_dict(), **run})

    def _write(self, data: dict[str, Any]) -> None:
        self._file.write(json.dumps(data) + "\n")
        self._file.flush()


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=f"  {label + ':':10}", subsequent_indent=" " * 12, break_long_words=False
    )


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    last = len(widths) - 1
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("    " + "  ".join(cells)).rstrip())
    return lines


def _latency(distribution: Distribution) -> list[str]:
    """Return the cells of a row. A tail that fewer samples than it needs would make up is not shown."""
    count = distribution.count
    return [
        _us(distribution.p50_us),
        _us(distribution.p95_us) if count >= 20 else "-",
        _us(distribution.p99_us) if count >= 100 else "-",
        _us(distribution.max_us),
        f"{count:,}",
    ]


def _bytes(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _us(value_us: float) -> str:
    for limit, unit, scale in ((1, "ns", 1e-3), (1e3, "us", 1), (1e6, "ms", 1e3)):
        if value_us < limit:
            return f"{_number(value_us / scale)} {unit}"
    return f"{_number(value_us / 1e6)} s"


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _value(value: float | int | str) -> str:
    return value if isinstance(value, str) else _number(value)


def _interval(interval: Interval) -> str:
    return f"{_number(interval.value)} ({_number(interval.low)}-{_number(interval.high)})"


def _check(check: Check) -> str:
    unit = f" {check.unit}" if check.unit else ""
    value = _number(check.value)
    if check.low is not None and check.high is not None:
        value = _interval(Interval(check.value, check.low, check.high))
    answer = "yes" if check.holds else "NO"
    doubt = "" if check.decided else ", but the interval reaches beyond the limit"
    return f"{check.what}: {value}{unit} {check.relation} {_number(check.limit)}{unit}: {answer}{doubt}"


def _doubt(finding: Finding) -> str:
    return ", uncertain" if finding.checks and finding.unmeasured is None and not finding.decided else ""


def _guarantees(guarantees: Guarantees | None) -> str:
    if guarantees is None:
        return ""
    words = [
        "isolated" if guarantees.isolated else "shared",
        "history" if guarantees.history else "no history",
        f"survives {guarantees.survives}",
        "real directory" if guarantees.directory else "virtual",
    ]
    return ", ".join(words)


def _load(load: tuple[float, float, float]) -> str:
    return "/".join(f"{value:g}" for value in load)
