"""What a session writes into the metadata of its checkpoints, and how the checkpoint of a step is found again.

Each checkpoint names one earlier one beside its parent, chosen as in a skew-binary list (Myers, 1983): from any
checkpoint, any earlier one is O(log checkpoints) reads away, and a new one costs O(1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pyi.errors import Corrupt, NotFound, UnsupportedFormat

if TYPE_CHECKING:
    from pyi._native import Checkpoint, Repository, Workspace

__all__ = [
    "KEY",
    "LOOPING",
    "NEW",
    "OTHERS",
    "Jump",
    "Record",
    "Trail",
    "begin",
    "encode",
    "last_of",
    "step_at",
]

KEY: Final = "session"
"""Where the record stands in a checkpoint's metadata."""
OTHERS: Final = "session generators"
"""Where the records of generators stand that are no bytes."""
NEW: Final = 0
"""Nothing was done yet: what the session's set-up does still counts."""
LOOPING: Final = 1
"""Made by a loop: what comes before and behind it is still to run."""


class Jump(NamedTuple):
    """An earlier checkpoint of the same session: its number, the steps done then, the 32 bytes of its id."""

    number: int
    done: int
    id: bytes


# Version, phase, length of the name; done, loop, at; number; the jump; resumes, repeated.
_HEAD: Final = struct.Struct("<BIHQqqQQQ32sQQ")
_VERSION: Final = 1
_NOWHERE: Final = Jump(0, 0, bytes(32))
# A generator's record: lengths of its name and of what follows the name.
_ITEM: Final = struct.Struct("<HI")


@dataclass(frozen=True, slots=True)
class Record:
    """Where a session stood when it made a checkpoint.

    Attributes:
        name: The session's name; "" for one without.
        done: Steps done, in all its loops.
        loop: The last loop that it began, from 0; -1: none yet.
        at: Items of that loop that are done; -1: it was ended by `stop`.
        phase: `NEW`; `LOOPING`; or `LOOPING` and the number of times that what is behind the loop was saved.
        number: How many checkpoints the session made before this one.
        jump: An earlier checkpoint; None for the first one.
        resumes: How often it had been resumed.
        repeated: Steps that had been repeated because they were in no checkpoint.
        random: The generators' records by name.
    """

    name: str
    done: int = 0
    loop: int = -1
    at: int = 0
    phase: int = NEW
    number: int = 0
    jump: Jump | None = None
    resumes: int = 0
    repeated: int = 0
    random: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> dict[str, Any]:
        """Return it as metadata. O(generators)."""
        items = [(name.encode(), record) for name, record in self.random.items()]
        place = (self.done, self.loop, self.at, self.number)
        return encode(self.name.encode(), self.phase, place, self.jump, (self.resumes, self.repeated), items)

    def forked(self, repository: Repository, checkpoint: Checkpoint, name: str) -> Record:
        """Return the record of a session of this name that goes on from `checkpoint`, which this one is of."""
        trail = Trail.behind(repository, checkpoint, self)
        return replace(self, name=name, number=trail.number, jump=trail.jump, resumes=0, repeated=0)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Record | None:
        """Return the record of a checkpoint, None if no session made it.

        Raises:
            Corrupt: There is one that cannot be read.
            UnsupportedFormat: A newer version of this package made it.
        """
        metadata = checkpoint.metadata
        found = metadata.get(KEY)
        if not isinstance(found, bytes):
            return None
        if found[:1] > bytes([_VERSION]):
            raise UnsupportedFormat(f"checkpoint {checkpoint.id[:12]}: a newer version made its session; upgrade")
        try:
            _, phase, length, done, loop, at, number, *jump, resumes, repeated = _HEAD.unpack_from(found)
            name, rest = _cut(found, _HEAD.size, length)
            random: dict[str, Any] = dict(metadata.get(OTHERS) or {})
            while rest < len(found):
                called_length, length = _ITEM.unpack_from(found, rest)
                called, rest = _cut(found, rest + _ITEM.size, called_length)
                random[called.decode()], rest = _cut(found, rest, length)
            return cls(
                name=name.decode(),
                done=done,
                loop=loop,
                at=at,
                phase=phase,
                number=number,
                jump=Jump(*jump) if number else None,
                resumes=resumes,
                repeated=repeated,
                random=random,
            )
        except (struct.error, TypeError, ValueError) as error:
            raise Corrupt(f"checkpoint {checkpoint.id[:12]}: its session's record cannot be read: {error}") from error


