"""What a session says about itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["SessionReport"]


@dataclass(frozen=True, slots=True)
class SessionReport:
    """Steps, checkpoints, and what they cost.

    Attributes:
        name: Name of the session; None for an unnamed one.
        done: Steps done in the session's life.
        resumes: How often it was resumed.
        repeated: Steps that were begun a second time because they were in no checkpoint, in the session's life.
        steps: Steps done by this process, since the session was opened.
        checkpoints: Checkpoints made since then.
        seconds: Time spent in loops since then, steps and checkpoints together.
        checkpoint_seconds: Of it, the time spent in checkpoints.
    """

    name: str | None
    done: int
    resumes: int
    repeated: int
    steps: int
    checkpoints: int
    seconds: float
    checkpoint_seconds: float

    @property
    def share(self) -> float:
        """The part of the time that checkpoints took; 0.0 before the first step."""
        return self.checkpoint_seconds / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON-like data."""
        return {**asdict(self), "share": self.share}
