"""Running a planned race to its end: what all candidates share, the candidates side by side, the winner's landing."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from pyi.config import cores
from pyi.errors import Conflict, GitError, InvalidArgument, NotFound, PyiError
from pyi.sandbox import Backend, Base, Cancel, Command, sweep
from pyi.workflow.calls import Caller, is_async
from pyi.workflow.candidate import Agent, Candidate, Context, Event, Test
from pyi.workflow.plan import Plan, load_result
from pyi.workflow.result import CandidateResult, RaceResult, Shared, Status, best_of, reason_for
from pyi.workflow.source import GitSource

if TYPE_CHECKING:
    from pyi._native import Repository, Superposition, Workspace

__all__ = ["Runner", "as_command"]

_ASYNC_JOBS = 256


class Runner:
    """One race, planned or resumed, in this process."""

    def __init__(
        self,
        repository: Repository,
        plan: Plan,
        source: GitSource | None,
        agent: Agent | None,
        test: Test | None,
        emit: Callable[[Event], None],
    ) -> None:
        """Make a runner of `plan`; `agent` and `test` are what the plan names.

        Raises:
            InvalidArgument: There is no agent.
        """
        if agent is None:
            raise InvalidArgument("a race needs an agent: --agent CMD (agent=, a command or a callable)")
        self._repository = repository
        self._plan = plan
        self._source = source
        self._agent = agent
        self._test = test
        self._emit = emit
        self._start = repository.workspace(at=plan.base)
        self._backend = "api"

    def run(self, *, jobs: int | None, first: bool, keep: bool, backend: Backend | str | None) -> RaceResult:
        """Run what has not run yet, choose, and land the winner; see `pyi.race` for arguments and errors."""
        plan = self._plan
        self._emit(Event("start", text=plan.id))
        superposition = self._living()
        if superposition is None and plan.decision is not None:
            return self._finished()  # an earlier run collapsed it and was killed before it could say so
        superposition, workspaces, results = self._candidates(superposition, jobs=jobs, first=first, backend=backend)
        for result, weight in zip(results, superposition.weights, strict=True):
            if weight != max(result.score, 0.0):
                superposition.weigh(result.index, max(result.score, 0.0))
        winner = best_of(results)
        outcome = RaceResult(
            id=plan.id,
            winner=None if winner is None else winner.index,
            reason=reason_for(results),
            candidates=results,
            base=plan.base,
            shared=self._shared(),
            backend=self._backend,
        )
        if winner is None:
            if not plan.is_lost:
                self._plan = plan.decide(self._repository, outcome.to_dict())
            return outcome
        outcome = self._export(outcome, workspaces[winner.index])
        self._plan = plan.decide(self._repository, outcome.to_dict())
        if keep:
            outcome = self._keep(outcome, workspaces)
        self._emit(Event("collapse", winner.index, plan.onto))
        checkpoint = superposition.collapse(winner.index, onto=plan.onto)
        self._plan.forget(self._repository)
        return replace(outcome, checkpoint=checkpoint.id, onto=plan.onto)

    def _living(self) -> Superposition | None:
        try:
            return self._repository.superposition(self._plan.superposition)
        except NotFound:
            return None

    def _finished(self) -> RaceResult:
        decision = dict(self._plan.decision or {})
        results = [CandidateResult.from_dict(one) for one in decision.pop("candidates")]
        shared = Shared(**decision.pop("shared"))
        self._plan.forget(self._repository)
        checkpoint = self._repository.branches().get(self._plan.onto)
        settled = {**decision, "candidates": results, "shared": shared, "checkpoint": checkpoint}
        return RaceResult(**{**settled, "onto": self._plan.onto})

    # The candidates

    def _candidates(
        self, superposition: Superposition | None, *, jobs: int | None, first: bool, backend: Backend | str | None
    ) -> tuple[Superposition, list[Workspace], list[CandidateResult]]:
        """Run the candidates that have no result yet; they are made when all they need is there."""
        results: dict[int, CandidateResult] = {}
        if superposition is not None:
            known = (load_result(workspace, self._plan) for workspace in superposition.candidates)
            results = {result.index: result for result in known if result is not None}
        for result in results.values():
            self._emit(Event("done", result.index, "finished earlier", result))
        todo = [index for index in range(self._plan.n) if index not in results]
        if first and any(result.passed for result in results.values()):
            results.update((index, CandidateResult(index, Status.STOPPED)) for index in todo)
            todo = []
        with ExitStack() as stack:
            context = self._context(stack, backend, fresh=superposition is None) if todo else None
            if superposition is None:
                superposition = self._repository.superpose(self._start, self._plan.n, name=self._plan.superposition)
                self._plan = self._plan.mark_made(self._repository)
            workspaces = superposition.candidates
            if context is not None:
                candidates = [Candidate(context, index, workspaces[index]) for index in todo]
                width = jobs or (min(len(todo), _ASYNC_JOBS) if is_async(self._agent) else cores())
                for result in self._side_by_side(candidates, context, min(width, len(todo)), first=first):
                    results[result.index] = result
                if any(candidate.moved for candidate in candidates):  # what was opened before stands where it stood
                    superposition = self._repository.superposition(self._plan.superposition)
                    workspaces = superposition.candidates
        return superposition, workspaces, [results[index] for index in sorted(results)]

    def _context(self, stack: ExitStack, backend: Backend | str | None, *, fresh: bool) -> Context:
        """Make what the candidates share: the base directory, if a command has to run somewhere.

        If that fails in a race that has no candidates yet, there is no race to resume.
        """
        plan = self._plan
        cancel = Cancel()
        stack.callback(cancel.close)
        base = None
        if not (callable(self._agent) and (self._test is None or callable(self._test))):
            sweep()
            excludes = None if self._source is None else self._source.excludes_file()
            try:
                base = stack.enter_context(Base(self._start, backend=backend, excludes_file=excludes))
                self._set_up(base, cancel)
            except PyiError:
                if fresh:
                    plan.forget(self._repository)
                raise
            self._backend = base.backend.value
        return Context(
            plan=plan,
            agent=self._agent,
            test=self._test,
            start=self._start.head,
            base=base,
            store=os.fspath(self._repository.path),
            caller=stack.enter_context(Caller()),
            cancel=cancel,
            emit=self._emit,
            reopen=self._repository.open_workspace,
        )

    def _set_up(self, base: Base, cancel: Cancel) -> None:
        plan = self._plan
        if plan.include:
            if self._source is None or self._source.work_tree is None:
                raise InvalidArgument("include needs a work tree to copy from, and this race has none")
            base.include(self._source.work_tree, plan.include)
        if plan.setup is not None:
            command = as_command(plan.setup)
            self._emit(Event("setup", text=command if isinstance(command, str) else " ".join(command)))
            outcome = base.setup(command, cancel=cancel)
            if not outcome.ok:
                last = (outcome.tail.strip().splitlines() or ["no output"])[-1]
                raise PyiError(f"the setup command failed with status {outcome.status} ({last}): nothing was raced")

    def _side_by_side(
        self, candidates: list[Candidate], context: Context, width: int, *, first: bool
    ) -> Iterable[CandidateResult]:
        """Run the candidates, at most `width` at a time; whatever goes wrong, nothing of theirs is left running."""
        with concurrent.futures.ThreadPoolExecutor(width, thread_name_prefix="pyi-race") as pool:
            futures = [pool.submit(candidate.run) for candidate in candidates]
            try:
                for future in concurrent.futures.as_completed(futures):
                    result = future.result()
                    self._emit(Event("done", result.index, result.status.value, result))
                    if first and result.passed:
                        context.cancel.set()
                    yield result
            except BaseException:
                context.cancel.set()
                pool.shutdown(wait=False, cancel_futures=True)
                context.caller.close()
                raise

    # The end

    def _export(self, outcome: RaceResult, winner: Workspace) -> RaceResult:
        """Leave the winner as a commit on its git branch; before the collapse, so that a refusal loses nothing."""
        plan = self._plan
        if self._source is None or plan.branch is None:
            return outcome
        tip = self._source.branch_tip(plan.branch)
        if tip is not None and self._source.subject(tip) == subject_for(plan, outcome):
            return replace(outcome, branch=plan.branch, commit=tip)  # by an earlier run, killed right behind it
        self._emit(Event("export", outcome.winner, plan.branch))
        try:
            commit = winner.export_git(self._source.path, plan.branch, message=message_for(plan, outcome))
        except (Conflict, GitError) as error:
            remedy = f"the candidates are kept: resume the race when branch {plan.branch} is free"
            raise type(error)(f"{error}; {remedy}") from error
        return replace(outcome, branch=plan.branch, commit=commit)

    def _keep(self, outcome: RaceResult, workspaces: list[Workspace]) -> RaceResult:
        """Give the others names of their own, which the collapse does not release."""
        kept = []
        taken = set(self._repository.workspaces())
        for result in outcome.candidates:
            if result.index != outcome.winner:
                name = f"kept/{self._plan.id}/{result.index}"
                if name not in taken:
                    workspaces[result.index].fork(name)
                result = replace(result, workspace=name)
            kept.append(result)
        return replace(outcome, candidates=kept)

    def _shared(self) -> Shared:
        return Shared(files=len(self._start), bytes=sum(entry.size for entry in self._start.list()))


def as_command(recorded: str | list[str] | dict[str, str]) -> Command:
    """Return a recorded command.

    Raises:
        InvalidArgument: It is a callable, which only the caller can give.
    """
    if isinstance(recorded, dict):
        raise InvalidArgument(f"this race was started with the callable {recorded['callable']}: give it again")
    return recorded


def subject_for(plan: Plan, outcome: RaceResult) -> str:
    """Return the first line of the commit's message; no other race has it."""
    return f"Candidate {outcome.winner} of {plan.n} won race {plan.id}"


def message_for(plan: Plan, outcome: RaceResult) -> str:
    """Return the commit's message: who won and why."""
    winner = next(one for one in outcome.candidates if one.index == outcome.winner)
    lines = [
        subject_for(plan, outcome),
        "",
        f"Why: {outcome.reason}.",
        f"Change: {winner.files} files, {winner.lines} lines. Score: {winner.score:g}.",
        "",
        f"Agent: {_one_line(plan.agent)}",
    ]
    if plan.test is not None:
        lines.append(f"Test: {_one_line(plan.test)}")
    lines += [f"Seed: {plan.seed + winner.index}", f"Checkpoint: {winner.checkpoint}"]
    return "\n".join(lines) + "\n"


def _one_line(recorded: str | list[str] | dict[str, str] | None) -> str:
    if isinstance(recorded, dict):
        return recorded["callable"]
    text = " ".join(recorded.split()) if isinstance(recorded, str) else " ".join(recorded or ())
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # a message is UTF-8
