"""The step that all peers can do: get an own copy, change one file, save. With what each of them guarantees."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns

import pyi
from validation import workloads
from validation.generator import Tree, make_repository
from validation.hypothesis import Experiment, Finding, Guarantees, Hypothesis, Peer, compare
from validation.lab import Lab, missing
from validation.peers import copy, sandfs
from validation.peers.git import WORKTREE, Git
from validation.statistics import Series, Subject, interleave

_FILES = 5_000
_MOST_SECONDS = 600
_VIRTUAL = Guarantees(isolated=True, history=True, survives="kill -9", directory=False)
_DIRECTORY = Guarantees(isolated=True, history=True, survives="kill -9", directory=True)
_NEEDS_DIRECTORY = ("Workspace.materialize", "Workspace.capture")

VIRTUAL = Hypothesis(
    "step.virtual",
    f"Own copy of {_FILES:,} files, one file of 1 KB changed, saved: through the Python API.",
    "",
    "issue 2, part 8",
)
REAL = Hypothesis(
    "step.directory",
    "The same with a real directory, in which any program can make the change.",
    "",
    "issue 2, part 8",
)

Edit = Callable[[int], tuple[str, bytes]]


def _virtual(workspace: pyi.Workspace, edit: Edit) -> Callable[[int], int]:
    def sample(number: int) -> int:
        path, data = edit(number)
        before = perf_counter_ns()
        own = workspace.fork()
        own.write(path, data)
        own.checkpoint()
        return perf_counter_ns() - before

    return sample


def _directory(workspace: pyi.Workspace, place: Path, edit: Edit) -> Callable[[int], int]:
    def sample(number: int) -> int:
        path, data = edit(number)
        where = place / f"pyi{number}"
        before = perf_counter_ns()
        own = workspace.fork()
        own.materialize(where)
        (where / path).write_bytes(data)
        own.capture(where)
        saved = own.checkpoint()
        elapsed_ns = perf_counter_ns() - before
        if bytes(saved.read(path)) != data:
            raise RuntimeError(f"{path} was changed in the directory and is not in the checkpoint")
        shutil.rmtree(where)
        return elapsed_ns

    return sample


def run(lab: Lab) -> Iterator[Finding]:
    """Take the step with each of them in turns."""
    tree = Tree(_FILES)
    peer = sandfs.Sandfs.load(tree)
    absent = missing(pyi, _NEEDS_DIRECTORY)
    with workloads.filled_store(lab, tree) as (_, workspace), lab.directory("step") as place:
        repository = make_repository(place / "repository", tree)
        plain = place / "plain"
        tree.write_to(plain)
        git = Git(repository)
        subjects = [
            Subject("virtual", _virtual(workspace, workloads.edits(tree)), burst=20),
            Subject("git", git.own_copy(place, workloads.edits(tree))),
            Subject("cp", copy.own_copy(plain, place, workloads.edits(tree))),
        ]
        if not absent:
            subjects.append(Subject("directory", _directory(workspace, place, workloads.edits(tree))))
        if peer is not None:
            subjects.append(Subject("sandfs", peer.own_copy(workloads.edits(tree)), burst=20))
        lab.say("taking the step with each")
        series = interleave(subjects, lab.pick(25, 3), warmup=lab.pick(1, 0), seconds=_MOST_SECONDS)

    def peers(ours: Series) -> list[Peer]:
        found = [
            compare(git.name, "worktree add, write, add, commit", ours, series["git"], WORKTREE),
            compare(copy.NAME, "cp -r, write; nothing else saved", ours, series["cp"], copy.GUARANTEES),
        ]
        if peer is not None and ours is series["virtual"]:
            found.append(compare(peer.name, "fork, write, fork", ours, series["sandfs"], sandfs.GUARANTEES))
        return found

    yield Finding(
        VIRTUAL,
        "workspace.fork(), write, checkpoint",
        series["virtual"].distribution(),
        changes=len(series["virtual"]),
        durability=workloads.DURABILITY,
        peers=peers(series["virtual"]),
        guarantees=_VIRTUAL,
        notes=[
            "Only git and cp give a directory here; sandfs can mount one with its own program, which was not measured."
        ],
    )
    if absent:
        yield Finding(REAL, unmeasured=f"this build of pyi does not have {', '.join(absent)}")
        return
    yield Finding(
        REAL,
        "workspace.fork(), materialize, a write in the directory, capture, checkpoint; the removal is not counted",
        series["directory"].distribution(),
        changes=len(series["directory"]),
        durability=workloads.DURABILITY,
        peers=peers(series["directory"]),
        guarantees=_DIRECTORY,
    )


EXPERIMENT = Experiment("step", (VIRTUAL, REAL), run)
