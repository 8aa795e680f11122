"""Clients that are slow, cut off, greedy or lying: each gets a clean answer or none, and nothing of them is left."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

import pyi
from pyi.server.settings import Settings

Serve = Callable[..., Any]
PATIENCE_S = 30.0
WHO = b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nevil\n"
COMMIT, TREE, BLOB, TAG, OFS, REF = 1, 2, 3, 4, 6, 7
NULL = "0" * 40


@pytest.fixture
def hasty(serve: Serve, repository: pyi.Repository) -> Any:
    """A server that waits for nobody, and takes little."""
    settings = Settings(anonymous="write", head_timeout=0.3, read_timeout=0.3, max_request_bytes=2_000)
    return serve(settings, demo=repository)


@pytest.fixture
def live(serve: Serve, repository: pyi.Repository) -> Any:
    return serve(demo=repository)


@pytest.fixture(autouse=True)
def nothing_is_left(repository: pyi.Repository) -> Iterator[None]:
    """No branch moved, no file stays, not even one without a name."""
    branches = repository.branches()
    yield
    assert repository.branches() == branches
    assert [path.name for path in Path(repository.path).iterdir() if path.name.startswith("tmp")] == []
    assert nameless(repository) == []


def nameless(repository: pyi.Repository) -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue
        if target.endswith("(deleted)") and target.startswith(str(repository.path)):
            found.append(target)
    return found


def connect(live: Any, *, receive_bytes: int = 0) -> socket.socket:
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(PATIENCE_S)
    client.connect(live.socket.getsockname())
    return client


def everything(client: socket.socket) -> bytes:
    """What the server says until it hangs up."""
    said = b""
    try:
        while piece := client.recv(1 << 16):
            said += piece
    except ConnectionResetError:
        pass
    client.close()
    return said


def wait_for_rest(live: Any) -> None:
    """Wait until no request is under way."""
    end = time.monotonic() + PATIENCE_S
    while live.app.metrics.in_flight or live.server.server_state.tasks:
        assert time.monotonic() < end
        time.sleep(0.01)


def post(what: str, length: int, *more: str) -> bytes:
    head = f"POST /demo.git/{what} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-{what}-request\r\n"
    return (head + "".join(f"{line}\r\n" for line in more) + f"Content-Length: {length}\r\n\r\n").encode()


# --- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_head_that_does_not_end_is_cut_off(hasty: Any, sent: bytes) -> None:
    client = connect(hasty)
    client.sendall(sent)
    assert everything(client).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_comes_by_drops_is_cut_off(hasty: Any) -> None:
    client = connect(hasty)
    client.settimeout(0.05)
    said = b""
    client.sendall(b"GET / HTTP/1.1\r\n")
    while not said:
        client.sendall(b"X: y\r\n")
        try:
            said = client.recv(1 << 16)
        except TimeoutError:
            continue
    assert said.startswith(b"HTTP/1.1 408 ")
    client.close()


def test_a_second_head_has_to_end_too_and_rest_between_two_does_not_count(hasty: Any) -> None:
    client = connect(hasty)
    for _ in range(2):
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.5)
    client.sendall(b"GET /healthz HTTP/1.1\r\nHo")
    assert everything(client).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("what", ["git-upload-pack", "git-receive-pack"])
def test_a_body_that_stops_or_drips_is_cut_off(hasty: Any, what: str) -> None:
    client = connect(hasty)
    client.sendall(post(what, 1000) + b"0032want")
    assert everything(client).startswith(b"HTTP/1.1 408 ")
    client = connect(hasty)
    client.sendall(post(what, 1000))
    client.settimeout(0.05)
    said = b""
    while not said:
        client.sendall(b"0")
        try:
            said = client.recv(1 << 16)
        except TimeoutError:
            continue
    assert said.startswith(b"HTTP/1.1 408 ")
    client.close()
    wait_for_rest(hasty)


def test_the_rest_of_a_body_that_was_refused_is_not_taken_for_ever(hasty: Any) -> None:
    client = connect(hasty)
    client.sendall(post("git-upload-pack", 1_000_000) + b"0" * 3_000)
    assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
    client.settimeout(0.05)
    hung_up = False
    while not hung_up:
        try:
            client.sendall(b"0")
            hung_up = client.recv(1 << 16) == b""
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            hung_up = True
    client.close()


@pytest.mark.parametrize("sent", [b"", b"POST /demo", post("git-receive-pack", 500) + b"00"])
def test_half_closed_connections_are_closed(live: Any, sent: bytes) -> None:
    client = connect(live)
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
    everything(client)
    wait_for_rest(live)


def test_who_does_not_read_the_answer_is_cut_off(hasty: Any, repository: pyi.Repository, here: Any) -> None:
    workspace = repository.workspace().fork("large")
    workspace.write("noise", os.urandom(20_000_000))
    workspace.checkpoint("much")
    head = here("ls-remote", hasty.url("demo/agents/large.git"), "HEAD").split()[0]
    request = b"0011command=fetch0001" + line(f"want {head}\n") + line("done\n") + b"0000"
    client = connect(hasty, receive_bytes=4096)
    head_of_request = post("git-upload-pack", len(request), "Git-Protocol: version=2").replace(
        b"/demo.git", b"/demo/agents/large.git"
    )
    client.sendall(head_of_request + request)
    end = time.monotonic() + PATIENCE_S
    while hasty.app.metrics.in_flight == 0:
        assert time.monotonic() < end
        time.sleep(0.001)
    wait_for_rest(hasty)
    said = everything(client)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert len(said) < 20_000_000


def test_requests_together_hold_little_memory(serve: Serve, repository: pyi.Repository) -> None:
    live = serve(Settings(anonymous="write", max_request_bytes=1_000), demo=repository)
    waiting = []
    for _ in range(4):
        client = connect(live)
        client.sendall(post("git-upload-pack", 990) + b"0" * 950)
        waiting.append(client)
    end = time.monotonic() + PATIENCE_S
    while live.app._memory.held_bytes < 4 * 950:
        assert time.monotonic() < end
        time.sleep(0.01)
    client = connect(live)
    client.sendall(post("git-upload-pack", 990, "Connection: close") + b"0" * 950)
    assert everything(client).startswith(b"HTTP/1.1 503 ")
    for client in waiting:
        client.close()
    wait_for_rest(live)
    assert live.app._memory.held_bytes == 0


# --- packs ------------------------------------------------------------------------------------------------------------


def line(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return f"{len(data) + 4:04x}".encode() + data


def name(kind: str, content: bytes) -> str:
    return sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def entry(kind: int, content: bytes, base: bytes = b"", *, size: int | None = None) -> bytes:
    left = len(content) if size is None else size
    byte, left = kind << 4 | left & 15, left >> 4
    out = bytearray()
    while left:
        out.append(byte | 128)
        byte, left = left & 127, left >> 7
    out.append(byte)
    return bytes(out) + base + zlib.compress(content)


def pack(*entries: bytes, count: int | None = None) -> bytes:
    out = b"PACK" + struct.pack(">II", 2, len(entries) if count is None else count) + b"".join(entries)
    return out + sha1(out).digest()


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def push(live: Any, commit: str, data: bytes, *, ref: str = "refs/heads/evil") -> str:
    command = f"{NULL} {commit} {ref}\0 report-status object-format=sha1 agent=test"
    request = urllib.request.Request(live.url("demo.git/git-receive-pack"), line(command) + b"0000" + data)
    request.add_header("Content-Type", "application/x-git-receive-pack-request")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}"


def commit_of(tree: bytes) -> bytes:
    return b"tree " + name("tree", tree).encode() + b"\n" + WHO


def small() -> tuple[str, bytes]:
    """A commit, and a good pack of it."""
    blob = b"content"
    tree = b"100644 a\0" + bytes.fromhex(name("blob", blob))
    commit = commit_of(tree)
    return name("commit", commit), pack(entry(COMMIT, commit), entry(TREE, tree), entry(BLOB, blob))


def test_bombs_of_deltas_are_refused(live: Any) -> None:
    """Twenty deltas of 16 KB that each make 240 MB: the sum is over the limit."""
    content = bytes(60_000)
    copy_all = b"\xb0" + struct.pack("<H", 60_000)
    delta = varint(60_000) + varint(60_000 * 4_000) + copy_all * 4_000
    first = entry(BLOB, content)
    entries, at = [first], 12 + len(first)
    for _ in range(20):
        made = entry(REF, delta, bytes.fromhex(name("blob", content)))
        entries.append(made)
        at += len(made)
    bomb = pack(*entries)
    assert len(bomb) < 100_000
    said = push(live, "7" * 40, bomb)
    assert "ng refs/heads/evil unpacker error" in said
    assert "limit" in said


def test_deltas_that_lead_nowhere_or_in_a_ring_are_refused(live: Any) -> None:
    code = varint(5) + varint(5) + b"\x90\x05"
    first, second = bytes.fromhex("1" * 40), bytes.fromhex("2" * 40)
    for entries in (
        [entry(REF, code, first)],
        [entry(REF, code, first), entry(REF, code, second)],
        [entry(OFS, code, b"\0")],
        [entry(OFS, code, b"\x7f")],
        [entry(OFS, code, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")],
        [entry(BLOB, b"base!"), entry(OFS, code, b"\x01")],
        [entry(5, b"what"), entry(0, b"kind")],
        [entry(BLOB, b"short", size=1 << 29)],
        [entry(BLOB, b"long", size=1)],
        [entry(BLOB, b"huge", size=1 << 62)],
    ):
        assert "ng refs/heads/evil unpacker error" in push(live, "7" * 40, pack(*entries)), entries
    for count in (0, 2, 1 << 31, (1 << 32) - 1):
        assert "ng refs/heads/evil" in push(live, "7" * 40, pack(entry(BLOB, b"one"), count=count)), count


def test_packs_that_are_cut_or_changed_anywhere_are_refused(live: Any) -> None:
    commit, whole = small()
    source = random.Random(6)
    for _ in range(150):
        changed = bytearray(whole)
        changed[source.randrange(len(whole))] ^= 1 << source.randrange(8)
        assert "ng refs/heads/evil" in push(live, commit, bytes(changed))
    for length in range(1, len(whole), 3):
        assert "ng refs/heads/evil unpacker error" in push(live, commit, whole[:length])


def test_a_large_pack_that_is_refused_leaves_no_file(live: Any, repository: pyi.Repository) -> None:
    """Above 4 MiB it went to a file."""
    noise = os.urandom(6_000_000)
    assert "unpacker error" in push(live, "7" * 40, pack(entry(BLOB, noise))[:-5])
    assert "missing necessary objects" in push(live, "7" * 40, pack(entry(BLOB, noise)))
    client = connect(live)
    body = line(f"{NULL} {'7' * 40} refs/heads/evil\0 report-status") + b"0000" + noise
    client.sendall(post("git-receive-pack", 2 * len(body)) + body)
    end = time.monotonic() + PATIENCE_S
    while not nameless(repository):
        assert time.monotonic() < end
        time.sleep(0.01)
    client.close()
    wait_for_rest(live)
    assert nameless(repository) == []


def test_trees_without_a_bottom_are_refused(live: Any) -> None:
    """A hundred thousand directories, one in another."""
    tree = b"100644 a\0" + bytes.fromhex(name("blob", b"content"))
    entries = [entry(BLOB, b"content"), entry(TREE, tree)]
    for _ in range(100_000):
        tree = b"40000 d\0" + bytes.fromhex(name("tree", tree))
        entries.append(entry(TREE, tree))
    commit = commit_of(tree)
    said = push(live, name("commit", commit), pack(*entries, entry(COMMIT, commit)))
    assert "ng refs/heads/evil" in said


def test_tags_without_an_end_and_odd_ones_are_refused(live: Any) -> None:
    commit, _ = small()
    target, kind, entries = commit, "commit", []
    for number in range(20_000):
        tag = f"object {target}\ntype {kind}\ntag t{number}\ntagger A <a@b> 1 +0000\n\nx\n".encode()
        entries.append(entry(TAG, tag))
        target, kind = name("tag", tag), "tag"
    said = push(live, target, pack(*entries), ref="refs/tags/evil")
    assert "ng refs/tags/evil" in said
    liar = f"object {commit}\ntype blob\ntag t\ntagger A <a@b> 1 +0000\n\nx\n".encode()
    assert "ng refs/tags/evil" in push(live, name("tag", liar), pack(entry(TAG, liar)), ref="refs/tags/evil")
    assert "ng refs/heads/evil" in push(live, name("tag", liar), pack(entry(TAG, liar)))


def test_symlinks_and_modes_that_reach_outside_are_refused(live: Any) -> None:
    blob = bytes.fromhex(name("blob", b"../../etc"))
    for mode, file in ((b"120000", b".gitmodules"), (b"160000", b".git"), (b"40000", b".git"), (b"100644", b"")):
        tree = mode + b" " + file + b"\0" + blob
        commit = commit_of(tree)
        said = push(
            live, name("commit", commit), pack(entry(COMMIT, commit), entry(TREE, tree), entry(BLOB, b"../../etc"))
        )
        assert "ng refs/heads/evil" in said, (mode, file, said)
    # A file through a link, and two things of one name.
    for tree in (
        b"120000 a\0" + blob + b"40000 a\0" + bytes.fromhex(name("tree", b"")),
        b"100644 a\0" + blob + b"100644 a\0" + blob,
        b"100644 a\0" + blob[:-1],
        b"999 a\0" + blob,
    ):
        commit = commit_of(tree)
        entries = (entry(COMMIT, commit), entry(TREE, tree), entry(BLOB, b"../../etc"), entry(TREE, b""))
        assert "ng refs/heads/evil" in push(live, name("commit", commit), pack(*entries)), tree


def status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_nonsense_instead_of_commands(live: Any) -> None:
    source = random.Random(7)
    for body in (
        b"", b"0000", b"0", b"zzzz", b"fff0", b"0001", b"0002", b"0003", b"0004", b"0005a",
        line("what"), line(NULL), line(f"{NULL} {NULL} refs/heads/evil") + b"0000",
        line(f"{NULL} {'1' * 40} \0 report-status") + b"0000",
        line(f"{NULL} {'1' * 64} refs/heads/evil\0 report-status object-format=sha256") + b"0000",
        line("push-cert\0 report-status") + b"0000",
        *(source.randbytes(source.randrange(200)) for _ in range(100)),
    ):  # fmt: skip
        for what in ("git-receive-pack", "git-upload-pack"):
            for version in ("0", "2"):
                request = urllib.request.Request(live.url(f"demo.git/{what}"), body)
                request.add_header("Content-Type", f"application/x-{what}-request")
                request.add_header("Git-Protocol", f"version={version}")
                assert status(request) in (200, 400), body
    wait_for_rest(live)
