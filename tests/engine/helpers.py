"""What several tests of the engine do."""

from __future__ import annotations

from typing import Any

import pyi


def make(
    repo: pyi.Repository, n: int, name: str, named: bool, base: pyi.Workspace | str = "main", **how: Any
) -> pyi.Superposition:
    """Make a superposition that has the name if `named`."""
    return repo.superpose(base, n, name=name if named else None, **how)
