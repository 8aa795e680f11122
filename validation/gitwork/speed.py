"""`speed`: git and `pyi` as whole processes on the same repositories: clock, CPU, memory, hand-overs, long walks."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from validation.generator import Tree, git, make_repository
from validation.gitwork.process import Cost, peak_memory_bytes
from validation.gitwork.process import run as run_process
from validation.statistics import percentile

__all__ = ["add_arguments", "run"]

_LARGE_FILES = 50_000
_SMALL_FILES = 20
_FASTER = 0.80
_SLOWER = 1.05
_HAND_OVER_MS = 0.6
_SMALL_PEAK_BYTES = 10_000_000
_WORDS_OF_ALL = {"-A", "--all", "."}


@dataclass(frozen=True, slots=True)
class Operation:
    """A command, how many of 708 recorded lines it stands for, and what has to be so before it."""

    argv: tuple[str, ...]
    weight: int
    stands_for: Callable[[list[str]], bool]
    prepare: str = ""
    large: bool = False

    @property
    def name(self) -> str:
        """The command as one types it."""
        return " ".join(self.argv)


def _is(command: str, *words: str) -> Callable[[list[str]], bool]:
    """A line of this command with one of these words (none: any line of it)."""
    return lambda line: line[0] == command and (not words or any(word in line[1:] for word in words))


# In the order in which lines are matched: the narrower forms stand before the wider ones.
_OPERATIONS = (
    Operation(("status", "-s"), 2, _is("status", "-s", "--short", "-sb"), large=True),
    Operation(("status", "--porcelain"), 2, _is("status", "--porcelain"), large=True),
    Operation(("status",), 65, _is("status"), large=True),
    Operation(("diff", "--stat"), 1, _is("diff", "--stat")),
    Operation(("diff", "--cached"), 6, _is("diff", "--cached", "--staged")),
    Operation(("diff",), 28, _is("diff"), large=True),
    Operation(("log", "--oneline", "-20"), 42, _is("log", "--oneline")),
    Operation(("log", "-1"), 8, _is("log")),
    Operation(("show",), 14, _is("show")),
    Operation(("add", "-A"), 43, lambda line: line[0] == "add" and bool(_WORDS_OF_ALL & set(line[1:])), "edit", True),
    Operation(("add", "FILE"), 158, _is("add"), "edit"),
    Operation(("commit", "-m", "message"), 227, _is("commit"), "stage", True),
    Operation(("branch",), 0, _is("branch")),
    Operation(("rev-parse", "HEAD"), 0, _is("rev-parse")),
    Operation(("ls-files",), 1, _is("ls-files")),
    Operation(("mv", "FILE", "FILE.moved"), 14, _is("mv"), "reset"),
    Operation(("rm", "FILE"), 12, _is("rm"), "reset"),
    Operation(("restore", "FILE"), 9, _is("restore"), "edit"),
    Operation(("reset", "-q"), 7, _is("reset"), "stage"),
    Operation(("checkout", "-q", "other"), 7, _is("checkout", "switch"), "main"),
)


# Walks through a long history: no line of agents stands for them, but nobody waits for them gladly.
_WALKS = (
    Operation(("log",), 0, _is("log")),
    Operation(("log", "--oneline"), 0, _is("log")),
    Operation(("log", "HEAD~500.."), 0, _is("log")),
    Operation(("log", "--", "FILE"), 0, _is("log")),
    Operation(("log", "--follow", "FILE"), 0, _is("log")),
    Operation(("log", "-p", "-20"), 0, _is("log")),
    Operation(("log", "--stat", "-20"), 0, _is("log")),
    Operation(("diff", "HEAD~500", "HEAD"), 0, _is("diff")),
    Operation(("rev-list", "HEAD"), 0, _is("rev-list")),
    Operation(("tag",), 0, _is("tag")),
)
_WALK_FILES = 2_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--sizes", default="20,4500,50000", help="files of the repositories (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="runs of each, after one that does not count")
    parser.add_argument("--program", type=Path, help="the `pyi` to measure (default: the one on PATH)")
    parser.add_argument("--only", help="commands to measure, separated by commas: status,add")
    parser.add_argument("--commands", type=Path, help="lines of JSON with a key `git`: weights are counted from them")
    parser.add_argument("--history", type=Path, help="a repository whose history is walked (default: a generated one)")
    parser.add_argument("--commits", type=int, default=5_000, help="commits of the generated one; 0: no walks")
    parser.add_argument("--concurrent", type=int, default=850, help="repositories on which commands run at once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure as a line of JSON")
    parser.add_argument("--check", action="store_true", help="fail unless the figures are what is claimed")


def _weights(file: Path | None) -> dict[str, int]:
    if file is None:
        return {operation.name: operation.weight for operation in _OPERATIONS}
    counts: Counter[str] = Counter()
    for text in file.read_text().splitlines():
        try:
            words = shlex.split(json.loads(text)["git"])[1:]
        except ValueError:
            words = json.loads(text)["git"].split()[1:]
        while words[:1] and words[0].startswith("-"):
            del words[: 2 if words[0] in {"-C", "-c"} else 1]
        found = next((operation for operation in _OPERATIONS if words and operation.stands_for(words)), None)
        if found is not None:
            counts[found.name] += 1
    return dict(counts)


class _Place:
    """A repository, a program to measure, and what both programs see of the world."""

    def __init__(self, place: Path, files: int, program: str) -> None:
        self.tree = Tree(files)
        self.directory = make_repository(place / f"files-{files}", self.tree, commits=30)
        self.see(place, program)
        self.file = self.tree.path(files // 2)
        git(self.directory, "branch", "other", "HEAD~1")
        self.settle()

    def see(self, place: Path, program: str) -> None:
        """Give both programs the same world."""
        self.home = place / "home"
        self.home.mkdir(exist_ok=True)
        (self.home / ".gitconfig").write_text("[user]\n\tname = validation\n\temail = validation@example.invalid\n")
        found = shutil.which("git")
        if found is None:
            raise FileNotFoundError("git is not on PATH")
        self.programs = {"git": found, "pyi": program}
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
        }
        self.null = os.open(os.devnull, os.O_RDWR)
        self.edits = 0

    def settle(self) -> None:
        """Nothing is staged, three files are changed, and the index is older than a second and knows all files."""
        git(self.directory, "checkout", "-q", "-f", "main")
        git(self.directory, "reset", "-q", "--hard")
        git(self.directory, "clean", "-fdq")
        time.sleep(1.1)
        git(self.directory, "update-index", "-q", "--refresh")
        for number in range(min(3, self.tree.count)):
            self.write(self.tree.path(number * (self.tree.count // 4)))
        time.sleep(0.05)

    def write(self, path: str) -> None:
        """Put a content into a file that it never had."""
        self.edits += 1
        path_here = self.directory / path
        path_here.write_bytes(path_here.read_bytes() + b"line %d\n" % self.edits)

    def prepare(self, what: str) -> None:
        """Make what a command needs; not timed."""
        if what in {"reset", "main"}:
            git(self.directory, "checkout", "-q", "-f", "main")
            git(self.directory, "reset", "-q", "--hard")
            git(self.directory, "clean", "-fdq")
        if what in {"edit", "stage"}:
            self.write(self.file)
        if what == "stage":
            git(self.directory, "add", self.file)

    def argv(self, program: str, operation: Operation) -> list[str]:
        """The words of a command for one of the programs."""
        words = [word.replace("FILE", self.file) for word in operation.argv]
        return [self.programs[program], *words]

    def sample(self, program: str, operation: Operation) -> Cost:
        """Run a command once."""
        self.prepare(operation.prepare)
        return run_process(self.argv(program, operation), self.directory, self.env, self.null)

    def went(self, operation: Operation) -> str:
        """Who ran the command that `pyi` ran last: `native`, or why git did."""
        lines = (self.home / "pyi" / "git-report.log").read_text().splitlines()
        command, way, reason = (lines[-1] if lines else "-\t-\t-").split("\t")
        return way if command == operation.argv[0] and way == "native" else reason


class _History(_Place):
    """A repository with a long history, as a clone has it: one pack, and the file that changed most of late."""

    def __init__(self, place: Path, program: str, source: Path | None, commits: int) -> None:
        self.directory = place / "history"
        if source is None:
            made = make_repository(place / "history-made", Tree(_WALK_FILES), commits=commits)
            tags = (f"create refs/tags/v{number} HEAD~{number}\n" for number in range(0, commits, 10))
            git(made, "update-ref", "--stdin", data="".join(tags).encode())
            git(made, "repack", "-q", "-a", "-d", "--depth=50", "--window=10")
            source = made
        git(place, "clone", "-q", "--no-hardlinks", str(source.resolve()), str(self.directory))
        self.see(place, program)
        named = git(self.directory, "log", "--format=", "--name-only", "-200").decode().split("\n")
        there = Counter(name for name in named if name and (self.directory / name).is_file())
        self.file = there.most_common(1)[0][0]


def _pairs(place: _Place, operation: Operation, rounds: int) -> tuple[dict[str, list[Cost]], str]:
    """Both programs in turns, A B B A; who ran it for `pyi`."""
    costs: dict[str, list[Cost]] = {"git": [], "pyi": []}
    went = ""
    for number in range(-1, rounds):
        for program in ("git", "pyi") if number % 2 else ("pyi", "git"):
            cost = place.sample(program, operation)
            if number < 0 and program == "pyi":
                went = place.went(operation)
            if number >= 0:
                costs[program].append(cost)
    return costs, went


def _summed(costs: dict[str, list[Cost]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("clock", "cpu"):
        git_ns, pyi_ns = ([getattr(cost, f"{name}_ns") for cost in costs[program]] for program in ("git", "pyi"))
        found[f"{name}_ratio"] = round(median(p / max(1, g) for g, p in zip(git_ns, pyi_ns, strict=True)), 3)
        found[f"{name}_more_ms"] = round(median(p - g for g, p in zip(git_ns, pyi_ns, strict=True)) / 1e6, 3)
        for program, samples in (("git", git_ns), ("pyi", pyi_ns)):
            ordered = sorted(samples)
            found[f"{program}_{name}_p50_ms"] = round(percentile(ordered, 0.5) / 1e6, 3)
            found[f"{program}_{name}_p95_ms"] = round(percentile(ordered, 0.95) / 1e6, 3)
    found["unequal"] = sum(g.status != p.status for g, p in zip(costs["git"], costs["pyi"], strict=True))
    return found


def _operations(options: argparse.Namespace, files: int) -> Iterator[Operation]:
    wanted = options.only.split(",") if options.only else None
    for operation in _OPERATIONS:
        if wanted is not None and operation.argv[0] not in wanted:
            continue
        if files < _LARGE_FILES or operation.large:
            yield operation


def _at_once(place: Path, program: str, count: int) -> dict[str, Any]:
    """Commands on as many repositories at once; git looks at all of them afterwards."""
    template = _Place(place / "one", 20, program)
    git(template.directory, "reset", "-q", "--hard")
    repositories = [place / f"many-{number}" for number in range(count)]
    for repository in repositories:
        shutil.copytree(template.directory, repository, symlinks=True)
        (repository / "new.txt").write_text(f"{repository.name}\n")
    failed = 0
    ends = [(os.POSIX_SPAWN_DUP2, template.null, number) for number in range(3)]
    commands = (["status"], ["add", "-A"], ["commit", "-q", "-m", "one"], ["log", "-1"], ["describe", "--always"])
    before = time.perf_counter()
    for words in commands:
        children = [
            os.posix_spawn(program, [program, "-C", str(repository), *words], template.env, file_actions=ends)
            for repository in repositories
        ]
        failed += sum(os.waitpid(child, 0)[1] != 0 for child in children)
    seconds = round(time.perf_counter() - before, 2)

    def is_sound(repository: Path) -> bool:
        count = git(repository, "rev-list", "--count", "HEAD").strip() == b"31"
        clean = git(repository, "status", "--porcelain") == b""
        said = git(repository, "fsck", "--strict", "--no-dangling", "--no-progress")
        mine = git(repository, "show", "HEAD:new.txt").decode() == f"{repository.name}\n"
        return count and clean and mine and said == b""

    with ThreadPoolExecutor(4) as pool:
        unsound = sum(not sound for sound in pool.map(is_sound, repositories))
    found = {"kind": "at-once", "count": count, "commands": len(commands), "seconds": seconds}
    return found | {"failed": failed, "unsound": unsound}


def _share(rows: Sequence[dict[str, Any]], measure: str) -> tuple[float, list[str]]:
    """Which share of use is at least a fifth faster, and what is slower although `pyi` did it itself."""
    total = sum(row["weight"] for row in rows)
    fast = sum(row["weight"] for row in rows if row[measure] <= _FASTER)
    slow = [row["command"] for row in rows if row["way"] == "native" and row[measure] > _SLOWER]
    return fast / max(1, total), slow


def _print_row(row: dict[str, Any]) -> None:
    parts = [f"  {row['command']:<22}"]
    for measure in ("clock", "cpu"):
        git_ms, pyi_ms = row[f"git_{measure}_p50_ms"], row[f"pyi_{measure}_p50_ms"]
        parts.append(f"{measure} {git_ms:>8.2f} {pyi_ms:>8.2f} {row[f'{measure}_ratio']:>6.2f}")
    print("   ".join([*parts, row["way"], *(["UNEQUAL"] if row["unequal"] else [])]), flush=True)


def _measure(options: argparse.Namespace, place: _Place, files: int) -> Iterator[dict[str, Any]]:
    """Every operation on one repository, then hand-overs and memory."""
    weights = _weights(options.commands)
    for operation in _operations(options, files):
        place.settle()
        costs, went = _pairs(place, operation, options.rounds)
        row = {"kind": "operation", "files": files, "command": operation.name}
        row |= {"weight": weights.get(operation.name, 0), "way": went, **_summed(costs)}
        _print_row(row)
        yield row
    place.settle()
    handed = Operation(("describe", "--always"), 0, _is("describe"))
    costs, _ = _pairs(place, handed, 2 * options.rounds)
    over = {"kind": "hand-over", "files": files, **_summed(costs)}
    print(
        f"  handed over: {over['clock_more_ms']:.2f} ms by the clock, {over['cpu_more_ms']:.2f} ms of CPU more than git"
    )
    yield over
    peaks: dict[str, Any] = {"kind": "memory", "files": files}
    for name in ("git", "pyi"):
        peak = peak_memory_bytes([place.programs[name], "status"], place.directory, place.env, place.null)
        peaks[f"{name}_peak_bytes"] = peak
        told = "not known" if peak is None else f"{peak / 1e6:.1f} MB"
        print(f"  peak memory of `{name} status`: {told}", flush=True)
    yield peaks


def _walks(options: argparse.Namespace, place: Path, program: str) -> Iterator[dict[str, Any]]:
    """Walks through a long history."""
    history = _History(place, program, options.history, options.commits)
    count = int(git(history.directory, "rev-list", "--count", "HEAD"))
    print(f"a history of {count} commits: medians of {options.rounds} in ms", flush=True)
    wanted = options.only.split(",") if options.only else None
    for operation in _WALKS:
        if wanted is not None and operation.argv[0] not in wanted:
            continue
        if count <= 500 and any("HEAD~500" in word for word in operation.argv):
            continue
        costs, went = _pairs(history, operation, options.rounds)
        row = {"kind": "walk", "commits": count, "command": operation.name, "way": went, **_summed(costs)}
        _print_row(row)
        yield row


def _shares(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each repository, by clock and CPU: how much of the use is faster."""
    for files in sorted({row["files"] for row in rows}):
        for measure in ("clock_ratio", "cpu_ratio"):
            share, slower = _share([row for row in rows if row["files"] == files], measure)
            told = ", ".join(slower) or "nothing"
            print(f"{files} files, {measure}: {share:.1%} of use at least a fifth faster; slower natively: {told}")
            yield {"kind": "share", "files": files, "measure": measure, "share": round(share, 3), "slower": slower}


