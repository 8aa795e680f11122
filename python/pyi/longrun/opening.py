"""`session`: opens a session, where it stopped or at its beginning."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Final

from pyi import _native
from pyi._native import Checkpoint, Repository, Workspace
from pyi.errors import InvalidArgument, NotFound
from pyi.longrun.policy import Policy, check_name
from pyi.longrun.presence import Presence
from pyi.longrun.record import Record, begin, last_of
from pyi.longrun.session import Session
from pyi.longrun.stops import catchable

__all__ = ["session"]

_STOP_SIGNALS: Final = (signal.SIGTERM,)


def session(
    repo: Repository | str | PathLike[str],
    name: str,
    *,
    base: str | Workspace | Checkpoint | None = None,
    every: int | None = None,
    seconds: float | None = None,
    cost: float | None = None,
    generators: Mapping[str, object] | None = None,
    global_generators: bool = True,
    stop_signals: Sequence[int] = _STOP_SIGNALS,
    durability: str | None = None,
) -> Session:
    """Open the session of this name, or begin it.

    Args:
        repo: An open repository, or the path of one, which is then closed together with the session.
        name: The name of the session and of its workspace.
        base: Branch, workspace or checkpoint that a new session's files, state and journal come from; by default the
            branch "main", or nothing in a store without branches. One that exists goes on from its last checkpoint.
        every: Steps between checkpoints. By default each step gets one, if `seconds` and `cost` are not given either.
        seconds: Seconds between checkpoints.
        cost: Greatest share of the time that checkpoints may take, by what they cost so far: 0.02 is 2 %.
            Whichever of the three is reached first counts.
        generators: Random generators to keep, by name; `Session.register` adds more.
        global_generators: Keep those of the modules `random` and `numpy.random`, too.
        stop_signals: Signals that end the loop after the step in flight, with a checkpoint.
        durability: Class of the checkpoints; by default that of the repository.

    Raises:
        Conflict: The session is running, in this process or another.
        InvalidArgument: The name is no good name, a limit makes no sense, a generator cannot be kept, a signal cannot
            be caught, or the base is a workspace with changes that was not opened through `repo`.
        NotFound: No such base in this repository.
        StorageError: The session's lock cannot be had.

    Cost: O(log checkpoints) reads; for a new session one checkpoint and one fork.
    """
    policy = Policy(every, seconds, cost)
    check_name(name)
    stop_signals = catchable(stop_signals)
    owns = not isinstance(repo, Repository)
    repository = repo if isinstance(repo, Repository) else _native.open(repo)
    presence: Presence | None = None
    try:
        presence = Presence.acquire(repository.path, name)
        workspace, last, record = _found_or_begun(repository, name, base, presence)
        return Session(
            repository,
            workspace,
            last,
            record,
            presence,
            policy,
            generators=generators,
            global_generators=global_generators,
            stop_signals=stop_signals,
            durability=durability,
            owns_repository=owns,
        )
    except BaseException:
        if presence is not None:
            presence.close()
        if owns:
            repository.close()
        raise


def _found_or_begun(
    repository: Repository, name: str, base: str | Workspace | Checkpoint | None, presence: Presence
) -> tuple[Workspace, Checkpoint, Record]:
    try:
        workspace = repository.open_workspace(name)
    except NotFound:
        presence.begin()
        record = Record(name)
        return *begin(_start(repository, base), name, record), record
    found = last_of(repository, workspace.head, name)
    if found is None:
        # Somebody else's workspace: the session begins with what it holds.
        presence.begin()
        record = Record(name)
        return workspace, workspace.checkpoint(f"session {name}", metadata=record.encode()), record
    if workspace.dirty or workspace.head != found[0]:
        workspace.restore(found[0])
    return workspace, *found


def _start(repository: Repository, base: str | Workspace | Checkpoint | None) -> Workspace:
    if base is None:
        return repository.workspace()
    if isinstance(base, Workspace):
        if repository._owns(base):
            return base.fork()
        if base.dirty:
            raise InvalidArgument(
                "the base is a workspace of another repository, or opened through another object, and has changes:"
                " give a checkpoint of it"
            )
        return repository.workspace(at=base.head)  # of another store: NotFound
    if isinstance(base, str) and base in repository.branches():
        return repository.workspace(base)
    return repository.workspace(at=base)
