"""Agents of a swarm that the caller wrote: callables, plain or async, with a workspace each."""

from __future__ import annotations

import concurrent.futures
import traceback
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING

from pyi.workflow.calls import Caller, is_async
from pyi.workflow.ledger import Ledger
from pyi.workflow.measure import Latencies
from pyi.workflow.model import EXECUTABLE, FILE, GITLINK, SYMLINK, Known, digest_of

if TYPE_CHECKING:
    from pyi._native import Checkpoint, Entry, Repository, Workspace

__all__ = ["Guest", "run_guests"]

Guest = Callable[["Workspace"], object] | Callable[["Workspace"], Awaitable[object]]
"""An agent: a callable that takes its workspace. What it returns is not looked at."""

_ASYNC_WIDTH = 1024


def run_guests(
    repository: Repository,
    base: Workspace,
    guests: list[Guest],
    caller: Caller,
    ledger: Ledger,
    latencies: Latencies,
    failures: dict[int, str],
    width: int,
) -> None:
    """Run all guests, `width` at a time (async ones all at once), and record the checkpoints they left.

    A guest that raises ends there; its traceback goes to `failures`, what it did not checkpoint is checkpointed.

    Cost: the guests', and one read of every file that they changed.
    """
    workspaces: list[Workspace] = []
    for _ in guests:
        before = perf_counter_ns()
        workspace = base.fork()
        latencies.fork.append(perf_counter_ns() - before)
        workspaces.append(workspace)

    def live(index: int) -> list[int]:
        workspace = workspaces[index]
        try:
            caller.call(guests[index], workspace, None)
        except Exception:  # the guest's own fault is part of the report
            failures[index] = traceback.format_exc()
        samples: list[int] = []
        if workspace.dirty:
            before = perf_counter_ns()
            workspace.checkpoint(f"agent {index}, at its end")
            samples.append(perf_counter_ns() - before)
        _record(repository, index, workspace, base.head, ledger)
        return samples

    if any(map(is_async, guests)):
        width = min(len(guests), _ASYNC_WIDTH)
    with concurrent.futures.ThreadPoolExecutor(max(1, width), thread_name_prefix="pyi-guest") as pool:
        for samples in pool.map(live, range(len(guests))):
            latencies.checkpoint.extend(samples)


def _record(repository: Repository, agent: int, workspace: Workspace, base: Checkpoint, ledger: Ledger) -> None:
    """Write down the checkpoints between the base and where the agent stands, oldest first."""
    chain: list[Checkpoint] = []
    for checkpoint in workspace.log():
        if checkpoint.id == base.id:
            break
        chain.append(checkpoint)
    parent = base
    for step, checkpoint in enumerate(reversed(chain)):
        view = repository.workspace(at=checkpoint)
        changed: dict[str, Known | None] = {}
        for change in view.diff(parent):
            if change.old is not None and change.old.kind != "dir":
                changed[change.old.path] = None
            if change.new is not None and change.new.kind != "dir":
                changed[change.new.path] = _known(view, change.new)
        ledger.add_known(agent, step, checkpoint.id, parent.id, changed)
        parent = checkpoint


def _known(view: Workspace, entry: Entry) -> Known:
    if entry.kind == "gitlink":
        return Known(GITLINK, 0, f"gitlink:{entry.id}")
    if entry.kind == "symlink":
        data: bytes | memoryview = view.readlink(entry.path).encode("utf-8", "surrogateescape")
        return Known(SYMLINK, len(data), digest_of("sha256", data))
    data = view.read(entry.path)
    return Known(EXECUTABLE if entry.mode & 0o111 else FILE, len(data), digest_of("sha256", data))
