"""A workspace and a real repository beside it, to which the same is done."""

from __future__ import annotations

import difflib
import subprocess
from pathlib import Path

import pyi
from validation.gitwork.pair import environment as git_env
from validation.gitwork.pair import real_environment

__all__ = ["Pair", "git_env", "real_git"]


def real_git(directory: Path, *argv: str, tick: int = 0, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The installed git, without anybody's configuration."""
    env = real_environment(tick)
    return subprocess.run(["git", *argv], cwd=directory, env=env, input=stdin, capture_output=True, check=False)


class Pair:
    """The workspace `ws` and the work tree `directory`; what differs is collected."""

    def __init__(self, tmp_path: Path, files: dict[str, bytes] | None = None, *, commit: bool = True) -> None:
        self.directory = tmp_path / "real"
        self.directory.mkdir()
        self.tick = 0
        self.differences: list[str] = []
        self.unavailable: list[str] = []
        real_git(self.directory, "init", "-q", "-b", "main")
        for path, data in (files or {}).items():
            self._write_real(path, data)
        if commit:
            real_git(self.directory, "add", "-A")
            real_git(self.directory, "commit", "-q", "--allow-empty", "-m", "base")
        self.repo = pyi.open(tmp_path / "store")
        if commit:
            self.ws = self.repo.import_git(self.directory)
        else:
            empty = tmp_path / "empty"
            empty.mkdir()
            self.ws = self.repo.import_dir(empty)
            for path, data in (files or {}).items():
                self.ws.write(path, data)

    def _write_real(self, path: str, data: bytes) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def write(self, path: str, data: bytes) -> None:
        self.ws.write(path, data)
        self._write_real(path, data)

    def remove(self, path: str) -> None:
        self.ws.remove(path)
        (self.directory / path).unlink()

    def chmod(self, path: str, executable: bool) -> None:
        mode = 0o755 if executable else 0o644
        self.ws.write(path, self.ws.read(path), mode=mode)
        (self.directory / path).chmod(mode)

    def git(self, *argv: str, stdin: bytes = b"") -> bytes:
        """Runs it on both sides; notes what differs; returns the workspace's output."""
        self.tick += 1
        ours = self.ws.git(*argv, input=stdin, env=git_env(self.tick))
        if ours.stderr.startswith(b"pyi: "):
            self.unavailable.append(f"{' '.join(argv)}: {ours.stderr.decode()}")
            return b""
        theirs = real_git(self.directory, *argv, tick=self.tick, stdin=stdin)
        for what, a, b in (
            ("stdout", ours.stdout, theirs.stdout),
            ("stderr", ours.stderr, theirs.stderr),
            ("status", ours.returncode, theirs.returncode),
        ):
            if a != b:
                lines = difflib.unified_diff(_show(b).splitlines(), _show(a).splitlines(), "git", "pyi", "", "", 2, "")
                self.differences.append(f"git {' '.join(argv)}: {what}\n" + "\n".join(lines))
        return bytes(ours.stdout)

    def check(self) -> None:
        assert not self.differences, "\n\n".join(self.differences)

    def check_same_files(self) -> None:
        ours = {entry.path: bytes(self.ws.read(entry.path)) for entry in self.ws.walk()}
        theirs = {
            str(path.relative_to(self.directory)): path.read_bytes()
            for path in self.directory.rglob("*")
            if path.is_file() and ".git" not in path.relative_to(self.directory).parts
        }
        assert ours == theirs


def _show(value: bytes | int) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
