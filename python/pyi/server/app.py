"""The ASGI app: git's smart HTTP over repositories of this machine, health and metrics.

It can be mounted in another app: ``Mount("/git", create_app(settings))``. Work runs in threads, so that the event loop
only moves bytes.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pyi._native import GitRemote, GitServer, Repository, UploadAnswer
from pyi._native import open as open_repository
from pyi.errors import InvalidArgument, NotFound, PyiError
from pyi.git.address import Address, parse
from pyi.server.access import NOTHING_THERE, Access, RateLimit, Refusal
from pyi.server.body import Memory, pieces, whole
from pyi.server.metrics import Metrics
from pyi.server.settings import Settings
from pyi.server.tokens import without_secrets

__all__ = ["GitApp", "create_app", "protocol_version"]

_T = TypeVar("_T")
_LOG = logging.getLogger("pyi.server")
_AUDIT = logging.getLogger("pyi.server.audit")
_UPLOAD = "git-upload-pack"
_RECEIVE = "git-receive-pack"
_REQUESTS_IN_MEMORY = 4
"""So many requests of the largest size may be in memory at once."""
_NOBODY = "no/such/workspace"
"""No workspace has this name."""
_NO_CACHE = {
    "expires": "Fri, 01 Jan 1980 00:00:00 GMT",
    "pragma": "no-cache",
    "cache-control": "no-cache, max-age=0, must-revalidate",
}


class GitApp:
    """Answers requests about repositories."""

    def __init__(self, settings: Settings, repositories: Mapping[str, Repository] | None = None) -> None:
        """Serve what the settings name; `repositories` are open ones that are served too, and stay open."""
        self.settings = settings.check()
        self.metrics = Metrics()
        self._access = Access(settings)
        self.rate = RateLimit(settings.requests_per_second)
        self._given = dict(repositories or {})
        self._opened: list[Repository] = []
        self._servers: dict[str, GitServer] = {}
        self._limiter: CapacityLimiter | None = None
        self._memory = Memory(_REQUESTS_IN_MEMORY * settings.max_request_bytes)
        self.ssh_port: int | None = None

    def open(self) -> None:
        """Open the repositories.

        Raises:
            PyiError: One of them cannot be opened; none is open then.
        """
        try:
            for name, path in self.settings.repositories.items():
                repository = open_repository(path, create=False)
                self._opened.append(repository)
                self._servers[name] = GitServer(repository)
        except PyiError:
            self.close()
            raise
        self._servers.update((name, GitServer(repository)) for name, repository in self._given.items())

    def close(self) -> None:
        """Close what `open` opened."""
        self._servers.clear()
        while self._opened:
            self._opened.pop().close()

    async def work(self, call: Callable[[], _T]) -> _T:
        """Run a call that takes a while in a thread; so many at once as the settings say."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self.settings.threads)
        return await to_thread.run_sync(call, limiter=self._limiter)

    # --- requests -----------------------------------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        """Say that the server answers, and that its stores do."""
        try:
            for server in self._servers.values():
                await self.work(server.view)
        except PyiError as error:
            return PlainTextResponse(f"{error.kind}\n", 503)
        return PlainTextResponse("ok\n")

    async def show_metrics(self, request: Request) -> Response:
        """Return the counters."""
        return PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def git(self, request: Request) -> Response:
        """Answer a request of a git client."""
        started = time.perf_counter()
        entry: dict[str, object] = {"client": request.client.host if request.client else "?"}
        self.metrics.in_flight += 1
        try:
            self.rate.check(str(entry["client"]))
            response = await self._answer(request, entry)
        except Refusal as refusal:
            response = _refuse(refusal)
        except NotFound:
            response = _refuse(Refusal(404, NOTHING_THERE))
        except InvalidArgument as error:
            response = _refuse(Refusal(400, str(error)))
        except PyiError as error:
            _LOG.warning("%s", without_secrets(f"{request.url.path}: {error}"))
            response = _refuse(Refusal(500, str(error)))
        except BaseException:
            self.metrics.in_flight -= 1
            raise
        if isinstance(response, StreamingResponse):
            response.body_iterator = self._counted(response.body_iterator, response.status_code, entry, started)
        else:
            self.finished(entry, response.status_code, started, len(response.body))
        return response

    async def _counted(
        self, inner: AsyncIterable[str | bytes | memoryview], status: int, entry: dict[str, object], started: float
    ) -> AsyncIterator[str | bytes | memoryview]:
        sent = 0
        entry["outcome"] = "cut short"
        try:
            async for piece in inner:
                sent += len(piece)
                yield piece
            entry.pop("outcome")
        finally:
            self.finished(entry, status, started, sent)

    def finished(self, entry: dict[str, object], status: int, started: float, sent_bytes: int) -> None:
        """Count a request that was begun, and write it down."""
        seconds = time.perf_counter() - started
        self.metrics.in_flight -= 1
        self.metrics.finished(str(entry.get("service", "none")), status, seconds, sent_bytes)
        if _AUDIT.isEnabledFor(logging.INFO):
            entry.update(time=round(time.time(), 3), status=status, ms=round(seconds * 1000, 3), sent_bytes=sent_bytes)
            _AUDIT.info("%s", without_secrets(json.dumps(entry, default=str)))

    async def _answer(self, request: Request, entry: dict[str, object]) -> Response:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        found = parse(path)
        service = None
        if found is not None:
            asked = found[1]
            if request.method == "POST" and asked in (_UPLOAD, _RECEIVE):
                service = asked
            elif request.method == "GET" and asked == "info/refs":
                service = request.query_params.get("service")
        address = found[0] if found and service in (_UPLOAD, _RECEIVE) else None
        write = service == _RECEIVE
        try:
            token = self._access.check(request.headers.get("authorization"), address, write=write)
        except Refusal as refusal:
            if refusal.status == 404 and address is not None:
                await self.look_for_nothing()
            raise
        if address is None or service is None:
            raise Refusal(404, "this is a smart server: clone a repository's address")
        entry.update(service=service, address=str(address), token=token.id if token else None)
        remote = await self.remote(address)
        if write and address.read_only:
            raise Refusal(403, f"{address} is read-only: push to the repository or to a workspace")
        version = protocol_version(request.headers.get("git-protocol", ""))
        if request.method == "GET":
            said = await self.work(partial(remote.advertise, service, version))
            return Response(said, media_type=f"application/x-{service}-advertisement", headers=_NO_CACHE)
        if request.headers.get("content-type") != f"application/x-{service}-request":
            raise Refusal(415, f"the content type of this request is application/x-{service}-request")
        media_type = f"application/x-{service}-result"
        if write:
            return await self._push(request, remote, entry, media_type)
        with self._memory.hold() as held:
            body = await whole(request, self.settings.max_request_bytes, self.settings.read_timeout, held)
            answer = await self.work(partial(remote.upload, version, body))
            del body
        return StreamingResponse(self._pieces(answer, entry), media_type=media_type, headers=_NO_CACHE)

    async def remote(self, address: Address) -> GitRemote:
        """Return what is at an address.

        Raises:
            Refusal: There is no such repository.
            NotFound: There is no such workspace, superposition or checkpoint.
        """
        server = self._servers.get(address.repository)
        if server is None:
            await self.look_for_nothing()
            raise Refusal(404, NOTHING_THERE)
        return await self.work(partial(server.view, address.kind, address.name))

    async def look_for_nothing(self) -> None:
        """Spend what it takes to find out that there is no such workspace, so that no refusal is quicker than that."""
        for server in self._servers.values():
            with suppress(PyiError):
                await self.work(partial(server.view, "workspace", _NOBODY))
            break

    async def _pieces(self, answer: UploadAnswer, entry: dict[str, object]) -> AsyncIterator[bytes]:
        while True:
            piece = await self.work(partial(next, answer, None))
            if piece is None:
                break
            yield piece
        if answer.error:
            entry["error"] = answer.error

    async def _push(self, request: Request, remote: GitRemote, entry: dict[str, object], media_type: str) -> Response:
        push = await self.work(
            partial(
                remote.receive, max_object_bytes=self.settings.max_object_bytes, max_bytes=self.settings.max_pack_bytes
            )
        )
        async for piece in pieces(request, self.settings.max_pack_bytes, self.settings.read_timeout):
            await self.work(partial(push.feed, piece))
        said = await self.work(push.finish)
        entry["refs"] = push.moved
        return Response(said, media_type=media_type, headers=_NO_CACHE)


