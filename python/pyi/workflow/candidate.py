"""One candidate of a race, from its fork to its recorded result."""

from __future__ import annotations

import errno
import math
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING

from pyi.config import TAIL_BYTES
from pyi.errors import Conflict, InvalidArgument, InvalidPath, LeaseLost, PyiError, StorageError
from pyi.sandbox.process import Cancel, Command, Outcome
from pyi.workflow.calls import Caller, Timeout
from pyi.workflow.plan import Plan, save_result
from pyi.workflow.result import CandidateResult, Status, parse_score

if TYPE_CHECKING:
    from pyi._native import Change, Checkpoint, Workspace
    from pyi.sandbox import Base, Sandbox

__all__ = ["Agent", "Candidate", "Context", "Event", "Test"]

Agent = Command | Callable[["Workspace"], object] | Callable[["Workspace"], Awaitable[object]]
"""A command (a line for the shell or arguments), or a callable, plain or async, that takes the workspace."""

Test = Command | Callable[["Workspace"], bool | float] | Callable[["Workspace"], Awaitable[bool | float]]
"""A command, or a callable that says whether the workspace passes, or how well (0 and less: it fails)."""

# What an agent left behind can make these happen; a full disk is not its fault.
_OWN_FAULTS = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG})

# Above this, lines are not counted one by one: the file counts with the lines it has.
_COUNT_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened in a race.

    Attributes:
        kind: ``start``, ``setup``, ``agent``, ``checkpoint``, ``test``, ``done``, ``export``, ``collapse``, ``note``,
            ``warning``.
        index: The candidate, if it is about one.
        text: A few words for people.
        result: The candidate's result, with ``done``.
    """

    kind: str
    index: int | None = None
    text: str = ""
    result: CandidateResult | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What all candidates of a race share."""

    plan: Plan
    agent: Agent
    test: Test | None
    start: Checkpoint
    base: Base | None
    store: str
    caller: Caller
    cancel: Cancel
    emit: Callable[[Event], None]
    reopen: Callable[[str], Workspace]


