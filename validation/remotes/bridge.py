"""git's own tests at our server: programs of git are replaced by ones that ask here, and here asks PYI.

`git-http-backend` is answered by the ASGI app; `git-upload-pack` and `git-receive-pack`, which git starts for a path as
it starts them over SSH, by what answers SSH.

The tests make repositories on disk and look into them after a push. So a repository that is asked for is imported into
a store whenever its refs are others than before, the request is answered by PYI's server from that store, and what a
push moved is fetched back into the repository, by git from PYI, before the client hears of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

import pyi
from pyi.server.app import GitApp, create_app
from pyi.server.settings import Settings
from pyi.server.ssh import _handle

__all__ = ["CGI", "PIPE", "Ports", "bridge"]

PIPE = """#!/usr/bin/python3 -SE
import json, os, select, socket, sys
service = os.path.basename(sys.argv[0])
words = [word for word in sys.argv[1:] if not word.startswith("--strict") and not word.startswith("--timeout")]
places = [words[-1] + end for end in ("/.git", "", ".git/.git", ".git")] if words else []
place = next((place for place in places if os.path.isfile(place + "/HEAD")), None)
if place is None or len(words) != 1:
    os.execv(sys.argv[0] + ".kept", sys.argv)
connection = socket.create_connection(("127.0.0.1", @pipe@))
ask = {"service": service, "place": os.path.realpath(place), "protocol": os.environ.get("GIT_PROTOCOL", "")}
connection.sendall(json.dumps(ask).encode() + b"\\n")
sources = [0, connection]
while True:
    ready, _, _ = select.select(sources, [], [])
    if connection in ready:
        piece = connection.recv(1 << 16)
        if not piece:
            break
        at = 0
        while at < len(piece):
            at += os.write(1, piece[at:])
    if 0 in ready:
        piece = os.read(0, 1 << 16)
        if piece:
            connection.sendall(piece)
        else:
            connection.shutdown(socket.SHUT_WR)
            sources.remove(0)
"""

CGI = """#!/usr/bin/python3 -SE
import http.client, os, re, sys
take = os.environ.get
path = take("PATH_TRANSLATED") or take("GIT_PROJECT_ROOT", "") + take("PATH_INFO", "")
found = re.fullmatch(r"(.*)/(info/refs|git-upload-pack|git-receive-pack|HEAD|objects/.*)", path)
place, what = found.groups() if found else (path, "")
method = take("REQUEST_METHOD", "GET")
headers = {"X-Repository": os.path.realpath(place), "X-User": take("REMOTE_USER", ""), "Connection": "close"}
headers["X-Export"] = "1" if "GIT_HTTP_EXPORT_ALL" in os.environ else ""
for name, value in (("Content-Type", take("CONTENT_TYPE")), ("Content-Encoding", take("HTTP_CONTENT_ENCODING")),
                    ("Git-Protocol", take("GIT_PROTOCOL", take("HTTP_GIT_PROTOCOL")))):
    if value:
        headers[name] = value
body = None
if method == "POST":
    length = take("CONTENT_LENGTH")
    body = iter(lambda: sys.stdin.buffer.read1(1 << 16), b"")
    if length:
        headers["Content-Length"] = length
        body = sys.stdin.buffer.read(int(length))
connection = http.client.HTTPConnection("127.0.0.1", @port@, timeout=300)
query = take("QUERY_STRING", "")
connection.request(method, "/_/it.git/" + what + ("?" + query if query else ""), body, headers)
answer = connection.getresponse()
out = sys.stdout.buffer
if answer.status != 200:
    out.write(f"Status: {answer.status} {answer.reason}\\r\\n".encode())
for name, value in answer.getheaders():
    if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
        out.write(f"{name}: {value}\\r\\n".encode())
out.write(b"\\r\\n")
while piece := answer.read1(1 << 16):
    out.write(piece)
    out.flush()
