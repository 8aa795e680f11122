"""`replay`: git command lines that agents typed, by git and by `pyi`, each on a copy of real repositories."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from validation.generator import Tree, make_repository
from validation.gitwork.typed import Repository, Unreadable, read, rewritten

__all__ = ["add_arguments", "run"]

_OPEN = Path(__file__).parents[2] / ".." / "shared" / "traces" / "open" / "git_commands.jsonl"
#: What issue 5 asks for, in per cent.
_AS_RECORDED, _NATIVE, _EQUAL = 80.0, 88.0, 99.5
_TEXT = {
    ".py",
    ".md",
    ".rst",
    ".txt",
    ".toml",
    ".yaml",
    ".yml",
    ".cfg",
    ".c",
    ".h",
    ".tcl",
    ".sh",
    ".json",
    ".gitignore",
}
_STARTED = ("MERGE_HEAD", "REVERT_HEAD", "CHERRY_PICK_HEAD", "rebase-merge", "rebase-apply")
_BASE_TIME = 1_750_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--commands", type=Path, default=_OPEN, help="lines of JSON with a key `git`")
    parser.add_argument(
        "--repository", type=Path, action="append", default=[], help="one to copy (several; default: a generated one)"
    )
    parser.add_argument("--program", type=Path, help="the `pyi` that is tested (default: the one on PATH)")
    parser.add_argument("--native", default="auto", help="PYI_GIT_NATIVE (default: %(default)s)")
    parser.add_argument("--only", help="commands to replay, separated by commas; the others are git's on both sides")
    parser.add_argument("--limit", type=int, help="no more lines than this")
    parser.add_argument("--show", type=int, default=10, help="differences that are printed in full (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every line's result as a line of JSON")


@dataclass(frozen=True, slots=True)
class _Line:
    trace: str
    step: int
    words: list[str]
    recorded: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    out: bytes
    err: bytes
    status: int


class _Side:
    """A copy of a repository, and who runs commands in it."""

    def __init__(self, place: Path, name: str, path: str, state: Path, native: str) -> None:
        self.home = place / name
        self.directory = self.home / "repo"
        self.env = {
            "PATH": path,
            "HOME": str(state),
            "XDG_STATE_HOME": str(state),
            "PYI_GIT_NATIVE": native,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_EDITOR": "true",
            "GIT_SEQUENCE_EDITOR": "true",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }

    def run(self, words: Sequence[str], tick: int, below: str = "") -> _Answer:
        date = f"{_BASE_TIME + 60 * tick} +0200"
        env = self.env | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        where = self.directory / below
        done = subprocess.run(
            ["git", *words],
            cwd=where if where.is_dir() else self.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return _Answer(self.plain(done.stdout), self.plain(done.stderr), done.returncode)

    def plain(self, data: bytes) -> bytes:
        """Paths of this copy as those of either."""
        return data.replace(os.fsencode(self.home), b"<copy>")

    def state(self) -> dict[str, bytes]:
        """Everything that a command can have changed, but objects that nothing refers to."""
        found: dict[str, bytes] = {}
        top = self.directory / ".git"
        for here, directories, files in os.walk(top):
            if Path(here) == top:
                directories[:] = [name for name in directories if name != "objects"]
            for name in files:
                path = Path(here) / name
                if name != "index" and not name.endswith(".sample"):
                    found[f".git/{path.relative_to(top)}"] = self.plain(path.read_bytes())
        quiet = self.env | {"GIT_OPTIONAL_LOCKS": "0"}
        for words in (["ls-files", "-s", "-v", "-z"], ["status", "--porcelain=v2", "-z", "-uall", "--no-renames"]):
            done = subprocess.run(["git", *words], cwd=self.directory, env=quiet, capture_output=True, check=False)
            found[words[0]] = done.stdout + done.stderr
        for entry in found["status"].split(b"\0"):
            path = self.directory / os.fsdecode(entry.split(b" ", 1 if entry[:1] == b"?" else 8)[-1])
            if entry and path.is_file():
                found[str(path.relative_to(self.directory))] = hashlib.sha256(path.read_bytes()).digest()
        return found


class _Pair:
    """Two copies of a repository: `git` works on one, `pyi` on the other."""

    def __init__(self, source: Path, place: Path, program: Path, native: str) -> None:
        self.place = place
        self.state = place / "state"
        shim = place / "shim"
        for directory in (place, self.state, shim):
            directory.mkdir(exist_ok=True)
        (shim / "git").symlink_to(program)
        (self.state / ".gitconfig").write_text(
            "[user]\n\tname = Ann Example\n\temail = ann@example.invalid\n[init]\n\tdefaultBranch = main\n"
        )
        plain = os.environ["PATH"]
        self.theirs = _Side(place, "a", plain, self.state, "off")
        self.ours = _Side(place, "b", f"{shim}{os.pathsep}{plain}", self.state, native)
        # Git runs what has to be so before a command, on both.
        self.hands = (self.theirs, _Side(place, "b", plain, self.state, "off"))
        self.template = _Side(place, "template", plain, self.state, "off")
        self.tick = 0
        self.edits = 0
        self.below = ""
        self._make_template(source)

    def _git(self, *words: str, sides: Sequence[_Side] = ()) -> bytes:
        answers = [side.run(words, self.tick) for side in sides or self.hands]
        return answers[0].out

    def _make_template(self, source: Path) -> None:
        side = self.template
        side.home.mkdir()
        run = {"env": side.env, "check": True, "capture_output": True}
        subprocess.run(["git", "clone", "-q", "--shared", str(source), str(side.directory)], **run)  # type: ignore[call-overload]

        def git(*words: str) -> None:
            done = side.run(words, self.tick)
            if done.status != 0:
                raise RuntimeError(f"git {' '.join(words)}: {done.err.decode()}")

        git("checkout", "-q", "-B", "main")
        git("config", "gc.auto", "0")
        for branch, start in (("dev", "HEAD~3"), ("work", "main")):
            git("checkout", "-q", "-b", branch, start)
            for number in range(2):
                self.tick += 1
                paths = [path for path in self._texts(side) if not path.startswith(".")]
                for path in (paths[number], paths[len(paths) // 2]):
                    self._append(side, path)
                git("commit", "-q", "-a", "-m", f"{branch} {number}")
        git("checkout", "-q", "main")
        git("tag", "-f", "v0.0.1", "main~2")
        origin = side.home / "origin.git"
        subprocess.run(["git", "clone", "-q", "--bare", "--shared", str(source), str(origin)], **run)  # type: ignore[call-overload]
        git("remote", "set-url", "origin", "../origin.git")
        git("push", "-q", "-u", "-f", "origin", "main", "work")
        git("config", "--unset", "gc.auto")

    def _texts(self, side: _Side) -> list[str]:
        listed = os.fsdecode(side.run(["ls-files", "-z"], self.tick).out).split("\0")
        names = (path for path in listed if Path(path).suffix in _TEXT or Path(path).name == ".gitignore")
        return [path for path in names if (side.directory / path).is_file()]

    def _append(self, side: _Side, path: str) -> None:
        target = side.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            file.write(b"# edit %d\n" % self.edits)

    def fresh(self, branch: str, is_below: bool) -> None:
        """Both copies are new ones."""
        for side in self.hands:
            shutil.rmtree(side.home, ignore_errors=True)
            subprocess.run(["cp", "-a", str(self.template.home), str(side.home)], check=True)
        self._git("checkout", "-q", branch)
        self._git("remote", "set-url", "origin", str(self.theirs.home / "origin.git"), sides=self.hands[:1])
        self._git("remote", "set-url", "origin", str(self.hands[1].home / "origin.git"), sides=self.hands[1:])
        self._git("update-index", "-q", "--refresh")
        count: Counter[str] = Counter(path.split("/")[0] for path in self._texts(self.theirs) if "/" in path)
        self.below = f"{count.most_common(1)[0][0]}/" if is_below and count else ""

    def known(self) -> Repository:
        """What the copies have now."""
        names = self._git("for-each-ref", "--format=%(refname:short)", "refs/heads", sides=self.hands[:1]).decode()
        tags = self._git("tag", sides=self.hands[:1]).decode().split()
        depth = self._git("rev-list", "--count", "--first-parent", "-n", "20", "HEAD", sides=self.hands[:1])
        return Repository(
            files=self._texts(self.theirs),
            branches=sorted(names.split(), key=lambda name: name != "main") or ["main"],
            tags=tags,
            depth=int(depth.strip() or b"1"),
            below=self.below,
            remote="<copy>/origin.git",
            top="<copy>/repo",
        )

    def edit(self, *paths: str) -> None:
        """Add a line to files, which are made if they are not there."""
        self.edits += 1
        for side in self.hands:
            for path in paths:
                if (side.directory / path).is_dir():
                    continue
                self._append(side, path)

    def _edit_any(self, known: Repository, count: int = 1) -> list[str]:
        plain = [path for path in known.files if not Path(path).name.startswith(".")]
        picked = [plain[(7 * self.edits + 3 * number) % len(plain)] for number in range(count)]
        self.edit(*picked)
        return picked

    def prepare(self, words: Sequence[str], known: Repository) -> None:
        """See to it that a command has something to do, as it had for whoever typed it."""
        at = next((at for at, word in enumerate(words) if not word.startswith("-") and word != ".."), 0)
        command, rest = words[at], list(words[at + 1 :])
        operands = [word for word in rest if not word.startswith("-")]
        paths = [self._from_top(word) for word in operands]
        files = [path for path in paths if not (self.theirs.directory / path).is_dir()]
        is_whole = {"-A", "--all", ".", "-u", "-a", "-am"} & set(rest)
        match command:
            case "add":
                self.edit(*files)
                for path in set(paths) - set(files):
                    inside = [name for name in known.files if name.startswith(path.rstrip("/") + "/")]
                    self.edit(*inside[:2])
                if is_whole:
                    self._edit_any(known, 2)
                    self.edit(f"notes-{self.edits}.txt")
            case "commit":
                staged = self._git("diff", "--cached", "--name-only", sides=self.hands[:1])
                if is_whole or not staged:
                    for path in self._edit_any(known, 2):
                        if not is_whole:
                            self._git("add", path)
            case "status" | "diff":
                there = [path for path in files if (self.theirs.directory / path).is_file()]
                picked = there or self._edit_any(known, 2)
                self.edit(*there)
                if command == "status" or {"--cached", "--staged"} & set(rest):
                    self._git("add", picked[0])
            case "restore" | "checkout" | "reset" if "-b" not in rest:
                there = [path for path in paths if path in known.files]
                self.edit(*there)
                if there and (command == "reset" or "--staged" in rest):
                    self._git("add", *there)
                if command == "checkout" and not there:
                    self._git("reset", "-q", "--hard")
            case "rm":
                for path in paths:
                    self._git("checkout", "-q", "HEAD", "--", path)
            case "stash":
                if not rest or rest[0].startswith("-") or rest[0] == "push":
                    self._edit_any(known, 2)
                elif not self._git("stash", "list", sides=self.hands[:1]):
                    self._git("reset", "-q", "--hard")
                    self._edit_any(known, 2)
                    self._git("stash")
                if rest[:1] in (["pop"], ["apply"]):
                    self._git("reset", "-q", "--hard")
            case "merge" | "rebase" | "revert" | "cherry-pick" | "pull":
                self._git("reset", "-q", "--hard")

    def _from_top(self, word: str) -> str:
        if word.startswith("<copy>/repo/"):
            return word.removeprefix("<copy>/repo/")
        return os.path.normpath(self.below + word) if word not in {".", ".."} else word

    def compare(self, words: Sequence[str]) -> tuple[_Answer, _Answer, str, str, list[str]]:
        """Run a command on both; who ran it for `pyi` and why, and what differs."""
        self.tick += 1
        log = self.state / "pyi" / "git-report.log"
        log.unlink(missing_ok=True)
        theirs, ours = (
            side.run([word.replace("<copy>", str(side.home)) for word in words], self.tick, self.below)
            for side in (self.theirs, self.ours)
        )
        lines = log.read_text().splitlines() if log.exists() else []
        _, way, reason = (lines[-1] if lines else "-\tgit\tnot counted").split("\t")
        differs = [name for name in ("out", "err", "status") if getattr(theirs, name) != getattr(ours, name)]
        states = self.theirs.state(), self.hands[1].state()
        differs += sorted(
            name for name in states[0].keys() | states[1].keys() if states[0].get(name) != states[1].get(name)
        )
        return theirs, ours, way, reason, differs

    def settle(self, is_same: bool) -> None:
        """End what was begun; where the copies went apart, `pyi`'s becomes git's."""
        if not is_same:
            shutil.rmtree(self.ours.home)
            subprocess.run(["cp", "-a", str(self.theirs.home), str(self.ours.home)], check=True)
            self._git("remote", "set-url", "origin", str(self.ours.home / "origin.git"), sides=self.hands[1:])
            self._git("update-index", "-q", "--refresh")
        for side in self.hands:
            shutil.rmtree(side.home / "cloned", ignore_errors=True)
        if any((self.theirs.directory / ".git" / name).exists() for name in _STARTED):
            for command in ("merge", "rebase", "revert", "cherry-pick"):
                self._git(command, "--abort")
            self._git("reset", "-q", "--hard")


def _endings(directory: Path) -> dict[tuple[str, int], bool]:
    """How steps ended, where traces stand beside the lines; a step of which nothing is said went well."""
    found: dict[tuple[str, int], bool] = {}
    for file in sorted(directory.glob("traces/*.jsonl.gz")):
        with gzip.open(file, "rt") as lines:
            for line in lines:
                step = json.loads(line)
                if step.get("ok") is False:
                    found[step["trace_id"], step["step"]] = False
    return found


def _read_all(options: argparse.Namespace) -> tuple[list[_Line], Counter[str]]:
    endings = _endings(options.commands.parent)
    lines: list[_Line] = []
    unread: Counter[str] = Counter()
    for text in options.commands.read_text().splitlines()[: options.limit]:
        step = json.loads(text)
        trace, number = step.get("trace_id", ""), step.get("step", 0)
        try:
            words = read(step["git"])
        except Unreadable as error:
            unread[f"{error}: {step['git'][:100]}"] += 1
            continue
        lines.append(_Line(trace, number, words, endings.get((trace, number), True)))
    return lines, unread


def _by_trace(lines: Iterable[_Line]) -> Iterator[list[_Line]]:
    """Lines of one run, in order."""
    run: list[_Line] = []
    for line in lines:
        if run and run[0].trace != line.trace:
            yield run
            run = []
        run.append(line)
    if run:
        yield run


def _replay(pair: _Pair, name: str, lines: Sequence[_Line], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    only = set(options.only.split(",")) if options.only else None
    for trace in _by_trace(lines):
        compares = any("main.." in word for line in trace for word in line.words)
        # The agents of this project worked in a directory of a larger repository.
        pair.fresh("work" if compares else "main", is_below=trace[0].trace.startswith("specstory"))
        for line in trace:
            known = pair.known()
            words = rewritten(line.words, known)
            above = "-C" in words and ".." in words and not pair.below
            if above:
                pair.below = f"{known.directories[0]}/".removeprefix("./")
            pair.prepare(words, known)
            command = next((word for word in words if not word.startswith("-") and word != ".."), "")
            if only is not None and command not in only:
                pair._git(*(word.replace("<copy>", str(pair.theirs.home)) for word in words), sides=pair.hands[:1])
                pair._git(*(word.replace("<copy>", str(pair.ours.home)) for word in words), sides=pair.hands[1:])
                pair.settle(True)
                continue
            theirs, ours, way, reason, differs = pair.compare(words)
            pair.settle(not differs)
            below, pair.below = pair.below, "" if above else pair.below
            yield {
                "repository": name,
                "trace_id": line.trace,
                "step": line.step,
                "command": command,
                "words": words,
                "below": below,
                "recorded": line.recorded,
                "git_status": theirs.status,
                "pyi_status": ours.status,
                "way": way,
                "reason": reason,
                "differs": differs,
                "said": [side.err.decode(errors="replace")[:300] for side in (theirs, ours)],
                "out": [side.out.decode(errors="replace")[:2000] for side in (theirs, ours)]
                if "out" in differs
                else [],
            }


def _share(count: int, total: int) -> float:
    return 100 * count / max(1, total)


def _report(rows: Sequence[dict[str, Any]], show: int) -> dict[str, Any]:
    """Print what came of it, and return the figures."""
    native = [row for row in rows if row["way"] == "native"]
    unequal = [row for row in native if row["differs"]]
    as_recorded = sum((row["pyi_status"] == 0) == row["recorded"] for row in rows)
    figures = {
        "kind": "share",
        "invocations": len(rows),
        "as_recorded_percent": round(_share(as_recorded, len(rows)), 2),
        "native_percent": round(_share(len(native), len(rows)), 2),
        "equal_percent": round(_share(len(native) - len(unequal), len(native)), 2),
        "equal_of_all_percent": round(_share(sum(not row["differs"] for row in rows), len(rows)), 2),
    }
    print(f"{'command':<14} {'lines':>6} {'as recorded':>12} {'native':>8} {'unequal':>8}")
    for command, count in Counter(row["command"] for row in rows).most_common():
        own = [row for row in rows if row["command"] == command]
        right = sum((row["pyi_status"] == 0) == row["recorded"] for row in own)
        ran = [row for row in own if row["way"] == "native"]
        print(f"{command:<14} {count:>6} {right:>12} {len(ran):>8} {sum(bool(row['differs']) for row in ran):>8}")
    handed = Counter((row["command"], row["reason"]) for row in rows if row["way"] != "native")
    print("handed over:")
    for (command, reason), count in handed.most_common():
        print(f"  {count:>5} {command}: {reason}")
    for row in [*unequal, *(row for row in rows if row["differs"] and row["way"] != "native")][:show]:
        where = f"{row['way']}, {row['repository']}, {row['trace_id']}:{row['step']}"
        print(f"differs ({where}): git {' '.join(row['words'])}")
        print(f"  {row['differs'][:6]} {row['git_status']} {row['pyi_status']} {row['said']}")
    print(
        f"{len(rows)} invocations: {figures['as_recorded_percent']} % end as recorded, "
        f"{figures['native_percent']} % ran natively, {figures['equal_percent']} % of those equal "
        f"({figures['equal_of_all_percent']} % of all)"
    )
    return figures


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    if not options.commands.exists():
        print(f"error: no {options.commands}; name the list with --commands", file=sys.stderr)
        return 2
    lines, unread = _read_all(options)
    print(f"{len(lines)} of {len(lines) + unread.total()} lines are read")
    for what, count in unread.items():
        print(f"  not read ({count}): {what}")
    sources = options.repository or [make_repository(place / "generated", Tree(300), commits=20)]
    rows: list[dict[str, Any]] = []
    for number, source in enumerate(sources):
        pair = _Pair(source, place / str(number), options.program.resolve(), options.native)
        rows += _replay(pair, str(source), lines, options)
        shutil.rmtree(place / str(number), ignore_errors=True)
    figures = _report(rows, options.show) | {"lines": len(lines), "unread": unread.total()}
    if options.json:
        with options.json.open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in [*rows, figures])
    claimed = (
        figures["as_recorded_percent"] >= _AS_RECORDED
        and figures["native_percent"] >= _NATIVE
        and figures["equal_percent"] >= _EQUAL
    )
    return 0 if claimed else 1
