"""`idle`: thousands of connections stay open and do nothing while others work."""

from __future__ import annotations

import argparse
import socket
import time
from pathlib import Path
from time import perf_counter_ns
from urllib.parse import urlsplit

import pyi
from validation.generator import Tree, git, make_repository
from validation.remotes.client import Thin
from validation.remotes.many import allow_files
from validation.remotes.serving import serve
from validation.statistics import Distribution

__all__ = ["add_arguments", "run"]

_ASK = b"GET /it.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: idle\r\nGit-Protocol: version=2\r\n\r\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--connections", type=int, default=5_000, help="that stay open (default: 5000)")
    parser.add_argument("--clones", type=int, default=20, help="meanwhile (default: 20)")
    parser.add_argument("--files", type=int, default=2_000, help="of the repository that is cloned (default: 2000)")


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    allow_files()
    source = make_repository(place / "source", Tree(options.files), commits=50)
    with pyi.open(place / "store") as repository:
        repository.import_git(source)
        with serve(place / "store") as server:
            parts = urlsplit(server.url)
            address = (parts.hostname or "", parts.port or 0)
            alone = _clones(server.url, place, options.clones)
            before, files = server.memory_bytes(), server.files()
            idle = []
            for _ in range(options.connections):
                connection = socket.create_connection(address, timeout=60)
                connection.sendall(_ASK)
                idle.append(connection)
            for connection in idle:
                _answer(connection)
            held = server.memory_bytes(), server.files()
            begin = time.monotonic()
            beside = _clones(server.url, place, options.clones)
            git(place, "clone", "--quiet", f"{server.url}/it.git", "whole")
            git(place / "whole", "fsck", "--strict", "--no-dangling", "--no-progress")
            seconds = time.monotonic() - begin
            # Each of them is still there, and answers.
            for connection in idle:
                connection.sendall(_ASK)
            dropped = 0
            for connection in idle:
                try:
                    _answer(connection)
                except OSError:
                    dropped += 1
                connection.close()
    each = (held[0] - before) / max(1, options.connections)
    print(f"{len(idle)} connections idle for {seconds:.0f} s and more, dropped {dropped}")
    print(f"clones alone: {_text(alone)}")
    print(f"clones beside them: {_text(beside)}")
    print(f"server: {held[1]} files open (before: {files}), {each / 1024:.1f} KiB of private memory a connection")
    return 1 if dropped else 0


def _clones(url: str, place: Path, count: int) -> list[int]:
    samples = []
    for _ in range(count):
        client = Thin(f"{url}/it.git")
        begin = perf_counter_ns()
        client.clone(depth=1)
        samples.append(perf_counter_ns() - begin)
        client.close()
    return samples


def _text(samples: list[int]) -> str:
    found = Distribution.of(samples)
    return f"p50 {found.p50_us / 1000:.0f} ms, max {found.max_us / 1000:.0f} ms"


def _answer(connection: socket.socket) -> None:
    """Read one answer to its end: the flush of the advertisement."""
    said = b""
    while not said.endswith(b"0000"):
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionResetError("the server hung up")
        said += piece