"""


@dataclass(frozen=True)
class Ports:
    """Where the programs ask."""

    cgi: int
    pipe: int


class _Process:
    """A command over SSH, as far as the server looks at it."""

    def __init__(self, ask: dict[str, str], stdin: asyncio.StreamReader, stdout: asyncio.StreamWriter) -> None:
        self.command = f"{ask['service']} 'it.git'"
        self.env = {"GIT_PROTOCOL": ask["protocol"]}
        self.stdin = stdin
        self.stdout = self
        self._out = stdout
        self._holds = ask["service"] == "git-receive-pack"
        self._began = False
        self.held = bytearray()

    def write(self, data: bytes) -> None:
        """Send it; what follows the first words of a push is held until the push is brought back."""
        if self._holds and self._began:
            self.held += data
        else:
            self._out.write(data)
        self._began = True

    async def drain(self) -> None:
        """Wait until it is sent."""
        await self._out.drain()

    def get_extra_info(self, name: str) -> Any:
        """Return nothing in particular."""
        return self if name == "connection" else None

    def get_key_option(self, name: str, default: object = None) -> object:
        """Return no option."""
        return default

    def exit(self, status: int) -> None:
        """End; the program that asks cannot be told how."""


@dataclass
class _Mirror:
    """A repository on disk, and the store that it was imported into last."""

    seen: bytes
    store: pyi.Repository
    git: GitApp
    app: Any
    key: str


class _Bridge:
    """The ASGI app."""

    def __init__(self, scratch: Path, user: int) -> None:
        self._scratch = scratch
        self._user = user
        self._mirrors: dict[str, _Mirror] = {}
        self._by_key: dict[str, _Mirror] = {}
        self._lock = threading.Lock()
        self._count = 0
        self.port = 0
        self.pipe_port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        if scope["type"] == "lifespan":
            await receive()
            server = await asyncio.start_server(self._pipe, "127.0.0.1", 0)
            self.pipe_port = server.sockets[0].getsockname()[1]
            await send({"type": "lifespan.startup.complete"})
            await receive()
            server.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        _, key, rest = scope["path"].split("/", 2)
        place = headers.get("x-repository")
        if place is None:
            await self._by_key[key].app({**scope, "path": f"/{rest}"}, receive, send)
            return
        try:
            status, mirror = await asyncio.to_thread(self._find, place, headers, scope)
        except pyi.PyiError as error:
            print(f"bridge: {place}: {error}", flush=True)
            status, mirror = 500, None
        if mirror is None:
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        forwarded = {**scope, "path": f"/{rest}"}
        if scope["method"] == "POST" and rest.endswith("git-receive-pack"):
            held: list[Any] = []

            async def hold(message: Any) -> None:
                held.append(message)

            await mirror.app(forwarded, receive, hold)
            await asyncio.to_thread(self._bring_back, place, mirror)
            for message in held:
                await send(message)
        else:
            await mirror.app(forwarded, receive, send)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one program."""
        ask = json.loads(await reader.readline())
        try:
            mirror = await asyncio.to_thread(self._current, ask["place"])
            process = _Process(ask, reader, writer)
            await _handle(mirror.git, process)  # type: ignore[arg-type]
            if ask["service"] == "git-receive-pack":
                await asyncio.to_thread(self._bring_back, ask["place"], mirror)
            writer.write(bytes(process.held))
            await writer.drain()
        except (pyi.PyiError, ConnectionError) as error:
            print(f"bridge: {ask['place']}: {error}", flush=True)
        finally:
            writer.close()

    def _git(self, place: str, *arguments: str) -> bytes:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {"GIT_DIR": place, "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", *arguments], env=environment, user=self._user, group=self._user, extra_groups=[],
            capture_output=True, check=False, cwd="/",
        )  # fmt: skip
        return done.stdout

    def _find(self, place: str, headers: dict[str, str], scope: Any) -> tuple[int, _Mirror | None]:
        """Return the mirror of a repository, or why there is none: what git's program decides before it serves."""
        inner = Path(place) / ".git"
        place = str(inner) if inner.is_dir() else place
        if not (Path(place) / "HEAD").exists():
            return 404, None
        if not headers.get("x-export") and not (Path(place) / "git-daemon-export-ok").exists():
            return 404, None
        services = self._git(place, "config", "--type=bool", "--get-regexp", r"^http\.(receive|upload)pack$")
        config = dict(line.split(" ", 1) for line in services.decode().splitlines())
        asked = scope["query_string"].decode() + scope["path"]
        if "git-receive-pack" in asked and config.get("http.receivepack", headers.get("x-user") or "false") == "false":
            return 403, None
        if "git-upload-pack" in asked and config.get("http.uploadpack") == "false":
            return 403, None
        return 200, self._current(place)

    def _current(self, place: str) -> _Mirror:
        seen = self._git(place, "for-each-ref") + Path(place, "HEAD").read_bytes()
        with self._lock:
            known = self._mirrors.get(place)
            if known is None or known.seen != seen:
                known = self._import(place, seen)
            return known

    def _import(self, place: str, seen: bytes) -> _Mirror:
        self._count += 1
        key = str(self._count)
        store = pyi.open(self._scratch / f"store{key}")
        for line in self._git(place, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads").splitlines():
            name, _, ref = line.decode().partition(" ")
            store.import_git(place, rev=name, branch=ref.removeprefix("refs/heads/"))
        app = create_app(Settings(anonymous="write"), {"it": store})
        git: GitApp = app.state.git
        git.open()
        mirror = _Mirror(seen, store, git, app, key)
        self._mirrors[place] = self._by_key[key] = mirror
        return mirror

    def _bring_back(self, place: str, mirror: _Mirror) -> None:
        inner = Path(place) / ".git"
        self._git(
            str(inner) if inner.is_dir() else place, "fetch", "--quiet", "--prune", "--no-write-fetch-head",
            "--update-head-ok", "--no-auto-maintenance", "--no-tags", f"http://127.0.0.1:{self.port}/{mirror.key}/it.git",
            "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*",
        )  # fmt: skip


@contextmanager
def bridge(scratch: Path, user: int) -> Iterator[Ports]:
    """Run it; gives its ports. What is written into repositories is written as `user`."""
    app = _Bridge(scratch, user)
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="on", log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    app.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Ports(app.port, app.pipe_port)
    finally:
        server.should_exit = True
        thread.join(20)
