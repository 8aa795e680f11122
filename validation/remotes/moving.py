"""`moving`: git clones a workspace that an agent changes all the time; each clone is one checkpoint of it, whole."""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from pathlib import Path
from time import perf_counter_ns

import pyi
from validation.generator import Tree, git, make_repository
from validation.remotes.serving import serve
from validation.statistics import Distribution

__all__ = ["add_arguments", "run"]

_FILES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--clones", type=int, default=50, help="one after another (default: 50)")
    parser.add_argument("--rate", type=int, default=1_000, help="checkpoints a second that are offered (default: 1000)")
    parser.add_argument("--files", type=int, default=500, help="of the repository beside (default: 500)")


class _Agent(threading.Thread):
    """Writes the same number into some files, and makes a checkpoint, at a rate."""

    def __init__(self, workspace: pyi.Workspace, rate: int) -> None:
        super().__init__()
        self.workspace = workspace
        self.rate = rate
        self.made = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Work."""
        begin = time.perf_counter()
        while not self.over.is_set():
            due = begin + self.made / self.rate
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            number = f"{self.made}\n".encode()
            self.workspace.write_many({f"moving/{at}/number.txt": number for at in range(_FILES)})
            self.workspace.checkpoint(f"step {self.made}")
            self.made += 1


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    source = make_repository(place / "source", Tree(options.files), commits=20)
    wrong: list[str] = []
    samples, numbers = [], []
    with pyi.open(place / "store") as repository:
        agent = _Agent(repository.import_git(source).fork("agent"), options.rate)
        with serve(place / "store") as server:
            agent.start()
            begin = time.monotonic()
            while agent.made == 0:
                time.sleep(0.01)
            for _ in range(options.clones):
                before = perf_counter_ns()
                try:
                    git(place, "clone", "--quiet", f"{server.url}/it/agents/agent.git", "clone")
                except RuntimeError as error:
                    wrong.append(str(error))
                    shutil.rmtree(place / "clone", ignore_errors=True)
                    continue
                samples.append(perf_counter_ns() - before)
                found = {(place / f"clone/moving/{at}/number.txt").read_text() for at in range(_FILES)}
                message = git(place / "clone", "log", "-1", "--format=%s").decode().strip()
                if len(found) != 1 or f"step {int(min(found))}" != message:
                    wrong.append(f"not one checkpoint: {sorted(found)}, {message!r}")
                numbers.append(int(min(found)))
                try:
                    git(place / "clone", "fsck", "--strict", "--no-dangling", "--no-progress")
                except RuntimeError as error:
                    wrong.append(str(error))
                shutil.rmtree(place / "clone")
            seconds = time.monotonic() - begin
            agent.over.set()
            agent.join()
    spread = Distribution.of(samples) if samples else None
    print(f"{agent.made} checkpoints in {seconds:.1f} s: {agent.made / seconds:.0f} a second (offered: {options.rate})")
    if spread:
        times = f"p50 {spread.p50_us / 1000:.0f} ms, max {spread.max_us / 1000:.0f} ms"
        print(f"{spread.count} clones at {len(set(numbers))} checkpoints: {times}")
    print(f"not one whole checkpoint {len(wrong)}, in order {numbers == sorted(numbers)}")
    for text in wrong[:5]:
        print(f"  {text}")
    return 1 if wrong or not samples or numbers != sorted(numbers) else 0
