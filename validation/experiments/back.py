"""There and back: change one file, save, and go back to the version before, with everything that can do it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter_ns

import pyi
from validation import workloads
from validation.generator import Tree, make_repository
from validation.hypothesis import Experiment, Finding, Guarantees, Hypothesis, compare
from validation.lab import Lab
from validation.peers import agentfs, langgraph, processes, sandfs, saved
from validation.peers.git import Git
from validation.peers.saved import Edit, Saver
from validation.statistics import Subject, interleave

_FILES = 5_000
_BURST = 20
_EVERY = 5
_MOST_SECONDS = 600
_POWER = "power"
# What is asked for a program or a package that may not be there, or not work here.
_REFUSALS = (ImportError, OSError, RuntimeError, subprocess.SubprocessError)
_LEFT_OUT = {"DMTCP": "Debian 12 has no package, and its coordinator listens on all addresses of the machine"}

CLASSES = {
    durability: Hypothesis(
        f"back.{durability}",
        f"On {_FILES:,} files: one file of 1 KB changed, saved so that it survives {survives}, and back at the version"
        " before; beside everything that takes the same step.",
        "",
        "issue 4 e",
    )
    for durability, survives in ((workloads.DURABILITY, "kill -9"), (_POWER, "a loss of power"))
}

Open = Callable[[Path, Tree, Edit], Saver]


def _ours(place: Path, tree: Tree, edit: Edit, durability: str) -> Saver:
    repository = pyi.open(place, durability=durability)
    workspace = repository.workspace()
    base = workloads.fill(workspace, tree)
    workspace.publish("main")
    original = dict(tree.items())

    def sample(number: int) -> int:
        path, data = edit(number)
        before = perf_counter_ns()
        workspace.write(path, data)
        made = workspace.checkpoint(durability=durability)
        workspace.restore(base)
        elapsed_ns = perf_counter_ns() - before
        saved.check("pyi", path, workspace.read(path), original[path])
        saved.check("the checkpoint", path, made.read(path), data)
        return elapsed_ns

    survives = "power loss" if durability == _POWER else "kill -9"
    guarantees = Guarantees(isolated=True, history=True, survives=survives, directory=False)
    return Saver(
        workloads.PYI, "write, checkpoint, restore of the first one", guarantees, sample, None, repository.close
    )


def _git(place: Path, tree: Tree, edit: Edit) -> Saver:
    return Git(make_repository(place / "repository", tree)).there_and_back(edit, tree)


def _sandfs(_: Path, tree: Tree, edit: Edit) -> Saver:
    peer = sandfs.Sandfs.load(tree)
    if peer is None:
        raise ImportError("the package `sandfs` is not installed")
    return peer.there_and_back(edit, tree)


PLAIN: tuple[Open, ...] = (_sandfs, _git)
PEERS: dict[str, tuple[Open, bool]] = {
    # With whether it is fast enough to take bursts.
    "sandfs": (_sandfs, True),
    "git": (_git, False),
    "jj": (saved.jj, False),
    "pickle": (saved.pickled, False),
    "AgentFS": (agentfs.written_back, False),
    "AgentFS, copies": (agentfs.copied, False),
    "LangGraph": (langgraph.saver, False),
    "CRIU": (processes.criu, False),
}


def _opened(lab: Lab, stack: ExitStack, tree: Tree, edit: Callable[[], Edit]) -> tuple[dict[str, Saver], list[str]]:
    """Open every peer and let it take one step; return those that could, and why the others could not."""
    found: dict[str, Saver] = {}
    refused = [f"{name} was not measured: {reason}." for name, reason in _LEFT_OUT.items()]
    for name, (opener, _) in PEERS.items():
        lab.say(f"opening {name}")
        place = stack.enter_context(lab.directory("back"))
        try:
            peer = opener(place, tree, edit())
            stack.callback(peer.close)
            peer.sample(-1)
        except _REFUSALS as error:
            refused.append(f"{name} was not measured: {str(error).rstrip('.') or type(error).__name__}.")
            continue
        found[name] = peer
    return found, refused


def run(lab: Lab) -> Iterator[Finding]:
    """Go there and back with each of them in turns."""
    tree = Tree(lab.pick(_FILES, 200))
    with ExitStack() as stack:
        ours: dict[str, Saver] = {}
        stores: dict[str, Path] = {}
        for durability in CLASSES:
            stores[durability] = stack.enter_context(lab.directory("store"))
            ours[durability] = _ours(stores[durability], tree, workloads.edits(tree), durability)
            stack.callback(ours[durability].close)
            ours[durability].sample(-1)
        peers, refused = _opened(lab, stack, tree, lambda: workloads.edits(tree))
        subjects = [Subject(name, one.sample, burst=_BURST) for name, one in ours.items()]
        for name, peer in peers.items():
            fast = PEERS[name][1]
            subjects.append(Subject(name, peer.sample, burst=_BURST if fast else 1, every=1 if fast else _EVERY))
        before = {name: saved.files_bytes(peer.place) for name, peer in peers.items() if peer.place is not None}
        stored = {name: _stored(stores[name]) for name in ours}
        lab.say("going there and back with each")
        rounds = lab.pick(150, 5)
        # Without rounds to warm up, every step of a peer is counted, and so are its bytes.
        series = interleave(subjects, rounds, warmup=0, seconds=_MOST_SECONDS)
        step_bytes = {
            name: (saved.files_bytes(peer.place) - before[name]) // len(series[name])
            for name, peer in peers.items()
            if peer.place is not None
        }
        own_bytes = {name: (_stored(stores[name]) - stored[name]) // len(series[name]) for name in ours}
    for durability, hypothesis in CLASSES.items():
        one = ours[durability]
        finding = Finding(
            hypothesis,
            f"{one.step}; {tree.count:,} files, any of them is changed, and compared afterwards",
            series[durability].distribution(),
            changes=len(series[durability]),
            durability=durability,
            guarantees=one.guarantees,
            step_bytes=own_bytes[durability],
            notes=[
                *refused,
                "Bytes a step: what a step added to the files, on the average; a log that is written again and again"
                " from its begin shows less than was written.",
            ],
        )
        for name, peer in peers.items():
            if durability == _POWER and peer.guarantees.survives != "power loss":
                continue
            theirs = series[name]
            row = compare(peer.name, peer.step, series[durability], theirs, peer.guarantees, step_bytes.get(name))
            finding.peers.append(row)
        if lab.quick:
            finding.unmeasured = f"--quick takes a few steps on {tree.count} files"
        yield finding


def _stored(place: Path) -> int:
    """Return what a fresh look at the store says it holds."""
    with pyi.open(place) as repository:
        return int(repository.stats()["bytes_stored"])


EXPERIMENT = Experiment("back", tuple(CLASSES.values()), run)
