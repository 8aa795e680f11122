"""The git repository that a race starts from and that its winner goes back to."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from pyi.errors import Conflict, GitError, NotFound

if TYPE_CHECKING:
    from pyi._native import Repository, Workspace

__all__ = ["GitSource", "run_git"]


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
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed: install it to race on a git repository") from error
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
        except GitError as error:
            raise GitError(f"{directory} is not a git repository ({error}): run `git init` and commit first") from error
        bare, git_dir = os.fsdecode(facts).splitlines()
        try:
            commit = run_git(directory, "rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}").decode().strip()
        except GitError as error:
            raise GitError(f"{directory} has no commit {rev!r}: commit something first") from error
        if bare == "true":
            return cls(Path(git_dir), None, commit)
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

    def is_checked_out(self, branch: str) -> bool:
        """Whether `branch` is the current branch of this work tree."""
        if self.work_tree is None:
            return False
        return run_git(self.path, "branch", "--show-current") == os.fsencode(f"{branch}\n")

    def check_branch_name(self, branch: str) -> None:
        """Refuse a name that git would refuse, before anything is run.

        Raises:
            GitError: It is not a valid branch name.
        """
        try:
            run_git(self.path, "check-ref-format", "--branch", branch)
        except GitError as error:
            raise GitError(f"{branch!r} is not a valid branch name: choose another with --onto") from error
