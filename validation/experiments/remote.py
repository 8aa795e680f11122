"""Workspaces as git remotes: what a request costs, and a whole clone beside git daemon."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter_ns
from urllib.parse import urlsplit

import pyi
from validation import workloads
from validation.generator import git
from validation.hypothesis import Experiment, Finding, Hypothesis, Peer, below, compare
from validation.lab import Lab
from validation.statistics import Distribution, Series

_FILES_ENOUGH = 4_500
_COMMITS_ENOUGH = 10_000
_FIRST_BYTE_MS = 50.0

REFS = Hypothesis(
    "remote.refs",
    "Asking what a repository offers costs less than a millisecond.",
    "info/refs p50 < 1 ms, p95 < 5 ms",
    "issue 6 c",
)
FETCH = Hypothesis(
    "remote.fetch",
    "A fetch of one new commit costs the server less than five milliseconds.",
    "fetch request p50 < 5 ms",
    "issue 6 c",
)
CLONE = Hypothesis(
    "remote.clone",
    f"A full clone of > {_FILES_ENOUGH:,} files and > {_COMMITS_ENOUGH:,} commits is not slower than from git daemon.",
    f"median <= git daemon's; time to the first byte < {_FIRST_BYTE_MS:.0f} ms",
    "issue 6 d",
)


class Http:
    """One connection that stays open, as git clients keep theirs."""

    def __init__(self, url: str) -> None:
        """Connect to the server of a repository's address."""
        parts = urlsplit(url)
        self._path = parts.path
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=600)
        self._connection.connect()
        if self._connection.sock:
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, what: str, body: bytes | None = None) -> tuple[int, int, bytes]:
        """Send a request; nanoseconds to the first byte of the answer's body and to its last, and the body."""
        headers = {"Git-Protocol": "version=2"}
        if body is not None:
            headers["Content-Type"] = "application/x-git-upload-pack-request"
        before = perf_counter_ns()
        self._connection.request("GET" if body is None else "POST", f"{self._path}/{what}", body, headers)
        answer = self._connection.getresponse()
        first = answer.read(1)
        at_first = perf_counter_ns()
        rest = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{what}: {answer.status} {first + rest!r}")
        return at_first - before, perf_counter_ns() - before, first + rest


def _line(text: str) -> bytes:
    return f"{len(text) + 5:04x}{text}\n".encode()


def fetch_request(want: str, have: str | None) -> bytes:
    """Return the request for one commit and what it needs, all of it or on top of another."""
    lines = [_line("thin-pack"), _line("ofs-delta"), _line(f"want {want}")]
    if have is not None:
        lines.append(_line(f"have {have}"))
    length = "object-format=sha1"
    return b"".join([_line("command=fetch"), _line(length), b"0001", *lines, _line("done"), b"0000"])


def daemon_fetch(port: int, repository: str, want: str, have: str) -> int:
    """Fetch from git daemon over a connection of its own; nanoseconds."""
    before = perf_counter_ns()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        hello = f"git-upload-pack /{repository}\0host=127.0.0.1\0\0version=2\0".encode()
        connection.sendall(f"{len(hello) + 4:04x}".encode() + hello)
        said = b""
        while not said.endswith(b"0000"):
            said += _some(connection)
        connection.sendall(fetch_request(want, have))
        said = b""
        while not said.endswith(b"0000"):
            said += _some(connection)
        connection.sendall(b"0000")
    if b"packfile" not in said:
        raise RuntimeError(f"git daemon: {said!r}")
    return perf_counter_ns() - before


def daemon_refs(port: int, repository: str) -> int:
    """Ask git daemon what it offers, over a connection of its own; nanoseconds."""
    before = perf_counter_ns()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        hello = f"git-upload-pack /{repository}\0host=127.0.0.1\0\0version=2\0".encode()
        connection.sendall(f"{len(hello) + 4:04x}".encode() + hello)
        said = b""
        while not said.endswith(b"0000"):
            said += _some(connection)
        connection.sendall(b"0000")
    return perf_counter_ns() - before


def _some(connection: socket.socket) -> bytes:
    piece = connection.recv(1 << 16)
    if not piece:
        raise RuntimeError("git daemon closed the connection")
    return piece


