"""`race`: N candidates for one task, side by side; the best one becomes a git commit.

    superpose ─┬─ candidate 0: agent, checkpoints, test, result ─┐
               ├─ candidate 1: ...                               ├─ weigh, choose, export, collapse
               └─ candidate n-1: ...                             ┘

Everything that matters is in the store before the next step begins, so that a race that was killed anywhere is
resumed by `resume=True`: finished candidates are not run again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pyi import _native
from pyi.config import CHECKPOINT_EVERY_S, store_override
from pyi.errors import Conflict, InvalidArgument, NotFound, PyiError
from pyi.sandbox import Backend, Command
from pyi.workflow.candidate import Agent, Event, Test
from pyi.workflow.lock import RaceLock
from pyi.workflow.plan import Plan, describe, new_id
from pyi.workflow.result import RaceResult
from pyi.workflow.runner import Runner, as_command
from pyi.workflow.source import GitSource

if TYPE_CHECKING:
    from pyi._native import Checkpoint, Repository, Workspace

__all__ = ["Event", "race"]

_T = TypeVar("_T")

_BRANCH_PREFIX = "pyi/"
_CANDIDATES_LIMIT = 100_000
_FOR_EVER_S = 1e9
"""Thirty years: what is longer, such as infinity, is as good as this, and clocks cannot count it."""


def race(
    repo: Repository | str | bytes | PathLike[str] | PathLike[bytes],
    agent: Agent | None = None,
    n: int | None = None,
    *,
    test: Test | None = None,
    onto: str | None = None,
    setup: Command | None = None,
    include: Iterable[str] = (),
    timeout: float | None = None,
    jobs: int | None = None,
    keep: bool = False,
    dirty: bool = False,
    first: bool = False,
    resume: bool = False,
    base: str | Workspace | Checkpoint = "main",
    rev: str = "HEAD",
    seed: int = 0,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    backend: Backend | str | None = None,
    store: str | PathLike[str] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> RaceResult:
    """Let `n` candidates try the same task side by side and collapse to the best.

    The best is, of those that passed: the highest score; then an agent that ended with status 0; then the fewest
    changed lines, the fewest changed files, the lowest number.

    Args:
        repo: A git work tree (or bare repository), whose commit `rev` is imported into its store; or an open
            repository, whose `base` is raced from.
        agent: What a candidate does: a line for the shell, a list of arguments, or a callable, plain or async, that
            takes the candidate's workspace. Commands run in a directory of their own and find ``PYI_CANDIDATE``,
            ``PYI_SEED``, ``PYI_WORKSPACE`` and ``PYI_STORE`` in their environment.
        n: Number of candidates, up to 100,000; 8 unless given.
        test: Who passes: exit status 0 of a command, or a callable's true value. The score is the finite decimal number
            that is the command's last line or that the callable returns, else 1. Without a test the agent's exit
            status decides.
        onto: Where the winner goes: git branch ``pyi/<onto>``; for an open repository also the engine branch
            (default: `base`, if that is a branch). Without it the branch is named after the race.
        setup: Command run once in the directory that all candidates share (an environment, a build).
        include: Paths that git ignores, copied from the work tree into that directory.
        timeout: Seconds for each agent and each test; whoever takes longer is killed and does not pass.
        jobs: Candidates at a time; the number of processors unless given, all of them for an async agent.
        keep: Keep the other candidates as named workspaces when one has won.
        dirty: Start from the work tree as it is, and not from the commit.
        first: Stop as soon as one candidate has passed.
        resume: Go on with the last race that was interrupted, or with that of `onto`, which may also be one that nobody
            won: it gives the same result again. Everything but `timeout` and `jobs` is what it was started with,
            callables have to be given again. If there is none, a new one starts.
        base: Branch, workspace or checkpoint to start from, if `repo` is an open repository.
        rev: Commit to start from, if `repo` is a path.
        seed: ``PYI_SEED`` of candidate 0; candidate i gets ``seed + i``.
        checkpoint_every_s: Seconds between two checkpoints of a running agent's work.
        backend: ``"overlay"`` or ``"copy"``; the best that works here unless given.
        store: Where the store is, if `repo` is a path; ``.git/pyi`` unless given, or ``PYI_STORE``.
        on_event: Called with every `Event`, from one thread at a time.

    Returns:
        The result; false if no candidate passed: then no branch moved and all candidates are kept.

    Raises:
        InvalidArgument: Arguments that do not fit together, or not to the race that is resumed.
        NotFound: No such repository, base or path to include; nothing to resume.
        GitError: `repo` is not a git repository, or git refused the branch; the candidates are kept, resume it.
        Conflict: The git branch exists already, or the race to resume is running; or a branch moved meanwhile: then
            the candidates are kept.
        StorageError: The disk is full, or a directory cannot be made.

    Cost: an import (once per commit), one materialization, and per candidate two process starts (3 ms each), a read
    of what it changed and two checkpoints, besides what agent and test take.
    """
    started = time.monotonic()
    if isinstance(include, str | bytes):
        raise TypeError("include: a list of paths, not a single one")
    include = list(include)
    _check_arguments(n, onto, agent=agent, test=test, setup=setup)
    if jobs is not None and jobs < 1:
        raise InvalidArgument(f"jobs={jobs}: candidates at a time, at least 1")
    timeout = None if timeout is None else _seconds("timeout", timeout)
    checkpoint_every_s = _seconds("checkpoint_every_s", checkpoint_every_s)
    place = store_override(store)
    with ExitStack() as stack:
        if isinstance(repo, _native.Repository):
            repository, source = repo, None
        else:
            source = GitSource.discover(repo, rev)
            repository = stack.enter_context(_native.open(source.path, store=place))
        emit = _serialized(on_event)
        stored = _stored(repository)
        plan = _resumed(repository, onto, stack, emit) if resume else None
        if plan is None and resume:
            if agent is None:
                raise NotFound("there is no unfinished race to resume: start one with --agent CMD (agent=)")
            emit(Event("warning", text="there is no unfinished race to resume: starting a new one"))
        if plan is not None:
            plan.check_same(n=n, agent=describe(agent), test=describe(test), setup=describe(setup))
            plan = plan if timeout is None else replace(plan, timeout=timeout)
            source = None if plan.source is None else GitSource.discover(plan.source, plan.commit or rev)
        else:
            if agent is None:
                raise InvalidArgument("a race needs an agent: --agent CMD (agent=, a command or a callable)")
            if source is not None and not dirty and source.is_dirty():
                text = "uncommitted changes are left out: commit them, or take them along with --dirty (dirty=True)"
                emit(Event("warning", text=text))
            start = _start(repository, source, base, dirty=dirty)
            plan, source = _planned(repository, start, source, base, onto, n=8 if n is None else n)
            plan = replace(
                plan,
                agent=describe(agent),
                test=describe(test),
                setup=describe(setup),
                include=include,
                timeout=timeout,
                seed=seed,
                every_s=checkpoint_every_s,
            )
            stack.enter_context(_running(repository, plan))
            plan.save(repository, start)
        runner = Runner(repository, plan, source, _job(plan.agent, agent), _job(plan.test, test), emit)
        result = runner.run(jobs=jobs, first=first, keep=keep, backend=backend)
        shared = replace(result.shared, stored=_stored(repository) - stored)
        return replace(result, shared=shared, seconds=time.monotonic() - started)


def _serialized(on_event: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """Return a callback for many threads that calls `on_event` from one at a time."""
    if on_event is None:
        return lambda event: None
    lock = threading.Lock()

    def emit(event: Event) -> None:
        with lock:
            on_event(event)

    return emit


def _stored(repository: Repository) -> int:
    return int(repository.stats()["bytes_stored"])


def _seconds(name: str, seconds: float) -> float:
    """Return a time that every clock can count."""
    if not seconds > 0:
        raise InvalidArgument(f"{name}={seconds}: seconds, more than 0")
    return float(min(seconds, _FOR_EVER_S))


def _check_arguments(n: int | None, onto: str | None, **jobs: object) -> None:
    """Refuse what is wrong whatever the repository holds, before anything is written."""
    if n is not None and n < 1:
        raise InvalidArgument(f"a race needs at least one candidate, not {n}")
    if n is not None and n > _CANDIDATES_LIMIT:
        raise InvalidArgument(f"a race has at most {_CANDIDATES_LIMIT:,} candidates, not {n:,}")
    for name, job in jobs.items():
        if job is not None and not callable(job) and not (job.strip() if isinstance(job, str) else job):
            raise InvalidArgument(f"the {name} is an empty command: say what to run, or leave --{name} ({name}=) out")
    if onto is not None:
        if not isinstance(onto, str):
            raise TypeError(f"onto: the name of a branch, a str, not {type(onto).__name__}")
        try:
            onto.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{onto!r} is not UTF-8: choose another name with --onto (onto=)") from error


def _running(repository: Repository, plan: Plan) -> RaceLock:
    """Take the sign of life of a race that nobody else can know yet."""
    lock = RaceLock.acquire(Path(repository.path), plan.id)
    if lock is None:
        raise Conflict(f"race {plan.id} is running: try again")
    lock.tell({"branch": plan.branch, "onto": plan.onto})
    return lock


def _resumed(repository: Repository, onto: str | None, stack: ExitStack, emit: Callable[[Event], None]) -> Plan | None:
    """Return the plan of the last interrupted race, or of the last one onto `onto`; None if there is none.

    The race is this process's own until `stack` is closed.

    Raises:
        Conflict: The race onto `onto` is running.
    """
    store = Path(repository.path)
    for race_id in reversed(Plan.unfinished(repository)):
        lock = RaceLock.acquire(store, race_id)
        if lock is None:
            facts = RaceLock.facts(store, race_id)
            if onto is not None and (facts.get("branch") == _branch(onto) or facts.get("onto") == onto):
                raise Conflict(f"race {race_id} onto {onto} is still running: wait for its end, or stop it first")
            if onto is None:
                emit(Event("warning", text=f"race {race_id} is still running: it is left alone"))
            continue
        with ExitStack() as locked:
            locked.enter_context(lock)
            plan = _left_over(repository, race_id, emit)
            if plan is None:
                continue
            if plan.is_lost if onto is None else onto != plan.onto and _branch(onto) != plan.branch:
                continue
            lock.tell({"branch": plan.branch, "onto": plan.onto})
            stack.push(locked.pop_all())
            return plan
    return None


def _left_over(repository: Repository, race_id: str, emit: Callable[[Event], None]) -> Plan | None:
    """Return the plan of a race that is not running; None, and a warning, if nothing can be done with it."""
    try:
        plan = Plan.load(repository, race_id)
    except NotFound:  # it ended while we looked
        return None
    except PyiError as error:
        remedy = f"`pyi workspaces --drop race/{race_id}/plan` forgets it"
        emit(Event("warning", text=f"race {race_id} cannot be resumed ({error}): {remedy}"))
        return None
    if not plan.is_lost and (plan.decision is not None or not plan.made):
        return plan
    with suppress(NotFound):
        repository.superposition(plan.superposition)
        return plan
    plan.forget(repository)
    emit(Event("warning", text=f"the candidates of race {race_id} are gone, by hand: it is forgotten"))
    return None


def _start(
    repository: Repository, source: GitSource | None, base: str | Workspace | Checkpoint, *, dirty: bool
) -> Workspace:
    """Return a workspace with what the race starts from, as its head."""
    if source is not None:
        workspace = source.import_into(repository)
        if dirty and source.work_tree is not None:
            workspace.capture(source.work_tree, excludes_file=source.excludes_file())
    elif isinstance(base, _native.Workspace):
        workspace = base.fork()
    elif isinstance(base, _native.Checkpoint):
        workspace = repository.workspace(at=base)
    elif base in repository.branches():
        workspace = repository.workspace(base)
    else:
        workspace = repository.workspace(at=base)
    if workspace.dirty:
        workspace.checkpoint("start of a race, with uncommitted changes")
    return workspace


def _planned(
    repository: Repository,
    start: Workspace,
    source: GitSource | None,
    base: str | Workspace | Checkpoint,
    onto: str | None,
    *,
    n: int,
) -> tuple[Plan, GitSource | None]:
    """Return a plan with its names (who it is, where its winner goes), and the git repository that it concerns."""
    race_id = new_id()
    branch = _branch(onto or race_id)
    if source is not None:
        engine = f"race/{race_id}"  # of this race alone: whatever onto says, nobody can be in its way
    else:
        source = GitSource.origin_of(start)
        engine = onto or (base if isinstance(base, str) and base in repository.branches() else branch)
    if source is not None:
        _check_free(source, branch)
    plan = Plan(
        id=race_id,
        n=n,
        base=start.head.id,
        agent=None,
        onto=engine,
        branch=None if source is None else branch,
        source=None if source is None else os.fspath(source.path),
        commit=None if source is None else source.commit,
    )
    return plan, source


def _check_free(source: GitSource, branch: str) -> None:
    """Refuse a git branch that the winner could not go to, before anything is run."""
    source.check_branch_name(branch)
    source.check_writable()
    place = source.checked_out_at(branch)
    if place is not None:
        raise Conflict(f"branch {branch} is checked out at {place}: choose another --onto, or switch there first")
    other = source.branch_in_the_way(branch)
    if other is not None:
        remedy = f"choose another --onto, or rename it with `git branch -m {other} NAME`"
        raise Conflict(f"branch {branch} cannot be made beside branch {other}: {remedy}")
    tip = source.branch_tip(branch)
    if tip not in (None, source.commit):
        raise Conflict(f"branch {branch} exists: choose another --onto, or `git branch -D {branch}`")


def _branch(onto: str) -> str:
    return onto if onto.startswith(_BRANCH_PREFIX) else _BRANCH_PREFIX + onto


def _job(recorded: str | list[str] | dict[str, str] | None, given: _T | None) -> _T | Command | None:
    """Return what was given, or else what the plan says."""
    return given if given is not None or recorded is None else as_command(recorded)
