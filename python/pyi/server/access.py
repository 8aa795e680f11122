"""Who is asking, and whether they may.

401 for who is nobody, 404 for what is none of their business, 403 for what they may only read.
"""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass

from pyi.git.address import Address
from pyi.server.settings import Settings
from pyi.server.tokens import Token, TokenFile

__all__ = ["NOTHING_THERE", "Access", "RateLimit", "Refusal"]

NOTHING_THERE = "there is no such repository, or it is out of reach for who asks"
"""The same for what does not exist and what is somebody else's."""

_BURST_S = 10.0
_CLIENTS_MAX = 10_000


@dataclass
class Refusal(Exception):
    """An answer that is no."""

    status: int
    text: str


class Access:
    """Decides."""

    def __init__(self, settings: Settings) -> None:
        """Follow these settings."""
        self._anonymous = settings.anonymous
        self._tokens = TokenFile(settings.tokens) if settings.tokens else None

    def check(self, authorization: str | None, address: Address | None, *, write: bool) -> Token | None:
        """Return the token of who may do this, or None for an anonymous who may.

        Raises:
            Refusal: They may not.

        Cost: a stat of the file of tokens.
        """
        if authorization:
            token = self._token(authorization)
            if token is None:
                raise Refusal(401, "the token is wrong, expired or revoked")
            if address is None or not token.reaches(address):
                raise Refusal(404, NOTHING_THERE)
            if write and not token.write:
                raise Refusal(403, "the token may read and not write")
            return token
        if self._anonymous == "write" or (self._anonymous == "read" and not write):
            if address is None:
                raise Refusal(404, NOTHING_THERE)
            return None
        # The same for what exists and what does not.
        raise Refusal(401, "a token is needed")

    def _token(self, authorization: str) -> Token | None:
        if self._tokens is None:
            return None
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._tokens.find(rest.strip())
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        # Some clients can only be told a user name.
        return self._tokens.find(password or user)


class RateLimit:
    """So many requests a second for each client, with bursts."""

    def __init__(self, per_second: float) -> None:
        """Allow `per_second`; 0: any number."""
        self._rate = per_second
        self._left: dict[str, tuple[float, float]] = {}

    def check(self, client: str) -> None:
        """Count a request.

        Raises:
            Refusal: It is one too many.
        """
        if not self._rate:
            return
        now = time.monotonic()
        burst = self._rate * _BURST_S
        left, then = self._left.get(client, (burst, now))
        left = min(burst, left + (now - then) * self._rate)
        if left < 1:
            raise Refusal(429, "too many requests; wait a moment")
        if len(self._left) > _CLIENTS_MAX:
            self._left = {name: (left, then) for name, (left, then) in self._left.items() if now - then < _BURST_S}
        self._left[client] = (left - 1, now)
