"""Request bodies: perhaps compressed, never too long, never waited for too long, never too many in memory."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

from pyi.server.access import Refusal

__all__ = ["Held", "Memory", "pieces", "whole"]

_PIECE_BYTES = 1 << 20
_SLOWEST_BYTES_S = 100


class Held:
    """What one request has in memory."""

    def __init__(self, memory: Memory) -> None:
        """Hold nothing yet."""
        self._memory = memory
        self.bytes = 0

    def add(self, count: int) -> None:
        """Hold more.

        Raises:
            Refusal: All requests together would hold too much.
        """
        if self._memory.held_bytes + count > self._memory.limit_bytes:
            raise Refusal(503, "too many large requests at once; try again in a moment")
        self._memory.held_bytes += count
        self.bytes += count


class Memory:
    """How much of requests may be in memory at once. Used from one event loop."""

    def __init__(self, limit_bytes: int) -> None:
        """Allow so much."""
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Count what a request holds until the end of the block."""
        held = Held(self)
        try:
            yield held
        finally:
            self.held_bytes -= held.bytes


async def pieces(request: Request, limit_bytes: int, timeout: float) -> AsyncIterator[bytes]:
    """Yield the body, unpacked, in pieces of about a megabyte at most.

    Raises:
        Refusal: It is too long, too slow, cut short, or damaged.

    Cost: O(bytes); memory: two pieces.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise Refusal(415, f"content encoding {encoding!r} is not known; use gzip or none")
    unpack = None if encoding == "identity" else zlib.decompressobj(47)
    total = came = 0
    waited_s = 0.0
    stream = request.stream().__aiter__()
    while True:
        begin = time.monotonic()
        try:
            piece = await asyncio.wait_for(stream.__anext__(), timeout)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise Refusal(408, "the request did not go on in time") from None
        except ClientDisconnect:
            raise Refusal(400, "the request was cut short") from None
        came += len(piece)
        waited_s += time.monotonic() - begin
        if came < _SLOWEST_BYTES_S * (waited_s - timeout):
            raise Refusal(408, f"the request came at less than {_SLOWEST_BYTES_S} bytes a second")
        while piece:
            if unpack is None:
                out, piece = piece, b""
            else:
                try:
                    out = unpack.decompress(piece, _PIECE_BYTES)
                except zlib.error as error:
                    raise Refusal(400, f"the body is no valid gzip: {error}") from error
                piece = unpack.unconsumed_tail
                if unpack.eof:
                    piece = b""
            total += len(out)
            if total > limit_bytes:
                raise Refusal(413, f"the request is longer than {limit_bytes} bytes")
            if out:
                yield out
    if unpack is not None and not unpack.eof:
        raise Refusal(400, "the body ends in the middle of its gzip")


async def whole(request: Request, limit_bytes: int, timeout: float, held: Held) -> bytes:
    """Return the body in one piece.

    Raises:
        Refusal: As `pieces`; there is no memory left for it.
    """
    found = []
    async for piece in pieces(request, limit_bytes, timeout):
        held.add(len(piece))
        found.append(piece)
    return b"".join(found)
