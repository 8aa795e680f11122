"""AgentFS (PyPI `agentfs-sdk`): an agent's files in one database file, which has no versions of its own.

Its documents save a version by copying the database file. The other way back is to write the old content again. Both
are measured. Each of its writes is a transaction with `synchronous=FULL`.
"""

from __future__ import annotations

import asyncio
import importlib
import shutil
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from validation.generator import Tree
from validation.hypothesis import Guarantees
from validation.machine import version
from validation.peers.saved import Edit, Saver, check

__all__ = ["copied", "written_back"]


class _Agent:
    """An open database with the tree in it, driven by an event loop of its own."""

    def __init__(self, place: Path, tree: Tree) -> None:
        self.module: Any = importlib.import_module("agentfs_sdk")
        self.place = place
        self.path = place / "agent.db"
        self.loop = asyncio.new_event_loop()
        self.agent = self.do(self._open())
        self.original = dict(tree.items())
        self.do(self._fill())

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _open(self) -> Any:
        return await self.module.AgentFS.open(self.module.AgentFSOptions(path=str(self.path)))

    async def _fill(self) -> None:
        database = self.agent.get_database()
        # Thousands of transactions that nobody measures need no flush each.
        await self.pragma(database, "synchronous=OFF")
        for path, data in self.original.items():
            await self.agent.fs.write_file("/" + path, data)
        await self.pragma(database, "synchronous=FULL")
        await self.pragma(database, "wal_checkpoint(TRUNCATE)")

    async def pragma(self, database: Any, what: str) -> None:
        cursor = await database.execute(f"PRAGMA {what}")
        await cursor.fetchall()
        await cursor.close()

    async def snapshot(self, name: str) -> None:
        """Copy the database file, once all of it is in there and not in its log."""
        await self.pragma(self.agent.get_database(), "wal_checkpoint(TRUNCATE)")
        shutil.copyfile(self.path, self.place / name)

    async def go_back(self, name: str) -> None:
        await self.agent.close()
        self.path.with_name("agent.db-wal").unlink(missing_ok=True)
        shutil.copyfile(self.place / name, self.path)
        self.agent = await self._open()

    async def read(self, path: str) -> Any:
        return await self.agent.fs.read_file("/" + path, encoding=None)

    def close(self) -> None:
        self.do(self.agent.close())
        self.loop.close()


def _name() -> str:
    return f"AgentFS {version('agentfs-sdk')}"


def written_back(place: Path, tree: Tree, edit: Edit) -> Saver:
    """Return AgentFS where the old content is written again. ImportError: it is not installed."""
    agent = _Agent(place, tree)

    async def step(path: str, data: bytes) -> None:
        old = await agent.read(path)
        await agent.agent.fs.write_file("/" + path, data)
        await agent.agent.fs.write_file("/" + path, old)

    def sample(number: int) -> int:
        path, data = edit(number)
        before = perf_counter_ns()
        agent.do(step(path, data))
        elapsed_ns = perf_counter_ns() - before
        check("AgentFS", path, agent.do(agent.read(path)), agent.original[path])
        return elapsed_ns

    guarantees = Guarantees(isolated=True, history=False, survives="power loss", directory=False)
    return Saver(_name(), "read, write_file, write_file of the old content", guarantees, sample, place, agent.close)


def copied(place: Path, tree: Tree, edit: Edit) -> Saver:
    """Return AgentFS where versions are copies of the database file. ImportError: it is not installed."""
    agent = _Agent(place, tree)
    agent.do(agent.snapshot("base"))

    async def step(path: str, data: bytes, number: int) -> None:
        await agent.agent.fs.write_file("/" + path, data)
        await agent.snapshot(f"version{number}")
        await agent.go_back("base")

    def sample(number: int) -> int:
        path, data = edit(number)
        before = perf_counter_ns()
        agent.do(step(path, data, number))
        elapsed_ns = perf_counter_ns() - before
        check("AgentFS", path, agent.do(agent.read(path)), agent.original[path])
        return elapsed_ns

    # The copies are not flushed: the documents do not say so either.
    guarantees = Guarantees(isolated=True, history=True, survives="kill -9", directory=False)
    return Saver(
        _name() + ", copies",
        "write_file, copy of the database file, copy of the first one back, open",
        guarantees,
        sample,
        place,
        agent.close,
    )
