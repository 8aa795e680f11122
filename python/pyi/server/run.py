"""Running the app: one process, until a signal."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

from pyi.errors import StorageError
from pyi.server.app import create_app
from pyi.server.connection import connections
from pyi.server.settings import Settings

__all__ = ["run"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_KEEP_ALIVE_S = 75
_BACKLOG = 4096


class _Server(uvicorn.Server):
    """One that ends with its work done after the first signal, and at once after the second."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when the first request can come."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the server runs; they are not raised again at its end."""
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called with the URL when the first request can come.

    Raises:
        StorageError: The address is taken, or the audit log cannot be written.
        PyiError: A repository cannot be opened.
    """
    app = create_app(settings)
    _allow_files()
    # Opened here too, so that what is wrong with a repository is said in one line.
    app.state.git.open()
    app.state.git.close()
    _log_to(settings.audit_log)
    config = uvicorn.Config(
        app,
        http=connections(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.stop_timeout,
        backlog=_BACKLOG,
    )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            listener.listen(_BACKLOG)
        except OSError as error:
            message = f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; choose another --port"
            raise StorageError(message, error.errno) from error
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        scheme = "https" if settings.certificate else "http"
        url = f"{scheme}://{host}:{listener.getsockname()[1]}"
        _Server(config, lambda: ready(url)).run([listener])


def _allow_files() -> None:
    """Have as many connections as the system lets this process have: each is a file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _log_to(path: str | None) -> None:
    """Write the audit log to `path`, and what goes wrong to standard error."""
    plain = logging.StreamHandler(sys.stderr)
    plain.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    server = logging.getLogger("pyi.server")
    server.addHandler(plain)
    audit = logging.getLogger("pyi.server.audit")
    audit.propagate = False
    if path is None:
        audit.setLevel(logging.WARNING)
        return
    try:
        handler = logging.StreamHandler(sys.stderr) if path == "-" else logging.FileHandler(path)
    except OSError as error:
        raise StorageError(f"cannot write the audit log {path}: {error.strerror}", error.errno) from error
    audit.addHandler(handler)
    audit.setLevel(logging.INFO)