def _is_as_claimed(line: dict[str, Any]) -> bool:
    """Whether a figure is what `--check` wants; by the clock, as a loaded machine's CPU time is no claim."""
    match line["kind"]:
        case "share":
            return line["measure"] != "clock_ratio" or bool(line["share"] >= 0.8 and not line["slower"])
        case "walk":
            return line["way"] != "native" or bool(line["clock_ratio"] <= _SLOWER)
        case "hand-over":
            return bool(line["clock_more_ms"] < _HAND_OVER_MS)
        case "memory":
            return bool(line["files"] > _SMALL_FILES or (line["pyi_peak_bytes"] or 0) < _SMALL_PEAK_BYTES)
        case _:
            return True


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    # What stands in the file cache as a linker left it, in small pieces, starts slower than what was installed.
    program = str(shutil.copy(options.program.resolve(), place / "pyi"))
    lines: list[dict[str, Any]] = []
    here = Path.cwd()
    for files in (int(size) for size in options.sizes.split(",") if size):
        measured = _Place(place, files, program)
        print(f"{files} files: medians of {options.rounds} in ms, git and pyi, and the ratio of the pairs", flush=True)
        lines += _measure(options, measured, files)
        os.chdir(here)
    if options.history or options.commits:
        lines += _walks(options, place, program)
        os.chdir(here)
    lines += _shares([line for line in lines if line["kind"] == "operation"])
    if options.concurrent:
        at_once = _at_once(place, program, options.concurrent)
        lines.append(at_once)
        print(
            f"{at_once['count']} repositories, a command on all of them at once, {at_once['commands']} commands: "
            f"{at_once['failed']} failures, {at_once['unsound']} wrong, {at_once['seconds']} s"
        )
    if options.json:
        with options.json.open("w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    failed = any(line.get("unequal") or line.get("failed") or line.get("unsound") for line in lines)
    return int(failed or (options.check and not all(_is_as_claimed(line) for line in lines)))
