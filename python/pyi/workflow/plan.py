"""The plan of a race, kept in the store so that it can be resumed by a process that knows nothing of it.

A race ``<id>`` lives under these names:

- workspace ``race/<id>/plan``: its head's metadata holds the plan and, once a winner is chosen, the decision;
- superposition ``race/<id>``: its candidates; the metadata of a candidate's head holds its result once it has one.

A race whose plan is still there is unfinished, or nobody won it: then the decision says so.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from pyi.errors import Corrupt, InvalidArgument, NotFound, PyiError
from pyi.sandbox.process import Command
from pyi.workflow.result import CandidateResult

if TYPE_CHECKING:
    from pyi._native import Repository, Workspace

__all__ = ["Plan", "Recorded", "describe", "new_id"]

_KEY = "race"
_PREFIX = "race/"
_SUFFIX = "/plan"

Recorded = str | list[str] | dict[str, str] | None
"""A command as it is written down; a callable is its name in a map, and has to be given again."""


def describe(job: Command | Callable[..., object] | None) -> Recorded:
    """Return what is written down for a command or callable."""
    if job is None or isinstance(job, str):
        return job
    if callable(job):
        name = getattr(job, "__qualname__", None) or type(job).__qualname__
        return {"callable": f"{getattr(job, '__module__', '?')}.{name}"}
    return list(job)


def new_id() -> str:
    """Return a fresh race name; names sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is needed to run a race to its end.

    Attributes:
        id: Name of the race.
        n: Number of candidates.
        base: Id of the checkpoint that all start from.
        agent: Command or name of a callable.
        test: The same, or None.
        setup: Command, or None.
        include: Ignored paths copied from the work tree.
        timeout: Seconds for each agent and each test.
        seed: ``PYI_SEED`` of candidate 0; candidate i gets ``seed + i``.
        every_s: Seconds between checkpoints of a running agent.
        onto: Engine branch of the winner.
        branch: Git branch of the winner; None if there is no git repository.
        source: The git repository.
        commit: The commit that the race started from.
        made: Its superposition was made; if it is not there, it was collapsed or dropped by hand.
        decision: Winner and commit, once chosen; or that nobody won.
    """

    id: str
    n: int
    base: str
    agent: Recorded
    onto: str
    test: Recorded = None
    setup: Recorded = None
    include: list[str] = field(default_factory=list)
    timeout: float | None = None
    seed: int = 0
    every_s: float = 0.0
    branch: str | None = None
    source: str | None = None
    commit: str | None = None
    made: bool = False
    decision: dict[str, Any] | None = None

    @property
    def superposition(self) -> str:
        """Name of its superposition."""
        return _PREFIX + self.id

    @property
    def workspace(self) -> str:
        """Name of the workspace that holds the plan."""
        return _PREFIX + self.id + _SUFFIX

    @property
    def is_lost(self) -> bool:
        """Whether it ran to its end and nobody won."""
        return self.decision is not None and self.decision.get("winner") is None

    def save(self, repository: Repository, base: Workspace) -> None:
        """Write the plan down, durable when this returns; `base` holds what the race starts from.

        Raises:
            InvalidArgument: It holds something that cannot be written down; nothing is left behind, as with any error.

        Cost: one named fork and one checkpoint.
        """
        record = {_KEY: _encoded(asdict(self))}
        workspace = base.fork(self.workspace)
        try:
            workspace.checkpoint(f"plan of race {self.id}", metadata=record)
        except BaseException:
            with suppress(PyiError):
                self.forget(repository)
            raise

    def mark_made(self, repository: Repository) -> Plan:
        """Write down that the superposition was made; return the plan that says so."""
        return self._rewritten(repository, replace(self, made=True), "has its candidates")

    def decide(self, repository: Repository, decision: Mapping[str, Any]) -> Plan:
        """Write down who won, if anybody, before anything is released; return the plan with the decision."""
        return self._rewritten(repository, replace(self, decision=dict(decision)), "is decided")

    def _rewritten(self, repository: Repository, plan: Plan, what: str) -> Plan:
        workspace = repository.open_workspace(self.workspace)
        workspace.checkpoint(f"race {self.id} {what}", metadata={_KEY: _encoded(asdict(plan))})
        return plan

    def forget(self, repository: Repository) -> None:
        """Remove the plan: the race is over."""
        repository.drop(self.workspace)

    @classmethod
    def load(cls, repository: Repository, race_id: str) -> Self:
        """Read the plan of a race.

        Raises:
            NotFound: There is no such race, or it is over.
            Corrupt: The record cannot be read.
        """
        try:
            head = repository.view_workspace(_PREFIX + race_id + _SUFFIX).head
        except NotFound as error:
            raise NotFound(f"no unfinished race {race_id!r} in this store") from error
        try:
            data = _decoded(head.metadata[_KEY])
            return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"the record of race {race_id!r} cannot be read: {error}") from error

    @classmethod
    def unfinished(cls, repository: Repository) -> list[str]:
        """Return the ids of the races that have a plan, oldest first: those that can be resumed, and the lost ones."""
        plans = (name for name in repository.workspaces() if name.startswith(_PREFIX) and name.endswith(_SUFFIX))
        return sorted(name[len(_PREFIX) : -len(_SUFFIX)] for name in plans)

    def check_same(self, **given: Recorded | int) -> None:
        """Refuse to resume with something else than what the race was started with; None means "as before".

        Raises:
            InvalidArgument: An argument differs.
        """
        for name, value in given.items():
            recorded = getattr(self, name)
            if value is not None and value != recorded:
                was = f"race {self.id} was started with {name} {recorded!r}, not {value!r}"
                raise InvalidArgument(f"{was}: leave {name} out, or start a new race")


def _encoded(value: Any) -> Any:
    """Return `value` as a store can hold it: text that is not UTF-8 (paths, arguments) as its bytes."""
    if isinstance(value, str) and not value.isascii():
        try:
            data = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{value!r} is not text of this system: it cannot be written down") from error
        return value if data.decode("utf-8", "replace") == value else data
    if isinstance(value, dict):
        return {key: _encoded(one) for key, one in value.items()}
    return [_encoded(one) for one in value] if isinstance(value, list | tuple) else value


def _decoded(value: Any) -> Any:
    """Return what `_encoded` was given."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return {key: _decoded(one) for key, one in value.items()}
    return [_decoded(one) for one in value] if isinstance(value, list) else value


def save_result(workspace: Workspace, plan: Plan, result: CandidateResult) -> CandidateResult:
    """Make a candidate's last checkpoint, which carries its result; return the result with the checkpoint's id."""
    message = f"race {plan.id}: candidate {result.index} {result.status.value}"
    checkpoint = workspace.checkpoint(message, metadata={_KEY: {"id": plan.id, "result": result.to_dict()}})
    return replace(result, checkpoint=checkpoint.id)


def load_result(workspace: Workspace, plan: Plan) -> CandidateResult | None:
    """Return the result of a candidate that an earlier run finished, None if it has to run (again).

    Raises:
        Corrupt: There is one, and it cannot be read.
    """
    head = workspace.head
    record = head.metadata.get(_KEY)
    if not isinstance(record, dict) or record.get("id") != plan.id or "result" not in record:
        return None
    result = CandidateResult.from_dict(record["result"])
    return replace(result, checkpoint=head.id, resumed=True) if result.status.final else None
