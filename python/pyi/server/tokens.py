"""Tokens: who may do what, and until when.

A token is ``pyi_<id>_<secret>``. The file holds the SHA-256 of the secret, which is 32 random bytes, so that no slow
hash is needed; it is read again when it changes, and written under a new name first.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pyi.errors import Corrupt, InvalidArgument, NotFound, StorageError
from pyi.git.address import Address

__all__ = ["Token", "TokenFile", "without_secrets"]

_PREFIX = "pyi_"
_NOBODY = "0" * 64
_TEXT = re.compile(r"(pyi_[0-9a-f]{10}_)[\w-]+", re.ASCII)


@dataclass(frozen=True)
class Token:
    """What is known of a token. The secret is not."""

    id: str
    sha256: str
    repository: str = "*"
    """A glob of repositories' names."""
    agent: str | None = None
    """A glob of workspaces' names: nothing else is reachable. None: everything of the repository."""
    write: bool = False
    expires: float | None = None
    """Unix seconds."""
    created: float = 0.0
    note: str = ""
    revoked: bool = False

    def is_valid(self, now: float) -> bool:
        """Return whether it is neither revoked nor expired."""
        return not self.revoked and (self.expires is None or now < self.expires)

    def reaches(self, address: Address) -> bool:
        """Return whether its owner may know of an address."""
        if not fnmatchcase(address.repository, self.repository):
            return False
        return self.agent is None or (address.kind == "workspace" and fnmatchcase(address.name, self.agent))


def without_secrets(text: str) -> str:
    """Return a text for a log: people put tokens into addresses, too. O(length)."""
    return _TEXT.sub(r"\1...", text)


class TokenFile:
    """The tokens of a server."""

    def __init__(self, path: str | Path) -> None:
        """Use the file at `path`; one that does not exist holds no tokens."""
        self.path = Path(path)
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def find(self, given: str) -> Token | None:
        """Return the token whose text was given, if it is valid now.

        Cost: one stat; the same work for a token that is wrong in any way.
        """
        self._look()
        identity, _, secret = given.removeprefix(_PREFIX).partition("_")
        known = self._tokens.get(identity) if given.startswith(_PREFIX) else None
        digest = hashlib.sha256(secret.encode()).hexdigest()
        same = hmac.compare_digest(digest, known.sha256 if known else _NOBODY)
        return known if known and same and known.is_valid(time.time()) else None

    def list(self) -> list[Token]:
        """Return all tokens, oldest first."""
        self._look()
        return sorted(self._tokens.values(), key=lambda token: (token.created, token.id))

    def create(
        self,
        *,
        repository: str = "*",
        agent: str | None = None,
        write: bool = False,
        expires: float | None = None,
        note: str = "",
    ) -> tuple[Token, str]:
        """Make a token; the text that is returned beside it is shown this once.

        Raises:
            InvalidArgument: It would have expired already.
            StorageError: The file cannot be written.
        """
        now = time.time()
        if expires is not None and expires <= now:
            raise InvalidArgument("the token would have expired already")
        identity, secret = secrets.token_hex(5), secrets.token_urlsafe(32)
        token = Token(
            id=identity,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            repository=repository,
            agent=agent,
            write=write,
            expires=expires,
            created=now,
            note=note,
        )
        with self._changing():
            self._tokens[identity] = token
        return token, f"{_PREFIX}{identity}_{secret}"

    def revoke(self, identity: str) -> Token:
        """Make a token worthless, from the next request on.

        Raises:
            NotFound: There is none with this id.
            StorageError: The file cannot be written.
        """
        with self._changing():
            known = self._tokens.get(identity)
            if known is None:
                raise NotFound(f"there is no token {identity!r}; `pyi token list` lists them")
            token = Token(**{**asdict(known), "revoked": True})
            self._tokens[identity] = token
        return token

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold a lock beside the file, start from what it says, and write it at the end."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(self.path.with_name(self.path.name + ".lock"), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._stamp = None
                self._look()
                yield
                fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
                text = json.dumps([asdict(token) for token in self._tokens.values()], indent=1)
                with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(fresh, self.path)
                self._stamp = None
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror}", error.errno) from error

    def _look(self) -> None:
        """Read the file again if it is another one."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._tokens = None, {}
            return
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error.strerror}", error.errno) from error
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp == self._stamp:
            return
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
            tokens = [Token(**entry) for entry in entries]
        except (ValueError, TypeError) as error:
            raise Corrupt(f"{self.path} is no file of tokens: {error}; restore it, or remove it") from error
        self._tokens = {token.id: token for token in tokens}
        self._stamp = stamp