@contextmanager
def our_server(store: Path) -> Iterator[tuple[str, int]]:
    """Run `pyi serve`; the repository's URL and the process."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "pyi",
        "serve",
        f"it={store}",
        "--port",
        "0",
        "--anonymous",
        "write",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None:
            raise RuntimeError("no output to read")
        try:
            yield json.loads(server.stdout.readline())["repositories"]["it"], server.pid
        finally:
            server.terminate()


@contextmanager
def git_daemon(base: Path) -> Iterator[int]:
    """Run git daemon over the repositories in a directory; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [
        "git",
        "daemon",
        "--listen=127.0.0.1",
        f"--port={port}",
        "--export-all",
        f"--base-path={base}",
        str(base),
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
            yield port
        finally:
            os.killpg(server.pid, 15)


def run(lab: Lab) -> Iterator[Finding]:
    """Serve a repository of the command line, or else the one that this file lies in, and ask for it."""
    source = lab.repositories[0].resolve() if lab.repositories else _own()
    with lab.directory("remote") as place:
        lab.say(f"import of {source}")
        with pyi.open(place / "store", durability=workloads.DURABILITY) as repository:
            repository.import_git(source)
            with our_server(place / "store") as (url, process):
                lab.say("a bare clone for git daemon")
                git(place, "clone", "--quiet", "--bare", url, "peer.git")
                with git_daemon(place) as port:
                    yield from _requests(lab, repository, place, url, port)
                    yield _clones(lab, place, url, port, process)


def _requests(lab: Lab, repository: pyi.Repository, place: Path, url: str, port: int) -> Iterator[Finding]:
    http, peer = Http(url), place / "peer.git"
    ours, theirs = Series(), Series()
    lab.say("info/refs")
    for number in range(lab.pick(2_000, 50)):
        ours.samples_ns.append(http.ask("info/refs?service=git-upload-pack")[1])
        ours.rounds.append(number)
        if number % 10 == 0:
            theirs.samples_ns.append(daemon_refs(port, "peer.git"))
            theirs.rounds.append(number)
    measured = ours.distribution()
    yield Finding(
        REFS,
        "GET info/refs in protocol v2 over an open connection, client included",
        measured,
        checks=[below("p50", measured.p50_us / 1000, 1.0, "ms"), below("p95", measured.p95_us / 1000, 5.0, "ms")],
        peers=[compare(_git(), "connect, a process, the advertisement", ours, theirs)],
    )
    lab.say("fetches of one commit")
    workspace = repository.workspace()
    old = git(peer, "rev-parse", "HEAD").decode().strip()
    ours, theirs = Series(), Series()
    for number in range(lab.pick(300, 10)):
        workspace.write("pyi-validation.txt", f"{number}\n")
        workspace.checkpoint(f"change {number}")
        workspace.publish("main")
        git(peer, "fetch", "--quiet", url, "+main:main")
        new = git(peer, "rev-parse", "main").decode().strip()
        ours.samples_ns.append(http.ask("git-upload-pack", fetch_request(new, old))[1])
        theirs.samples_ns.append(daemon_fetch(port, "peer.git", new, old))
        ours.rounds.append(number)
        theirs.rounds.append(number)
        old = new
    measured = ours.distribution()
    yield Finding(
        FETCH,
        "POST git-upload-pack for one commit on top of another over an open connection, client included",
        measured,
        changes=len(ours),
        durability=workloads.DURABILITY,
        checks=[below("p50", measured.p50_us / 1000, 5.0, "ms")],
        peers=[compare(_git(), "connect, two processes, the same request", ours, theirs)],
    )


def _clones(lab: Lab, place: Path, url: str, port: int, process: int) -> Finding:
    files = len(git(place / "peer.git", "ls-tree", "-r", "--name-only", "HEAD").splitlines())
    commits = int(git(place / "peer.git", "rev-list", "--count", "HEAD"))
    tip = git(place / "peer.git", "rev-parse", "HEAD").decode().strip()
    ours, theirs, first = Series(), Series(), []
    for number in range(lab.pick(5, 1)):
        lab.say(f"clones, round {number + 1}")
        for series, address in ((ours, url), (theirs, f"git://127.0.0.1:{port}/peer.git")):
            before = perf_counter_ns()
            git(place, "clone", "--quiet", "--bare", address, "clone.git")
            series.samples_ns.append(perf_counter_ns() - before)
            series.rounds.append(number)
            subprocess.run(["rm", "-rf", "clone.git"], cwd=place, check=True)
        # On a connection of its own: the server closes one that says nothing for as long as large clones take.
        first.append(Http(url).ask("git-upload-pack", fetch_request(tip, None))[0])
    finding = Finding(
        CLONE,
        f"git clone --bare of {files:,} files and {commits:,} commits",
        ours.distribution(),
        changes=len(ours),
        checks=[
            below(
                "median against git daemon's",
                ours.distribution().p50_us / theirs.distribution().p50_us,
                1.0,
                relation="<=",
            ),
            below("first byte, median", Distribution.of(first).p50_us / 1000, _FIRST_BYTE_MS, "ms"),
        ],
        peers=[Peer(_git(), "the same clone", theirs.distribution())],
        values={"server, most private memory": f"{_memory(process, 'RssAnon') / 1e6:.0f} MB now"},
    )
    if files <= _FILES_ENOUGH or commits <= _COMMITS_ENOUGH:
        finding.unmeasured = "the repository is too small for the claim: name another with --repo"
    return finding


def _memory(process: int, what: str) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _git() -> str:
    return f"git daemon ({git(Path.cwd(), 'version').decode().split()[2]})"


def _own() -> Path:
    """Return the repository that this file lies in."""
    return Path(git(Path(__file__).parent, "rev-parse", "--show-toplevel").decode().strip())


EXPERIMENT = Experiment("remote", (REFS, FETCH, CLONE), run, needs=("Repository.import_git", "Workspace.publish"))
