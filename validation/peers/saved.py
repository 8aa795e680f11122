"""What changes one file, saves, and goes back: the form that every peer of this step has, and the plain ones of them.

pickle: the whole state as one file, written beside the last one, flushed and renamed over it. jj: a commit and a new
change on the base.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

from validation.generator import Tree
from validation.hypothesis import Guarantees

__all__ = ["Edit", "Saver", "check", "files_bytes", "jj", "pickled"]

Edit = Callable[[int], tuple[str, bytes]]
_LONGEST_SECONDS = 120


@dataclass(slots=True)
class Saver:
    """A peer that is open.

    Attributes:
        name: What it is, with its version.
        step: What one sample does.
        guarantees: What a saved change has.
        sample: Takes the n-th step and goes back; it checks outside of the clock that it is back.
        place: Where all of its files are; None if it has none.
        close: Ends it.
    """

    name: str
    step: str
    guarantees: Guarantees
    sample: Callable[[int], int]
    place: Path | None
    close: Callable[[], None] = lambda: None


def check(name: str, path: str, found: object, expected: bytes) -> None:
    """Raise RuntimeError if a file is not what it was before."""
    if not isinstance(found, (bytes, bytearray, memoryview)) or bytes(found) != expected:
        raise RuntimeError(f"{name} is not back: {path} is not what it was")


def files_bytes(place: Path) -> int:
    """Return the length of all files below a directory."""
    total = 0
    for directory, _, names in os.walk(place):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_size
            except FileNotFoundError:
                continue
    return total


def pickled(place: Path, tree: Tree, edit: Edit) -> Saver:
    """Return pickle with fsync: every version is a file with all of the state."""
    original = dict(tree.items())
    state = dict(original)

    def save(name: str) -> None:
        with (place / "new").open("wb") as file:
            pickle.dump(state, file, protocol=5)
            file.flush()
            os.fsync(file.fileno())
        os.replace(place / "new", place / name)
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def sample(number: int) -> int:
        nonlocal state
        path, data = edit(number)
        before = perf_counter_ns()
        state[path] = data
        save(f"version{number}")
        with (place / "base").open("rb") as file:
            state = pickle.load(file)
        elapsed_ns = perf_counter_ns() - before
        check("pickle", path, state[path], original[path])
        return elapsed_ns

    save("base")
    guarantees = Guarantees(isolated=True, history=True, survives="power loss", directory=False)
    return Saver(
        "pickle + fsync", "change the dict; dump, fsync, rename, fsync; load the first", guarantees, sample, place
    )


def jj(place: Path, tree: Tree, edit: Edit) -> Saver:
    """Return jj on a work tree of its own.

    Raises:
        FileNotFoundError: It is not installed.
    """
    program = shutil.which("jj")
    if program is None:
        raise FileNotFoundError("jj is not installed")
    work_tree = place / "jj"
    tree.write_to(work_tree)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "JJ_"))},
        "JJ_CONFIG": os.devnull,
        "JJ_USER": "validation",
        "JJ_EMAIL": "validation@example.invalid",
    }

    def run(*arguments: str) -> str:
        command = [program, "--no-pager", "--quiet", *arguments]
        done = subprocess.run(
            command, cwd=work_tree, env=environment, capture_output=True, text=True, timeout=_LONGEST_SECONDS
        )
        if done.returncode != 0:
            raise RuntimeError(f"jj {arguments[0]}: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()

    run("git", "init", ".")
    run("commit", "-m", "base")
    base = run("log", "--no-graph", "-r", "@-", "-T", "commit_id")
    original = dict(tree.items())

    def sample(number: int) -> int:
        path, data = edit(number)
        before = perf_counter_ns()
        (work_tree / path).write_bytes(data)
        run("commit", "-m", "step")
        run("new", base)
        elapsed_ns = perf_counter_ns() - before
        check("jj", path, (work_tree / path).read_bytes(), original[path])
        return elapsed_ns

    guarantees = Guarantees(isolated=False, history=True, survives="kill -9", directory=True)
    name = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return Saver(name, "write, jj commit, jj new BASE", guarantees, sample, work_tree / ".jj")
