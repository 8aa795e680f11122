"""`kills`: the server is killed in the middle of pushes; each is wholly there or absent, and lands when retried."""

from __future__ import annotations

import argparse
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

import pyi
from validation.generator import Tree, make_repository
from validation.remotes.client import Refused, Thin
from validation.remotes.many import allow_files
from validation.remotes.serving import serve

__all__ = ["add_arguments", "run"]

_T = TypeVar("_T")
_BETWEEN_TRIES_S = 0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--pushes", type=int, default=500, help="that land before the end (default: 500)")
    parser.add_argument("--clients", type=int, default=20, help="at once, each its own workspace (default: 20)")
    parser.add_argument("--life-ms", type=float, default=400, help="mean life of a server that answers (default: 400)")
    parser.add_argument("--bytes", type=int, default=50_000, help="of noise in each push (default: 50000)")
    parser.add_argument("--seed", default="6", help="of the moments")


class _Run:
    """What the clients share."""

    def __init__(self, url: str, options: argparse.Namespace) -> None:
        self.url = url
        self.options = options
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.lock = threading.Lock()

    def is_over(self) -> bool:
        return self.counts["landed"] >= self.options.pushes or bool(self.violations)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def client(self, number: int, contents: list[bytes]) -> None:
        """Push until enough did."""
        client = self._try(lambda: _cloned(f"{self.url}/it/agents/a{number}.git"))
        try:
            self._push(number, client, contents)
        finally:
            client.close()

    def _push(self, number: int, client: Thin, contents: list[bytes]) -> None:
        source = random.Random(f"{self.options.seed} {number}")
        while not self.is_over():
            content = source.randbytes(self.options.bytes)
            data = client.commit(f"file{len(contents)}", content, f"push {len(contents)}")
            wanted, before = client.next, client.head
            try:
                client.push(data)
                self.count("acknowledged at once")
            except (OSError, HTTPException):
                self.count("cut short")
                while True:
                    now = self._try(lambda: _head(client))
                    if now == wanted:
                        self.count("there, the answer was lost")
                        break
                    if now != before:
                        self.violations.append(f"a{number}: neither before nor after: {now}")
                        return
                    self.count("absent, tried again")
                    client.close()
                    try:
                        client.push(data)
                        break
                    except (OSError, HTTPException):
                        self.count("cut short")
                client.head = wanted
            except Refused as error:
                self.violations.append(f"a{number}: {error}")
                return
            contents.append(content)
            self.count("landed")

    def _try(self, call: Callable[[], _T]) -> _T:
        """Do something as soon as a server answers."""
        while True:
            try:
                return call()
            except (OSError, HTTPException):
                time.sleep(_BETWEEN_TRIES_S)


def _cloned(url: str) -> Thin:
    client = Thin(url)
    try:
        client.clone(depth=1)
    except BaseException:
        client.close()
        raise
    return client


def _head(client: Thin) -> str:
    client.close()
    return client.refs()[0]


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    allow_files()
    source = make_repository(place / "source", Tree(40), commits=5)
    with pyi.open(place / "store") as repository:
        base = repository.import_git(source)
        for number in range(options.clients):
            base.fork(f"a{number}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    shared = _Run(f"http://127.0.0.1:{port}", options)
    contents: list[list[bytes]] = [[] for _ in range(options.clients)]
    threads = [threading.Thread(target=shared.client, args=item) for item in enumerate(contents)]
    for thread in threads:
        thread.start()
    lives = random.Random(options.seed)
    kills = 0
    begin = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        with serve(place / "store", port=port) as server:
            until = time.monotonic() + lives.expovariate(1) * options.life_ms / 1000
            while time.monotonic() < until or shared.is_over():
                if not any(thread.is_alive() for thread in threads):
                    break
                time.sleep(0.005)
            else:
                server.process.kill()
                server.process.wait()
                kills += 1
    wrong = list(shared.violations)
    with pyi.open(place / "store", create=False) as repository:
        for number, pushed in enumerate(contents):
            workspace = repository.view_workspace(f"a{number}")
            for at, content in enumerate(pushed):
                path = f"file{at}"
                if not workspace.exists(path) or bytes(workspace.read(path)) != content:
                    wrong.append(f"a{number}: {path}")
            if workspace.exists(f"file{len(pushed)}"):
                wrong.append(f"a{number}: one more than was pushed")
        clean = repository.scrub().clean
    left = [path.name for path in (place / "store").iterdir() if path.name.startswith("tmp")]
    print(
        f"{kills} kills -9 in {time.monotonic() - begin:.0f} s; "
        + ", ".join(f"{n} {what}" for what, n in shared.counts.items())
    )
    print(f"lost or wrong {len(wrong)}, scrub clean {clean}, files left {left}")
    for text in wrong[:5]:
        print(f"  {text}")
    return 0 if not wrong and clean and not left else 1
