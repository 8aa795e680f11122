"""`tools`: the command lines that editors, IDEs and CI issue, answered by `pyi` as git and by git itself."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["TABLE", "Step", "add_arguments", "replay", "run", "step_of"]

#: What each tool issues, and where that is written down. A line is `git` and its words (`env NAME=VALUE` before it,
#: `<<< TEXT` behind it: its input), or `edit PATH TEXT`.
TABLE = Path(__file__).with_suffix(".json")
_SHOWN = 20
#: How far something has come, and how fast, is another thing each time.
_PROGRESS = re.compile(rb"[^\r\n]*[0-9]+% \([^\r\n]*[\r\n]")
_MAX_S = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--program", type=Path, help="the `pyi` that is tested (default: the one on PATH)")
    parser.add_argument("--tool", action="append", help="only this one; may be given again")
    parser.add_argument("--handed-over", action="store_true", help="print what git ran, and why")


@dataclass(frozen=True)
class Step:
    """A command line, or an edit (`words` is then empty)."""

    line: str
    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    edit: tuple[str, str] | None = None


@dataclass
class Replayed:
    """What came of a sequence."""

    answers: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    #: Who ran each step, and why git did.
    ways: list[str] = field(default_factory=list)
    state: dict[str, object] = field(default_factory=dict)


def step_of(line: str, places: Mapping[str, str]) -> Step:
    """Read a line of the table."""
    text = line.replace("{{", "\0").replace("}}", "\1")
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    words = shlex.split(text.replace("\0", "{").replace("\1", "}"))
    if words[0] == "edit":
        return Step(line, edit=(words[1], words[2]))
    stdin = b""
    if "<<<" in words:
        at = words.index("<<<")
        stdin = f"{words[at + 1]}\n".encode()
        words = words[:at]
    env = {}
    if words[0] == "env":
        while words[1] != "git":
            name, _, value = words.pop(1).partition("=")
            env[name] = value
        words.pop(0)
    if words[0] != "git":
        raise ValueError(f"{line}: neither git nor edit")
    return Step(line, tuple(words[1:]), env, stdin)


def _environment(home: Path) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYI", "XDG_", "LC_"))}
    return plain | {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": "1700000000 +0100",
        "GIT_COMMITTER_DATE": "1700000000 +0100",
        "LC_ALL": "C",
    }


class _Repository:
    """A project with a history, a remote, and work that is not committed."""

    def __init__(self, place: Path) -> None:
        self.place, self.writes = place, 0
        self.home, self.work, self.origin = place / "home", place / "work", place / "origin.git"
        self.home.mkdir(parents=True)
        self.work.mkdir()
        self.env = _environment(self.home)
        (self.home / ".gitconfig").write_text("[user]\n\tname = Ann\n\temail = ann@example.invalid\n")
        self.git("init", "-q", "-b", "main")
        for number in range(12):
            self.write("README.md", "".join(f"line {line}\n" for line in range(number, number + 30)))
            self.write("src/app.py", "".join(f"def f{line}():\n    return {line}\n\n" for line in range(8 + number)))
            self.write(f"docs/page-{number % 5}.md", f"# {number}\n")
            self.git("add", "-A")
            self.git("commit", "-q", "-m", f"Step {number}\n\nWhat and why.")
            if number == 6:
                self.git("tag", "-a", "-m", "one", "v1")
                self.git("branch", "other")
        self.git("init", "-q", "--bare", str(self.origin))
        self.git("remote", "add", "origin", str(self.origin))
        self.git("push", "-q", "-u", "origin", "main", "other")
        self.git("remote", "set-head", "origin", "main")
        self.git("checkout", "-q", "other")
        self.write("other.txt", "other\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "Beside")
        self.git("checkout", "-q", "main")
        self.write(".gitignore", "*.log\n")
        self.git("add", ".gitignore")
        self.write("README.md", "".join(f"line {line}\n" for line in range(3, 44)))
        self.git("add", "README.md")
        self.write("src/app.py", "".join(f"def f{line}():\n    return {line + 1}\n\n" for line in range(19)))
        self.write("new.txt", "new\n")
        self.write("noise.log", "noise\n")
        self.git("status")

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.work, env=self.env, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        # Git looks again at files that are as young as its index: what it does must not depend on the clock.
        self.writes += 1
        os.utime(path, (1_600_000_000 + self.writes,) * 2)


def _state(repository: _Repository) -> dict[str, object]:
    """Everything but objects, whose names say what they are, and the index: git says what is in it."""
    found: dict[str, object] = {}
    for top in (repository.work, repository.origin):
        for here, directories, files in os.walk(top):
            if "HEAD" in files:
                directories[:] = [name for name in directories if name != "objects"]
            for name in files:
                path = Path(here) / name
                # When a remote was asked is not what the tools made of it.
                if name not in ("index", "FETCH_HEAD"):
                    content = os.readlink(path) if path.is_symlink() else path.read_bytes()
                    found[str(path.relative_to(repository.place))] = (oct(path.lstat().st_mode), content)
    found["index"] = repository.git("ls-files", "-s", "-t")
    found["status"] = repository.git("status", "--porcelain=v2", "--branch", "--ignored")
    found["fsck"] = repository.git("fsck", "--strict", "--no-dangling")
    return found


def replay(place: Path, tool: Mapping[str, Any], shim: Path | None) -> Replayed:
    """Issue a tool's command lines in a new repository, with the git of `shim` first on PATH if there is one."""
    shutil.rmtree(place, ignore_errors=True)
    repository = _Repository(place)
    env = repository.env | tool["env"]
    if shim is not None:
        env["PATH"] = f"{shim}{os.pathsep}{env['PATH']}"
    places = {"work": str(repository.work), "origin": repository.git("rev-parse", "HEAD~1")}
    log = repository.home / "state" / "pyi" / "git-report.log"
    told = Replayed()
    for step in (step_of(line, places) for line in tool["steps"]):
        if step.edit is not None:
            repository.write(step.edit[0], f"{step.edit[1]}\n")
            continue
        before = log.stat().st_size if log.exists() else 0
        done = subprocess.run(
            ["git", *step.words],
            cwd=repository.work,
            env=env | step.env,
            input=step.stdin,
            capture_output=True,
            timeout=_MAX_S,
            check=False,
        )
        told.answers.append((done.returncode, done.stdout, _PROGRESS.sub(b"", done.stderr)))
        told.ways.append(log.read_bytes()[before:].decode().partition("\n")[0] if log.exists() else "")
    told.state = _state(repository)
    return told


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    shim = place / "shim"
    shim.mkdir()
    subprocess.run([options.program.resolve(), "git-shim", shim], check=True, stdout=subprocess.DEVNULL)
    table = json.loads(TABLE.read_text())
    unknown = sorted(set(options.tool or ()) - table.keys())
    if unknown:
        print(f"error: no such tool: {', '.join(unknown)}; there are {', '.join(table)}", file=sys.stderr)
        return 2
    wrong = 0
    reasons: Counter[str] = Counter()
    for name in options.tool or table:
        tool = table[name]
        theirs, ours = replay(place / "one", tool, None), replay(place / "one", tool, shim)
        lines = [line for line in tool["steps"] if not line.startswith("edit ")]
        unlike = []
        for line, a, b in zip(lines, theirs.answers, ours.answers, strict=True):
            if a != b:
                unlike.append(f"{line}\n    git: {a!r:.800}\n    pyi: {b!r:.800}")
        for file in sorted(theirs.state.keys() | ours.state.keys()):
            was, is_now = theirs.state.get(file), ours.state.get(file)
            if was != is_now:
                unlike.append(f"left behind: {file}\n    git: {was!r:.800}\n    pyi: {is_now!r:.800}")
        native = sum("\tnative\t" in way for way in ours.ways)
        failed = sum(status != 0 for status, _, _ in theirs.answers)
        print(
            f"{name:<16} {len(lines)} commands ({failed} end with a failure), {len(unlike)} differences, "
            f"native {native} ({100 * native / len(lines):.0f} %)",
            flush=True,
        )
        for text in unlike[:_SHOWN]:
            print(f"  UNLIKE {text}")
        for line, way in zip(lines, ours.ways, strict=True):
            if "\tgit\t" in way:
                reasons[way.replace("\tgit\t", ": ")] += 1
                if options.handed_over:
                    why = way.rpartition("\t")[2]
                    print(f"  by git ({why}): {line}")
        wrong += len(unlike)
    print("by git: " + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(25)))
    return int(wrong > 0)
