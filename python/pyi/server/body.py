"""Request bodies: perhaps compressed, never too long, never waited for too long."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from pyi.server.access import Refusal

__all__ = ["pieces", "whole"]

_PIECE_BYTES = 1 << 20


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
    total = 0
    stream = request.stream().__aiter__()
    while True:
        try:
            piece = await asyncio.wait_for(stream.__anext__(), timeout)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise Refusal(408, "the request did not go on in time") from None
        except ClientDisconnect:
            raise Refusal(400, "the request was cut short") from None
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


async def whole(request: Request, limit_bytes: int, timeout: float) -> bytes:
    """Return the body in one piece.

    Raises:
        Refusal: As `pieces`.
    """
    return b"".join([piece async for piece in pieces(request, limit_bytes, timeout)])