def protocol_version(header: str) -> int:
    """Return the highest version of the protocol that a client speaks."""
    versions = [part.removeprefix("version=") for part in header.split(":") if part.startswith("version=")]
    return max((int(version) for version in versions if version in ("0", "1", "2")), default=0)


def _refuse(refusal: Refusal) -> Response:
    headers = dict(_NO_CACHE)
    if refusal.status == 401:
        headers["www-authenticate"] = 'Basic realm="pyi", charset="UTF-8"'
    if refusal.status in (429, 503):
        headers["retry-after"] = "1"
    if refusal.status == 408:
        headers["connection"] = "close"
    return PlainTextResponse(refusal.text + "\n", refusal.status, headers)


def create_app(settings: Settings, repositories: Mapping[str, Repository] | None = None) -> Starlette:
    """Return the app; its lifespan opens and closes the repositories that the settings name.

    Raises:
        InvalidArgument: A setting makes no sense.
    """
    git = GitApp(settings, repositories)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        git.open()
        try:
            if settings.ssh_port is None:
                yield
                return
            from pyi.server.ssh import listen

            async with listen(git) as port:
                git.ssh_port = port
                yield
        finally:
            git.close()

    app = Starlette(
        routes=[
            Route("/healthz", git.health),
            Route("/metrics", git.show_metrics),
            Route("/{path:path}", git.git, methods=["GET", "POST"]),
        ],
        lifespan=lifespan,
    )
    app.state.git = git
    return app
