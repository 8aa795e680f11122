"""`alternate`: `pyi` and git by turns on the same repositories; some are killed, and git checks what is left."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["add_arguments", "run"]

#: A program that was killed has as long to be gone, with who tidies up after it.
_SETTLE_S = 0.25
_TIDY_EVERY = 100
#: Commands and how often they are chosen.
_COMMANDS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (10, ("add", "-A")),
    (8, ("add", "@file")),
    (14, ("commit", "-q", "-m", "@words")),
    (8, ("commit", "-q", "-am", "@words")),
    (2, ("commit", "-q", "--amend", "-m", "@words")),
    (5, ("status", "--short")),
    (3, ("diff", "--stat")),
    (2, ("log", "--oneline", "-5")),
    (4, ("tag", "-f", "@name")),
    (2, ("tag", "-f", "-m", "@words", "@name")),
    (2, ("tag", "-d", "@name")),
    (4, ("branch", "-f", "@name")),
    (2, ("branch", "-D", "@name")),
    (3, ("checkout", "-q", "-B", "@name")),
    (2, ("checkout", "-q", "--", ".")),
    (2, ("switch", "-q", "-f", "main")),
    (3, ("restore", "--staged", ".")),
    (2, ("reset", "-q", "--hard")),
    (2, ("reset", "-q", "--soft", "HEAD~1")),
    (2, ("stash", "-q")),
    (2, ("stash", "pop", "-q")),
    (2, ("rm", "-q", "-f", "--ignore-unmatch", "@file")),
    (1, ("mv", "-k", "@file", "moved")),
    (1, ("clean", "-fdq")),
    (1, ("config", "agent.name", "@name")),
    (1, ("pack-refs", "--all")),
    (1, ("repack", "-adq")),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--program", type=Path, help="the `pyi` that is tested (default: the one on PATH)")
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the commands and the moments (default: 1)")
    parser.add_argument("--repositories", type=int, default=3, help="that are worked on (default: 3)")
    parser.add_argument("--files", type=int, default=200, help="of each (default: 200)")
    parser.add_argument("--kills", type=float, default=0.3, help="share of the commands that are killed (default: 0.3)")
    parser.add_argument("--pairs", type=float, default=0.2, help="share that runs beside another one (default: 0.2)")


@dataclass
class _Tally:
    counts: Counter[str] = field(default_factory=Counter)
    locks: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass
class _Running:
    side: str
    words: Sequence[str]
    process: subprocess.Popen[bytes]
    killed: bool = False


class _Repository:
    """A real repository, and both programs on it."""

    def __init__(self, directory: Path, shim: Path, state: Path, chance: random.Random, files: int) -> None:
        self.directory = directory
        self.chance = chance
        self.paths = [f"d{number % 7}/f{number}.txt" for number in range(files)]
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYI", "XDG_"))}
        plain |= {
            "HOME": str(state),
            "XDG_STATE_HOME": str(state),
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
            "GIT_AUTHOR_NAME": "Ann Example",
            "GIT_AUTHOR_EMAIL": "ann@example.invalid",
            "GIT_COMMITTER_NAME": "Ann Example",
            "GIT_COMMITTER_EMAIL": "ann@example.invalid",
        }
        self.environments = {"git": plain, "pyi": plain | {"PATH": f"{shim}{os.pathsep}{plain['PATH']}"}}
        directory.mkdir()
        self.git("init", "-q", "-b", "main")
        self.state = state
        for path in self.paths:
            self.edit(path)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "start")

    def decisions(self) -> list[str]:
        """What `pyi` has decided so far, or since it began a new file."""
        log = self.state / "pyi" / "git-report.log"
        return log.read_text().splitlines() if log.exists() else []

    def git(self, *words: str, side: str = "git") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["git", *words], cwd=self.directory, env=self.environments[side], capture_output=True, check=False
        )

    def start(self, side: str, words: Sequence[str]) -> _Running:
        process = subprocess.Popen(
            ["git", *words], cwd=self.directory, env=self.environments[side], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return _Running(side, words, process)

    def edit(self, path: str) -> None:
        target = self.directory / path
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("".join(f"{self.chance.randrange(1000)}\n" for _ in range(self.chance.randrange(1, 40))))

    def edits(self) -> None:
        for _ in range(self.chance.choice([0, 1, 1, 3])):
            path = self.chance.choice(self.paths)
            if self.chance.random() < 0.15:
                with suppress(OSError):
                    (self.directory / path).unlink()
            else:
                self.edit(path)

    def words(self) -> list[str]:
        weights = [weight for weight, _ in _COMMANDS]
        chosen = self.chance.choices([words for _, words in _COMMANDS], weights)[0]
        meant = {
            "@file": self.chance.choice(self.paths),
            "@words": f"work {self.chance.randrange(10_000)}",
            "@name": f"name{self.chance.randrange(6)}",
        }
        return [meant.get(word, word) for word in chosen]

    def locks(self) -> list[Path]:
        top = self.directory / ".git"
        return sorted(path for path in top.rglob("*.lock") if "objects" not in path.relative_to(top).parts[:1])


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    shim, state = place / "shim", place / "state"
    shim.mkdir()
    state.mkdir()
    subprocess.run([options.program.resolve(), "git-shim", shim], check=True, stdout=subprocess.DEVNULL)
    chance = random.Random(options.seed)
    repositories = [
        _Repository(place / f"r{number}", shim, state, chance, options.files) for number in range(options.repositories)
    ]
    tally = _Tally()
    end = time.monotonic() + options.seconds
    rounds = 0
    while time.monotonic() < end and len(tally.wrong) < 10:
        rounds += 1
        if rounds % _TIDY_EVERY == 0:
            # Else so much is loose in the end that commits are git's, which would tidy up by itself.
            for repository in repositories:
                repository.git("-c", "gc.writeCommitGraph=false", "gc", "-q", "--prune=now")
        _round(chance.choice(repositories), options, tally)
    for repository in repositories:
        _check(repository, tally, "at the end")
    counts = tally.counts
    print(f"{rounds} rounds from seed {options.seed}, {len(repositories)} repositories of {options.files} files")
    for side in ("git", "pyi"):
        print(
            f"  {side}: {counts[f'{side} ran']} commands ended, {counts[f'{side} failed']} of them with a failure; "
            f"{counts[f'{side} killed']} killed, {counts[f'{side} left']} of these left a lock"
        )
    print(f"  {counts['checks']} times `git fsck --strict`, index and status of both sides looked at")
    native, reasons = _ways(state)
    print(f"  native: {', '.join(f'{name} {count}' for name, count in native.most_common())}")
    print(f"  else, above all: {', '.join(f'{name} {count}' for name, count in reasons.most_common(12))}")
    for name, count in tally.locks.most_common():
        print(f"  left: {count} {name}")
    for line in tally.wrong:
        print(f"  WRONG {line}")
    return int(bool(tally.wrong))


def _round(repository: _Repository, options: argparse.Namespace, tally: _Tally) -> None:
    """Edits, then a command or two at once; those that are killed are waited for, and what they left is looked at."""
    chance = repository.chance
    repository.edits()
    before = len(repository.decisions())
    sides = [chance.choice(["git", "pyi"])]
    if chance.random() < options.pairs:
        sides.append("git" if sides[0] == "pyi" else "pyi")
    running = [repository.start(side, repository.words()) for side in sides]
    if chance.random() < options.kills:
        victim = chance.choice(running)
        time.sleep(chance.random() ** 2 * 0.02)
        if victim.process.poll() is None:
            victim.killed = True
            with suppress(ProcessLookupError):
                # It leads a session of its own: its children go with it.
                os.killpg(victim.process.pid, signal.SIGKILL)
    for one in running:
        status = one.process.wait()
        one.killed = one.killed and status == -signal.SIGKILL
        tally.counts[f"{one.side} {'killed' if one.killed else 'ran'}"] += 1
        tally.counts[f"{one.side} failed"] += int(not one.killed and status != 0)
    killed = [one for one in running if one.killed]
    decisions = repository.decisions()
    # A decision that a killed program did not live to write down was not to hand over.
    handed_over = any("\tgit\t" in line for line in decisions[before if before <= len(decisions) else 0 :])
    _look(repository, running, killed, tally, handed_over=handed_over)
    if killed:
        _check(repository, tally, " and ".join(f"{one.side} {' '.join(one.words)}" for one in running))


def _look(
    repository: _Repository, running: list[_Running], killed: list[_Running], tally: _Tally, *, handed_over: bool
) -> None:
    """Locks that are left. Git's own stays if git is killed; nobody else's may."""
    locks = repository.locks()
    until = time.monotonic() + _SETTLE_S
    while locks and time.monotonic() < until:
        time.sleep(0.01)
        locks = repository.locks()
    if not locks:
        return
    names = ", ".join(str(lock.relative_to(repository.directory)) for lock in locks)
    told = "; ".join(f"{one.side}{' (killed)' if one.killed else ''}: {' '.join(one.words)}" for one in running)
    if not killed:
        tally.wrong.append(f"{names} left though nobody was killed, after {told}")
    for one in killed:
        native = one.side == "pyi" and not handed_over
        side = "git" if one.side == "git" else "pyi" if native else "git, for pyi,"
        tally.counts[f"{one.side} left"] += 1
        for lock in locks:
            tally.locks[f"{lock.name} by {side} in {one.words[0]}"] += 1
        if native:
            tally.wrong.append(f"{names} left, after {told}")
    # Whoever uses git does the same.
    for lock in locks:
        lock.unlink(missing_ok=True)


def _check(repository: _Repository, tally: _Tally, after: str) -> None:
    """Whether git finds everything sound, and both programs say the same."""
    tally.counts["checks"] += 1
    fsck = repository.git("fsck", "--strict", "--no-dangling")
    # A pack that is not there any more, or a line of a log about a commit that was not kept, would be said too.
    if fsck.returncode or b"error" in fsck.stderr or b"missing" in fsck.stdout:
        tally.wrong.append(f"fsck after {after}: {fsck.stdout!r} {fsck.stderr!r}")
    for words in (("ls-files", "-s"), ("status", "--porcelain=v2", "--branch"), ("for-each-ref",)):
        theirs, ours = repository.git(*words), repository.git(*words, side="pyi")
        if theirs.returncode:
            tally.wrong.append(f"git {words[0]} after {after}: {theirs.stderr!r}")
        if (theirs.returncode, theirs.stdout, theirs.stderr) != (ours.returncode, ours.stdout, ours.stderr):
            tally.wrong.append(f"{words[0]} differs after {after}: {theirs} {ours}")


def _ways(state: Path) -> tuple[Counter[str], Counter[str]]:
    """How often commands ran natively, and why others did not."""
    native: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for name in ("git-report.log.old", "git-report.log"):
        path = state / "pyi" / name
        for line in path.read_text().splitlines() if path.exists() else ():
            command, way, reason = (*line.split("\t"), "", "")[:3]
            if way == "native":
                native[command] += 1
            elif reason != "command":
                reasons[f"{command} ({reason})"] += 1
    return native, reasons
