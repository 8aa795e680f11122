"""Swarming: many agents at once, every byte checked, and what they need in memory."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from validation import workloads
from validation.experiments.startup import program
from validation.generator import Tree, git, make_repository
from validation.hypothesis import Check, Experiment, Finding, Hypothesis, below
from validation.lab import Lab

_AGENTS = 850
_STEPS = 20
_FILES = 5_000
_LEAST_FILES = 4_000
_MEMORY_BYTES = 100_000_000

SWARM = Hypothesis(
    "swarm.whole",
    f"{_AGENTS} agents x {_STEPS} steps on more than {_LEAST_FILES:,} files: nothing is wrong or lost, and the peak"
    " memory is at most 100 MB above that of the same run with one agent.",
    "0 wrong bytes, 0 wrong reads, 0 lost checkpoints; peak memory <= +100 MB",
    "issue 2 c",
)


def _swarm(pyi: str, repository: Path, agents: int, scratch: Path) -> dict[str, Any]:
    """Run one swarm in a process of its own and return its report."""
    command = [pyi, "swarm", str(repository), "--agents", str(agents), "--steps", str(_STEPS), "--json"]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pyi swarm ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _repository(lab: Lab, place: Path) -> Path:
    """Return the first repository of the command line that has enough files, or a made-up one with some history."""
    for given in lab.repositories:
        if git(given, "ls-tree", "-r", "--name-only", "-z", "HEAD").count(b"\0") > _LEAST_FILES:
            return given
    lab.say(f"making a git repository of {_FILES:,} files")
    return make_repository(place / "repository", Tree(_FILES), commits=1000)


def run(lab: Lab) -> Iterator[Finding]:
    """Run one agent and many in turns, each time in a fresh process."""
    pyi = program()
    if pyi is None:
        yield Finding(SWARM, unmeasured="the program `pyi` is not installed")
        return
    many = lab.pick(_AGENTS, 50)
    single: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    with lab.directory("swarm") as place:
        repository = _repository(lab, place)
        for _ in range(lab.pick(2, 1)):
            lab.say("one agent")
            single.append(_swarm(pyi, repository, 1, place))
            lab.say(f"{many} agents")
            whole.append(_swarm(pyi, repository, many, place))
    finding = Finding(
        SWARM,
        f"`pyi swarm --agents {many} --steps {_STEPS}` on {whole[0]['files']:,} files, {len(whole)} times, in turns"
        " with one agent; a fresh process compares every checkpoint with an independent record",
        changes=sum(report["checkpoints"] for report in whole),
        durability=workloads.DURABILITY,
        checks=_checks(single, whole),
        values={
            "peak_memory_mb_one_agent": _megabytes(report["peak_memory_bytes"] for report in single),
            f"peak_memory_mb_{many}_agents": _megabytes(report["peak_memory_bytes"] for report in whole),
            "checkpoints_per_s": max(report["checkpoints_per_s"] for report in whole),
        },
        notes=["Latencies of the last run (with all of its agents at once): " + _latencies(whole[-1])],
    )
    if many != _AGENTS:
        finding.unmeasured = f"--quick runs {many} agents, the claim is about {_AGENTS}"
    yield finding


def _checks(single: list[dict[str, Any]], whole: list[dict[str, Any]]) -> list[Check]:
    verified = all(report["verdict"] is not None for report in whole)
    if not verified:
        raise RuntimeError("the swarm was not verified: its report has no verdict")
    # The worst pair of all runs, so that a lucky one does not decide.
    highest = max(report["peak_memory_bytes"] for report in whole)
    lowest = min(report["peak_memory_bytes"] for report in single)
    expected = sum(report["agents"] * report["steps"] for report in whole)
    return [
        below("wrong bytes", sum(report["wrong_bytes"] for report in whole), 0, relation="="),
        below("wrong reads", sum(report["wrong_reads"] for report in whole), 0, relation="="),
        below("lost checkpoints", sum(report["lost"] for report in whole), 0, relation="="),
        below("agents' steps without a checkpoint", expected - sum(r["checkpoints"] for r in whole), 0, relation="="),
        below("peak memory above one agent's", (highest - lowest) / 1e6, _MEMORY_BYTES / 1e6, "MB", relation="<="),
    ]


def _megabytes(values: Iterator[int]) -> str:
    return ", ".join(f"{value / 1e6:.1f}" for value in values)


def _latencies(report: dict[str, Any]) -> str:
    parts = []
    for name, found in report["latency"].items():
        if found["count"]:
            shown = ", ".join(f"{share} {found[share + '_us']:.1f}" for share in ("p50", "p95", "p99", "max"))
            parts.append(f"{name} {shown} us ({found['count']:,})")
    return "; ".join(parts)


EXPERIMENT = Experiment("swarm", (SWARM,), run, needs=("swarm", "Repository.import_git"))
