"""Git over SSH: git-upload-pack and git-receive-pack and nothing else. No shell, no forwarding, no files.

Keys and certificates are those of an `authorized_keys` file, which is read for every connection. What a key may do
stands in its options, as a token's scopes do::

    ssh-ed25519 AAAA...                                            everything
    pyi-read,pyi-repository="project" ssh-ed25519 AAAA...          read one repository
    pyi-agent="agent-*" ssh-ed25519 AAAA...                        the workspaces of some agents
    cert-authority,pyi-read ssh-ed25519 AAAA...                    whoever this authority signed for
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncssh

from pyi._native import GitRemote
from pyi.errors import NotFound, PyiError, StorageError
from pyi.git.address import parse
from pyi.git.packend import PackEnd
from pyi.server.access import NOTHING_THERE, Refusal
from pyi.server.app import GitApp, protocol_version
from pyi.server.tokens import Token

__all__ = ["listen"]

_LOG = logging.getLogger("pyi.server")
_SERVICES = ("git-upload-pack", "git-receive-pack")
_FLUSH = b"0000"
_NAK = b"0008NAK\n"
_DONE = b"0009done\n"
_PIECE_BYTES = 1 << 16

_Process = asyncssh.SSHServerProcess[bytes]


class _Keys(asyncssh.SSHServer):
    """Lets keys in."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember the connection."""
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        """Read the keys anew; without any nobody gets in."""
        try:
            if self._connection is not None:
                self._connection.set_authorized_keys(self._path)
        except (OSError, ValueError) as error:
            _LOG.warning("no keys in %s: %s", self._path, error)
        return True


@asynccontextmanager
async def listen(app: GitApp) -> AsyncIterator[int]:
    """Serve until the end of the block; gives the port.

    Raises:
        StorageError: The address is taken, or the host's key cannot be read or made.
    """
    settings = app.settings
    try:
        server = await asyncssh.listen(
            settings.host,
            settings.ssh_port or 0,
            server_factory=partial(_Keys, str(settings.authorized_keys)),
            server_host_keys=[_host_key(Path(str(settings.host_key)))],
            process_factory=partial(_handle, app),
            encoding=None,
            line_editor=False,
            allow_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
            password_auth=False,
            kbdint_auth=False,
            gss_host=None,
            login_timeout=settings.read_timeout,
        )
    except OSError as error:
        raise StorageError(
            f"cannot listen for SSH on port {settings.ssh_port}: {error.strerror}", error.errno
        ) from error
    try:
        yield server.get_port()
    finally:
        server.close()
        await server.wait_closed()


