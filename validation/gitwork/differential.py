"""`differential`: generated scenarios on a workspace and on a real repository beside it; every byte is compared."""

from __future__ import annotations

import argparse
import os
import random
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from validation.gitwork.pair import Answer, Pair, real_git
from validation.gitwork.scenario import START, World, command, content, edit

__all__ = ["add_arguments", "compare", "run"]

#: Commands in one history.
_LENGTH = (8, 24)
_LOOKS: tuple[tuple[str, ...], ...] = (
    ("status", "--porcelain=v2", "--branch"),
    ("ls-files", "-s"),
    ("log", "--format=%H %P"),
    ("stash", "list"),
    ("tag",),
    ("branch", "-v"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--scenarios", type=int, default=5_000, help="commands that are compared (default: 5000)")
    parser.add_argument("--seconds", type=float, help="go on until so much time is over, instead")
    parser.add_argument("--seed", type=int, default=1, help="of the first history (default: 1)")
    parser.add_argument("--show", type=int, default=20, help="differences that are printed (default: 20)")


@dataclass
class Tally:
    """What came of the commands."""

    equal: Counter[str] = field(default_factory=Counter)
    unavailable: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(count.total() for count in (self.equal, self.unavailable, self.different))


def _name(words: Sequence[bytes | str]) -> str:
    at = 2 if words[0] in ("-C", "-c") else 0
    return ("-C " if at else "") + os.fsdecode(words[at])


def _line(words: Sequence[bytes | str]) -> str:
    return "git " + " ".join(shlex.quote(os.fsdecode(word)) for word in words)


def _unlike(ours: Answer, theirs: Answer) -> str:
    for what, a, b in (
        ("status", ours.status, theirs.status),
        ("stderr", ours.stderr, theirs.stderr),
        ("stdout", ours.stdout, theirs.stdout),
    ):
        if a != b:
            return f"{what}\n    git: {b!r:.600}\n    pyi: {a!r:.600}"
    return ""


class _History:
    """Edits and commands of one seed."""

    def __init__(self, seed: int, place: Path, template: Path, tally: Tally) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.tally = tally
        start = None if self.chance.random() < 0.12 else template
        self.pair = Pair(place / f"history-{seed}", start)
        self.world = World(self.chance)
        self.done: list[str] = []

    def look_around(self) -> None:
        """What may be named now."""
        pair = self.pair
        self.world.paths = [os.fsencode(entry.path) for entry in pair.ws.walk()]
        self.world.branches = ["main", *(pair.ours("branch").stdout.decode().replace("*", "").split())]
        self.world.branches = [name for name in self.world.branches if not name.startswith("(")]
        self.world.tags = pair.ours("tag").stdout.decode().split()
        self.world.names = pair.ours("log", "--format=%H %T", "-4").stdout.decode().split()

    def edit(self) -> None:
        """A few changes in the work tree."""
        pair = self.pair
        for _ in range(self.chance.choice([0, 1, 1, 2, 4])):
            what, path, more = edit(self.world)
            self.done.append(f"{what} {path!r} {more!r}")
            if what == "ignore":
                pair.write(path, more)
            elif what == "symlink":
                pair.symlink(path, more)
            elif what == "remove":
                pair.remove(path)
            elif what == "chmod":
                pair.chmod(path, self.chance.random() < 0.6)
            else:
                is_file = pair.ws.exists(path) and pair.ws.stat(path).kind == "file"
                pair.write(path, content(self.chance, bytes(pair.ws.read(path)) if is_file else b""))

    def step(self, words: Sequence[bytes | str]) -> bool:
        """One command on both sides; whether they are still the same."""
        pair, name = self.pair, _name(words)
        pair.tick += 1
        self.done.append(_line(words))
        ours = pair.ours(*words)
        if ours.is_unavailable:
            self.tally.unavailable[name] += 1
            reason = ours.stderr.decode(errors="replace").removeprefix("pyi: ").partition(" is not available")[0]
            self.tally.reasons[reason[:60]] += 1
            return True
        theirs = pair.theirs(*words)
        unlike = _unlike(ours, theirs)
        if unlike:
            self.differs(name, f"{_line(words)}: {unlike}")
            return False
        self.tally.equal[name] += 1
        return True

    def differs(self, name: str, how: str) -> None:
        """Take note of a difference."""
        self.tally.different[name] += 1
        self.tally.shown.append(f"seed {self.seed}, step {len(self.done)}: {how}")

    def run(self) -> None:
        """All of it."""
        last = ""
        for _ in range(self.chance.randint(*_LENGTH)):
            self.look_around()
            self.edit()
            self.pair.prune()
            words = command(self.world)
            last = _name(words)
            if not self.step(words):
                return
        for look in _LOOKS:
            ours, theirs = self.pair.ours(*look), self.pair.theirs(*look)
            if not ours.is_unavailable and (unlike := _unlike(ours, theirs)):
                self.differs(last, f"afterwards {_line(look)}: {unlike}\n    after: {self.done[-8:]}")
                return
        if unlike_files := self.pair.unlike():
            self.differs(last, f"files afterwards: {unlike_files}\n    after: {self.done[-8:]}")


def make_template(directory: Path) -> Path:
    """The repository that most histories begin with: a few commits, a few files."""
    chance = random.Random(0)
    directory.mkdir(parents=True)
    real_git(directory, "init", "-q", "-b", "main")
    for number in range(4):
        for path in list(START)[: 4 + 2 * number]:
            target = directory / os.fsdecode(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content(chance, target.read_bytes() if target.exists() else b""))
        real_git(directory, "add", "-A", tick=-9 + number)
        real_git(directory, "commit", "-q", "-m", f"start {number}\n\nMore of it.", tick=-9 + number)
    return directory


def compare(place: Path, *, scenarios: int, seed: int, seconds: float | None = None) -> Tally:
    """Run histories until there were enough commands, or the time is over."""
    tally = Tally()
    template = make_template(place / "template")
    end = time.monotonic() + seconds if seconds is not None else None
    while time.monotonic() < end if end is not None else tally.total < scenarios:
        history = _History(seed, place, template, tally)
        try:
            history.run()
        finally:
            history.pair.close()
        seed += 1
    return tally


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    begin = time.monotonic()
    tally = compare(place, scenarios=options.scenarios, seed=options.seed, seconds=options.seconds)
    print(f"{'command':<14} {'equal':>7} {'unavailable':>12} {'different':>10}")
    names = Counter(tally.equal) + tally.unavailable + tally.different
    for name, _ in names.most_common():
        print(f"{name:<14} {tally.equal[name]:>7} {tally.unavailable[name]:>12} {tally.different[name]:>10}")
    answered = tally.equal.total() + tally.different.total()
    print(
        f"{'all':<14} {tally.equal.total():>7} {tally.unavailable.total():>12} {tally.different.total():>10}"
        f"   {tally.total} scenarios from seed {options.seed}, {time.monotonic() - begin:.0f} s; "
        f"{100 * tally.equal.total() / max(1, answered):.3f} % of what is answered is equal"
    )
    for reason, count in tally.reasons.most_common(12):
        print(f"  unavailable {count:>5}: {reason}")
    for line in tally.shown[: options.show]:
        print(line)
    return int(tally.different.total() > 0)
