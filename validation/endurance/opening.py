"""How the endurance recipes open a store."""

from __future__ import annotations

from pathlib import Path

import pyi

__all__ = ["open_store"]

# So small that caches are full before slopes are looked at: until then memory rises as it should.
_CACHE_BYTES = 1 << 20


def open_store(store: Path) -> pyi.Repository:
    """Open a store with small caches."""
    return pyi.open(store, cache_bytes=_CACHE_BYTES, trees_bytes=_CACHE_BYTES // 2)
