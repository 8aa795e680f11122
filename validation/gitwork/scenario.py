"""What agents do, made up: edits and git commands, weighted as agents use them. The same seed gives the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["START", "World", "command", "content", "edit"]

_PLAIN = [
    b"README.md",
    b"main.py",
    b"src/app.py",
    b"src/util/io.py",
    b"src/util/text.py",
    b"src/app/main.py",
    b"src-old/x.c",
    b"tests/test_app.py",
    b"docs/guide.md",
    b"Makefile",
    b"a.txt",
    b"a/b/c/d.txt",
]
_ODD = [
    b"with space.txt",
    "\u00e4\u00f6\u00fc.txt".encode(),
    b"tab\there.txt",
    b'quote".txt',
    b"back\\slash",
    b"-dash",
    b"new\nline",
    b"\xff\xfe.bin",
    b"a*b.txt",
    b"[x].txt",
    b"dir with space/f",
    b"\xc3\xa9/\xe2\x82\xac.txt",
    b"HEAD",
    b"side",
    b"src/app.py.orig",
    b"x.log",
    b"build/out.o",
    b".gitignore",
    b".hidden",
]
_LINES = [
    b"def f():",
    b"    return 1",
    b"",
    b"class A:",
    b"    pass",
    b"import os",
    b"}",
    b"{",
    b"x = 1",
    b"# comment",
    b"    x += 1",
    b"int main(void)",
    b"trailing  ",
    b"\ttab",
]
_IGNORE = [b"*.log\nbuild/\n", b"*.o\n!keep.o\n/src-old\n", b"*\n!*.py\n!.gitignore\n", b"# nothing\n\nx.log\n"]

#: What the repositories begin with.
START = dict.fromkeys(_PLAIN[:10], b"")


@dataclass
class World:
    """What a history knows of itself: what may be named."""

    chance: random.Random
    paths: list[bytes] = field(default_factory=list)
    branches: list[str] = field(default_factory=lambda: ["main"])
    tags: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def path(self) -> bytes:
        """A path that is there, most of the time."""
        if self.paths and self.chance.random() < 0.85:
            return self.chance.choice(self.paths)
        return self.any_path()

    def any_path(self) -> bytes:
        """A path that may be there."""
        return self.chance.choice(_PLAIN if self.chance.random() < 0.7 else _ODD)

    def place(self) -> bytes:
        """A path, or a directory above one."""
        path = self.path()
        if b"/" in path and self.chance.random() < 0.4:
            return path.rpartition(b"/")[0] + self.chance.choice([b"", b"/"])
        return path

    def revision(self) -> str:
        """A revision, most of them there."""
        kind = self.chance.random()
        if kind < 0.55:
            return self.chance.choice(["HEAD", "HEAD~1", "HEAD^", "HEAD~2", "@", "HEAD^0", "HEAD@{1}"])
        if kind < 0.8:
            return self.chance.choice(self.branches)
        if kind < 0.88 and self.tags:
            return self.chance.choice(self.tags)
        if kind < 0.96 and self.names:
            name = self.chance.choice(self.names)
            return name[: self.chance.choice([7, 8, 12, 40])]
        return self.chance.choice(["nothing", "HEAD~99", "deadbeef", "v9"])

    def span(self) -> str:
        """Two revisions in one word."""
        return self.chance.choice([f"{self.revision()}..{self.revision()}", f"{self.revision()}...{self.revision()}"])


def content(chance: random.Random, old: bytes = b"") -> bytes:
    """A new content, often an edit of the old one."""
    kind = chance.random()
    lines = old.split(b"\n")
    if kind < 0.6 and len(lines) > 3 and b"\0" not in old:
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(lines))
            what = chance.random()
            if what < 0.4:
                lines[at] = chance.choice(_LINES)
            elif what < 0.7:
                lines.insert(at, chance.choice(_LINES))
            elif len(lines) > 1:
                del lines[at]
        return b"\n".join(lines)
    if kind < 0.64:
        return chance.randbytes(chance.randint(1, 300))
    if kind < 0.67:
        return b""
    length = chance.choice([1, 3, 10, 40, 120])
    text = b"\n".join(chance.choice(_LINES) for _ in range(length))
    return text if chance.random() < 0.2 else text + b"\n"


def edit(world: World) -> tuple[str, bytes, bytes]:
    """An edit: what, which path, and (for symlinks) the target."""
    kind = world.chance.choices(["write", "remove", "chmod", "symlink", "ignore"], [70, 14, 6, 3, 4])[0]
    if kind == "ignore":
        return "ignore", b".gitignore", world.chance.choice(_IGNORE)
    if kind == "symlink":
        return kind, world.any_path() + b".link", world.any_path()
    if kind == "write" and world.chance.random() < 0.35:
        return kind, world.any_path(), b""
    return kind, world.path(), b""


Words = list[bytes | str]


def _some(world: World, flags: Sequence[str], most: int = 2) -> Words:
    """A few of these, each once."""
    number = world.chance.choice([0, 0, 1, 1, 1, most])
    return list(world.chance.sample(list(flags), min(number, len(flags))))


def _paths(world: World, share: float = 0.3) -> Words:
    if world.chance.random() >= share:
        return []
    found: Words = [world.place() for _ in range(world.chance.choice([1, 1, 2]))]
    return ["--", *found]


def _status(world: World) -> Words:
    flags = [
        "-s",
        "-b",
        "--porcelain",
        "--porcelain=v2",
        "-z",
        "-uno",
        "-uall",
        "-unormal",
        "--short",
        "--branch",
        "--long",
    ]
    return ["status", *_some(world, flags, 3), *_paths(world, 0.1)]


def _add(world: World) -> Words:
    kind = world.chance.random()
    if kind < 0.35:
        return ["add", world.chance.choice(["-A", ".", "-u", "--all", "-Av", "--update"])]
    flags = _some(world, ["-v", "-n", "-f", "-A", "--dry-run"], 1) if world.chance.random() < 0.25 else []
    return [
        "add",
        *flags,
        *(["--"] if world.chance.random() < 0.5 else []),
        world.place(),
        *([world.path()] * (kind > 0.8)),
    ]


_FORMS = [
    "--stat",
    "--numstat",
    "--shortstat",
    "--name-only",
    "--name-status",
    "--summary",
    "-p",
    "-U1",
    "-U0",
    "--no-renames",
    "-M",
]


def _diff(world: World) -> Words:
    flags = _some(
        world, [*_FORMS, "--exit-code", "--quiet", "-z", "--check", "-w", "-b", "--raw", "-R", "--diff-filter=AM"], 2
    )
    kind = world.chance.random()
    if kind < 0.4:
        over: Words = []
    elif kind < 0.65:
        over = [world.chance.choice(["--cached", "--staged"]), *([world.revision()] * (world.chance.random() < 0.2))]
    elif kind < 0.8:
        over = [world.revision()]
    elif kind < 0.9:
        over = [world.revision(), world.revision()]
    else:
        over = [world.span()]
    return ["diff", *flags, *over, *_paths(world)]


_LOOKS = [
    "--oneline",
    "--format=%H %P %T %an %ae %ad %cn %ci %s",
    "--format=%h %p %t%n%b%n%B",
    "--pretty=format:%h %ar %D%d %s",
    "--pretty=fuller",
    "--pretty=short",
    "--pretty=raw",
    "--date=iso",
    "--date=short",
    "--decorate",
    "--abbrev-commit",
    "--graph",
    "--no-decorate",
]


def _log(world: World) -> Words:
    chosen = _some(
        world,
        [*_LOOKS, *_FORMS[:8], "--all", "--reverse", "--no-merges", "--first-parent", "--author=Ann", "--grep=change"],
        2,
    )
    number = world.chance.choice(["-1", "-3", "-n2", "--max-count=2", "-n", ""])
    counted: Words = ["-n", "2"] if number == "-n" else [number] * bool(number)
    over: Words = [world.chance.choice([world.revision(), world.span()])] if world.chance.random() < 0.3 else []
    return ["log", *counted, *chosen, *over, *_paths(world, 0.2)]


def _show(world: World) -> Words:
    kind = world.chance.random()
    if kind < 0.25:
        return ["show", f"{world.revision()}:".encode() + world.place()]
    flags = _some(world, [*_FORMS, *_LOOKS[:8], "-s", "--no-patch"], 2)
    return ["show", *flags, *([world.revision()] * (world.chance.random() < 0.7)), *_paths(world, 0.1)]


def _commit(world: World) -> Words:
    flags = _some(
        world, ["-a", "-q", "--allow-empty", "--amend", "--no-edit", "--author=X Y <x@y.z>", "-v", "--no-verify"], 2
    )
    word = world.chance.choice(
        ["change it", "Fix: a thing\n\nWith a body.\n", "  spaces  \n\n\n# kept?\n", "\u00fcber", "x" * 90]
    )
    if "--no-edit" in flags and "--amend" in flags:
        return ["commit", *flags]
    return ["commit", *(flag for flag in flags if flag != "--no-edit"), "-m", word]


def _restore(world: World) -> Words:
    flags = _some(world, ["--staged", "--worktree", "-q", f"--source={world.revision()}", "-S", "-W"], 2)
    return [
        "restore",
        *flags,
        *(["--"] if world.chance.random() < 0.3 else []),
        world.chance.choice([world.place(), b"."]),
    ]


def _reset(world: World) -> Words:
    kind = world.chance.random()
    if kind < 0.5:
        flags = _some(world, ["--hard", "--soft", "--mixed", "-q"], 1)
        return ["reset", *flags, *([world.revision()] * (world.chance.random() < 0.6))]
    return [
        "reset",
        *_some(world, ["-q"], 1),
        *([world.revision()] * (world.chance.random() < 0.4)),
        "--",
        world.place(),
    ]


def _checkout(world: World) -> Words:
    kind = world.chance.random()
    name = world.chance.choice(["side", "topic/one", "feature", "fix-2"])
    if kind < 0.3:
        return ["checkout", world.chance.choice(["-b", "-B", "-q"]), name]
    if kind < 0.55:
        return ["checkout", *_some(world, ["-q", "-f", "--detach"], 1), world.revision()]
    if kind < 0.65:
        return ["checkout", world.chance.choice(["-", "@{-1}"])]
    return ["checkout", *([world.revision()] * (world.chance.random() < 0.4)), "--", world.place()]


def _switch(world: World) -> Words:
    name = world.chance.choice(["side", "topic/one", "feature"])
    kind = world.chance.random()
    if kind < 0.4:
        return [
            "switch",
            world.chance.choice(["-c", "-C"]),
            name,
            *([world.revision()] * (world.chance.random() < 0.3)),
        ]
    if kind < 0.5:
        return ["switch", "-"]
    return [
        "switch",
        *_some(world, ["-q", "--detach", "-f"], 1),
        world.chance.choice([*world.branches, world.revision()]),
    ]


def _branch(world: World) -> Words:
    name = world.chance.choice(["side", "topic/one", "feature", "fix-2", "topic", "bad..name"])
    return list(
        world.chance.choice(
            [
                ["branch"],
                ["branch", "-v"],
                ["branch", "-a"],
                ["branch", "--list", "*i*"],
                ["branch", "--show-current"],
                ["branch", name],
                ["branch", name, world.revision()],
                ["branch", "-f", name, world.revision()],
                ["branch", "-d", name],
                ["branch", "-D", name],
                ["branch", "-m", name],
                ["branch", "--contains", world.revision()],
                ["branch", "--merged"],
                ["branch", "-vv"],
                ["branch", "-r"],
                ["branch", "--format=%(refname:short)"],
                ["branch", "--sort=-committerdate"],
            ]
        )
    )


def _tag(world: World) -> Words:
    name = world.chance.choice(["v1", "v2", "rel/3"])
    return list(
        world.chance.choice(
            [
                ["tag"],
                ["tag", "-l", "v*"],
                ["tag", name],
                ["tag", name, world.revision()],
                ["tag", "-a", name, "-m", "a tag"],
                ["tag", "-f", name],
                ["tag", "-d", name],
                ["tag", "-n"],
                ["tag", "--points-at", world.revision()],
            ]
        )
    )


def _rev_parse(world: World) -> Words:
    flags = [
        "--verify",
        "--short",
        "-q",
        "--abbrev-ref",
        "--symbolic-full-name",
        "--is-inside-work-tree",
        "--git-dir",
        "--show-prefix",
        "--is-bare-repository",
    ]
    inner = [f"{world.revision()}^{{tree}}", f"{world.revision()}^{{commit}}", f"{world.revision()}^{{}}"]
    return ["rev-parse", *_some(world, flags, 2), world.chance.choice([world.revision(), *inner])]


def _stash(world: World) -> Words:
    return list(
        world.chance.choice(
            [
                ["stash"],
                ["stash", "push", "-m", "later"],
                ["stash", "-q"],
                ["stash", "list"],
                ["stash", "pop"],
                ["stash", "drop"],
                ["stash", "show"],
                ["stash", "apply"],
                ["stash", "-u"],
                ["stash", "clear"],
            ]
        )
    )


def _ls_files(world: World) -> Words:
    flags = [
        "-s",
        "-m",
        "-d",
        "-o",
        "-c",
        "-z",
        "--others",
        "--exclude-standard",
        "--cached",
        "--stage",
        "-t",
        "--deleted",
        "-i",
    ]
    return ["ls-files", *_some(world, flags, 2), *_paths(world, 0.2)]


def _cat_file(world: World) -> Words:
    flag = world.chance.choice(["-p", "-t", "-s", "-e", "commit", "blob"])
    return ["cat-file", flag, world.chance.choice([world.revision(), f"{world.revision()}^{{tree}}"])]


def _mv(world: World) -> Words:
    return [
        "mv",
        *_some(world, ["-f", "-v", "-n", "-k"], 1),
        world.place(),
        world.chance.choice([world.any_path(), b"src", b"moved.txt", b"new/place"]),
    ]


def _rm(world: World) -> Words:
    return [
        "rm",
        *_some(world, ["-r", "--cached", "-f", "-q", "-n", "--ignore-unmatch"], 2),
        *(["--"] if world.chance.random() < 0.6 else []),
        world.place(),
    ]


def _plumbing(world: World) -> Words:
    return list(
        world.chance.choice(
            [
                ["merge-base", world.revision(), world.revision()],
                ["merge-base", "--is-ancestor", world.revision(), world.revision()],
                ["merge-base", "--all", world.revision(), world.revision()],
                ["rev-list", "--count", world.revision()],
                ["rev-list", "--count", world.span()],
                ["rev-list", "-n", "2", world.revision()],
                ["rev-list", "--left-right", "--count", world.span()],
                ["rev-list", "--parents", "--all"],
                ["for-each-ref"],
                ["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads"],
                ["for-each-ref", "--format=%(refname:short) %(objecttype)", "--sort=-refname"],
                ["for-each-ref", "--count=1", "refs/heads/", "refs/tags"],
                ["show-ref"],
                ["show-ref", "--heads"],
                ["show-ref", "--verify", "refs/heads/main"],
                ["show-ref", "--verify", "--quiet", "refs/heads/nothing"],
                ["show-ref", "-s", "main"],
                ["symbolic-ref", "HEAD"],
                ["symbolic-ref", "--short", "HEAD"],
                ["symbolic-ref", "-q", "HEAD"],
                ["ls-tree", world.revision()],
                ["ls-tree", "-r", world.revision()],
                ["ls-tree", "-r", "--name-only", world.revision()],
                ["ls-tree", world.revision(), world.place()],
                ["ls-tree", "-l", world.revision()],
                ["ls-tree", "-rt", "-z", world.revision(), b"src/"],
                ["ls-tree", "-d", "--name-only", world.revision()],
                ["reflog"],
                ["reflog", "-3"],
                ["reflog", "show", world.chance.choice(world.branches)],
                ["clean", "-n"],
                ["clean", "-fd"],
                ["clean", "-f"],
                ["clean"],
                ["clean", "-fdx"],
                ["-C", "src", "status", "-s"],
                ["-C", "src", "diff", "--stat"],
                ["-C", "src", "log", "--oneline", "-2"],
                ["-C", "src", "add", "."],
                ["-C", ".", "status"],
            ]
        )
    )


def _config(world: World) -> Words:
    return list(
        world.chance.choice(
            [
                ["config", "user.name"],
                ["config", "--get", "user.email"],
                ["config", "user.name", "Dora"],
                ["config", "--unset", "user.name"],
                ["config", "nothing.there"],
                ["config", "get", "user.name"],
                ["config", "bad"],
            ]
        )
    )


def _others(world: World) -> Words:
    return list(
        world.chance.choice(
            [
                ["remote"],
                ["remote", "-v"],
                ["merge", world.revision()],
                ["rebase", world.revision()],
                ["cherry-pick", world.revision()],
                ["revert", "--no-edit", "HEAD"],
                ["blame", world.path()],
                ["grep", "def"],
                ["shortlog", "-sn"],
                ["describe", "--tags"],
                ["status", "--wat"],
                ["log", "--wat"],
                ["frobnicate"],
            ]
        )
    )


_KINDS: dict[Callable[[World], Words], float] = {
    _add: 20,
    _status: 16,
    _log: 11,
    _diff: 14,
    _commit: 14,
    _show: 6,
    _mv: 2.5,
    _rm: 2.5,
    _restore: 3,
    _checkout: 4,
    _switch: 1.5,
    _reset: 3.5,
    _branch: 3,
    _tag: 1.5,
    _rev_parse: 3,
    _stash: 2,
    _ls_files: 2,
    _cat_file: 1,
    _config: 0.7,
    _plumbing: 8,
    _others: 1,
}


def command(world: World) -> Words:
    """A git command, without `git`."""
    kind = world.chance.choices(list(_KINDS), list(_KINDS.values()))[0]
    words = kind(world)
    # A path that looks like an option is one, for git and for us: only behind `--` is it meant.
    return [word for word in words if word != b"-dash"] if "--" not in words else words
