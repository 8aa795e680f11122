"""Where backups are: a directory or an S3-compatible store. What is there under a name is whole and never changes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from pyi.errors import InvalidArgument, NotFound, StorageError

__all__ = ["Target", "open_target"]

_TEMPORARY = "tmp-"


class Target(Protocol):
    """A place for backups."""

    url: str

    def put(self, name: str, data: bytes) -> None:
        """Store `data` under `name`: wholly and durably, or not at all."""
        ...

    def get(self, name: str) -> bytes:
        """Return what stands under `name`; NotFound if nothing does."""
        ...

    def names(self, directory: str) -> dict[str, int]:
        """Return the names in a directory, without it, and their sizes in bytes."""
        ...

    def sweep(self) -> None:
        """Remove what interrupted writers left."""
        ...


def open_target(target: str | bytes | PathLike[str] | PathLike[bytes] | Target, *, create: bool) -> Target:
    """Return the target for a directory's path or an ``s3://bucket/prefix`` URL.

    Raises:
        TypeError: It is none of these.
        InvalidArgument: No path, a URL of another kind, or the library for S3 is not installed.
        NotFound: There is no such directory and `create` is false.
    """
    if not isinstance(target, (str, bytes, os.PathLike)):
        if not callable(getattr(target, "names", None)):
            raise TypeError(f"a place for backups is a path, an s3:// URL or a Target, not {type(target).__name__}")
        return target
    place = os.fsdecode(target)
    if "\0" in place:
        raise InvalidArgument(f"{place!r} is no place for a backup: it has a NUL in it")
    if place.startswith("s3://"):
        return _S3(place)
    if not place or "://" in place:
        raise InvalidArgument(f"{place!r} is no place for a backup: name a directory or s3://bucket/prefix")
    return _Directory(Path(place), create=create)


class _Directory:
    """A directory."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self.url = os.path.abspath(path)
        self._path = Path(self.url)
        if create:
            try:
                self._path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                text = f"cannot make {self.url}: {error.strerror}; name a directory that can be made"
                raise StorageError(text, error.errno) from error
            return
        with _translated(self.url):
            if not self._path.is_dir():
                raise NotFound(f"there is no backup at {self.url}; name the directory that `pyi backup` wrote to")

    def put(self, name: str, data: bytes) -> None:
        path = self._path / name
        with _translated(str(path)):
            path.parent.mkdir(exist_ok=True)
            temporary = path.parent / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            for directory in (path.parent, self._path):
                _flush_directory(directory)

    def get(self, name: str) -> bytes:
        with _translated(str(self._path / name)):
            return (self._path / name).read_bytes()

    def names(self, directory: str) -> dict[str, int]:
        with _translated(str(self._path / directory)):
            try:
                entries = list(os.scandir(self._path / directory))
            except FileNotFoundError:
                return {}
            return {one.name: one.stat().st_size for one in entries if not one.name.startswith(_TEMPORARY)}

    def sweep(self) -> None:
        """Remove temporary files whose writers do not live any more (on this machine, as far as it can be told)."""
        for directory in ("parts", "manifests"):
            for path in (self._path / directory).glob(f"{_TEMPORARY}*"):
                writer = path.name.removeprefix(_TEMPORARY).split("-")[0]
                if not (writer.isdecimal() and Path(f"/proc/{writer}").exists()):
                    path.unlink(missing_ok=True)


def _flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translated(place: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{place} is not there; the backup is incomplete or elsewhere") from error
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        text = f"cannot read or write {place}: {error.strerror}; check the disk, the owner and the permissions"
        raise StorageError(text, error.errno) from error


class _S3:
    """A prefix in a bucket. Credentials, region and endpoint come from the usual AWS_ variables."""

    def __init__(self, url: str) -> None:
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError as error:
            raise InvalidArgument("backups to s3:// need the library obstore: pip install 'pyi[s3]'") from error
        self.url = url.rstrip("/")
        self._library: Any = obstore
        with self._translated():
            self._store: Any = S3Store.from_url(self.url)

    def put(self, name: str, data: bytes) -> None:
        with self._translated(name):
            self._library.put(self._store, name, data)

    def get(self, name: str) -> bytes:
        with self._translated(name):
            return bytes(self._library.get(self._store, name).bytes())

    def names(self, directory: str) -> dict[str, int]:
        found: dict[str, int] = {}
        with self._translated(directory):
            for batch in self._library.list(self._store, prefix=directory):
                for one in batch:
                    found[str(one["path"]).rpartition("/")[2]] = int(one["size"])
        return found

    def sweep(self) -> None:
        """Do nothing: an upload that was not finished has no name."""

    @contextmanager
    def _translated(self, name: str = "") -> Generator[None]:
        from obstore.exceptions import BaseError

        place = f"{self.url}/{name}"
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"{place} is not there; the backup is incomplete or elsewhere") from error
        except (BaseError, OSError, ValueError) as error:
            text = " ".join(str(error).split())[:300]
            raise StorageError(f"cannot read or write {place}: {text}") from error
