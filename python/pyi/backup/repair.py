"""Scrub, and repair from other places that have the content: backups, other stores, git repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from pyi._native import Repository, ScrubCore, open
from pyi.backup.manifest import all_manifests, names_of
from pyi.backup.report import ScrubReport, scrub_report
from pyi.backup.restore import restore_manifest
from pyi.backup.target import Target, open_target
from pyi.config import git_environment
from pyi.errors import Conflict, Corrupt, GitError, InvalidArgument, NotFound

__all__ = ["scrub"]

Source = str | bytes | PathLike[str] | Target
Progress = Callable[[int, int], object]


def scrub(
    repo: Repository,
    repair_from: Source | Sequence[Source] | None = None,
    bytes_per_second: int | None = None,
    progress: Progress | None = None,
) -> ScrubReport:
    """Read and check everything in the store, and say what damage affects; with `repair_from` repair it.

    Args:
        repo: The repository.
        repair_from: None: change nothing. A backup (directory or ``s3://`` URL), another store or the directory that it
            belongs to, a git repository, or several of these. An empty sequence repairs what needs no source: indexes,
            headers, records of which only the header was hit.
        bytes_per_second: Read no faster.
        progress: Called with the bytes read and their likely sum.

    Raises:
        InvalidArgument: A source is none of these, or the speed is none.
        StorageError: The store cannot be read or written. Sectors that cannot be read are damage, and no error.

    Cost: the store's bytes, at the disk's speed; repair costs a restore of the backup, or an import of the repository.
    """
    if bytes_per_second is not None and bytes_per_second <= 0:
        raise InvalidArgument(f"bytes_per_second={bytes_per_second}: more than 0, or None for no limit")
    sources = _listed(repair_from)
    for source in sources or ():
        _check(source)
    core = repo._scrub(bytes_per_second, progress)
    if sources is not None:
        core.repair([])
        for source in sources:
            for store in _stores(source, core):
                core.repair([store])
    return scrub_report(core)


def _listed(repair_from: Source | Sequence[Source] | None) -> list[Source] | None:
    if repair_from is None:
        return None
    if isinstance(repair_from, (list, tuple)):
        return list(repair_from)
    return [repair_from]  # type: ignore[list-item]  # a Sequence that is neither is a str or bytes


def _kind(source: Source) -> str:
    if not isinstance(source, (str, bytes, os.PathLike)):
        return "backup"
    place = os.fsdecode(source)
    if place.startswith("s3://") or names_of(open_target(place, create=False)):
        return "backup"
    return "store" if _store_of(place) else "git"


def _check(source: Source) -> None:
    if _kind(source) == "git" and not _is_git(os.fsdecode(source)):  # type: ignore[arg-type]  # a path, or it were a backup
        raise InvalidArgument(f"{source!r} is no backup, store or git repository; repair from one of these")


def _is_git(place: str) -> bool:
    return os.path.exists(os.path.join(place, ".git")) or os.path.isdir(os.path.join(place, "objects"))


def _store_of(place: str) -> Path | None:
    """Return the directory of the store that a path leads to."""
    try:
        with open(place, create=False) as repo:
            return repo.path
    except (NotFound, Corrupt, GitError):
        return None


def _stores(source: Source, core: ScrubCore) -> Iterator[Path]:
    """Give stores that hold what a source has, one after the other, as long as something is lost."""
    kind = _kind(source)
    if kind == "backup":
        target = open_target(source, create=False)
        for manifest in reversed(all_manifests(target)):
            if not core.lost():
                return
            with _scratch() as directory:
                try:
                    restore_manifest(target, manifest, directory / "store")
                except (Corrupt, NotFound):
                    continue  # an earlier backup may be whole
                yield directory / "store"
        return
    place = os.fsdecode(source)  # type: ignore[arg-type]
    store = _store_of(place)
    if store is not None and core.lost():
        yield store
    if _is_git(place) and core.lost():
        yield from _imports(place, core)


def _imports(place: str, core: ScrubCore) -> Iterator[Path]:
    """Import what the branches and tags of a git repository hold, then all of their history."""
    for history in ("lazy", "full"):
        with _scratch() as directory:
            with open(directory / "store", store=directory / "store") as repo:
                for number, rev in enumerate(_revisions(place)):
                    try:
                        repo.import_git(place, rev, f"from-git-{number}", history=history)
                    except (GitError, NotFound, Conflict):
                        continue  # a tag of something else than a commit
            if core.lost():
                yield directory / "store"


def _revisions(place: str) -> list[str]:
    command = ["git", "-C", place, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags", "refs/remotes"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=git_environment(), check=True)
    except (OSError, subprocess.CalledProcessError):
        return ["HEAD"]
    return ["HEAD", *done.stdout.split()]


@contextmanager
def _scratch() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pyi-repair-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
