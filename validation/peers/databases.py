"""Embedded databases that write the bytes of a step durably: SQLite, LMDB, RocksDB, and a file written in place.

Each stores one step as so many keys of 32 bytes with new, incompressible values, in one transaction that survives a
loss of power when the call returns. All of them are used by many threads of one process in the way their documents
recommend: SQLite and LMDB have one writer at a time (a lock in front of one connection; LMDB's own). RocksDB groups the
commits of threads that wait; its binding holds the interpreter's lock while it writes, so none could. The grouping is
therefore done here, as RocksDB does it: who comes first writes what has gathered, the others wait.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from validation.hypothesis import Guarantees
from validation.machine import version

__all__ = ["DURABLE", "Database", "Payload", "available"]

DURABLE = Guarantees(isolated=False, history=False, survives="power loss", directory=False)
_MAP_BYTES = 16 << 30
_FILE_BYTES = 64 << 20


class Payload:
    """The objects of a step: new keys and values each time, cut from random bytes made before."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """Make steps of values with these sizes."""
        self.sizes = tuple(sizes)
        self._pool = random.Random(3).randbytes(1 << 20)

    def step(self, writer: int, number: int) -> list[tuple[bytes, bytes]]:
        """Return the n-th step of a writer."""
        found = []
        at = (writer * 7919 + number * 104_729) % (len(self._pool) - max(self.sizes))
        for place, size in enumerate(self.sizes):
            key = self._pool[at : at + 16] + writer.to_bytes(4, "big") + number.to_bytes(8, "big") + bytes(4)
            found.append((key[:28] + place.to_bytes(4, "big"), self._pool[at : at + size]))
        return found


class Database:
    """A peer that is open. `step(writer, number)` returns when the step is durable; any thread may call it."""

    def __init__(self, name: str, step: Callable[[int, int], None], close: Callable[[], None]) -> None:
        """Keep what it is called, does and needs at the end."""
        self.name = name
        self.step = step
        self.close = close


def _sqlite(place: Path, payload: Payload, journal: str) -> Database:
    connection = sqlite3.connect(place / "db.sqlite", check_same_thread=False, isolation_level=None)
    mode = connection.execute(f"PRAGMA journal_mode={journal}").fetchone()[0]
    if mode != journal:
        raise RuntimeError(f"SQLite keeps the journal mode {mode}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE objects (id BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID")
    lock = threading.Lock()

    def step(writer: int, number: int) -> None:
        rows = payload.step(writer, number)
        with lock:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO objects VALUES (?, ?)", rows)
            connection.execute("COMMIT")

    name = "WAL" if journal == "wal" else "rollback journal"
    return Database(f"SQLite {sqlite3.sqlite_version} FULL, {name}", step, connection.close)


def _lmdb(place: Path, payload: Payload) -> Database:
    lmdb: Any = importlib.import_module("lmdb")
    environment = lmdb.open(str(place), map_size=_MAP_BYTES, max_readers=2048)

    def step(writer: int, number: int) -> None:
        with environment.begin(write=True) as transaction:
            for key, value in payload.step(writer, number):
                transaction.put(key, value)

    return Database(f"LMDB {'.'.join(map(str, lmdb.version()))}", step, environment.close)


def _rocksdb(place: Path, payload: Payload) -> Database:
    rocksdict: Any = importlib.import_module("rocksdict")
    database = rocksdict.Rdict(str(place), rocksdict.Options(raw_mode=True))
    durable = rocksdict.WriteOptions()
    durable.sync = True

    turn, gathering = threading.Lock(), threading.Lock()
    waiting: list[list[tuple[bytes, bytes]]] = []
    written = 0
    taken = 0

    def step(writer: int, number: int) -> None:
        nonlocal written, taken
        rows = payload.step(writer, number)
        with gathering:
            waiting.append(rows)
            taken += 1
            ticket = taken
        with turn:
            if written >= ticket:
                return
            with gathering:
                group, last = waiting[:], taken
                waiting.clear()
            batch = rocksdict.WriteBatch(raw_mode=True)
            for member in group:
                for key, value in member:
                    batch.put(key, value)
            database.write(batch, durable)
            written = last

    return Database(f"RocksDB (rocksdict {version('rocksdict')}) sync, grouped", step, database.close)


def bare(place: Path, payload: Payload) -> Database:
    """Return the floor for one writer: one pwrite into blocks that were written before, and one fdatasync."""
    descriptor = os.open(place / "file", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    zeros = bytes(1 << 20)
    for at in range(0, _FILE_BYTES, len(zeros)):
        os.pwrite(descriptor, zeros, at)
    os.fsync(descriptor)
    size = sum(payload.sizes)
    content = random.Random(5).randbytes(size)
    room = _FILE_BYTES // size

    def step(_: int, number: int) -> None:
        os.pwrite(descriptor, content, number % room * size)
        os.fdatasync(descriptor)

    return Database("pwrite + fdatasync, pre-written", step, lambda: os.close(descriptor))


def available() -> tuple[dict[str, Callable[[Path, Payload], Database]], list[str]]:
    """Return how to open each peer that is installed, and what is not."""
    found: dict[str, Callable[[Path, Payload], Database]] = {
        "sqlite wal": lambda place, payload: _sqlite(place, payload, "wal"),
        "sqlite rollback": lambda place, payload: _sqlite(place, payload, "delete"),
    }
    absent = []
    for package, opener in (("lmdb", _lmdb), ("rocksdict", _rocksdb)):
        if importlib.util.find_spec(package) is None:
            absent.append(package)
        else:
            found[package] = opener
    return found, absent
