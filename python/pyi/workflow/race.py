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
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, TypeVar

from pyi import _native
from pyi.config import CHECKPOINT_EVERY_S, store_override
from pyi.errors import Conflict, InvalidArgument, NotFound
from pyi.sandbox import Backend, Command
from pyi.workflow.candidate import Agent, Event, Test
from pyi.workflow.plan import Plan, describe, new_id
from pyi.workflow.result import RaceResult
from pyi.workflow.runner import Runner, as_command
from pyi.workflow.source import GitSource

if TYPE_CHECKING:
    from pyi._native import Checkpoint, Repository, Workspace

__all__ = ["Event", "race"]

_T = TypeVar("_T")

_BRANCH_PREFIX = "pyi/"


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
        n: Number of candidates; 8 unless given.
        test: Who passes: exit status 0 of a command, or a callable's true value. If the command's last line is a
            number, or the callable returns one, that is the score. Without a test the agent's exit status decides.
        onto: Where the winner goes: git branch ``pyi/<onto>``; for an open repository also the engine branch
            (default: `base`, if that is a branch). Without it the branch is named after the race.
        setup: Command run once in the directory that all candidates share (an environment, a build).
        include: Paths that git ignores, copied from the work tree into that directory.
        timeout: Seconds for each agent and each test; whoever takes longer is killed and does not pass.
        jobs: Candidates at a time; the number of processors unless given, all of them for an async agent.
        keep: Keep the other candidates as named workspaces when one has won.
        dirty: Start from the work tree as it is, and not from the commit.
        first: Stop as soon as one candidate has passed.
        resume: Go on with the last unfinished race (of `onto`, if given); agent, n, test and setup are those it was
            started with, callables have to be given again. If there is none, a new one starts.
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
        Conflict: The git branch exists already; or a branch moved meanwhile: then the candidates are kept.
        StorageError: The disk is full, or a directory cannot be made.

    Cost: an import (once per commit), one materialization, and per candidate two process starts (3 ms each), a read
    of what it changed and two checkpoints, besides what agent and test take.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        if isinstance(repo, _native.Repository):
            repository, source = repo, None
        else:
            source = GitSource.discover(repo, rev)
            place = store if store is not None else store_override()
            repository = stack.enter_context(_native.open(source.path, store=place))
        emit = _serialized(on_event)
        stored = _stored(repository)
        plan = _resumed(repository, onto) if resume else None
        if plan is None and resume:
            if agent is None:
                raise NotFound("there is no unfinished race to resume: start one with an agent")
            emit(Event("warning", text="there is no unfinished race to resume: starting a new one"))
        if plan is not None:
            plan.check_same(n=n, agent=describe(agent), test=describe(test), setup=describe(setup))
            source = None if plan.source is None else GitSource.discover(plan.source, plan.commit or rev)
        else:
            if agent is None:
                raise InvalidArgument("a race needs an agent: a command or a callable")
            if source is not None and not dirty and source.is_dirty():
                emit(Event("warning", text="uncommitted changes are left out: commit them, or race with dirty"))
            start = _start(repository, source, base, dirty=dirty)
            plan, source = _planned(repository, start, source, base, onto, n=8 if n is None else n)
            plan = replace(
                plan,
                agent=describe(agent),
                test=describe(test),
                setup=describe(setup),
                include=list(include),
                timeout=timeout,
                seed=seed,
                every_s=checkpoint_every_s,
            )
            plan.save(start)
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


def _resumed(repository: Repository, onto: str | None) -> Plan | None:
    """Return the plan of the last unfinished race (onto `onto`), None if there is none."""
    for race_id in reversed(Plan.unfinished(repository)):
        plan = Plan.load(repository, race_id)
        if onto is None or plan.branch == _branch(onto) or plan.onto == onto:
            return plan
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
    if n < 1:
        raise InvalidArgument(f"a race needs at least one candidate, not {n}")
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
    if source.is_checked_out(branch):
        raise Conflict(f"branch {branch} is checked out: choose another --onto, or check out another branch")
    tip = source.branch_tip(branch)
    if tip not in (None, source.commit):
        raise Conflict(f"branch {branch} exists: choose another --onto, or `git branch -D {branch}`")


def _branch(onto: str) -> str:
    return onto if onto.startswith(_BRANCH_PREFIX) else _BRANCH_PREFIX + onto


def _job(recorded: str | list[str] | dict[str, str] | None, given: _T | None) -> _T | Command | None:
    """Return what was given, or else what the plan says."""
    return given if given is not None or recorded is None else as_command(recorded)
