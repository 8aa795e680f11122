"""What a workspace must contain, kept apart from the engine that is being checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pyi.workflow.source import run_git

if TYPE_CHECKING:
    from pathlib import Path

    from pyi._native import Workspace

__all__ = ["EXECUTABLE", "FILE", "GITLINK", "SYMLINK", "BaseTree", "Edit", "Known", "Model", "digest_of"]

FILE = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
GITLINK = 0o160000


class Known(NamedTuple):
    """What is known of a file: git's mode, size, and ``<algorithm>:<hex digest>`` of its content."""

    mode: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: the whole new content of a path, or its removal (`data` None)."""

    path: str
    data: bytes | None
    mode: int = FILE
    digest: str = ""

    @property
    def known(self) -> Known | None:
        """What is known of the path afterwards."""
        return None if self.data is None else Known(self.mode, len(self.data), self.digest)


def digest_of(algorithm: str, data: bytes | memoryview) -> str:
    """Return ``algorithm:hex`` of `data`; ``git-sha1`` and ``git-sha256`` name content the way git names a blob."""
    name, _, inner = algorithm.rpartition("-")
    hashing = hashlib.new(inner, usedforsecurity=False)
    if name == "git":
        hashing.update(b"blob %d\0" % len(data))
    hashing.update(data)
    return f"{algorithm}:{hashing.hexdigest()}"


class BaseTree:
    """The tree that all agents start from; shared by their models and never changed."""

    def __init__(self, files: dict[str, Known]) -> None:
        """Make it of path -> what is known.

        Cost: O(paths).
        """
        self.files = files
        self.paths = list(files)
        self.directories = {"/".join(parts) for path in files for parts in _parents(path)}
        self.size = sum(known.size for known in files.values())

    @classmethod
    def from_git(cls, repository: Path, commit: str) -> BaseTree:
        """Read it from git, which the engine has no part in.

        Cost: one ``git ls-tree -r``.
        """
        files: dict[str, Known] = {}
        for row in run_git(repository, "ls-tree", "-r", "-l", "-z", "--full-tree", commit).split(b"\0"):
            if row:
                facts, _, path = row.partition(b"\t")
                mode, _, name, size = facts.split()
                algorithm = "git-sha256" if len(name) == 64 else "git-sha1"
                known = Known(int(mode, 8), 0 if size == b"-" else int(size), f"{algorithm}:{name.decode()}")
                files[path.decode("utf-8", "surrogateescape")] = known
        return cls(files)

    @classmethod
    def from_workspace(cls, workspace: Workspace) -> BaseTree:
        """Read it through the engine, where there is no git repository to ask.

        Cost: reads every file once.
        """
        files: dict[str, Known] = {}
        for entry in workspace.walk():
            if entry.kind == "file":
                data = workspace.read(entry.path)
                mode = EXECUTABLE if entry.mode & 0o111 else FILE
                files[entry.path] = Known(mode, len(data), digest_of("sha256", data))
            elif entry.kind == "symlink":
                data = workspace.readlink(entry.path).encode("utf-8", "surrogateescape")
                files[entry.path] = Known(SYMLINK, len(data), digest_of("sha256", data))
            elif entry.kind == "gitlink":
                files[entry.path] = Known(GITLINK, 0, f"gitlink:{entry.id}")
        return cls(files)


class Model:
    """What one agent's workspace contains: the base, and what the agent changed.

    It also says what an agent may do, so that recorded edits from elsewhere never meet a file where they need a
    directory, or the reverse.
    """

    __slots__ = ("base", "changed", "made", "size")

    def __init__(self, base: BaseTree) -> None:
        """Start as the base.

        Cost: O(1).
        """
        self.base = base
        self.changed: dict[str, Known | None] = {}
        self.made: set[str] = set()
        self.size = base.size

    def get(self, path: str) -> Known | None:
        """Return what is known of a path, None if there is no file there."""
        return self.changed[path] if path in self.changed else self.base.files.get(path)

    def is_directory(self, path: str) -> bool:
        """Whether a directory is or was here; once one, a path is never used as a file."""
        return path in self.base.directories or path in self.made

    def allows(self, edit: Edit) -> bool:
        """Whether the edit can be made: nothing but directories above it, no directory in its place."""
        if edit.data is None:
            return self.get(edit.path) is not None
        if self.is_directory(edit.path):
            return False
        return all(self.get("/".join(parts)) is None for parts in _parents(edit.path))

    def apply(self, edit: Edit) -> None:
        """Make an edit that `allows` allowed.

        Cost: O(depth).
        """
        old = self.get(edit.path)
        self.size += len(edit.data or b"") - (0 if old is None else old.size)
        self.changed[edit.path] = edit.known
        if edit.data is not None:
            self.made.update("/".join(parts) for parts in _parents(edit.path))

    def allowed(self, edits: Iterable[Edit]) -> Iterator[Edit]:
        """Yield those edits that can be made, each applied before the next is looked at."""
        for edit in edits:
            if self.allows(edit):
                self.apply(edit)
                yield edit


def _parents(path: str) -> Iterator[list[str]]:
    parts = path.split("/")
    return (parts[:length] for length in range(1, len(parts)))
