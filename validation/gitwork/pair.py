"""A workspace and a real repository beside it, to which the same is done. Knows nothing of what is done."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pyi

__all__ = ["Answer", "Pair", "environment", "real_environment", "real_git"]

_BASE_TIME = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    stdout: bytes
    stderr: bytes
    status: int

    @property
    def is_unavailable(self) -> bool:
        """Whether it is not done on workspaces."""
        return self.status == 128 and self.stderr.startswith(b"pyi: ")


def environment(tick: int) -> dict[str, str]:
    """Who commits, and when: the same on both sides."""
    date = f"{_BASE_TIME + tick * 60} +0100"
    return {
        "GIT_AUTHOR_NAME": "Ann Example",
        "GIT_AUTHOR_EMAIL": "ann@example.invalid",
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_NAME": "Carl Example",
        "GIT_COMMITTER_EMAIL": "carl@example.invalid",
        "GIT_COMMITTER_DATE": date,
    }


def real_environment(tick: int) -> dict[str, str]:
    """All that the installed git gets to know: nobody's configuration, and who commits when."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "LC_ALL": "C",
        "TZ": "UTC",
        **environment(tick),
    }


def real_git(directory: Path, *argv: bytes | str, tick: int = 0, stdin: bytes = b"") -> Answer:
    """The installed git, without anybody's configuration."""
    env = real_environment(tick)
    done = subprocess.run(["git", *argv], cwd=directory, env=env, input=stdin, capture_output=True, check=False)
    return Answer(done.stdout, done.stderr, done.returncode)


class Pair:
    """The workspace `ws` and the work tree `directory`."""

    def __init__(self, place: Path, template: Path | None) -> None:
        """Both start as a copy of the repository `template`, or empty; `place` is a directory to be made."""
        self.place = place
        self.directory = place / "real"
        self.tick = 0
        place.mkdir(parents=True)
        self.repository = pyi.open(place / "store")
        if template is None:
            self.directory.mkdir()
            real_git(self.directory, "init", "-q", "-b", "main")
            (place / "empty").mkdir()
            self.ws = self.repository.import_dir(place / "empty")
        else:
            shutil.copytree(template, self.directory, symlinks=True)
            # A workspace begins without reflogs.
            shutil.rmtree(self.directory / ".git" / "logs", ignore_errors=True)
            self.ws = self.repository.import_git(self.directory)

    def close(self) -> None:
        """Take everything away."""
        self.repository.close()
        shutil.rmtree(self.place, ignore_errors=True)

    def _real(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.directory), path)

    def write(self, path: bytes, data: bytes) -> None:
        """Write a file, on both sides; nothing if a directory is there or above is a file."""
        target = self._real(path)
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.islink(target):
                os.unlink(target)
            with open(target, "wb") as file:
                file.write(data)
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            return
        if self.ws.exists(path) and self.ws.stat(path).kind == "symlink":
            self.ws.remove(path)
        self.ws.write(path, data)

    def chmod(self, path: bytes, executable: bool) -> None:
        """Change the executable bit of a file."""
        mode = 0o755 if executable else 0o644
        if not self.ws.exists(path) or self.ws.stat(path).kind != "file":
            return
        self.ws.write(path, self.ws.read(path), mode=mode)
        os.chmod(self._real(path), mode)

    def symlink(self, path: bytes, target: bytes) -> None:
        """Make a symlink where nothing is."""
        real = self._real(path)
        if os.path.lexists(real) or self.ws.exists(path):
            return
        try:
            os.makedirs(os.path.dirname(real), exist_ok=True)
            os.symlink(target, real)
        except (FileExistsError, NotADirectoryError):
            return
        self.ws.symlink(path, target)

    def remove(self, path: bytes) -> None:
        """Remove a file, and directories that are empty then."""
        real = self._real(path)
        if not os.path.lexists(real) or (os.path.isdir(real) and not os.path.islink(real)):
            return
        os.unlink(real)
        self.ws.remove(path)
        above = os.path.dirname(path)
        while above and not os.listdir(self._real(above)):
            os.rmdir(self._real(above))
            if self.ws.exists(above):
                self.ws.remove(above)
            above = os.path.dirname(above)

    def prune(self) -> None:
        """Remove the empty directories that a refused edit left in the work tree."""
        top = os.fsencode(self.directory)
        for here, _, _ in os.walk(top, topdown=False):
            if here != top and not here.startswith(os.path.join(top, b".git")) and not os.listdir(here):
                os.rmdir(here)

    def ours(self, *argv: bytes | str, stdin: bytes = b"") -> Answer:
        """The workspace's answer, at the present time."""
        done = self.ws.git(*argv, input=stdin, env=environment(self.tick))
        return Answer(bytes(done.stdout), bytes(done.stderr), done.returncode)

    def theirs(self, *argv: bytes | str, stdin: bytes = b"") -> Answer:
        """Git's answer, at the present time."""
        return real_git(self.directory, *argv, tick=self.tick, stdin=stdin)

    def unlike(self) -> list[str]:
        """Files that are not the same on both sides."""
        ours: dict[bytes, tuple[str, bytes]] = {}
        for entry in self.ws.walk():
            path = os.fsencode(entry.path)
            if entry.kind == "symlink":
                ours[path] = ("symlink", os.fsencode(self.ws.readlink(entry.path)))
            elif entry.kind == "file":
                ours[path] = ("x" if entry.mode & 0o100 else "-", bytes(self.ws.read(entry.path)))
        theirs: dict[bytes, tuple[str, bytes]] = {}
        top = os.fsencode(self.directory)
        for here, directories, files in os.walk(top):
            if here == top:
                directories.remove(b".git")
            for name in [*files, *(name for name in directories if os.path.islink(os.path.join(here, name)))]:
                full = os.path.join(here, name)
                path = os.path.relpath(full, top)
                status = os.lstat(full)
                if stat.S_ISLNK(status.st_mode):
                    theirs[path] = ("symlink", os.readlink(full))
                else:
                    theirs[path] = ("x" if status.st_mode & 0o100 else "-", Path(os.fsdecode(full)).read_bytes())
        return [repr(path) for path in sorted(ours.keys() | theirs.keys()) if ours.get(path) != theirs.get(path)]
