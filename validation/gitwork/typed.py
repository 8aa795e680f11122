"""Command lines that agents typed: read as a shell reads them, and rewritten to what a repository has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

__all__ = ["Repository", "Unreadable", "read", "rewritten"]

#: What a console leaves of a line that it shows in part, and what it writes behind it.
_LEFT_OUT = re.compile(r"(?:…\s*\(ctrl\+r to expand\)|…\s*Cost: .*|\s+&…|\)….*|…)\s*$")
_SAID_BEHIND = re.compile(r"\s+\([A-Z][^\"']*$")
_ENDS_A_COMMAND = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1"}
#: Options whose value was one word in the agent's shell.
_PHRASES = ("--format=", "--pretty=", "--since=", "--until=", "--before=", "--after=", "--author=")
_NAME = re.compile(r"^[0-9a-f]{7,64}$")
_BASE = re.compile(r"^(?P<base>[^~^:@]*)(?P<rest>.*)$")
_RANGE = re.compile(r"^(?P<old>.*?)(?P<dots>\.\.\.?)(?P<new>.*)$")
_ALL_PATHS = {"add", "ls-files", "mv", "restore", "rm", "status", "clean"}
_REVISIONS = {"checkout", "cherry-pick", "diff", "log", "merge", "rebase", "reset", "revert", "rev-list", "show"}
_TAKES_VALUE = {
    "": {"-C", "-c"},
    "commit": {"-m", "--message", "-F", "--author", "--date"},
    "log": {"-n", "--max-count", "--skip", "--grep", "--author", "--since", "--until", "-S", "-G", "-L"},
    "stash": {"-m", "--message"},
    "tag": {"-m", "--sort"},
    "restore": {"-s", "--source"},
    "clone": {"--depth", "-b", "--branch"},
}


class Unreadable(ValueError):
    """A line that is no command."""


def read(line: str) -> list[str]:
    """Return the words behind `git`.

    What a trace's console left out is closed or cut; a message whose quotes were lost is one word again.

    Raises:
        Unreadable: It is no command of git's.
    """
    text = _LEFT_OUT.sub("", line.strip())
    quoted = '"' in text or "'" in text
    if not quoted:
        text = _SAID_BEHIND.sub("", text)
    for close in ("", '"', "'"):
        try:
            words = shlex.split(text + close)
        except ValueError:
            continue
        break
    else:
        raise Unreadable("quotes")
    if words[:1] != ["git"] or len(words) < 2:
        raise Unreadable("no command")
    words = words[1:]
    words = words[: next((at for at, word in enumerate(words) if word in _ENDS_A_COMMAND), len(words))]
    return words if quoted else _with_phrases(words)


def _with_phrases(words: list[str]) -> list[str]:
    """Messages, formats and dates in one word."""
    if words[0] in {"commit", "stash", "tag"} and "-m" in words:
        at = words.index("-m") + 1
        return [*words[:at], " ".join(words[at:])] if at < len(words) else words
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith(_PHRASES) and not word.startswith("-"):
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined


def _pick(word: str, items: Sequence[str]) -> str:
    """Always the same one for a word."""
    return items[crc32(word.encode()) % len(items)]


@dataclass
class Repository:
    """What a repository has, for the words of commands.

    Attributes:
        files: Its tracked files that are text, from the top.
        branches: Names of branches; those that are not here become the first.
        tags: Names of tags.
        depth: How many commits there are along first parents.
        below: The directory from the top that commands run in, with a slash behind; empty at the top.
        remote: Where the remote is.
        top: The work tree.
    """

    files: list[str]
    branches: list[str]
    tags: list[str]
    depth: int
    below: str = ""
    remote: str = ""
    top: str = ""
    directories: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Find the directories."""
        here = [path for path in self.files if path.startswith(self.below)]
        self.files = here or self.files
        above = {path.rpartition("/")[0] for path in self.files}
        self.directories = sorted(name for name in above if len(name) > len(self.below)) or ["."]

    def _shown(self, path: str) -> str:
        return path.removeprefix(self.below) if path.startswith(self.below) else path

    def file(self, word: str) -> str:
        """Return a file for a path that is not here, of the same kind if there is one."""
        suffix = word.rpartition(".")[2] if "." in word else ""
        same = [path for path in self.files if suffix and path.endswith(f".{suffix}")]
        return self._shown(_pick(word, same or self.files))

    def directory(self, word: str) -> str:
        """Return a directory for one that is not here."""
        return self._shown(_pick(word.rstrip("/"), self.directories))

    def new(self, word: str) -> str:
        """Return a path that is free, beside files that are there."""
        beside, slash, _ = self.file(word).rpartition("/")
        name = word.rstrip("/").rpartition("/")[2]
        return f"{beside}{slash}new-{crc32(word.encode()) % 1000:03}-{name}"

    def path(self, word: str, is_new: bool = False) -> list[str]:
        """Return what stands for a path of a command: as many words as a shell would make of it."""
        if word in {".", "..", "./", "*"} or (word.startswith(":") and not word.startswith((":!", ":^"))):
            return [word]
        if word.startswith((":!", ":^")):
            return [word[:2] + self.file(word[2:])]
        if "*" in word:
            suffix = word.rpartition("*")[2]
            same = [self._shown(path) for path in self.files if path.endswith(suffix)]
            return sorted(same)[:3] or [self.file(word)]
        name = word.rstrip("/").rpartition("/")[2]
        if word.endswith("/") or "." not in name:
            known = [path.rpartition("/")[2] for path in self.files]
            if word.endswith("/") or name not in known:
                return [self.directory(word) + ("/" if word.endswith("/") else "")]
        found = word if word in self.files and not self.below else self.file(word)
        if is_new and crc32(word.encode()) % 4 == 0:
            found = self.new(word)
        return [f"{self.top}/{self.below}{found}" if word.startswith("/") else found]

    def revision(self, word: str) -> str:
        """Return a revision that is here for one of another repository."""
        between = _RANGE.match(word)
        if between and ":" not in word:
            old, new = between["old"], between["new"]
            return f"{old and self.revision(old)}{between['dots']}{new and self.revision(new)}"
        if word.startswith("^"):
            return f"^{self.revision(word[1:])}"
        parts = _BASE.match(word)
        base, rest = (parts["base"], parts["rest"]) if parts else (word, "")
        if rest.startswith(":"):
            rest = f":{self.below}{self.file(rest[1:])}"
        if base in {"", "HEAD", "stash"} or base in self.branches or base in self.tags:
            return base + rest
        if _NAME.match(base):
            return f"HEAD~{crc32(base.encode()) % min(8, max(1, self.depth - 2))}{rest}"
        if re.match(r"^v?\d+\.", base) and self.tags:
            return _pick(base, self.tags) + rest
        if base.startswith("origin/"):
            return f"origin/{self.branches[0]}{rest}"
        return self.branches[0] + rest


