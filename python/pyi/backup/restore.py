"""Making a store of a backup, as it was at the last backup or at any position or time before."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from os import PathLike
from pathlib import Path

from pyi._native import Repository, _assemble_store, _log_positions_in, open
from pyi.backup.manifest import File, Manifest, all_manifests
from pyi.backup.target import Target, open_target
from pyi.errors import Conflict, Corrupt, InvalidArgument, NotFound, StorageError

__all__ = ["restore_backup", "restore_manifest"]

Progress = Callable[[int, int], object]


def restore_backup(
    source: str | bytes | PathLike[str] | Target,
    path: str | bytes | PathLike[str],
    *,
    at: int | datetime | None = None,
    verify: bool = True,
    progress: Progress | None = None,
) -> Repository:
    """Make a store at `path` of the backups at `source`, as it was at the last one, or at a position or time before.

    Args:
        source: What `Repository.backup` wrote to.
        path: The store's directory: a new or an empty one.
        at: None for the last backup; a position (see `Repository.log_positions`), of which the last change at or before
            it counts; or a time, likewise (without a time zone: local time).
        verify: Look whether everything that a name leads to is there. Every byte is checked against the manifest in any
            case.
        progress: Called with the bytes done and their sum.

    Raises:
        NotFound: There is no backup, or none that goes back, or forward, so far.
        Conflict: There is something at `path` already.
        Corrupt: The backup is damaged. Nothing is left at `path`.

    Cost: the store's bytes, copied, hashed and indexed once.
    """
    target = open_target(source, create=False)
    manifests = all_manifests(target)
    if not manifests:
        raise NotFound(f"there is no backup at {target.url}; name the place that `pyi backup` wrote to")
    if isinstance(at, bool) or not (at is None or isinstance(at, (int, datetime))):
        raise InvalidArgument(f"at={at!r}: a position, a datetime or None")
    if isinstance(at, int) and at < 0:
        raise InvalidArgument(f"at={at}: positions are counted from 0; repo.log_positions() lists them")
    manifest = _choose(manifests, at, target.url)
    directory = Path(os.path.abspath(os.fsdecode(path)))
    _check_empty(directory)
    making = directory.with_name(f"{directory.name}.restoring-{os.getpid()}")
    try:
        restore_manifest(target, manifest, making, at, progress)
        if verify:
            _verify(making)
        os.rename(making, directory)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot make {directory}: {error.strerror}", error.errno) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return open(directory, create=False)


def _check_empty(directory: Path) -> None:
    try:
        if any(directory.iterdir()):
            raise Conflict(f"{directory} is not empty; restore to a new directory")
    except FileNotFoundError:
        pass
    except NotADirectoryError as error:
        raise Conflict(f"{directory} is a file; restore to a new directory") from error


def _choose(manifests: list[Manifest], at: int | datetime | None, url: str) -> Manifest:
    """Return the manifest that holds `at` and was taken the shortest time after it."""
    newest = manifests[-1]
    if at is None:
        return newest
    chosen: Manifest | None = None
    # From the newest one back, as long as they hold it: what is before one that does not may be of another course.
    for manifest in reversed(manifests):
        reaches = manifest.position >= at if isinstance(at, int) else manifest.taken_ns >= _ns(at)
        if not reaches:
            break
        chosen = manifest
    if chosen is None and isinstance(at, int):
        raise NotFound(f"the backups at {url} end at position {newest.position}; {at} is later")
    return chosen or newest


def _ns(at: datetime) -> int:
    whole = at.replace(microsecond=0)
    return round(whole.timestamp()) * 1_000_000_000 + at.microsecond * 1000


def restore_manifest(
    target: Target,
    manifest: Manifest,
    directory: Path,
    at: int | datetime | None = None,
    progress: Progress | None = None,
) -> None:
    """Lay out the files of a manifest in a new directory and make a store of them."""
    try:
        for name in ("segments", "refs"):
            (directory / name).mkdir(parents=True)
        (directory / "format").write_bytes(manifest.format)
        (directory / ".gitignore").write_text("# Made by PYI.\n*\n")
    except OSError as error:
        raise StorageError(f"cannot make {directory}: {error.strerror}", error.errno) from error
    done = 0
    # The logs are first: they say whether there is anything to restore.
    for file in sorted(manifest.files, key=lambda file: not file.name.startswith("refs/")):
        done = _fetch(target, file, directory, done, manifest.bytes, progress)
    position = at if isinstance(at, int) else _position_at(manifest, directory, at)
    sealed = [int(Path(file.name).stem, 16) for file in manifest.files if file.seal]
    _assemble_store(directory, position, sealed)


def _position_at(manifest: Manifest, directory: Path, at: datetime | None) -> int | None:
    if at is None:
        return None
    wanted = _ns(at)
    found = [place for place, time_ns, _ in _log_positions_in(directory / "refs", manifest.store) if time_ns <= wanted]
    if not found:
        raise NotFound(f"the ref logs of the backup begin after {at.isoformat()}; choose a later time")
    return found[-1]


def _fetch(target: Target, file: File, directory: Path, done: int, total: int, progress: Progress | None) -> int:
    path = directory / file.name
    try:
        with path.open("xb") as out:
            for part in file.parts:
                data = target.get(part.name)
                if len(data) != part.bytes or hashlib.sha256(data).hexdigest() != part.sha256:
                    raise Corrupt(f"part {part.sha256} at {target.url} is damaged; restore from another backup")
                out.write(data)
                done += len(data)
                if progress is not None:
                    progress(done, total)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot write {path}: {error.strerror}", error.errno) from error
    return done


def _verify(directory: Path) -> None:
    with open(directory, create=False) as repo:
        missing = repo._missing()
    if missing:
        names = sorted({name for who in missing.values() for name in (*who["branches"], *who["workspaces"])})
        raise Corrupt(
            f"{len(missing)} objects of {', '.join(names[:5]) or 'older checkpoints'} were not there any more when the"
            " backup was taken; choose another position, or verify=False for what is there"
        )
