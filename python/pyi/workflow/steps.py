"""What an agent of a swarm does next: the interface, and chance that is the same in every run."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Protocol

from pyi.workflow.model import Edit, Model

__all__ = ["Step", "Steps", "draw"]


class Step(NamedTuple):
    """One step: paths to read, then edits to make, in order. The checkpoint follows by itself."""

    reads: list[str]
    edits: list[Edit]


class Steps(Protocol):
    """A source of steps for any number of agents.

    A step depends on its arguments alone: asked again, with the same model, it is the same. That is how a rewound
    agent's model is built again instead of being kept.
    """

    def step(self, agent: int, agents: int, number: int, model: Model) -> Step:
        """Return what `agent` of `agents` does in its step `number`, when its workspace contains `model`.

        Paths to read are in the model; edits need not be allowed by it, the caller leaves out those that are not.
        """
        ...

    def close(self) -> None:
        """Give back what the source holds."""
        ...


def draw(limit: int, *key: object) -> int:
    """Return a number below `limit` that `key` alone decides."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % limit