class Candidate:
    """One run of agent and test in one workspace."""

    def __init__(self, context: Context, index: int, workspace: Workspace) -> None:
        """Make candidate `index`, whose work goes to `workspace`."""
        self._context = context
        self._index = index
        self._workspace = workspace
        self._sandbox: Sandbox | None = None
        self.moved = False
        self._env = {
            "PYI_CANDIDATE": str(index),
            "PYI_SEED": str(context.plan.seed + index),
            "PYI_WORKSPACE": workspace.name or "",
            "PYI_STORE": context.store,
        }

    def run(self) -> CandidateResult:
        """Run agent and test and return the result, which is durable then.

        A candidate that is cancelled keeps what it did so far as a checkpoint, and counts as not run.

        Raises:
            PyiError: The store, the sandbox or git failed; a failing agent or test is a result.
        """
        context, workspace = self._context, self._workspace
        if context.cancel.is_set:
            return CandidateResult(self._index, Status.STOPPED, workspace=workspace.name)
        if workspace.dirty or workspace.head.id != context.start.id:  # an earlier run was killed here
            workspace.restore(context.start)
        started = monotonic()
        with ExitStack() as stack:
            if context.base is not None:
                self._sandbox = stack.enter_context(context.base.sandbox(self._index))
            result = self._test(self._agent())
            result = replace(result, seconds=monotonic() - started, workspace=workspace.name)
            try:
                return self._save(result)
            except (Conflict, LeaseLost):
                self._take_up()
                return self._save(result)

    def _save(self, result: CandidateResult) -> CandidateResult:
        result = measure(result, self._workspace, self._context.start)
        return save_result(self._workspace, self._context.plan, result)

    def _take_up(self) -> None:
        """Go on from what the agent itself did to its workspace (``pyi checkpoint $PYI_WORKSPACE`` and the like)."""
        self.moved = True
        self._workspace = self._context.reopen(self._workspace.name or "")
        if self._sandbox is not None:
            self._sandbox.capture(self._workspace)

    def _capture(self) -> None:
        try:
            self._directory().capture(self._workspace)
        except LeaseLost:
            self._take_up()

    # The agent

    def _agent(self) -> CandidateResult:
        context = self._context
        context.emit(Event("agent", self._index))
        if callable(context.agent):
            result = self._call_agent(context.agent)
        else:
            result = self._run_agent(context.agent)
        self._checkpoint("its agent ended")
        return result

    def _run_agent(self, command: Command) -> CandidateResult:
        context, sandbox = self._context, self._directory()
        outcome = sandbox.run(
            command,
            env=self._env,
            timeout=context.plan.timeout,
            cancel=context.cancel,
            tick=self._tick,
            every_s=context.plan.every_s,
        )
        status = _ended_early(outcome) or (Status.PASSED if outcome.ok else Status.FAILED)
        result = CandidateResult(self._index, status, agent_exit=outcome.status, tail=outcome.tail)
        try:
            self._capture()
        except (InvalidPath, StorageError) as error:
            if isinstance(error, StorageError) and error.errno not in _OWN_FAULTS:
                raise
            return replace(result, status=Status.ERROR, tail=f"{outcome.tail}cannot be captured: {error}\n")
        return result

    def _call_agent(self, agent: Callable[[Workspace], object]) -> CandidateResult:
        try:
            self._context.caller.call(agent, self._workspace, self._context.plan.timeout)
        except Timeout:
            return CandidateResult(self._index, Status.TIMEOUT)
        except Exception:  # the agent's own fault is a result, with its traceback
            return CandidateResult(self._index, Status.ERROR, tail=_traceback())
        return CandidateResult(self._index, Status.PASSED)

    def _tick(self) -> None:
        """Keep what the running agent changed so far."""
        try:
            self._capture()
        except PyiError as error:  # a file vanished while it was looked at; the next look, or the last one, gets it
            self._context.emit(Event("note", self._index, f"looked at again later: {error}"))
            return
        self._checkpoint("while its agent runs")

    def _checkpoint(self, what: str) -> None:
        message = f"race {self._context.plan.id}: candidate {self._index}, {what}"
        if not self._workspace.dirty:
            return
        try:
            self._workspace.checkpoint(message)
        except (Conflict, LeaseLost):
            self._take_up()
            self._workspace.checkpoint(message)
        self._context.emit(Event("checkpoint", self._index))

    # The test

    def _test(self, result: CandidateResult) -> CandidateResult:
        """Decide: by the test if there is one, whatever the agent's exit status was; else by that."""
        context = self._context
        if result.status in (Status.TIMEOUT, Status.STOPPED, Status.ERROR):
            return result
        if context.test is None:
            return replace(result, score=1.0 if result.passed else 0.0)
        context.emit(Event("test", self._index))
        if callable(context.test):
            return self._call_test(result, context.test)
        return self._run_test(result, context.test)

    def _run_test(self, result: CandidateResult, command: Command) -> CandidateResult:
        context, sandbox = self._context, self._directory()
        if callable(context.agent):
            sandbox.populate(self._workspace, self._workspace.diff(context.start))
        outcome = sandbox.run(command, env=self._env, timeout=context.plan.timeout, cancel=context.cancel)
        status = _ended_early(outcome) or (Status.PASSED if outcome.ok else Status.FAILED)
        score = 0.0
        if status is Status.PASSED:
            number = parse_score(outcome.tail)
            score = 1.0 if number is None else number
        return replace(result, status=status, score=score, test_exit=outcome.status, tail=outcome.tail or result.tail)

    def _call_test(self, result: CandidateResult, test: Callable[[Workspace], object]) -> CandidateResult:
        try:
            value = self._context.caller.call(test, self._workspace, self._context.plan.timeout)
        except Timeout:
            return replace(result, status=Status.TIMEOUT)
        except Exception:  # a test that raises has failed, as with any test runner
            return replace(result, status=Status.FAILED, tail=_traceback())
        try:
            score = float(value)
        except OverflowError:  # an integer beyond all floats
            score = math.inf if value > 0 else -math.inf
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"the test returned {value!r}: it has to return a bool or a number") from error
        passed = score > 0
        score = score if math.isfinite(score) else 1.0
        return replace(result, status=Status.PASSED if passed else Status.FAILED, score=score if passed else 0.0)

    def _directory(self) -> Sandbox:
        if self._sandbox is None:
            raise InvalidArgument("a command needs a directory, and this race has none")
        return self._sandbox


def _ended_early(outcome: Outcome) -> Status | None:
    if outcome.cancelled:
        return Status.STOPPED
    return Status.TIMEOUT if outcome.timed_out else None


def _traceback() -> str:
    return traceback.format_exc()[-TAIL_BYTES:]


def measure(result: CandidateResult, workspace: Workspace, start: Checkpoint) -> CandidateResult:
    """Return `result` with the size of the change from `start` to `workspace`.

    Cost: O(changed); changed files of up to 1 MiB are read to count their lines.
    """
    changes = [change for change in workspace.diff(start) if not _is_directory(change)]
    return replace(
        result,
        files=len(changes),
        lines=sum(_changed_lines(change, workspace, start) for change in changes),
        bytes_new=sum(change.new.size for change in changes if change.new is not None and change.kind != "mode"),
    )


def _is_directory(change: Change) -> bool:
    return all(entry is None or entry.kind == "dir" for entry in (change.old, change.new))


def _changed_lines(change: Change, workspace: Workspace, start: Checkpoint) -> int:
    """Lines added plus lines removed, regardless of their order; exact for edits that move nothing."""
    old = Counter[bytes]()
    new = Counter[bytes]()
    if change.old is not None and change.old.kind == "file" and change.old.size <= _COUNT_LIMIT_BYTES:
        old.update(bytes(start.read(change.old.path)).splitlines())
    if change.new is not None and change.new.kind == "file" and change.new.size <= _COUNT_LIMIT_BYTES:
        new.update(bytes(workspace.read(change.new.path)).splitlines())
    return (new - old).total() + (old - new).total()
