"""`swarm`: many agents at once on one repository, each with its own workspace, every step a checkpoint.

The agents are generators that a few threads take turns with, so that 850 of them cost 850 workspaces and not 850
stacks. What each checkpoint must contain is written to a record that the engine has no part in; a fresh process
compares the two when all is done.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from pyi import _native
from pyi.config import TAIL_BYTES, cores, store_override
from pyi.errors import Conflict, InvalidArgument, InvalidPath, PyiError
from pyi.sandbox.scratch import Scratch, sweep
from pyi.workflow.calls import Caller
from pyi.workflow.guests import Guest, run_guests
from pyi.workflow.history import History
from pyi.workflow.ledger import Ledger
from pyi.workflow.measure import Latencies, Latency, peak_memory_bytes
from pyi.workflow.model import SYMLINK, BaseTree, Edit, Known, Model, digest_of
from pyi.workflow.source import GitSource
from pyi.workflow.steps import Step, Steps, draw
from pyi.workflow.traces import Traces

if TYPE_CHECKING:
    from pyi._native import Repository, Workspace

__all__ = ["SwarmEvent", "SwarmReport", "swarm"]

_REPORT_EVERY_S = 0.2
_AGENTS_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class SwarmEvent:
    """How far a swarm is.

    Attributes:
        phase: ``import``, ``run``, ``verify``, ``done``.
        checkpoints: Checkpoints so far.
        expected: Checkpoints at the end; 0 if that is not known.
        seconds: Since the start of the phase.
    """

    phase: str
    checkpoints: int = 0
    expected: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class SwarmReport:
    """What a swarm did.

    Attributes:
        agents: Number of agents.
        steps: Steps of each (0 for callables, which do what they want).
        files: Files in the tree that all started from.
        checkpoints: Checkpoints that were acknowledged.
        rewinds: Restores of an earlier checkpoint.
        edits: Files written or removed.
        skipped: Recorded edits that do not fit this tree (a file where it has a directory, an invalid path).
        wrong_reads: Reads, while it ran, whose content was not what the agent's model says. Must be 0.
        seconds: Time of the run itself.
        checkpoints_per_s: Over that time.
        latency: Distribution per operation: fork, write, checkpoint, restore, read.
        peak_memory_bytes: VmHWM of this process.
        bytes_logical: Bytes in all files of all checkpoints, as if each were a copy (0 for callables).
        bytes_stored: Bytes that the run added to the store.
        threads: Threads that ran the agents.
        failures: Tracebacks of callables that raised, by agent.
        verdict: What the fresh process found; None if it was not asked.
        record: Where the record lies, if it was kept.
        store: Where the store lies, if it was kept.
    """

    agents: int
    steps: int
    files: int
    checkpoints: int
    rewinds: int
    edits: int
    skipped: int
    wrong_reads: int
    seconds: float
    checkpoints_per_s: float
    latency: dict[str, Latency]
    peak_memory_bytes: int
    bytes_logical: int
    bytes_stored: int
    threads: int
    failures: dict[int, str] = field(default_factory=dict)
    verdict: dict[str, Any] | None = None
    record: str | None = None
    store: str | None = None

    @property
    def wrong_bytes(self) -> int | None:
        """Bytes that are not what the record says; None if nobody looked."""
        return None if self.verdict is None else int(self.verdict["wrong_bytes"])

    @property
    def lost(self) -> int | None:
        """Acknowledged checkpoints that are not there; None if nobody looked."""
        return None if self.verdict is None else int(self.verdict["lost"])

    @property
    def ok(self) -> bool:
        """Whether nothing was found to be wrong."""
        return self.wrong_reads == 0 and (self.verdict is None or bool(self.verdict["ok"]))

    def __bool__(self) -> bool:
        """The same as `ok`."""
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-like data."""
        return {**asdict(self), "wrong_bytes": self.wrong_bytes, "lost": self.lost, "ok": self.ok}


