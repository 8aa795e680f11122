"""What scrubs and backups report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pyi._native import Repository, ScrubCore

__all__ = ["BackupReport", "LogPosition", "ScrubReport", "log_positions"]


class LogPosition(NamedTuple):
    """A change of branches, workspaces or superpositions, as a place that a store can be restored to."""

    position: int
    """Log number << 32 | offset behind the record."""
    time: datetime
    """When it was made, UTC."""
    message: str
    """What its maker said of it."""


def log_positions(repo: Repository) -> list[LogPosition]:
    """Return every change that the ref logs of `repo` still hold, oldest first. O(bytes of the logs)."""
    return [LogPosition(place, time_of(time_ns), message) for place, time_ns, message in repo._log_positions()]


def time_of(time_ns: int) -> datetime:
    """Return a time as UTC; less than a microsecond is cut off."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


@dataclass(frozen=True)
class ScrubReport:
    """What a scrub found, and what a repair made of it."""

    checked: int
    """Whole objects."""
    bytes: int
    """Bytes that were read."""
    damaged: list[str]
    """Ids of objects without a whole copy: damaged, or missing though something names them. Repaired ones stay."""
    affected: dict[str, list[str]]
    """Whom that affects: `branches`, `workspaces`, `superpositions`, `tags`, `kept`, `checkpoints` that cannot be read
    in full, and `histories`: branches, workspaces and tags that are whole but for earlier checkpoints."""
    affected_by: dict[str, dict[str, list[str]]]
    """The same for each damaged id."""
    places: list[dict[str, Any]]
    """Damaged places: `file`, `offset`, `length`, `flaw`, `id` (or None), `keys` (of a ref log), `mended`."""
    healed: list[str]
    """Ids with a damaged copy and a whole one: nothing is lost."""
    repaired: list[str]
    """Ids that are whole again."""
    clean: bool
    """Nothing is damaged, or all of it was repaired."""
    seconds: float
    """How long it took."""

    @property
    def lost(self) -> list[str]:
        """Return the ids of damaged objects that were not repaired."""
        whole = set(self.repaired)
        return [one for one in self.damaged if one not in whole]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for JSON."""
        return {**asdict(self), "lost": self.lost}


def scrub_report(core: ScrubCore) -> ScrubReport:
    """Return a kernel's findings as a report."""
    facts = core.facts()
    return ScrubReport(
        checked=facts["checked"],
        bytes=facts["bytes"],
        damaged=list(facts["damaged"]),
        affected=facts["affected"],
        affected_by=facts["affected_by"],
        places=facts["places"],
        healed=facts["healed"],
        repaired=facts["repaired"],
        clean=facts["clean"],
        seconds=facts["seconds"],
    )


@dataclass(frozen=True)
class BackupReport:
    """What a backup copied."""

    target: str
    """Where it is."""
    manifest: str
    """The name of its manifest there."""
    position: int
    """The end of the refs that it holds: log number << 32 | offset."""
    time: datetime
    """The moment that it holds, UTC."""
    full: bool
    """It is the first one there."""
    bytes_copied: int
    """Bytes that were not there before."""
    bytes_total: int
    """Bytes that make up the store."""
    parts_copied: int
    """Pieces that were not there before."""
    segments: int
    """Segments that make up the store."""
    objects: int
    """Objects in the store."""
    seconds: float
    """How long it took."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for JSON."""
        return {**asdict(self), "time": self.time.isoformat()}