def _is_revision(repository: Repository, command: str, word: str) -> bool:
    if ".." in word and word not in {"..", "../"} and not word.startswith("../"):
        return True
    base = re.split(r"[~^:@]", word)[0]
    known = base in {"HEAD", "main", "master", *repository.branches, *repository.tags} or bool(_NAME.match(base))
    if known or base.startswith("origin/") or re.match(r"^v\d+\.", base):
        return True
    return "/" not in word and "." not in word and command in {"checkout", "merge", "rebase", "revert", "reset"}


def rewritten(words: Sequence[str], repository: Repository) -> list[str]:
    """Return the same command about revisions, branches and paths of a repository."""
    out: list[str] = []
    at = 0
    while at < len(words) and words[at].startswith("-"):
        step = 2 if words[at] in _TAKES_VALUE[""] else 1
        out += words[at : at + step]
        at += step
    if at >= len(words):
        raise Unreadable("no command")
    command, rest = words[at], list(words[at + 1 :])
    out.append(command)
    match command:
        case "push":
            return out + [repository.branches[0] if word in {"master", "main"} else word for word in rest]
        case "clone" | "ls-remote" | "remote":
            moved = [repository.remote if "@" in word or ":" in word else word for word in rest]
            if command == "clone":
                moved = [word for word in moved if word != "."] + ["../cloned"]
            return out + moved
        case "stash" if rest[:1] == ["push"]:
            return [*out, "push", *_operands(command, rest[1:], repository, _path)]
        case "stash":
            return out + rest
        case "mv":
            return out + _moved(rest, repository)
        case _ if command in _ALL_PATHS:
            return out + _operands(command, rest, repository, _path)
        case _ if command in _REVISIONS:
            return out + _operands(command, rest, repository, _either)
        case _:
            return out + rest


_Rewrite = Callable[[str, str, Repository], list[str]]


def _path(command: str, word: str, repository: Repository) -> list[str]:
    return repository.path(word, is_new=command == "add")


def _either(command: str, word: str, repository: Repository) -> list[str]:
    if _is_revision(repository, command, word):
        return [repository.revision(word)]
    return repository.path(word)


def _operands(command: str, rest: Sequence[str], repository: Repository, how: _Rewrite) -> list[str]:
    out: list[str] = []
    takes = _TAKES_VALUE.get(command, set())
    creates = {"-b", "-B", "-c", "-C"} if command in {"checkout", "switch"} else set()
    at = 0
    while at < len(rest):
        word = rest[at]
        at += 1
        if word == "--":
            out.append(word)
            for path in rest[at:]:
                out += repository.path(path)
            break
        if word in takes | creates:
            out += rest[at - 1 : at + 1]
            at += 1
        elif word.startswith("-"):
            out.append(word)
        else:
            out += how(command, word, repository)
    return out


def _moved(rest: Sequence[str], repository: Repository) -> list[str]:
    """`mv` of what is there to where nothing is."""
    options = [word for word in rest if word.startswith("-")]
    names = [word for word in rest if not word.startswith("-")]
    *sources, target = names if len(names) > 1 else [*names, "moved"]
    found = [path for source in sources for path in repository.path(source)]
    if target.endswith("/"):
        return [*options, *found, repository.directory(target)]
    one = found[0].rstrip("/")
    beside, slash, name = one.rpartition("/")
    return [*options, *found, f"{beside}{slash}moved-{crc32(target.encode()) % 1000:03}-{name.lstrip('.')}"]
