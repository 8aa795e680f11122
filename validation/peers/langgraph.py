"""LangGraph's SQLite saver (PyPI `langgraph-checkpoint-sqlite`): each checkpoint holds all values of its channels.

The files are one channel's value, as an agent's state is. The saver opens its database in WAL mode, and SQLite flushes
each transaction (`synchronous=FULL` is its default). Writes that are kept between checkpoints are not used: they save a
part of a step and are no version to go back to.
"""

from __future__ import annotations

import importlib
import sqlite3
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from validation.generator import Tree
from validation.hypothesis import Guarantees
from validation.machine import version
from validation.peers.saved import Edit, Saver, check

__all__ = ["saver"]

_PACKAGE = "langgraph-checkpoint-sqlite"


def saver(place: Path, tree: Tree, edit: Edit) -> Saver:
    """Return it. ImportError: it is not installed."""
    base_module: Any = importlib.import_module("langgraph.checkpoint.base")
    sqlite_module: Any = importlib.import_module("langgraph.checkpoint.sqlite")
    connection = sqlite3.connect(place / "checkpoints.sqlite", check_same_thread=False)
    graph = sqlite_module.SqliteSaver(connection)
    original = dict(tree.items())
    state = dict(original)
    thread = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}

    def save(config: Any, number: int) -> Any:
        checkpoint = base_module.empty_checkpoint()
        checkpoint["channel_values"] = {"files": state}
        checkpoint["channel_versions"] = {"files": number + 2}
        return graph.put(config, checkpoint, {"source": "loop", "step": number}, checkpoint["channel_versions"])

    base = save(thread, -1)

    def sample(number: int) -> int:
        nonlocal state
        path, data = edit(number)
        before = perf_counter_ns()
        state[path] = data
        save(base, number)
        state = graph.get_tuple(base).checkpoint["channel_values"]["files"]
        elapsed_ns = perf_counter_ns() - before
        check("LangGraph", path, state[path], original[path])
        return elapsed_ns

    guarantees = Guarantees(isolated=True, history=True, survives="power loss", directory=False)
    return Saver(
        f"LangGraph SQLite saver {version(_PACKAGE)}",
        "change the dict; put, get_tuple of the first checkpoint",
        guarantees,
        sample,
        place,
        connection.close,
    )
