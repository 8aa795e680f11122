"""Racing: what a candidate costs when agent and test cost nothing."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns

from validation import workloads
from validation.experiments.startup import program
from validation.generator import Tree, make_repository
from validation.hypothesis import Experiment, Finding, Hypothesis, Peer, below, compare
from validation.lab import Lab
from validation.peers import copy
from validation.peers.git import WORKTREE, Git
from validation.statistics import Series, Subject, interleave, ratio_of_medians

_FILES = 5_000
_CANDIDATES = 64
_PAIRS_AT_ONCE = 4
# Whatever the machine is, a person waits for this; the samples there are by then are stated.
_MOST_SECONDS = 600

RACE = Hypothesis(
    "race.candidate",
    f"In a race of {_CANDIDATES} candidates with `true` as agent and test on more than 4,000 files, a candidate costs"
    " less than a tenth of `git worktree add` + `git worktree remove`.",
    "p50 per candidate < 0.1x the p50 of a pair",
    "issue 2 h",
)
AGAIN = Hypothesis(
    "race.again", "The same race in a store that has the commit already (a second race on one commit).", "", "issue 2 h"
)


def _races(pyi: str, repository: Path, fresh: Callable[[], Path], label: str) -> Callable[[int], int]:
    """Return a sampler of whole races, from the start of the program to its end, divided by the candidates."""

    def sample(number: int) -> int:
        store = fresh()
        command = [pyi, "race", str(repository), "-n", str(_CANDIDATES), "--agent", "true", "--test", "true"]
        command += ["--onto", f"{label}{number}", "--store", str(store), "--json"]
        before = perf_counter_ns()
        done = subprocess.run(command, capture_output=True, check=False)
        elapsed_ns = perf_counter_ns() - before
        if done.returncode != 0:
            raise RuntimeError(f"pyi race ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
        passed = [candidate["status"] for candidate in json.loads(done.stdout)["candidates"]].count("passed")
        if passed != _CANDIDATES:
            raise RuntimeError(f"{passed} of {_CANDIDATES} candidates passed")
        return elapsed_ns // _CANDIDATES

    return sample


def run(lab: Lab) -> Iterator[Finding]:
    """Race, beside work trees made by git one after the other and at once, and `cp -r`."""
    pyi = program()
    if pyi is None:
        for hypothesis in EXPERIMENT.hypotheses:
            yield Finding(hypothesis, unmeasured="the program `pyi` is not installed")
        return
    jobs = len(os.sched_getaffinity(0))
    tree = Tree(_FILES)
    with lab.directory("race") as place:
        lab.say(f"making a git repository of {tree.count:,} files")
        repository = make_repository(place / "repository", tree)
        plain = place / "plain"
        tree.write_to(plain)
        git = Git(repository)
        names = itertools.count()
        stores = place / "stores"
        stores.mkdir()
        subjects = [
            Subject("race", _races(pyi, repository, lambda: stores / str(next(names)), "fresh")),
            Subject("again", _races(pyi, repository, lambda: stores / "kept", "again")),
            Subject("worktree", git.worktree(place), burst=2),
            Subject("at once", git.worktrees_at_once(place, _PAIRS_AT_ONCE, jobs)),
            Subject("cp", copy.whole_tree(plain, place)),
        ]
        lab.say("racing")
        series = interleave(subjects, lab.pick(11, 2), warmup=lab.pick(1, 0), seconds=_MOST_SECONDS)

    def peers(ours: Series) -> list[Peer]:
        pair, whole = "git worktree add + remove, one after the other", f"the same, {jobs} at a time, by the wall"
        return [
            compare(git.name, pair, ours, series["worktree"], WORKTREE),
            compare("git, at once", whole, ours, series["at once"], WORKTREE),
            compare(copy.NAME, f"copy of {tree.count:,} files, removal not counted", ours, series["cp"]),
        ]

    fresh, again = series["race"], series["again"]
    yield Finding(
        RACE,
        f"wall time of `pyi race -n {_CANDIDATES} --agent true --test true` on {tree.count:,} files / {_CANDIDATES}:"
        " program start, import into a new store, base directory, two processes a candidate, collapse, commit",
        fresh.distribution(),
        changes=len(fresh) * _CANDIDATES,
        durability=workloads.DURABILITY,
        checks=[below("p50 / p50 of worktree add + remove", ratio_of_medians(fresh, series["worktree"]), 0.1, "x")],
        peers=peers(fresh),
        values={"ms_per_candidate": fresh.median_ns() / 1e6},
        notes=[
            f"A sample is a whole race: its tail is that of races, not of candidates. {jobs} candidates run at a time."
            " git's pairs start no agent and no test."
        ],
    )
    yield Finding(
        AGAIN,
        "the same, without the import",
        again.distribution(),
        changes=len(again) * _CANDIDATES,
        durability=workloads.DURABILITY,
        peers=peers(again),
        values={"ms_per_candidate": again.median_ns() / 1e6},
    )


EXPERIMENT = Experiment("race", (RACE, AGAIN), run, needs=("race", "Repository.import_git"))
