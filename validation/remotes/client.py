"""A thin git client over HTTP, so that hundreds fit in a process: protocol v2, packs parsed by dulwich."""

from __future__ import annotations

import socket
import struct
import zlib
from hashlib import sha1
from http.client import HTTPConnection
from urllib.parse import urlsplit

from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Blob, Commit, ObjectID, Tree

__all__ = ["Refused", "Thin", "line", "pack"]

_NULL = "0" * 40
_KINDS = {b"commit": 1, b"tree": 2, b"blob": 3}


class Refused(Exception):
    """The server said no, or nothing."""


def line(text: str | bytes) -> bytes:
    """Return a packet."""
    data = text.encode() if isinstance(text, str) else text
    return f"{len(data) + 4:04x}".encode() + data


def packets(data: bytes) -> list[bytes | None]:
    """Cut packets apart; None stands for one without content (flush, delimiter)."""
    found: list[bytes | None] = []
    at = 0
    while at < len(data):
        length = int(data[at : at + 4], 16)
        found.append(data[at + 4 : at + length] if length >= 4 else None)
        at += max(length, 4)
    return found


def pack(objects: list[tuple[int, bytes]]) -> bytes:
    """Return a pack of whole objects."""
    out = bytearray(b"PACK" + struct.pack(">II", 2, len(objects)))
    for kind, content in objects:
        size = len(content)
        byte, size = kind << 4 | size & 15, size >> 4
        while size:
            out.append(byte | 128)
            byte, size = size & 127, size >> 7
        out.append(byte)
        out += zlib.compress(content, 1)
    return bytes(out) + sha1(out).digest()


class Thin:
    """A clone in memory, on one connection that stays open."""

    def __init__(self, url: str, *, timeout: float = 600) -> None:
        """Connect to the server of a repository's address."""
        parts = urlsplit(url)
        self._path = parts.path
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        self.objects = MemoryObjectStore()
        self.branch = ""
        self.head = _NULL
        self.next = _NULL
        """What `commit` made last."""

    def connect(self) -> None:
        """Connect; else the first request does."""
        self._connection.connect()
        if self._connection.sock:
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def ask(self, what: str, body: bytes | None = None) -> bytes:
        """Send a request, and return the answer.

        Raises:
            Refused: It is no good one.
        """
        headers = {"Git-Protocol": "version=2"}
        if body is not None:
            headers["Content-Type"] = f"application/x-{what}-request"
        self._connection.request("GET" if body is None else "POST", f"{self._path}/{what}", body, headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise Refused(f"{what}: {answer.status} {said[:200]!r}")
        return said

    def refs(self) -> tuple[str, str]:
        """Ask where HEAD is, and which branch that is."""
        self.ask("info/refs?service=git-upload-pack")
        ask = line("command=ls-refs\n") + line("object-format=sha1") + b"0001" + line("symrefs\n") + line("peel\n")
        refs = self.ask("git-upload-pack", ask + line("ref-prefix HEAD\n") + line("ref-prefix refs/heads/\n") + b"0000")
        for found in packets(refs):
            if found is not None and b" HEAD" in found:
                words = found.decode().split()
                target = next(word for word in words if word.startswith("symref-target:"))
                return words[0], target.partition(":")[2]
        raise Refused("there is no HEAD")

    def clone(self, *, depth: int = 0) -> None:
        """Fetch what HEAD names, and everything below it."""
        self.head, self.branch = self.refs()
        ask = line("command=fetch") + line("object-format=sha1") + b"0001" + line("ofs-delta\n")
        cut = line(f"deepen {depth}\n") if depth else b""
        said = self.ask("git-upload-pack", ask + cut + line(f"want {self.head}\n") + line("done\n") + b"0000")
        bands = packets(said)
        bands = bands[bands.index(b"packfile\n") + 1 :]
        if wrong := [band for band in bands if band and band[0] == 3]:
            raise Refused(wrong[0].decode(errors="replace"))
        file, commit, _ = self.objects.add_pack()
        file.write(b"".join(band[1:] for band in bands if band and band[0] == 1))
        commit()
        self.files()

    def files(self) -> dict[bytes, bytes]:
        """Return the files at the head, so that every object of it is looked at."""
        found: dict[bytes, bytes] = {}
        commit = self.objects[ObjectID(self.head.encode())]
        if not isinstance(commit, Commit):
            raise Refused("HEAD is no commit")
        stack = [(b"", commit.tree)]
        while stack:
            prefix, name = stack.pop()
            tree = self.objects[name]
            if not isinstance(tree, Tree):
                raise Refused(f"{name!r} is no tree")
            for entry in tree.items():
                item = self.objects[entry.sha]
                if isinstance(item, Tree):
                    stack.append((prefix + entry.path + b"/", entry.sha))
                elif isinstance(item, Blob):
                    found[prefix + entry.path] = item.data
        return found

    def commit(self, path: str, content: bytes, message: str) -> bytes:
        """Commit one more file in the root on top of the head; the objects that the server lacks, as a pack."""
        parent = self.objects[ObjectID(self.head.encode())]
        blob, made = Blob.from_string(content), Commit()
        tree = self.objects[parent.tree].copy()  # type: ignore[attr-defined]
        if not isinstance(tree, Tree):
            raise Refused("HEAD has no tree")
        tree.add(path.encode(), 0o100644, blob.id)
        made.tree = tree.id
        made.parents = [parent.id]
        made.author = made.committer = b"Thin <thin@example.invalid>"
        made.author_time = made.commit_time = 1_700_000_000
        made.author_timezone = made.commit_timezone = 0
        made.message = message.encode()
        fresh = [made, tree, blob]
        for one in fresh:
            self.objects.add_object(one)
        self.next = made.id.decode()
        return pack([(_KINDS[one.type_name], one.as_raw_string()) for one in fresh])

    def push(self, data: bytes) -> None:
        """Push what was committed last.

        Raises:
            Refused: It did not land.
        """
        self.ask("info/refs?service=git-receive-pack")
        command = f"{self.head} {self.next} {self.branch}\0 report-status object-format=sha1 agent=thin"
        said = self.ask("git-receive-pack", line(command) + b"0000" + data)
        if packets(said) != [b"unpack ok\n", f"ok {self.branch}\n".encode(), None]:
            raise Refused(repr(said))
        self.head = self.next
