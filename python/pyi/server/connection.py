"""HTTP connections that are not held for nothing.

uvicorn waits for ever for the head of a request, and for a client that does not read its answer. Here the first has to
be whole within `head_timeout` seconds after connecting or after its first byte, and of the second something has to be
taken every `read_timeout` seconds. A connection that rests between two requests is uvicorn's keep-alive's.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pyi.server.settings import Settings

__all__ = ["connections"]

_LATE = b"the head of the request did not come in time\n"
_SAY_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_LATE), _LATE)
)


def connections(settings: Settings) -> type[asyncio.Protocol]:
    """Return the protocol of a server with these settings."""
    return type("Connection", (_Connection,), {"head_s": settings.head_timeout, "stall_s": settings.read_timeout})


class _Connection(HttpToolsProtocol):
    """One connection."""

    head_s = 0.0
    stall_s = 0.0
    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        _end(self._head)
        _end(self._stall)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes. Behind an answer they are the next head, or the rest of a body that was refused."""
        # uvicorn has no cycle before the first head, whatever the type says.
        if self._head is None and getattr(self.cycle, "response_complete", False):
            self._wait_for_head()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        _end(self._head)
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for nothing: the rest of what was refused is over."""
        _end(self._head)
        self._head = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        """See to it that the answer is read."""
        super().pause_writing()
        if self._stall is None:
            self._stall = self.loop.call_later(self.stall_s, self._look, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The answer is read."""
        _end(self._stall)
        self._stall = None
        super().resume_writing()

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(self.head_s, self._give_up)

    def _give_up(self) -> None:
        self._head = None
        if not self.transport.is_closing():
            self.transport.write(_SAY_LATE)
            self.transport.close()

    def _look(self, left_bytes: int) -> None:
        """Hang up if nothing of the answer was taken since the last look."""
        self._stall = None
        now_bytes = self.transport.get_write_buffer_size()
        if self.transport.is_closing() and now_bytes == 0:
            return
        if now_bytes >= left_bytes:
            self.transport.abort()
        else:
            self._stall = self.loop.call_later(self.stall_s, self._look, now_bytes)


def _end(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
