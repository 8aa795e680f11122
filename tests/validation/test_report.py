"""Verdicts follow from numbers, and the report says all of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from validation import report
from validation.hypothesis import Check, Finding, Guarantees, Hypothesis, Peer, below
from validation.machine import Machine, file_system, load_average
from validation.statistics import Distribution, Interval

CLAIM = Hypothesis("thing.speed", "The thing is fast.", "p95 < 5 us", "issue 0 z")
FAST = Distribution(1000, 1.5, 2.25, 3, 4000)


def finding(*checks: Check, unmeasured: str | None = None) -> Finding:
    return Finding(CLAIM, "doing the thing", FAST, 1000, "process", list(checks), unmeasured=unmeasured)


@pytest.mark.parametrize(
    ("checks", "verdict", "decided"),
    [
        ([below("p95", Interval(2, 1, 3), 5)], "holds", True),
        ([below("p95", Interval(2, 1, 6), 5)], "holds", False),
        ([below("p95", Interval(6, 5.5, 7), 5)], "falls short", True),
        ([below("p95", Interval(6, 4, 7), 5)], "falls short", False),
        ([below("p95", 2, 5), below("p50", 9, 5)], "falls short", True),
        ([below("p95", Interval(2, 1, 9), 5), below("p50", 9, 5)], "falls short", True),
        ([below("wrong bytes", 0, 0, relation="=")], "holds", True),
        ([below("wrong bytes", 1, 0, relation="=")], "falls short", True),
        ([below("memory", 5, 5, relation="<=")], "holds", True),
        ([below("memory", 5, 5)], "falls short", True),
        ([], "no target", True),
    ],
)
def test_the_verdict_follows_from_the_checks(checks: list[Check], verdict: str, decided: bool) -> None:
    found = finding(*checks)
    assert (found.verdict, found.decided) == (verdict, decided)


def test_without_a_measurement_there_is_no_verdict_whatever_the_numbers_are() -> None:
    assert finding(below("p95", 2, 5), unmeasured="too small").verdict == "not measured"


def test_everything_stands_in_the_description() -> None:
    found = finding(below("p95", Interval(2.25, 2, 6), 5, "us"))
    guarantees = Guarantees(isolated=True, history=False, survives="nothing", directory=False)
    found.peers.append(Peer("other 1.0", "doing it, too", FAST, Interval(0.5, 0.4, 0.6), guarantees))
    found.notes.append("mind the gap")
    found.values["bytes"] = 1234
    text = report.describe(found)
    for expected in (
        *("thing.speed", "HOLDS, uncertain", "The thing is fast.", "p95 < 5 us", "issue 0 z"),
        *("1.5 us", "2.25 us", "3 us", "4 ms", "1,000", "1,000 changes", "durability: process"),
        *("other 1.0", "doing it, too", "0.5 (0.4-0.6)x", "isolated, no history, survives nothing, virtual"),
        *("2.25 (2-6) us < 5 us: yes, but the interval reaches", "mind the gap", "bytes = 1,234"),
    ):
        assert expected in text


def test_a_tail_that_too_few_samples_make_up_is_not_shown() -> None:
    found = Finding(CLAIM, measured=Distribution(19, 1, 2, 3, 4))
    row = next(line for line in report.describe(found).splitlines() if line.startswith("    pyi"))
    assert row.split() == ["pyi", "1", "us", "-", "-", "4", "us", "19"]


def test_the_summary_counts_verdicts() -> None:
    text = report.summary([finding(below("p95", 2, 5, "us")), finding(unmeasured="no such thing"), finding()])
    assert text.splitlines()[-1] == "1 holds; 1 not measured; 1 no target"
    assert "no such thing" in text
    assert "p95 2 us" in text
    assert report.summary([]) == "nothing was measured"


def test_json_lines_hold_findings_and_the_machine(tmp_path: Path) -> None:
    file = io.StringIO()
    lines = report.JsonLines(file)
    lines.finding("thing", finding(below("p95", Interval(2, 1, 3), 5, "us")), (0.5, 0.25, 0.125))
    lines.machine(Machine.here(tmp_path), load_average(), quick=True, seconds=1.5)
    first, second = map(json.loads, file.getvalue().splitlines())
    assert (first["kind"], first["experiment"], first["verdict"]) == ("finding", "thing", "holds")
    assert first["hypothesis"]["id"] == "thing.speed"
    assert first["measured"]["p95_us"] == 2.25
    assert first["checks"][0]["holds"] is True
    assert first["load"] == [0.5, 0.25, 0.125]
    assert (second["kind"], second["quick"]) == ("machine", True)
    assert second["cores"] >= 1


def test_the_machine_is_described(tmp_path: Path) -> None:
    machine = Machine.here(tmp_path)
    text = report.machine_text(machine, (1.5, 2, 3))
    for expected in (machine.cpu, machine.kernel, machine.python, machine.pyi, machine.git, "1.5/2/3 after"):
        assert expected in text


def test_the_file_system_is_that_of_the_deepest_mount(tmp_path: Path) -> None:
    deep = tmp_path.resolve()
    mounts = f"/dev/a / ext4 rw 0 0\ntmpfs {deep.parent} tmpfs rw 0 0\n/dev/b /elsewhere xfs rw 0 0\n"
    assert file_system(tmp_path, mounts) == "tmpfs on tmpfs"
    assert file_system(tmp_path, "") == "unknown"


def test_rows_and_bytes_stand_in_the_table_if_there_are_any() -> None:
    found = finding()
    assert "bytes a step" not in report.describe(found)
    found.rows["8 threads"] = Distribution(100, 7, 8, 9, 10)
    found.peers.append(Peer("other 1.0", "the same", FAST, step_bytes=12_345))
    found.step_bytes = 678
    lines = report.describe(found).splitlines()
    own, row, peer = (next(line for line in lines if name in line) for name in ("    pyi", "8 threads", "other 1.0"))
    assert own.split()[-1] == "678"
    assert row.split()[2:6] == ["7", "us", "8", "us"]
    assert "12,345" in peer
