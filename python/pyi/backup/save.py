"""Copying a store to a target: all of it the first time, then what is new."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from os import PathLike

from pyi._native import Repository, StoreImage
from pyi.backup.manifest import File, Manifest, Part, load, names_of
from pyi.backup.report import BackupReport, time_of
from pyi.backup.target import Target, open_target
from pyi.errors import Corrupt, InvalidArgument

__all__ = ["back_up"]

PART_BYTES = 16 << 20
"""The longest part: so much is in memory at a time."""

Progress = Callable[[int, int], object]


def back_up(
    repo: Repository, target: str | bytes | PathLike[str] | Target, progress: Progress | None = None
) -> BackupReport:
    """Copy `repo` as it is now to `target`, while writers go on; what an earlier backup copied is not copied again.

    A manifest that is written last makes the parts a backup: one that is interrupted leaves the earlier ones as they
    were, and what it copied is found by the next one.

    Raises:
        InvalidArgument: The target is none, or holds the backups of another store.
        StorageError: It cannot be written.

    Cost: the bytes that are new, and reading again those of segments that were not sealed at the last backup.
    """
    start = time.monotonic()
    place = open_target(target, create=True)
    place.sweep()
    previous = _previous(place)
    image = repo._image()
    if previous is not None and previous.store != image.store:
        raise InvalidArgument(f"{place.url} holds the backups of another store; give each store a place of its own")
    copier = _Copier(image, place, {} if previous is None else {file.name: file for file in previous.files}, progress)
    files = tuple(copier.copy(number) for number in range(len(image.files)))
    manifest = Manifest(image.store, image.position, image.taken_ns, image.objects, image.format, files)
    place.put(manifest.name, manifest.encode())
    return BackupReport(
        target=place.url,
        manifest=manifest.name,
        position=manifest.position,
        time=time_of(manifest.taken_ns),
        full=previous is None,
        bytes_copied=copier.bytes_copied,
        bytes_total=manifest.bytes,
        parts_copied=copier.parts_copied,
        segments=sum(file.name.startswith("segments/") for file in files),
        objects=manifest.objects,
        seconds=time.monotonic() - start,
    )


def _previous(target: Target) -> Manifest | None:
    """Return the newest manifest that is whole: one that is damaged costs a longer copy and no more."""
    for name in reversed(names_of(target)):
        try:
            return load(target, name)
        except Corrupt:
            continue
    return None


class _Copier:
    """Copies the files of an image."""

    def __init__(self, image: StoreImage, target: Target, earlier: dict[str, File], progress: Progress | None) -> None:
        self._image = image
        self._target = target
        self._earlier = earlier
        self._there = target.names("parts")
        self._progress = progress
        self._done = 0
        self._total = sum(length for _, length, _, _ in image.files)
        self.bytes_copied = 0
        self.parts_copied = 0

    def copy(self, number: int) -> File:
        """Copy what is new of one file."""
        name, length, seal, final = self._image.files[number]
        parts = self._kept(number)
        offset = sum(part.bytes for part in parts)
        self._tell(offset)
        while offset < length:
            data = self._image.read(number, offset, min(PART_BYTES, length - offset))
            part = Part(hashlib.sha256(data).hexdigest(), len(data))
            # One that an interrupted backup left, or that stands in two places.
            if self._there.get(part.sha256) != part.bytes:
                self._target.put(part.name, data)
                self._there[part.sha256] = part.bytes
                self.bytes_copied += part.bytes
                self.parts_copied += 1
            parts.append(part)
            offset += part.bytes
            self._tell(part.bytes)
        return File(name, seal, final, tuple(parts))

    def _kept(self, number: int) -> list[Part]:
        """Return the parts of the last backup that this file still begins with."""
        name, length, seal, final = self._image.files[number]
        old = self._earlier.get(name)
        if old is None or old.bytes > length:
            return []
        there = [part for part in old.parts if self._there.get(part.sha256) == part.bytes]
        if len(there) < len(old.parts):
            return []
        # The seal holds a checksum of all ids and places in the segment: the same seal, the same bytes.
        if old.final and final and seal and old.seal == seal and old.bytes == length:
            return there
        # A tail that was not sealed may have been cut after a loss of power, and then grown again with other bytes.
        kept: list[Part] = []
        offset = 0
        for part in there:
            data = self._image.read(number, offset, part.bytes)
            if hashlib.sha256(data).hexdigest() != part.sha256:
                break
            kept.append(part)
            offset += part.bytes
        return kept

    def _tell(self, bytes_done: int) -> None:
        self._done += bytes_done
        if self._progress is not None:
            self._progress(self._done, self._total)
