"""Importing and exporting: every commit of real repositories, there and back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns

import pyi
from validation import workloads
from validation.generator import git
from validation.hypothesis import Check, Experiment, Finding, Hypothesis, below
from validation.lab import Lab
from validation.statistics import Distribution

_BATCH = 200
_QUICK = 50
_ENOUGH = 2_000
_REPOSITORIES = 2
_AUTHOR = "validation <validation@example.invalid>"
# What git's own check says when an object is missing or damaged. Oddities that the source has as well (zero-padded
# modes, trees in old order) are other lines, and lossless means that they are there again.
_DAMAGE = ("missing ", "broken link", "hash mismatch", "corrupt", "unable to", "bad ", "garbage")

SAME = Hypothesis(
    "roundtrip.same",
    "Import and export lose nothing: every first-parent commit comes back with the same git tree name.",
    "0 mismatches, 0 missing objects",
    "issue 2 b",
)
PUBLIC = Hypothesis(
    "roundtrip.public",
    f"That holds for {_REPOSITORIES} public repositories of more than {_ENOUGH:,} first-parent commits each.",
    f"{_REPOSITORIES} repositories given with --repo, 0 mismatches",
    "issue 2 b",
)


@dataclass(slots=True)
class Trip:
    """What became of one repository."""

    name: str
    commits: int = 0
    mismatches: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    samples_ns: list[int] = field(default_factory=list)
    import_ns: list[int] = field(default_factory=list)

    @property
    def commits_per_s(self) -> float:
        """Commits in a second of import and export."""
        return self.commits / max(1e-9, sum(self.samples_ns) / 1e9)

    def text(self) -> str:
        """Say it in a line."""
        imports = Distribution.of(self.import_ns)
        return (
            f"{self.commits:,} commits, {len(self.mismatches)} mismatches, {len(self.damage)} damaged,"
            f" {self.commits_per_s:.1f} commits/s (import alone: p50 {imports.p50_us / 1000:.1f} ms)"
        )


def travel(source: Path, place: Path, limit: int | None = None) -> Trip:
    """Send every first-parent commit of HEAD through one store into an empty bare repository; check with git.

    Args:
        source: A repository, bare or not.
        place: Empty directory to work in.
        limit: At most so many commits, evenly spaced.
    """
    found = git(source, "log", "--first-parent", "--reverse", "--format=%H %T").decode().split("\n")
    commits = [line.split() for line in found if line]
    if limit is not None and len(commits) > limit:
        commits = [commits[index * len(commits) // limit] for index in range(limit)]
    target = place / "target.git"
    target.mkdir(parents=True)
    length = git(source, "rev-parse", "--show-object-format").decode().strip()
    git(target, "init", "--quiet", "--bare", f"--object-format={length}", ".")
    trip = Trip(_name(source))
    with pyi.open(place / "store", durability=workloads.DURABILITY) as repository:
        for start in range(0, len(commits), _BATCH):
            _send(repository, source, target, commits[start : start + _BATCH], start, trip)
    trip.damage = damage(target)
    return trip


def _send(
    repository: pyi.Repository, source: Path, target: Path, batch: list[list[str]], start: int, trip: Trip
) -> None:
    """Import and export some commits, compare the trees' names, and let go of the branches."""
    exported = []
    for number, (commit, _) in enumerate(batch, start):
        branch = f"v{number}"
        before = perf_counter_ns()
        workspace = repository.import_git(source, rev=commit, branch=branch)
        trip.import_ns.append(perf_counter_ns() - before)
        exported.append(workspace.export_git(target, branch, author=_AUTHOR, parents=[]))
        trip.samples_ns.append(perf_counter_ns() - before)
    asked = "".join(f"{name}^{{tree}}\n" for name in exported).encode()
    answers = git(target, "cat-file", "--batch-check=%(objectname)", data=asked).decode().splitlines()
    for (commit, tree), answer in zip(batch, answers, strict=True):
        trip.commits += 1
        if answer != tree:
            trip.mismatches.append(f"{trip.name} {commit}: {tree} came back as {answer}")
    for number in range(start, start + len(batch)):
        repository.delete_branch(f"v{number}")
    git(target, "pack-refs", "--all")


def _name(source: Path) -> str:
    """Return what tells it from others: directories called `repo` or `.git` take their parent's name along."""
    return f"{source.parent.name}/{source.name}"


def damage(repository: Path) -> list[str]:
    """Return what git's own check finds missing or damaged: it hashes every object and follows every branch."""
    done = subprocess.run(
        ["git", "fsck", "--full", "--no-dangling", "--no-progress"], cwd=repository, capture_output=True, check=False
    )
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    found = [line for line in lines if any(word in line for word in _DAMAGE)]
    if done.returncode < 0:
        found.append(f"git fsck was killed by signal {-done.returncode}")
    return found


def run(lab: Lab) -> Iterator[Finding]:
    """Send the repositories of the command line, or else the one that this file lies in."""
    sources = list(lab.repositories) or [_own()]
    trips = []
    for source in sources:
        lab.say(f"first-parent commits of {source}")
        with lab.directory("roundtrip") as place:
            trips.append(travel(source.resolve(), place, lab.pick(None, _QUICK)))
    finding = Finding(
        SAME,
        "import_git(commit) and export_git into an empty bare repository, then the tree's name and git fsck",
        Distribution.of(sample for trip in trips for sample in trip.samples_ns),
        changes=sum(trip.commits for trip in trips),
        durability=workloads.DURABILITY,
        checks=_checks(trips),
        values={trip.name: trip.text() for trip in trips},
        notes=[text for trip in trips for text in (*trip.mismatches[:20], *trip.damage[:20])],
    )
    if lab.quick:
        finding.notes.append(f"--quick: at most {_QUICK} commits of each, evenly spaced")
    yield finding
    large = [trip for trip in trips if trip.commits > _ENOUGH]
    public = Finding(
        PUBLIC,
        "those of the repositories above that are large enough",
        changes=sum(trip.commits for trip in large),
        durability=workloads.DURABILITY,
        checks=_checks(large),
    )
    if len(large) < _REPOSITORIES:
        public.unmeasured = (
            f"{len(large)} repositories of more than {_ENOUGH:,} first-parent commits were sent: name two with --repo"
            + (" and leave out --quick" if lab.quick else "")
        )
    yield public


def _checks(trips: list[Trip]) -> list[Check]:
    if not trips:
        return []
    return [
        below("mismatches", sum(len(trip.mismatches) for trip in trips), 0, relation="="),
        below("missing or damaged objects (git fsck)", sum(len(trip.damage) for trip in trips), 0, relation="="),
    ]


def _own() -> Path:
    """Return the repository that this file lies in."""
    return Path(git(Path(__file__).parent, "rev-parse", "--show-toplevel").decode().strip())


EXPERIMENT = Experiment(
    "roundtrip",
    (SAME, PUBLIC),
    run,
    needs=("Repository.import_git", "Workspace.export_git", "Repository.delete_branch"),
)
