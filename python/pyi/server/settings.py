"""What a server is told: repositories, limits, who may come in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pyi.errors import InvalidArgument, StorageError
from pyi.git.address import is_repository_name

__all__ = ["ACCESS", "Settings", "from_file"]

ACCESS = ("none", "read", "write")
"""What somebody without a token may do."""


@dataclass(frozen=True)
class Settings:
    """All that `pyi serve` can be told; sizes in bytes, times in seconds."""

    repositories: Mapping[str, str] = field(default_factory=dict)
    """Name in the URL -> path of the repository or its store."""
    host: str = "127.0.0.1"
    port: int = 8417
    anonymous: str = "none"
    tokens: str | None = None
    """The file of tokens."""
    certificate: str | None = None
    key: str | None = None
    ssh_port: int | None = None
    """Listen for SSH too, on the same address; 0: any port."""
    authorized_keys: str | None = None
    """The file of keys that may come in over SSH, as sshd's."""
    host_key: str | None = None
    """The server's own key; made if it does not exist."""
    audit_log: str | None = None
    """Where each request is written down, one JSON object a line; `-` is standard error."""
    max_request_bytes: int = 64 << 20
    """Of a fetch's negotiation."""
    max_pack_bytes: int = 2 << 30
    """Of a push."""
    max_object_bytes: int = 1 << 30
    """Of one object in a push."""
    read_timeout: float = 60.0
    """Between two pieces of a request, and until a client takes more of an answer."""
    head_timeout: float = 15.0
    """For the whole head of a request, from connecting or from its first byte on."""
    requests_per_second: float = 0.0
    """For each client address, with bursts of ten seconds' worth; 0: no limit."""
    threads: int = 16
    """Requests that are worked on at the same time; further ones wait."""
    stop_timeout: int = 30
    """How long requests under way may take after a signal to stop."""

    def check(self) -> Settings:
        """Return these settings.

        Raises:
            InvalidArgument: One of them makes no sense.
        """
        for name in self.repositories:
            if not is_repository_name(name):
                raise InvalidArgument(
                    f"{name!r} cannot be a repository's name in a URL: letters, digits, '.', '_', '-', no '.git'"
                )
        if self.anonymous not in ACCESS:
            raise InvalidArgument(f"anonymous={self.anonymous!r}: {', '.join(ACCESS)}")
        if (self.certificate is None) != (self.key is None):
            raise InvalidArgument("TLS needs both a certificate and a key")
        for port in (self.port, self.ssh_port or 0):
            if not 0 <= port < 65536:
                raise InvalidArgument(f"port={port}: 0 to 65535")
        if self.ssh_port is not None and (self.authorized_keys is None or self.host_key is None):
            raise InvalidArgument("SSH needs a file of authorized keys, and one for the host's own key")
        if (
            self.threads < 1
            or self.max_request_bytes < 1
            or self.max_pack_bytes < 1
            or min(self.read_timeout, self.head_timeout) <= 0
        ):
            raise InvalidArgument("threads, sizes and timeouts are more than 0")
        return self

    def with_changes(self, changes: Mapping[str, Any]) -> Settings:
        """Return these settings with others on top.

        Raises:
            InvalidArgument: There is no such setting, or it has another type.
        """
        known = {one.name: one for one in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise InvalidArgument(f"there is no setting {name!r}; there are {', '.join(known)}")
            if name == "repositories":
                good = isinstance(value, Mapping) and all(isinstance(path, str) for path in value.values())
            else:
                now = getattr(Settings(), name)
                wanted: tuple[type, ...] = (type(now),)
                if now is None:
                    wanted = (int if name == "ssh_port" else str, type(None))
                good = isinstance(value, (*wanted, int) if float in wanted else wanted) and not isinstance(value, bool)
            if not good:
                raise InvalidArgument(f"{name}={value!r}: another type is wanted")
        return replace(self, **dict(changes)).check()


def from_file(path: str | Path) -> dict[str, Any]:
    """Return the settings in a TOML file; paths in it count from where it stands.

    Raises:
        StorageError: The file cannot be read.
        InvalidArgument: It is no TOML.
    """
    path = Path(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}", error.errno) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path}: {error}") from error
    here = path.absolute().parent
    for name in ("tokens", "certificate", "key", "audit_log", "authorized_keys", "host_key"):
        if isinstance(found.get(name), str) and found[name] != "-":
            found[name] = str(here / found[name])
    if isinstance(found.get("repositories"), dict):
        found["repositories"] = {name: str(here / str(where)) for name, where in found["repositories"].items()}
    return found
