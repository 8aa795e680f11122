"""Steps from the repository's own past: each agent replays a stretch of real first-parent commits.

The commits are read from git once and shared by all agents. Their blobs lie in a spool file, not in memory, so that
850 agents need no more of it than one.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from pyi.config import git_environment
from pyi.errors import GitError
from pyi.workflow.model import BaseTree, Edit, Model, digest_of
from pyi.workflow.source import run_git
from pyi.workflow.steps import Step, draw

__all__ = ["History"]

# A step with a larger file says more about the disk than about the engine.
_BLOB_LIMIT_BYTES = 1 << 20
_COMMIT_LIMIT = 1000
# Imports of whole libraries and reformattings of everything are commits, but no steps of an agent.
_TOUCH_LIMIT = 100
_SPOOL_LIMIT_BYTES = 512 << 20
_GITLINK_MODE = "160000"


class _Blob(NamedTuple):
    offset: int
    size: int
    digest: str


class _Touch(NamedTuple):
    """One file of one commit: its new blob's name, None if it was removed."""

    path: str
    mode: int
    blob: str | None


class History:
    """A stretch of commits, oldest first, as steps. Close it (or use it as a context manager) to drop the spool."""

    def __init__(self, repository: Path, commit: str, base: BaseTree, *, wanted: int, seed: int = 0) -> None:
        """Read the last commits before `commit`: about `wanted`, at most 1,000, and none of more than 100 files.

        Raises:
            GitError: Git refused, or there is no commit to replay.

        Cost: one ``git log`` and one ``git cat-file`` over them.
        """
        self._base = base
        self._seed = seed
        self._spool: IO[bytes] = tempfile.TemporaryFile(prefix="pyi-spool-")  # noqa: SIM115 - closed by close()
        try:
            commits = _commits(repository, commit, min(max(wanted, 1), _COMMIT_LIMIT))
            self._blobs = self._fill(repository, commits)
        except BaseException:
            self._spool.close()
            raise
        usable = ([one for one in touches if one.blob is None or one.blob in self._blobs] for touches in commits)
        self._commits = [touches for touches in usable if 0 < len(touches) <= _TOUCH_LIMIT]
        if not self._commits:
            self._spool.close()
            raise GitError("the repository has no history to replay: use --traces")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Drop the spool; idempotent."""
        self._spool.close()

    def __len__(self) -> int:
        """Return the number of commits that can be replayed."""
        return len(self._commits)

    def step(self, agent: int, agents: int, number: int, model: Model) -> Step:
        """Return what `agent` does in its step `number`; see `pyi.workflow.steps.Steps`.

        Cost: one read of the spool per changed file.
        """
        first = agent * len(self._commits) // agents
        touches = self._commits[(first + number) % len(self._commits)]
        edits = [self._edit(touch) for touch in touches]
        reads = [edit.path for edit in edits if model.get(edit.path) is not None]
        reads.append(self._base.paths[draw(len(self._base.paths), self._seed, agent, number)])
        return Step(reads, edits)

    def _edit(self, touch: _Touch) -> Edit:
        if touch.blob is None:
            return Edit(touch.path, None)
        blob = self._blobs[touch.blob]
        data = os.pread(self._spool.fileno(), blob.size, blob.offset)
        return Edit(touch.path, data, touch.mode, blob.digest)

    def _fill(self, repository: Path, commits: list[list[_Touch]]) -> dict[str, _Blob]:
        small = (touches for touches in commits if len(touches) <= _TOUCH_LIMIT)
        wanted = dict.fromkeys(touch.blob for touches in small for touch in touches if touch.blob is not None)
        blobs: dict[str, _Blob] = {}
        offset = 0
        for name, data in _contents(repository, list(wanted)):
            if len(data) > _BLOB_LIMIT_BYTES or offset + len(data) > _SPOOL_LIMIT_BYTES:
                continue
            self._spool.write(data)
            blobs[name] = _Blob(offset, len(data), digest_of("sha256", data))
            offset += len(data)
        self._spool.flush()
        return blobs


def _commits(repository: Path, commit: str, count: int) -> list[list[_Touch]]:
    """Return what the last `count` first-parent commits changed, oldest first."""
    options = ["--first-parent", "--diff-merges=first-parent", "--root", "--raw", "--no-renames", "--no-abbrev", "-z"]
    output = run_git(repository, "log", *options, "--format=tformat:%x01%H", "-n", str(count), commit)
    commits: list[list[_Touch]] = []
    tokens = iter(output.split(b"\0"))
    for token in tokens:
        facts = token.lstrip(b"\n")
        if facts.startswith(b"\x01"):
            commits.append([])
        elif facts.startswith(b":"):
            _, mode, _, new, status = facts[1:].decode().split()
            path = next(tokens).decode("utf-8", "surrogateescape")
            if mode != _GITLINK_MODE:
                commits[-1].append(_Touch(path, int(mode, 8), None if status == "D" else new))
    commits.reverse()
    return commits


def _contents(repository: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of those blobs that the repository has (a partial clone lacks some)."""
    with (
        tempfile.TemporaryFile() as asked,
        subprocess.Popen(
            ["git", "-C", os.fspath(repository), "cat-file", "--batch"],
            stdin=_filled(asked, names),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=git_environment(GIT_NO_LAZY_FETCH="1"),
        ) as process,
    ):
        answers = process.stdout
        if answers is None:
            raise GitError("git cat-file gives no output")
        for name in names:
            head = answers.readline().split()
            if len(head) != 3:  # "<name> missing"
                continue
            data = answers.read(int(head[2]))
            answers.read(1)
            if head[1] == b"blob":
                yield name, data


def _filled(file: IO[bytes], names: list[str]) -> int:
    file.write("".join(f"{name}\n" for name in names).encode())
    file.flush()
    file.seek(0)
    return file.fileno()
