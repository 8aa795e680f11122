"""A hostile repository, what stands outside of it, and traps that leave a mark when they are run."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

MAX_S = 20
MEMORY_BYTES = 1 << 30
NOT_NATIVE = 3


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    words: tuple[str, ...]
    status: int
    out: bytes
    err: bytes


@dataclass
class Told:
    """What came of a list of commands."""

    answers: list[Answer] = field(default_factory=list)
    ran: set[str] = field(default_factory=set)
    repository: dict[str, object] = field(default_factory=dict)
    outside: dict[str, object] = field(default_factory=dict)
    native: list[str] = field(default_factory=list)


class World:
    """`repo` with a repository in it, `outside` with files that nobody may touch, `ran` for marks, `home`."""

    def __init__(self, top: Path, shim: Path) -> None:
        self.top, self.shim, self.writes = top, shim, 0
        self.repo, self.outside, self.ran, self.home = (top / name for name in ("repo", "outside", "ran", "home"))
        for directory in (self.repo, self.outside / "d", self.ran, self.home, top / "traps"):
            directory.mkdir(parents=True)
        (self.outside / "x").write_text("outside\n")
        (self.outside / "d" / "e.txt").write_text("outside\n")
        self.dot_git = self.repo / ".git"
        self.git("init", "-q", "-b", "main")
        for name in ("a.txt", "b.txt", "c.txt", "d/e.txt"):
            self.write(name, f"{name}\n" * 5)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "one")
        self.git("branch", "other")
        self.write("b.txt", "two\n")
        self.write("d/e.txt", "two\n")
        self.git("commit", "-q", "-am", "two")
        self.write("a.txt", "changed\n")
        self.write("new.txt", "new\n")

    def environment(self, how: str) -> dict[str, str]:
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.top / "state"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
            "GIT_AUTHOR_NAME": "Ann",
            "GIT_AUTHOR_EMAIL": "ann@example.invalid",
            "GIT_COMMITTER_NAME": "Ann",
            "GIT_COMMITTER_EMAIL": "ann@example.invalid",
            "GIT_AUTHOR_DATE": "1700000000 +0000",
            "GIT_COMMITTER_DATE": "1700000000 +0000",
        }
        if how != "git":
            environment["PATH"] = f"{self.shim}{os.pathsep}{environment['PATH']}"
        if how == "only":
            environment["PYI_GIT_NATIVE"] = "only"
        return environment

    def git(self, *words: str, stdin: bytes = b"", check: bool = True) -> bytes:
        done = subprocess.run(
            ["git", *words], cwd=self.repo, env=self.environment("git"), input=stdin, capture_output=True, check=False
        )
        assert not check or done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    def run(self, how: str, words: Sequence[str]) -> Answer:
        """Run a command with the memory of a small machine."""
        try:
            done = subprocess.run(
                ["git", *words],
                cwd=self.repo,
                env=self.environment(how),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=MAX_S,
                check=False,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
            )
        except subprocess.TimeoutExpired:
            return Answer(tuple(words), -1000, b"", b"")
        return Answer(tuple(words), done.returncode, done.stdout, done.stderr)

    def write(self, name: str, text: str) -> None:
        path = self.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        # Git reads files again that are as young as its index: its answers would depend on the clock.
        self.writes += 1
        os.utime(path, (1_600_000_000 + self.writes,) * 2)

    def trap(self, name: str) -> str:
        """A program that leaves a mark."""
        path = self.top / "traps" / name
        # One that is spoken to by a protocol says nothing, and ends when git has said what it has to.
        last = "sleep 0.2; exit 1" if name.endswith(("process", "promised")) else "cat"
        path.write_text(f"#!/bin/sh\n: > {self.ran}/{name}\n{last}\n")
        path.chmod(0o755)
        return str(path)

    def blob(self, content: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content).decode()

    def tree(self, entries: Iterable[tuple[str, bytes, str]]) -> str:
        """A tree with names that git would not put into one."""
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
        return self.loose(b"tree", raw)

    def loose(self, kind: bytes, content: bytes, *, size: int | None = None) -> str:
        """A loose object, whatever is in it; `size`: what it says of itself."""
        raw = kind + b" %d\0" % (len(content) if size is None else size) + content
        oid = sha1(raw).hexdigest()
        path = self.dot_git / "objects" / oid[:2] / oid[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(raw, 9))
        return oid

    def commit(self, tree: str, branch: str) -> str:
        oid = self.git("commit-tree", tree, "-p", "main", "-m", branch).decode()
        self.git("update-ref", f"refs/heads/{branch}", oid)
        return oid

    def index(self, paths: Iterable[tuple[bytes, str]], extensions: bytes = b"", *, count: int | None = None) -> None:
        """An index with any paths."""
        entries = b""
        number = 0
        for path, oid in sorted(paths):
            entry = struct.pack(">10I", *[0] * 6, 0o100644, 0, 0, 0) + bytes.fromhex(oid)
            entry += struct.pack(">H", min(len(path), 0xFFF)) + path
            entries += entry + b"\0" * (8 - len(entry) % 8)
            number += 1
        body = b"DIRC" + struct.pack(">2I", 2, number if count is None else count) + entries + extensions
        (self.dot_git / "index").write_bytes(body + sha1(body).digest())

    def pack(self, entries: Sequence[tuple[str, int, bytes, str | None]]) -> None:
        """A pack, and an index that says what it likes: names, kinds, contents (or deltas) and names of bases."""
        pack, index = b"PACK" + struct.pack(">2I", 2, len(entries)), []
        for oid, kind, content, base in entries:
            offset, size = len(pack), len(content)
            head = bytearray([kind << 4 | size & 15])
            size >>= 4
            while size:
                head[-1] |= 0x80
                head.append(size & 0x7F)
                size >>= 7
            raw = bytes(head) + (bytes.fromhex(base) if base else b"") + zlib.compress(content, 9)
            index.append((bytes.fromhex(oid), zlib.crc32(raw), offset))
            pack += raw
        pack += sha1(pack).digest()
        index.sort()
        fan = [sum(oid[0] <= first for oid, _, _ in index) for first in range(256)]
        idx = b"\xfftOc" + struct.pack(">I256I", 2, *fan) + b"".join(oid for oid, _, _ in index)
        idx += b"".join(struct.pack(">I", crc) for _, crc, _ in index)
        idx += b"".join(struct.pack(">I", offset) for _, _, offset in index) + pack[-20:]
        place = self.dot_git / "objects" / "pack"
        (place / "pack-1.pack").write_bytes(pack)
        (place / "pack-1.idx").write_bytes(idx + sha1(idx).digest())

    def state(self, top: Path) -> dict[str, object]:
        """All files; of an index what git lists, and no objects, which have names that say what they are."""
        found: dict[str, object] = {}
        for here, directories, files in os.walk(top):
            if Path(here).name == ".git" or (Path(here) / "refs").is_dir():
                directories[:] = [name for name in directories if name != "objects"]
            for name in [*directories, *files]:
                path = Path(here) / name
                status = path.lstat()
                key = str(path.relative_to(top))
                if stat.S_ISLNK(status.st_mode):
                    found[key] = ("link", os.readlink(path))
                elif stat.S_ISREG(status.st_mode):
                    content = path.read_bytes()
                    # An index says when files were made.
                    content = b"" if content.startswith(b"DIRC") else content
                    found[key] = (oct(status.st_mode), content)
                else:
                    found[key] = oct(status.st_mode)
        return found


def lines(*texts: str) -> list[tuple[str, ...]]:
    """Commands whose words have no spaces."""
    return [tuple(text.split()) for text in texts]


LOOK = lines(
    "status",
    "status --short --branch",
    "diff",
    "diff --stat",
    "diff --cached",
    "log -2",
    "log -p --stat -1",
    "show --stat",
    "ls-files -s",
    "branch -a",
    "tag",
    "rev-parse HEAD",
    "rev-parse --show-toplevel",
    "cat-file -p HEAD:a.txt",
    "reflog",
    "for-each-ref",
    "ls-tree -r HEAD",
    "config user.name",
)
CHANGE = [
    ("add", "-A"),
    ("commit", "-q", "-m", "three"),
    ("tag", "-a", "-m", "a tag", "v1"),
    ("branch", "side"),
    ("checkout", "-q", "other"),
    ("switch", "-q", "main"),
    ("rm", "-q", "c.txt"),
    ("mv", "b.txt", "moved.txt"),
    ("stash", "-q"),
    ("stash", "pop", "-q"),
    ("restore", "--staged", "."),
    ("checkout", "-q", "--", "."),
    ("reset", "-q", "--hard", "HEAD~1"),
    ("config", "mark.set", "1"),
]
ALL = [*LOOK, *CHANGE, *LOOK[:5]]


Build = Callable[[World], object]


def tell(place: Path, shim: Path, build: Build, commands: Sequence[Sequence[str]], how: str) -> Told:
    """Build the world, run the commands, look at what is there then, and end it."""
    top = place / "world"
    world = World(top, shim)
    build(world)
    before = world.state(world.outside)
    told = Told(answers=[world.run(how, words) for words in commands])
    told.ran = {path.name for path in world.ran.iterdir()}
    told.repository = world.state(world.repo)
    if how != "only":
        told.repository["(index)"] = world.git("ls-files", "-s", check=False)
    after = world.state(world.outside)
    told.outside = {name: what for name, what in after.items() if before.get(name) != what}
    told.outside |= dict.fromkeys(before.keys() - after.keys(), "gone")
    log = top / "state" / "pyi" / "git-report.log"
    decisions = log.read_text().splitlines() if log.exists() else []
    told.native = [line.split("\t")[0] for line in decisions if "\tnative\t" in line]
    shutil.rmtree(top)
    return told


def alike(place: Path, shim: Path, build: Build, commands: Sequence[Sequence[str]]) -> Told:
    """Git and `pyi` as git answer the same and leave the same; what `pyi` does alone runs nothing and stays inside."""
    git = tell(place, shim, build, commands, "git")
    ours = tell(place, shim, build, commands, "pyi")
    for theirs, answer in zip(git.answers, ours.answers, strict=True):
        assert answer == theirs, f"\nours {answer}\ngit {theirs}"
    assert ours.ran == git.ran, f"{ours.ran} {git.ran}"
    for mine, its in ((ours.repository, git.repository), (ours.outside, git.outside)):
        unlike = [name for name in sorted(mine.keys() | its.keys()) if mine.get(name) != its.get(name)]
        assert not unlike, [(name, mine.get(name), its.get(name)) for name in unlike]
    alone(place, shim, build, commands)
    return ours


def alone(place: Path, shim: Path, build: Build, commands: Sequence[Sequence[str]]) -> Told:
    """Without git, a command is carried out or refused: nothing runs, nothing outside changes, nobody dies."""
    only = tell(place, shim, build, commands, "only")
    assert only.ran == set(), only.ran
    assert only.outside == {}, only.outside
    for answer in only.answers:
        assert answer.status in (0, 1, NOT_NATIVE, 128, 129), answer
        assert b"panicked" not in answer.err
        assert b"carried out in part" not in answer.err
    return only
