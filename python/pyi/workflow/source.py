"""The git repository that a race starts from and that its winner goes back to."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from pyi.config import git_environment
from pyi.errors import Conflict, GitError, InvalidArgument, NotFound

if TYPE_CHECKING:
    from pyi._native import Repository, Workspace

__all__ = ["GitSource", "run_git"]

# A loose branch is a file of this name, made as <name>.lock.
_COMPONENT_LIMIT_BYTES = 255 - len(".lock")


class _NoGit(GitError):
    """There is no git to ask."""


def run_git(directory: Path, *argv: str) -> bytes:
    """Run the installed git in `directory` and return what it prints. It takes no locks and writes nothing.

    Raises:
        GitError: Git is missing or refused; the message is its own.
    """
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(directory), *argv],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=git_environment(GIT_OPTIONAL_LOCKS="0", LC_ALL="C"),
            check=False,
        )
    except OSError as error:
        raise _NoGit(f"git cannot be run ({error.strerror}): install git, or put it on PATH") from error
    except ValueError as error:  # a NUL in an argument
        raise GitError(f"git {argv[0]} cannot be asked: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GitError(lines[0] if lines else f"git {argv[0]} failed with status {done.returncode}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class GitSource:
    """A git repository at one commit.

    Attributes:
        path: What to import from and export to: the work tree, or the git directory of a bare repository.
        work_tree: The work tree, if there is one.
        commit: The commit that the race starts from.
    """

    path: Path
    work_tree: Path | None
    commit: str

    @classmethod
    def discover(cls, path: str | bytes | PathLike[str] | PathLike[bytes], rev: str = "HEAD") -> GitSource:
        """Find the repository that `path` lies in, and the commit that `rev` names.

        Raises:
            NotFound: There is no such directory.
            GitError: It is not a git repository, or has no such commit.

        Cost: two process starts.
        """
        directory = Path(os.fsdecode(path))
        if not directory.is_dir():
            raise NotFound(f"{directory} is not a directory")
        if directory.name == ".git":  # of a work tree, from inside of which git would not find that tree
            directory = directory.parent
        try:
            asked = ["--path-format=absolute", "--is-bare-repository", "--git-common-dir"]
            facts = run_git(directory, "rev-parse", *asked)
        except _NoGit:
            raise
        except GitError as error:
            raise GitError(f"{directory} is not a git repository ({error}): run `git init` and commit first") from error
        # The path is all the rest: it may hold line breaks itself.
        bare, _, git_dir = facts.removesuffix(b"\n").partition(b"\n")
        try:
            commit = run_git(directory, "rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}").decode().strip()
        except GitError as error:
            remedy = "commit something first" if rev == "HEAD" else "`git log --all --oneline` lists those there are"
            raise GitError(f"{directory} has no commit {rev!r}: {remedy}") from error
        if bare == b"true":
            return cls(Path(os.fsdecode(git_dir)), None, commit)
        top = run_git(directory, "rev-parse", "--path-format=absolute", "--show-toplevel")
        work_tree = Path(os.fsdecode(top.removesuffix(b"\n")))
        return cls(work_tree, work_tree, commit)

    @classmethod
    def origin_of(cls, workspace: Workspace) -> GitSource | None:
        """Return the git repository that a workspace was imported from, None if it was not or it is gone.

        Cost: three process starts if there is one.
        """
        git = workspace.head.git or {}
        path, commit = git.get("source"), git.get("commit")
        if not path or not commit:
            return None
        try:
            return cls.discover(os.fsdecode(path), commit)
        except (GitError, NotFound):
            return None

    def is_dirty(self) -> bool:
        """Whether the work tree differs from the commit (untracked files that git does not ignore count).

        Cost: one ``git status``.
        """
        return self.work_tree is not None and bool(run_git(self.work_tree, "status", "--porcelain"))

    def import_into(self, repository: Repository) -> Workspace:
        """Return a view of the commit; its content is read from git once per store.

        Cost: O(tree) the first time, O(1) from then on.
        """
        branch = f"git/{self.commit}"
        try:
            return repository.workspace(branch)
        except NotFound:
            pass
        try:
            return repository.import_git(self.path, rev=self.commit, branch=branch)
        except Conflict:  # another race was faster
            return repository.workspace(branch)

    def excludes_file(self) -> Path | None:
        """Return the user's own list of ignored files, if there is one.

        Cost: one process start.
        """
        try:
            named = run_git(self.path, "config", "--type=path", "--get", "core.excludesFile")
            path = Path(os.fsdecode(named.removesuffix(b"\n")))
        except GitError:  # not set
            path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "git" / "ignore"
        return path if path.is_file() else None

    def branch_tip(self, branch: str) -> str | None:
        """Return the commit that a local branch points to, None if there is no such branch."""
        try:
            return run_git(self.path, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}").decode().strip()
        except GitError:
            return None

    def subject(self, commit: str) -> str:
        """Return the first line of a commit's message."""
        return run_git(self.path, "log", "-1", "--format=%s", commit).decode("utf-8", "replace").rstrip("\n")

    def checked_out_at(self, branch: str) -> str | None:
        """Return the work tree, of all that are linked, in which `branch` is checked out; None if there is none."""
        trees = run_git(self.path, "worktree", "list", "--porcelain", "-z")
        place = ""
        for fact in trees.split(b"\0"):
            name, _, value = fact.partition(b" ")
            if name == b"worktree":
                place = os.fsdecode(value)
            elif name == b"branch" and value == os.fsencode(f"refs/heads/{branch}"):
                return place
        return None

    def branch_in_the_way(self, branch: str) -> str | None:
        """Return a branch beside which `branch` cannot be: a file where it needs a directory, or the other way."""
        top, *_ = branch.split("/")
        found = run_git(self.path, "for-each-ref", "--format=%(refname)", f"refs/heads/{top}")
        for name in os.fsdecode(found).split("\n"):
            other = name.removeprefix("refs/heads/")
            if other and (branch.startswith(f"{other}/") or other.startswith(f"{branch}/")):
                return other
        return None

    def check_writable(self) -> None:
        """Refuse a repository that no commit could be added to, before anything is run.

        Raises:
            GitError: Its objects or branches cannot be written by this user.
        """
        for part in ("objects", "refs/heads"):
            found = run_git(self.path, "rev-parse", "--path-format=absolute", "--git-path", part)
            place = os.fsdecode(found.removesuffix(b"\n"))
            if os.path.isdir(place) and not os.access(place, os.W_OK | os.X_OK):
                raise GitError(f"{place} is not writable: the winner could not become a commit there")

    def check_branch_name(self, branch: str) -> None:
        """Refuse a name that git or the file system would refuse, before anything is run.

        Raises:
            InvalidArgument: A part of it is too long.
            GitError: It is not a valid branch name.
        """
        if any(len(os.fsencode(part)) > _COMPONENT_LIMIT_BYTES for part in branch.split("/")):
            text = f"a part of {branch!r} has more than {_COMPONENT_LIMIT_BYTES} bytes"
            raise InvalidArgument(f"{text}: choose a shorter name with --onto (onto=)")
        try:
            run_git(self.path, "check-ref-format", "--branch", branch)
        except GitError as error:
            raise GitError(f"{branch!r} is not a valid branch name: choose another with --onto") from error
