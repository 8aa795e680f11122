"""Where a pack ends that arrives on a connection which stays open (SSH): its entries are walked over as they come.

Only the shape is looked at; whoever reads the pack afterwards checks the rest.
"""

from __future__ import annotations

import zlib

from pyi.errors import GitError

__all__ = ["PackEnd"]

_HEADER_BYTES = 12
_SLICE_BYTES = 8192
_OUT_BYTES = 1 << 18
_OFS_DELTA, _REF_DELTA = 6, 7


class PackEnd:
    """A pack that is arriving."""

    def __init__(self, name_bytes: int) -> None:
        """Expect object names of `name_bytes`."""
        self._name_bytes = name_bytes
        self._held = bytearray()
        self._at = 0
        self._left = -1
        self._stream: zlib._Decompress | None = None
        self.over = False

    def feed(self, data: bytes) -> bool:
        """Take in what arrived; whether the pack is over.

        Raises:
            GitError: It is no pack.

        Cost: O(what it unfolds to).
        """
        self._held += data
        while not self.over and self._step():
            pass
        del self._held[: self._at]
        self._at = 0
        return self.over

    def _step(self) -> bool:
        """Go on by one thing; False if more bytes have to come first."""
        if self._stream is not None:
            return self._inflate(self._stream)
        have = len(self._held) - self._at
        if self._left < 0:
            if have < _HEADER_BYTES:
                return False
            if self._held[self._at : self._at + 4] != b"PACK":
                raise GitError("what follows the commands is no pack")
            self._left = int.from_bytes(self._held[self._at + 8 : self._at + _HEADER_BYTES], "big")
            self._at += _HEADER_BYTES
        elif self._left == 0:
            if have < self._name_bytes:
                return False
            self._at += self._name_bytes
            self.over = True
        else:
            length = self._entry_header()
            if length is None:
                return False
            self._at += length
            self._stream = zlib.decompressobj()
        return True

    def _entry_header(self) -> int | None:
        """Return the length of the header of the entry that begins here, if it is all there."""
        first = self._number(self._at)
        if first is None:
            return None
        kind = self._held[self._at] >> 4 & 7
        if kind == _REF_DELTA:
            end = first + self._name_bytes
            return end - self._at if len(self._held) >= end else None
        if kind == _OFS_DELTA:
            end_of_distance = self._number(first)
            return None if end_of_distance is None else end_of_distance - self._at
        if kind in (0, 5):
            raise GitError("the pack has an entry of an unknown kind")
        return first - self._at

    def _number(self, at: int) -> int | None:
        """Return where a number ends whose bytes go on as long as their top bit is set."""
        for length in range(12):
            if at + length >= len(self._held):
                return None
            if not self._held[at + length] & 0x80:
                return at + length + 1
        raise GitError("the pack has a malformed entry")

    def _inflate(self, stream: zlib._Decompress) -> bool:
        piece = bytes(self._held[self._at : self._at + _SLICE_BYTES])
        if not piece:
            return False
        try:
            stream.decompress(piece, _OUT_BYTES)
        except zlib.error as error:
            raise GitError(f"the pack is damaged: {error}") from error
        # At the end of a stream the tail can repeat what is unused.
        self._at += len(piece) - len(stream.unused_data if stream.eof else stream.unconsumed_tail)
        if stream.eof:
            self._stream = None
            self._left -= 1
        return True
