"""git: `add` + `commit` in a work tree, `worktree add` + `worktree remove`. Each is a process, as agents run them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter_ns

from validation.generator import Tree, git
from validation.hypothesis import Guarantees
from validation.peers.saved import Edit, Saver, check

__all__ = ["COMMIT", "WORKTREE", "Git"]

COMMIT = Guarantees(isolated=False, history=True, survives="kill -9", directory=True)
WORKTREE = Guarantees(isolated=True, history=True, survives="kill -9", directory=True)


class Git:
    """The installed git on one repository with a work tree."""

    def __init__(self, work_tree: Path) -> None:
        """Take the repository as it is; refuse to start without git."""
        if shutil.which("git") is None:
            raise RuntimeError("git is not installed")
        self.work_tree = work_tree
        self.name = subprocess.run(["git", "version"], capture_output=True, check=True, text=True).stdout.strip()

    def commit(self, write: Callable[[int], tuple[str, bytes]]) -> Callable[[int], int]:
        """Return a sampler of: write one file, `git add` it, `git commit`."""

        def sample(number: int) -> int:
            path, data = write(number)
            before = perf_counter_ns()
            (self.work_tree / path).write_bytes(data)
            git(self.work_tree, "add", "--", path)
            git(self.work_tree, "commit", "--quiet", "--no-verify", "-m", "step")
            return perf_counter_ns() - before

        return sample

    def there_and_back(self, write: Edit, tree: Tree) -> Saver:
        """Return: write one file, `git add` it, `git commit`, and `git reset --hard` to the commit before."""
        base = git(self.work_tree, "rev-parse", "HEAD").decode().strip()
        original = dict(tree.items())

        def sample(number: int) -> int:
            path, data = write(number)
            before = perf_counter_ns()
            (self.work_tree / path).write_bytes(data)
            git(self.work_tree, "add", "--", path)
            git(self.work_tree, "commit", "--quiet", "--no-verify", "-m", "step")
            git(self.work_tree, "reset", "--quiet", "--hard", base)
            elapsed_ns = perf_counter_ns() - before
            check("git", path, (self.work_tree / path).read_bytes(), original[path])
            return elapsed_ns

        step = "write, git add, git commit, git reset --hard BASE"
        return Saver(self.name, step, COMMIT, sample, self.work_tree / ".git")

    def worktree(self, place: Path) -> Callable[[int], int]:
        """Return a sampler of: `git worktree add` and `git worktree remove`."""

        def sample(number: int) -> int:
            where = str(place / f"candidate{number}")
            before = perf_counter_ns()
            git(self.work_tree, "worktree", "add", "--quiet", "--detach", where)
            git(self.work_tree, "worktree", "remove", "--force", where)
            return perf_counter_ns() - before

        return sample

    def worktrees_at_once(self, place: Path, count: int, jobs: int) -> Callable[[int], int]:
        """Return a sampler of: `count` such pairs, `jobs` at a time; the nanoseconds for one of them by the wall."""

        def pair(where: str) -> None:
            git(self.work_tree, "worktree", "add", "--quiet", "--detach", where)
            git(self.work_tree, "worktree", "remove", "--force", where)

        def sample(number: int) -> int:
            places = [str(place / f"at-once{number}-{index}") for index in range(count)]
            with ThreadPoolExecutor(jobs) as pool:
                before = perf_counter_ns()
                list(pool.map(pair, places))
                return (perf_counter_ns() - before) // count

        return sample

    def own_copy(self, place: Path, write: Callable[[int], tuple[str, bytes]]) -> Callable[[int], int]:
        """Return a sampler of: `worktree add`, write one file, `add`, `commit`; the removal is not counted."""

        def sample(number: int) -> int:
            path, data = write(number)
            where = place / f"copy{number}"
            before = perf_counter_ns()
            git(self.work_tree, "worktree", "add", "--quiet", "--detach", str(where))
            (where / path).write_bytes(data)
            git(where, "add", "--", path)
            git(where, "commit", "--quiet", "--no-verify", "-m", "step")
            elapsed_ns = perf_counter_ns() - before
            git(self.work_tree, "worktree", "remove", "--force", str(where))
            return elapsed_ns

        return sample