def encode(
    name: bytes,
    phase: int,
    place: tuple[int, int, int, int],
    jump: Jump | None,
    runs: tuple[int, int],
    random: Iterable[tuple[bytes, Any]],
) -> dict[str, Any]:
    """Return a record as metadata, from its parts. `SessionCore` does the same on each step.

    It is one value, and not a mapping of many, since each of them costs time to store. O(generators).
    """
    parts = [_HEAD.pack(_VERSION, phase, len(name), *place, *(jump or _NOWHERE), *runs), name]
    others: dict[str, Any] | None = None
    for label, record in random:
        if type(record) is bytes:
            parts += (_ITEM.pack(len(label), len(record)), label, record)
        else:
            others = others or {}
            others[label.decode()] = record
    metadata = {KEY: b"".join(parts)}
    return metadata if others is None else {**metadata, OTHERS: others}


def _cut(data: bytes, start: int, length: int) -> tuple[bytes, int]:
    end = start + length
    if end > len(data):
        raise ValueError("it is too short")
    return data[start:end], end


def begin(start: Workspace, name: str | None, record: Record) -> tuple[Workspace, Checkpoint]:
    """Make a session's first checkpoint, and then its name: whoever finds the name finds the record.

    Raises:
        Conflict: The name is taken.

    Cost: one checkpoint, and one fork.
    """
    workspace = start.fork()
    last = workspace.checkpoint(f"session {name or ''}".strip(), metadata=record.encode())
    return (workspace if name is None else workspace.fork(name)), last


def last_of(repository: Repository, checkpoint: Checkpoint, name: str | None) -> tuple[Checkpoint, Record] | None:
    """Return the last checkpoint at or before this one that a session of this name made, with its record.

    Checkpoints that somebody else put on top of a session's are passed over. None if none of this name made any.

    Cost: O(checkpoints passed over).
    """
    here: Checkpoint | None = checkpoint
    while here is not None:
        record = Record.of(here)
        if record is not None:
            return (here, record) if record.name == name else None
        here = _parent(repository, here)
    return None


def step_at(repository: Repository, checkpoint: Checkpoint, record: Record, step: int) -> tuple[Checkpoint, Record]:
    """Return the last checkpoint before which at most `step` steps were done, from a later one of the same session.

    Raises:
        NotFound: Retention did not keep it.

    Cost: O(log checkpoints) reads.
    """
    while record.done > step:
        jump = record.jump
        if jump is None:
            break
        if jump.done > step:
            checkpoint = repository.get_checkpoint(jump.id.hex())
            found = Record.of(checkpoint)
        else:
            found = None
            before = _parent(repository, checkpoint)
            while before is not None and (found := Record.of(before)) is None:
                before = _parent(repository, before)
            if before is not None:
                checkpoint = before
        if found is None:
            raise NotFound(f"step {step}: the session's history ends at step {record.done}")
        record = found
    return checkpoint, record


def _parent(repository: Repository, checkpoint: Checkpoint) -> Checkpoint | None:
    parents = checkpoint.parents
    return repository.get_checkpoint(parents[0]) if parents else None


class Trail:
    """The jumps from a session's last checkpoint, by which that of the next is chosen; `SessionCore` goes on from it.

    Attributes:
        number: The number of the next checkpoint.
        jump: What it jumps to; None for the first one.
    """

    def __init__(self) -> None:
        """Make the trail of a session without a checkpoint."""
        self._chain: list[Jump] = []
        self.number = 0
        self.jump: Jump | None = None

    @property
    def chain(self) -> list[Jump]:
        """The last checkpoint at the end; before it the one it jumps to, and so on."""
        return self._chain

    @classmethod
    def behind(cls, repository: Repository, checkpoint: Checkpoint, record: Record) -> Trail:
        """Return the trail at the end of which a checkpoint stands. O(log checkpoints) reads.

        A checkpoint that retention did not keep ends it; what is before can be reached no more.
        """
        chain = []
        jump = record.jump
        while jump is not None:
            chain.append(jump)
            try:
                found = Record.of(repository.get_checkpoint(jump.id.hex()))
            except NotFound:
                break
            jump = found.jump if found is not None else None
        trail = cls()
        trail._chain, trail.number = chain[::-1], record.number
        trail._append(Jump(record.number, record.done, bytes.fromhex(checkpoint.id)))
        return trail

    def add(self, done: int, id: str) -> None:
        """Put the checkpoint that was made behind the others. O(1)."""
        chain = self._chain
        if chain and self.jump is not chain[-1]:
            del chain[-2:]
        self._append(Jump(self.number, done, bytes.fromhex(id)))

    def _append(self, last: Jump) -> None:
        chain = self._chain
        chain.append(last)
        self.number += 1
        # Two jumps of the same length are followed by one over both.
        if len(chain) > 2 and last.number + chain[-3].number == 2 * chain[-2].number:
            self.jump = chain[-3]
        else:
            self.jump = last
