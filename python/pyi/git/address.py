"""What an address of a server names.

::

    /<repository>.git                        the branches
    /<repository>/agents/<workspace>.git     a named workspace, as one branch
    /<repository>/superpositions/<name>.git  a branch for each candidate
    /<repository>/checkpoints/<id>.git       one checkpoint, to read

Names of workspaces and superpositions may hold slashes, as git's branches may.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Address", "is_repository_name", "parse"]

_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_KINDS = {"agents": "workspace", "superpositions": "superposition", "checkpoints": "checkpoint"}
_NAME_MAX = 1024


@dataclass(frozen=True)
class Address:
    """A repository of the server, and what of it."""

    repository: str
    kind: str = "repository"
    name: str = ""

    def __str__(self) -> str:
        """Return it as it stands in a URL."""
        for word, kind in _KINDS.items():
            if kind == self.kind:
                return f"{self.repository}/{word}/{self.name}.git"
        return f"{self.repository}.git"

    @property
    def read_only(self) -> bool:
        """Whether nobody can push here."""
        return self.kind in ("checkpoint", "superposition")


def is_repository_name(name: str) -> bool:
    """Return whether a repository can be served under this name."""
    return bool(_REPOSITORY.fullmatch(name)) and not name.endswith(".git")


def parse(path: str) -> tuple[Address, str] | None:
    """Return the address in a URL's decoded path, and what is asked of it; None if it is no address.

    Cost: O(length).
    """
    if not path.startswith("/") or any(ord(character) < 32 or character == "\\" for character in path):
        return None
    place, dot_git, asked = path[1:].rpartition(".git/")
    if not dot_git or not place:
        return None
    repository, _, rest = place.partition("/")
    if not is_repository_name(repository):
        return None
    if not rest:
        return (Address(repository), asked) if "/" not in place else None
    word, _, name = rest.partition("/")
    kind = _KINDS.get(word)
    if kind is None or not name or len(name) > _NAME_MAX or any(part in ("", ".", "..") for part in name.split("/")):
        return None
    return Address(repository, kind, name), asked