def _host_key(path: Path) -> asyncssh.SSHKey:
    """Return the host's key, made now if there is none."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = asyncssh.generate_private_key("ssh-ed25519").export_private_key()
            fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(made)
            os.replace(fresh, path)
        return asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError) as error:
        raise StorageError(f"cannot use {path} as the host's key: {error}") from error


def _grant(process: _Process) -> Token:
    """Return what the key of this connection may do, as if it were a token."""
    connection = process.get_extra_info("connection")

    def option(name: str) -> str | None:
        found = connection.get_key_option(name)
        return str(found[0]) if isinstance(found, list) and found else None

    return Token(
        id=f"ssh:{connection.get_extra_info('username')}",
        sha256="",
        repository=option("pyi-repository") or "*",
        agent=option("pyi-agent"),
        write=not connection.get_key_option("pyi-read", False),
    )


async def _handle(app: GitApp, process: _Process) -> None:
    """Answer one command."""
    started = time.perf_counter()
    peer = process.get_extra_info("peername")
    entry: dict[str, object] = {"client": peer[0] if peer else "?", "transport": "ssh"}
    app.metrics.in_flight += 1
    session = _Session(app, process)
    status = 200
    try:
        app.rate.check(str(entry["client"]))
        await session.answer(entry)
    except Refusal as refusal:
        status = refusal.status
        session.refuse(refusal.text)
    except NotFound:
        status = 404
        session.refuse(NOTHING_THERE)
    except PyiError as error:
        status = 400
        session.refuse(str(error))
    except (asyncio.IncompleteReadError, TimeoutError, asyncssh.Error, ConnectionError):
        status = 400
        entry["outcome"] = "cut short"
    finally:
        app.finished(entry, status, started, session.sent_bytes)
        process.exit(0 if status == 200 else 128)


class _Session:
    """One command of a client."""

    def __init__(self, app: GitApp, process: _Process) -> None:
        self._app = app
        self._process = process
        self.sent_bytes = 0

    async def answer(self, entry: dict[str, object]) -> None:
        """Do what the command says.

        Raises:
            Refusal: It is none of ours, or the key may not.
            PyiError: Something is wrong with what was asked.
        """
        try:
            words = shlex.split(self._process.command or "")
        except ValueError:  # a quote without its other half
            words = []
        if words[:1] == ["git"] and len(words) == 3:
            words = [f"git-{words[1]}", words[2]]
        if len(words) != 2 or words[0] not in _SERVICES:
            raise Refusal(400, "only git-upload-pack and git-receive-pack are served here, no shell")
        service, path = words
        found = parse(f"/{path.strip('/')}/.")
        grant = _grant(self._process)
        write = service == "git-receive-pack"
        if found is None or not grant.reaches(found[0]):
            await self._app.look_for_nothing()
            raise Refusal(404, NOTHING_THERE)
        address = found[0]
        entry.update(service=service, address=str(address), token=grant.id)
        if write and not grant.write:
            raise Refusal(403, "the key may read and not write")
        remote = await self._app.remote(address)
        if write and address.read_only:
            raise Refusal(403, f"{address} is read-only: push to the repository or to a workspace")
        version = protocol_version(str(self._process.env.get("GIT_PROTOCOL", "")))
        await self._write(await self._app.work(partial(remote.advertise, service, version, http=False)))
        if write:
            await self._push(remote, entry)
        elif version == 2:
            while (request := await self._message()) not in (b"", _FLUSH):
                await self._upload(remote, 2, request, entry)
        else:
            await self._fetch(remote, version, entry)

    def refuse(self, text: str) -> None:
        """Say no, as a git server does."""
        line = f"ERR {text}".encode()
        self._process.stdout.write(f"{len(line) + 4:04x}".encode() + line)

    async def _write(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        self._process.stdout.write(data)
        await self._process.stdout.drain()

    async def _packet(self) -> bytes:
        """Read one packet, its length included; nothing at the end of the input."""
        timeout = self._app.settings.read_timeout
        try:
            head = await asyncio.wait_for(self._process.stdin.readexactly(4), timeout)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return b""
        try:
            length = int(head, 16)
        except ValueError:
            raise Refusal(400, "malformed packet") from None
        if length <= 4:
            return head
        return head + await asyncio.wait_for(self._process.stdin.readexactly(length - 4), timeout)

    async def _message(self) -> bytes:
        """Read packets up to a flush; nothing at the end of the input."""
        limit, message = self._app.settings.max_request_bytes, bytearray()
        while True:
            packet = await self._packet()
            message += packet
            if len(message) > limit:
                raise Refusal(413, f"the request is longer than {limit} bytes")
            if packet in (b"", _FLUSH):
                return bytes(message)

    async def _upload(
        self, remote: GitRemote, version: int, request: bytes, entry: dict[str, object], skip: bytes = b""
    ) -> None:
        answer = await self._app.work(partial(remote.upload, version, request))
        while (piece := await self._app.work(partial(next, answer, None))) is not None:
            await self._write(piece.removeprefix(skip))
            skip = b""
        if answer.error:
            entry["error"] = answer.error

    async def _fetch(self, remote: GitRemote, version: int, entry: dict[str, object]) -> None:
        """Protocol v0 and v1 on a connection that stays open.

        Where history is cut is said before anything else. What the client has is acknowledged when it is done.
        """
        wants = await self._message()
        if wants in (b"", _FLUSH):
            return
        cut = b""
        if b"deepen" in wants:
            answer = await self._app.work(partial(remote.upload, version, wants))
            cut = b"".join(answer).removesuffix(_NAK)
            await self._write(cut)
        haves, limit = bytearray(), self._app.settings.max_request_bytes
        while True:
            packet = await self._packet()
            if packet == b"":
                return
            if packet in (_DONE, b"0008done"):
                break
            if packet == _FLUSH:
                await self._write(_NAK)
            else:
                haves += packet
                if len(haves) > limit:
                    raise Refusal(413, f"the request is longer than {limit} bytes")
        await self._upload(remote, version, wants + bytes(haves) + _DONE, entry, cut)

    async def _push(self, remote: GitRemote, entry: dict[str, object]) -> None:
        settings = self._app.settings
        commands = await self._message()
        if commands in (b"", _FLUSH):
            return
        push = await self._app.work(
            partial(remote.receive, max_object_bytes=settings.max_object_bytes, max_bytes=settings.max_pack_bytes)
        )
        await self._app.work(partial(push.feed, commands))
        if b"push-options" in commands.partition(b"\0")[2].partition(b"\n")[0]:
            await self._app.work(partial(push.feed, await self._message()))
        name_bytes = 20 if remote.object_format == "sha1" else 32
        if _brings_a_pack(commands, name_bytes * 2):
            end = PackEnd(name_bytes)
            while not end.over:
                piece = await asyncio.wait_for(self._process.stdin.read(_PIECE_BYTES), settings.read_timeout)
                if not piece:
                    break
                await self._app.work(partial(push.feed, piece))
                await self._app.work(partial(end.feed, piece))
        said = await self._app.work(push.finish)
        entry["refs"] = push.moved
        await self._write(said)


def _brings_a_pack(commands: bytes, digits: int) -> bool:
    """Return whether one of the commands is no deletion: a pack follows then."""
    at = 0
    while at + 4 <= len(commands):
        length = int(commands[at : at + 4], 16)
        if length < 4:
            break
        line = commands[at + 4 : at + length]
        new = line[digits + 1 : 2 * digits + 1]
        if not line.startswith(b"shallow ") and new != b"0" * digits:
            return True
        at += length
    return False
