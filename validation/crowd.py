"""Agents that each change one of eight files of 1 KB and checkpoint: as fast as they can, or each step when it is due.

`python -m validation.crowd STORE FILES AGENTS SEED` is a crowd in a process of its own: it says `ready`, then reads
orders as JSON lines. It says when it is prepared for one, is told when to begin, and answers with what came of it.
`Team` runs some of these and sums up what they say.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pyi
from validation import workloads
from validation.generator import Tree

__all__ = ["Crowd", "Order", "Team", "Took"]

# Sleeping to within this of a step's time, and spinning for the rest: a driver that has the thread for itself.
_SPIN_NS = 150_000
# What is not done so long after the end of a load was too much for it.
_GRACE_NS = 1_000_000_000
# Files that an agent edits, in turns. Of 191 recorded runs of agents nine in ten edited no more, half of them two.
_OWN_FILES = 8
_PATIENCE_SECONDS = 120
# Time for all to hear when to begin, and to start their threads.
_SOONEST_SECONDS = 0.05
_SECONDS_A_THREAD = 0.002


@dataclass(frozen=True, slots=True)
class Order:
    """What a crowd is to do.

    Attributes:
        seconds: For how long.
        threads: How many threads share the agents.
        batch: Agents saved by one call; with 1 each saves by itself.
        rate: Steps that fall due a second in this process, at random times (Poisson); 0: the next as soon as one ends.
        spin: Whether a thread waits for the last moments by spinning, which needs a processor that nobody else uses.
    """

    seconds: float
    threads: int = 1
    batch: int = 1
    rate: float = 0
    spin: bool = False


@dataclass(slots=True)
class Took:
    """What came of it.

    Attributes:
        steps: Checkpoints made.
        behind: Steps that fell due and were given up a second after the end; their wait until then is a sample, too.
        end_ns: When the last step ended.
        calls_ns: From the begin of a step to its end, or of a batch.
        due_ns: From when a step was due to its end; empty without a rate.
    """

    steps: int = 0
    behind: int = 0
    end_ns: int = 0
    calls_ns: array[int] = field(default_factory=lambda: array("q"))
    due_ns: array[int] = field(default_factory=lambda: array("q"))

    def add(self, other: Took) -> None:
        """Take in what another thread or process did."""
        self.steps += other.steps
        self.behind += other.behind
        self.end_ns = max(self.end_ns, other.end_ns)
        self.calls_ns.extend(other.calls_ns)
        self.due_ns.extend(other.due_ns)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-like data."""
        return {**asdict(self), "calls_ns": self.calls_ns.tolist(), "due_ns": self.due_ns.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Took:
        """Return what `to_dict` was called on."""
        return cls(**{**data, "calls_ns": array("q", data["calls_ns"]), "due_ns": array("q", data["due_ns"])})


class _Worker:
    """One thread's agents, its edits, and when they are due. An edit's content never was before."""

    def __init__(
        self, repository: pyi.Repository, agents: Sequence[pyi.Workspace], paths: list[str], pool: bytes, mark: str
    ) -> None:
        self.repository, self.agents = repository, agents
        self._pool, self._paths, self._mark = pool, paths, mark.encode()
        self._source = random.Random(mark)
        self._number = self._source.randrange(len(paths))
        self.due_ns: list[int] = []
        self.last: dict[int, tuple[str, bytes]] = {}

    def plan(self, order: Order) -> None:
        """Draw when its steps are due, counted from the begin."""
        at = 0.0
        while (at := at + self._source.expovariate(order.rate / order.threads)) < order.seconds:
            self.due_ns.append(int(at * 1e9))

    def edit(self) -> tuple[int, str, bytes]:
        """Return whose turn it is, and what it writes where."""
        number = self._number = self._number + 1
        head = b"%s %d\n" % (self._mark, number)
        start = number * 7919 % (len(self._pool) - workloads.EDIT_BYTES)
        data = head + self._pool[start : start + workloads.EDIT_BYTES - len(head)]
        turn, agent = divmod(number, len(self.agents))
        path = self._paths[(agent * _OWN_FILES + turn % _OWN_FILES) % len(self._paths)]
        return agent, path, data

    def save(self, count: int) -> None:
        """Let the next so many agents write, and save them: one by itself, more of them by one call."""
        if count == 1:
            agent, path, data = self.edit()
            self.agents[agent].write(path, data)
            self.agents[agent].checkpoint()
            self.last[agent] = path, data
            return
        chosen = []
        for _ in range(count):
            agent, path, data = self.edit()
            self.agents[agent].write(path, data)
            chosen.append(self.agents[agent])
            self.last[agent] = path, data
        self.repository.checkpoint_many(chosen)

    def burst(self, order: Order, begin_ns: int) -> Took:
        """Save again and again until the time is over."""
        took = Took()
        batch = min(order.batch, len(self.agents))
        now, until = begin_ns, begin_ns + int(order.seconds * 1e9)
        _wait(begin_ns, spin=False)
        while now < until:
            before = time.perf_counter_ns()
            self.save(batch)
            now = time.perf_counter_ns()
            took.calls_ns.append(now - before)
            took.steps += batch
        took.end_ns = now
        return took

    def offered(self, order: Order, begin_ns: int) -> Took:
        """Save each step when it is due; what has fallen due meanwhile goes together, up to a batch."""
        took = Took()
        batch = min(order.batch, len(self.agents))
        due = self.due_ns
        given_up = begin_ns + int(order.seconds * 1e9) + _GRACE_NS
        done, now = 0, begin_ns
        while done < len(due) and now < given_up:
            _wait(begin_ns + due[done], spin=order.spin)
            before = time.perf_counter_ns()
            count = 1
            while count < batch and done + count < len(due) and begin_ns + due[done + count] <= before:
                count += 1
            self.save(count)
            now = time.perf_counter_ns()
            took.calls_ns.append(now - before)
            took.due_ns.extend(now - begin_ns - when for when in due[done : done + count])
            done += count
        took.steps, took.behind, took.end_ns = done, len(due) - done, now
        took.due_ns.extend(now - begin_ns - when for when in due[done:])
        return took


def _wait(until_ns: int, *, spin: bool) -> None:
    left = until_ns - time.perf_counter_ns()
    if spin:
        if left > _SPIN_NS:
            time.sleep((left - _SPIN_NS) / 1e9)
        while time.perf_counter_ns() < until_ns:
            pass
    elif left > 0:
        time.sleep(left / 1e9)


class Crowd:
    """Agents in this process: forks of the branch `main`."""

    def __init__(self, repository: pyi.Repository, tree: Tree, agents: int, seed: int = 0) -> None:
        """Make the agents."""
        self._repository = repository
        base = repository.workspace("main")
        self._agents = [base.fork() for _ in range(agents)]
        source = random.Random(seed)
        self._paths = source.sample([tree.path(number) for number in range(tree.count)], tree.count)
        self._pool = source.randbytes(1 << 20)
        self._seed = seed
        self._orders = 0

    def prepare(self, order: Order) -> Callable[[int], Took]:
        """Return what carries the order out, and is told when to begin by the clock that all processes share.

        It checks afterwards that the last checkpoints hold what was written, and raises RuntimeError if one does not.
        """
        self._orders += 1
        count = min(order.threads, len(self._agents))
        workers = []
        for number in range(count):
            mark = f"{self._seed}.{self._orders}.{number}"
            workers.append(_Worker(self._repository, self._agents[number::count], self._paths, self._pool, mark))
            if order.rate:
                workers[-1].plan(order)
        return lambda begin_ns: self._carry_out(workers, order, begin_ns)

    def _carry_out(self, workers: Sequence[_Worker], order: Order, begin_ns: int) -> Took:
        found: list[Took] = []
        failures: list[BaseException] = []

        def run(work: Callable[[Order, int], Took]) -> None:
            try:
                found.append(work(order, begin_ns))
            except BaseException as error:
                failures.append(error)

        works = [worker.offered if order.rate else worker.burst for worker in workers]
        threads = [threading.Thread(target=run, args=(work,)) for work in works[1:]]
        for thread in threads:
            thread.start()
        run(works[0])
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        whole = Took()
        for took in found:
            whole.add(took)
        for worker in workers:
            for agent, (path, data) in list(worker.last.items())[-10:]:
                if bytes(worker.agents[agent].head.read(path)) != data:
                    raise RuntimeError(f"the last checkpoint of an agent does not hold what it wrote to {path}")
        return whole


class Team:
    """Crowds in processes of their own, which share the agents; with one process, a crowd in a fresh one."""

    def __init__(self, store: Path, tree: Tree, agents: int, processes: int) -> None:
        """Start them and wait until each has its agents."""
        self._children: list[subprocess.Popen[str]] = []
        shares = [agents * (n + 1) // processes - agents * n // processes for n in range(processes)]
        for number, share in enumerate(shares):
            command = [sys.executable, "-m", "validation.crowd", str(store), str(tree.count), str(share), str(number)]
            root = Path(__file__).resolve().parent.parent
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
            self._children.append(child)
        try:
            for child in self._children:
                self._hear(child)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Team:
        """Give the team."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End all of its processes."""
        self._end()

    def obey(self, order: Order) -> tuple[Took, float]:
        """Let all of them do what the order says, its rate shared out; return what came of it, and the seconds."""
        share = replace(order, rate=order.rate / len(self._children))
        for child in self._children:
            self._say(child, asdict(share))
        for child in self._children:
            self._hear(child)
        begin_ns = time.perf_counter_ns() + int(1e9 * (_SOONEST_SECONDS + _SECONDS_A_THREAD * order.threads))
        for child in self._children:
            self._say(child, begin_ns)
        whole = Took()
        for child in self._children:
            whole.add(Took.from_dict(self._hear(child)))
        return whole, (whole.end_ns - begin_ns) / 1e9

    def _say(self, child: subprocess.Popen[str], what: Any) -> None:
        if child.stdin is not None:
            child.stdin.write(json.dumps(what) + "\n")
            child.stdin.flush()

    def _hear(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        line = child.stdout.readline() if child.stdout is not None else ""
        if not line:
            raise RuntimeError(f"a process of the crowd ended with status {child.wait(_PATIENCE_SECONDS)}")
        said: dict[str, Any] = json.loads(line)
        return said

    def _end(self) -> None:
        for child in self._children:
            if child.stdin is not None:
                child.stdin.close()
        for child in self._children:
            try:
                child.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()


def main() -> None:
    """Be a crowd in a process of its own."""
    store, files, agents, seed = sys.argv[1:]
    with pyi.open(store, create=False, durability=workloads.DURABILITY) as repository:
        crowd = Crowd(repository, Tree(int(files)), int(agents), int(seed))
        print(json.dumps({"ready": int(agents)}), flush=True)
        for line in sys.stdin:
            carry_out = crowd.prepare(Order(**json.loads(line)))
            print(json.dumps({"prepared": True}), flush=True)
            print(json.dumps(carry_out(json.loads(sys.stdin.readline())).to_dict()), flush=True)


if __name__ == "__main__":
    main()