def swarm(
    repo: Repository | str | bytes | PathLike[str] | PathLike[bytes],
    agents: int | Sequence[Guest] = 850,
    *,
    steps: int = 20,
    traces: Iterable[str | PathLike[str]] | None = None,
    source: Steps | None = None,
    threads: int | None = None,
    seed: int = 0,
    rewind_every: int = 8,
    base: str = "main",
    rev: str = "HEAD",
    store: str | PathLike[str] | None = None,
    record: str | PathLike[str] | None = None,
    verify: bool = True,
    cache_bytes: int = 8 << 20,
    on_event: Callable[[SwarmEvent], None] | None = None,
) -> SwarmReport:
    """Run many agents at once on one repository and check every byte of what they left.

    Args:
        repo: A git work tree or bare repository, whose commit `rev` is imported; or an open repository, whose branch
            `base` is used.
        agents: How many, up to 1,000,000; or callables, plain or async, that take a workspace each.
        steps: Steps of each agent. A step reads, edits, and ends with a checkpoint.
        traces: Recorded runs to take the steps from; the repository's own history otherwise.
        source: Another source of steps.
        threads: Threads that take turns with the agents; the number of processors unless given.
        seed: Decides which agent reads, rewinds and writes what; the same in every run.
        rewind_every: One step in so many is followed by a restore of an earlier checkpoint; 0: none.
        base: Branch to start from, if `repo` is an open repository.
        rev: Commit to start from, if `repo` is a path.
        store: Where the store is, if `repo` is a path. Unless given (or ``PYI_STORE``), it is a temporary one that is
            gone afterwards: thousands of checkpoints of a load test are nothing to leave in somebody's repository.
        record: Where to write the record; a temporary file, gone afterwards, unless given.
        verify: Let a fresh process compare the store with the record at the end.
        cache_bytes: The engine's cache, if `repo` is a path, and half as much for trees. Small, so that what is
            measured is the agents' memory.
        on_event: Called now and then with a `SwarmEvent`.

    Returns:
        The report; false if anything was wrong.

    Raises:
        InvalidArgument: Arguments that do not fit together; a trace that is not in the schema, or damaged.
        Conflict: The record exists.
        GitError: `repo` is not a git repository, or has no history to replay.
        PyiError: The store failed, or the verification could not be done.

    Cost: an import, then O(changed) per step; memory for the workspaces and 8 bytes per measured operation.
    """
    emit = on_event or (lambda event: None)
    place = store_override(store)
    _check_arguments(agents, steps, threads, rewind_every, record)
    with ExitStack() as stack:
        sweep()
        home = stack.enter_context(Scratch()).path
        emit(SwarmEvent("import"))
        kept: str | None
        if isinstance(repo, _native.Repository):
            repository, kept = repo, str(repo.path)
            workspace = repository.workspace(base)
            git = GitSource.origin_of(workspace)
            tree = BaseTree.from_workspace(workspace)
        else:
            git = GitSource.discover(repo, rev)
            kept = None if place is None else str(place)
            where = place if place is not None else home / "store"
            repository = stack.enter_context(
                _native.open(git.path, store=where, cache_bytes=cache_bytes, trees_bytes=cache_bytes // 2)
            )
            workspace = git.import_into(repository)
            tree = BaseTree.from_git(git.path, git.commit)
        stored = int(repository.stats()["bytes_stored"])
        ledger = stack.enter_context(Ledger(Path(record) if record else home / "record", workspace.head.id, tree))
        run = _Swarm(workspace, tree, ledger, seed=seed, steps=steps, rewind_every=rewind_every, emit=emit)
        width = threads or cores()
        if isinstance(agents, int):
            chosen = source if source is not None else _steps(git, tree, traces, agents * steps, seed)
            if source is None:
                stack.callback(chosen.close)
            run.agents(chosen, agents, width)
        else:
            steps = 0
            with Caller() as caller:
                run.guests(repository, list(agents), caller, width)
        ledger.finish()
        peak = peak_memory_bytes()
        stats = repository.stats()
        verdict = _verified(ledger.path, Path(repository.path), emit, ledger.count) if verify else None
        emit(SwarmEvent("done", ledger.count, ledger.count))
        return SwarmReport(
            agents=agents if isinstance(agents, int) else len(agents),
            steps=steps,
            files=len(tree.files),
            checkpoints=ledger.count,
            rewinds=run.rewinds,
            edits=run.edits,
            skipped=run.skipped,
            wrong_reads=run.wrong_reads,
            seconds=run.seconds,
            checkpoints_per_s=ledger.count / run.seconds if run.seconds else 0.0,
            latency=run.latencies.summary(),
            peak_memory_bytes=peak,
            bytes_logical=run.bytes_logical,
            bytes_stored=int(stats["bytes_stored"]) - stored,
            threads=width,
            failures=run.failures,
            verdict=verdict,
            record=str(record) if record else None,
            store=kept,
        )


def _check_arguments(
    agents: object, steps: int, threads: int | None, rewind_every: int, record: str | PathLike[str] | None
) -> None:
    """Refuse what cannot be run, before anything is written."""
    if isinstance(agents, int):
        if agents < 1 or steps < 1:
            raise InvalidArgument(f"a swarm needs agents and steps, not {agents} x {steps}")
        if agents > _AGENTS_LIMIT:
            raise InvalidArgument(f"a swarm has at most {_AGENTS_LIMIT:,} agents, not {agents:,}")
    elif isinstance(agents, str | bytes) or not isinstance(agents, Sequence) or not all(map(callable, agents)):
        raise TypeError("agents: how many (an int), or a list of callables that take a workspace each")
    if threads is not None and threads < 1:
        raise InvalidArgument(f"a swarm needs at least one thread, not {threads}")
    if rewind_every < 0:
        raise InvalidArgument(f"one step in {rewind_every} cannot be rewound: 0 means none")
    if record is not None and Path(record).exists():
        raise Conflict(f"the record {record} exists: remove it, or choose another name")


class _Swarm:
    """One run: the agents, their threads, and what is counted."""

    def __init__(
        self,
        base: Workspace,
        tree: BaseTree,
        ledger: Ledger,
        *,
        seed: int,
        steps: int,
        rewind_every: int,
        emit: Callable[[SwarmEvent], None],
    ) -> None:
        self._base = base
        self._tree = tree
        self._ledger = ledger
        self._seed = seed
        self._steps = steps
        self._rewind_every = rewind_every
        self._emit = emit
        self._lock = threading.Lock()
        self._refused: set[str] = set()
        self.latencies = Latencies()
        self.failures: dict[int, str] = {}
        self.rewinds = self.edits = self.skipped = self.wrong_reads = self.bytes_logical = 0
        self.seconds = 0.0

    def agents(self, source: Steps, count: int, width: int) -> None:
        """Run agents that take their steps from `source`."""
        self._threads([range(place, count, width) for place in range(min(width, count))], source, count)

    def guests(self, repository: Repository, guests: list[Guest], caller: Caller, width: int) -> None:
        """Run callables, and record every checkpoint that they left behind."""
        started = time.monotonic()
        run_guests(repository, self._base, guests, caller, self._ledger, self.latencies, self.failures, width)
        self.seconds = time.monotonic() - started

    def _threads(self, shares: list[range], source: Steps, count: int) -> None:
        started = time.monotonic()
        errors: list[BaseException] = []
        stop = threading.Event()
        workers = [
            threading.Thread(target=self._work, args=(share, source, count, errors, stop), name=f"pyi-swarm-{place}")
            for place, share in enumerate(shares)
        ]
        for worker in workers:
            worker.start()
        try:
            while any(worker.is_alive() for worker in workers):
                for worker in workers:
                    worker.join(_REPORT_EVERY_S / len(workers))
                done = self._ledger.count
                self._emit(SwarmEvent("run", done, count * self._steps, time.monotonic() - started))
        finally:
            stop.set()
            for worker in workers:
                worker.join()
        if errors:
            raise errors[0]
        self.seconds = time.monotonic() - started

    def _work(
        self, share: range, source: Steps, count: int, errors: list[BaseException], stop: threading.Event
    ) -> None:
        """Take turns with a share of the agents: one step of each, round after round, until all have ended."""
        turn = _Turn(self, source, count)
        try:
            waiting = deque(turn.agent(agent) for agent in share)
            while waiting and not stop.is_set():
                agent = waiting.popleft()
                try:
                    next(agent)
                except StopIteration:
                    continue
                waiting.append(agent)
        except BaseException as error:  # raised again by the thread that waits for this one
            errors.append(error)
            stop.set()
        with self._lock:
            self.latencies.add(turn.latencies)
            self.rewinds += turn.rewinds
            self.edits += turn.edits
            self.skipped += turn.skipped
            self.wrong_reads += turn.wrong_reads
            self.bytes_logical += turn.bytes_logical


class _Turn:
    """One thread's part of a swarm; nothing in it is shared."""

    def __init__(self, run: _Swarm, source: Steps, count: int) -> None:
        self._run = run
        self._source = source
        self._count = count
        self.latencies = Latencies()
        self.rewinds = self.edits = self.skipped = self.wrong_reads = self.bytes_logical = 0

    def agent(self, agent: int) -> Generator[None]:
        """One agent's life: each `next` is one step.

        What a step needs is gone when it ends: what a waiting generator still names is memory times 850.
        """
        before = perf_counter_ns()
        workspace = self._run._base.fork()
        self.latencies.fork.append(perf_counter_ns() - before)
        yield
        life = _Life(agent, workspace, Model(self._run._tree))
        for number in range(self._run._steps):
            self._step(life, number)
            yield

    def _step(self, life: _Life, number: int) -> None:
        """Read, edit, checkpoint, and now and then go back to an earlier checkpoint."""
        run, workspace, model = self._run, life.workspace, life.model
        step = self._source.step(life.agent, self._count, number, model)
        self._read(workspace, step.reads, model)
        made = [edit for edit in self._possible(step, model) if self._edit(workspace, edit, model)]
        before = perf_counter_ns()
        checkpoint = workspace.checkpoint(f"agent {life.agent}, step {number}")
        self.latencies.checkpoint.append(perf_counter_ns() - before)
        came_from = run._base.head.id if life.parent < 0 else life.trail[life.parent][0]
        run._ledger.add(life.agent, number, checkpoint.id, came_from, made)
        self.bytes_logical += model.size
        life.trail.append((checkpoint.id, life.parent))
        life.parent = number
        if run._rewind_every and number and draw(run._rewind_every, run._seed, life.agent, number, "rewind") == 0:
            self._rewind(life, draw(number, run._seed, life.agent, number, "to"))

    def _rewind(self, life: _Life, number: int) -> None:
        """Go back to the checkpoint of step `number`."""
        before = perf_counter_ns()
        life.workspace.restore(life.trail[number][0])
        self.latencies.restore.append(perf_counter_ns() - before)
        self.rewinds += 1
        life.parent = number
        life.model = self._model_at(life)

    def _read(self, workspace: Workspace, paths: Iterable[str], model: Model) -> None:
        for path in paths:
            known = model.get(path)
            if known is None or known.digest.startswith("gitlink"):
                continue
            if known.mode == SYMLINK:
                continue
            before = perf_counter_ns()
            data = workspace.read(path)
            self.latencies.read.append(perf_counter_ns() - before)
            if not _is(data, known):
                self.wrong_reads += 1

    def _possible(self, step: Step, model: Model) -> Iterable[Edit]:
        for edit in step.edits:
            if edit.path not in self._run._refused and model.allows(edit):
                yield edit
            else:
                self.skipped += 1

    def _edit(self, workspace: Workspace, edit: Edit, model: Model) -> bool:
        """Make one edit in workspace and model; False if the engine says that there can be no such path."""
        before = perf_counter_ns()
        try:
            if edit.data is None:
                workspace.remove(edit.path)
            elif edit.mode == SYMLINK:
                if model.get(edit.path) is not None:
                    workspace.remove(edit.path)
                workspace.symlink(edit.path, edit.data)
            else:
                workspace.write(edit.path, edit.data, mode=edit.mode & 0o777)
        except InvalidPath:
            self._run._refused.add(edit.path)
            self.skipped += 1
            return False
        self.latencies.write.append(perf_counter_ns() - before)
        model.apply(edit)
        self.edits += 1
        return True

    def _model_at(self, life: _Life) -> Model:
        """Build the model of the step that the agent stands on: ask for the steps that led there once more."""
        chain: list[int] = []
        number = life.parent
        while number >= 0:
            chain.append(number)
            number = life.trail[number][1]
        model = Model(self._run._tree)
        for number in reversed(chain):
            for edit in self._source.step(life.agent, self._count, number, model).edits:
                if edit.path not in self._run._refused and model.allows(edit):
                    model.apply(edit)
        return model


@dataclass(slots=True)
class _Life:
    """What an agent keeps from step to step: of each step its checkpoint, and the step that it went on from."""

    agent: int
    workspace: Workspace
    model: Model
    trail: list[tuple[str, int]] = field(default_factory=list)
    parent: int = -1


def _is(data: bytes | memoryview, known: Known) -> bool:
    return len(data) == known.size and digest_of(known.digest.partition(":")[0], data) == known.digest


def _steps(
    git: GitSource | None, tree: BaseTree, traces: Iterable[str | PathLike[str]] | None, wanted: int, seed: int
) -> Steps:
    if traces is not None:
        return Traces(traces, tree, seed=seed)
    if git is None:
        raise InvalidArgument("this repository did not come from git: there is no history to replay, pass traces")
    return History(git.path, git.commit, tree, wanted=wanted, seed=seed)


def _verified(record: Path, store: Path, emit: Callable[[SwarmEvent], None], count: int) -> dict[str, Any]:
    """Let a fresh process compare the store with the record, and return what it found.

    Raises:
        PyiError: It could not find out.
    """
    emit(SwarmEvent("verify", count, count))
    done = subprocess.run(
        [sys.executable, "-m", "pyi.workflow.verify", str(record), str(store)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    with contextlib.suppress(ValueError):
        verdict: dict[str, Any] = json.loads(done.stdout)
        return verdict
    last = done.stderr.decode("utf-8", "replace").strip()[-TAIL_BYTES:]
    raise PyiError(f"the verification ended with status {done.returncode}: {last}")
