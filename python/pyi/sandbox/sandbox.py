"""One candidate's directory: commands run in it, what they changed is captured, then it is gone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pyi.errors import StorageError
from pyi.sandbox.backend import Backend, Capabilities, Layers
from pyi.sandbox.copying import copy_path
from pyi.sandbox.process import Cancel, Command, Outcome, as_argv, environment, run
from pyi.sandbox.scratch import remove_tree

if TYPE_CHECKING:
    from pyi._native import Change, Workspace

__all__ = ["Sandbox"]


class Sandbox:
    """A directory that starts as the base and belongs to one candidate. Made by `Base.sandbox`.

    With the overlay backend the commands see it at the path of the base; only the upper layer exists on disk. With
    the copy backend it is a directory of its own.
    """

    directory: Path
    """The directory as the commands see it."""

    log: Path
    """All output of all commands."""

    def __init__(
        self,
        home: Path,
        *,
        base: Path,
        backend: Backend,
        capabilities: Capabilities,
        origin: Workspace,
        side_effects: list[Change],
        excludes_file: Path | None,
    ) -> None:
        """Make the directories below `home`; see `Base.sandbox`."""
        self._home = home
        self._base = base
        self._backend = backend
        self._capabilities = capabilities
        self._origin = origin
        self._side_effects = side_effects
        self._excludes_file = excludes_file
        self._runs = 0
        self.log = home / "log"
        self._tmp = home / "tmp"
        try:
            self._tmp.mkdir(parents=True)
            if backend is Backend.OVERLAY:
                self.directory = base
                self._root = home / "upper"
                self._root.mkdir()
                # The root of the view has the mode of the upper layer's root.
                self._root.chmod(stat.S_IMODE(base.stat().st_mode))
            else:
                self.directory = self._root = home / "tree"
                copy_path(base, self.directory)
        except OSError as error:
            raise StorageError(f"cannot make a sandbox in {home}: {error.strerror}", error.errno) from error

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Remove everything; idempotent.

        Raises:
            StorageError: Something could not be removed.

        Cost: O(files that the commands made) with the overlay backend.
        """
        try:
            remove_tree(self._home)
        except OSError as error:
            raise StorageError(f"cannot remove {self._home}: {error.strerror}", error.errno) from error

    def run(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
        tick: Callable[[], None] | None = None,
        every_s: float = 1.0,
    ) -> Outcome:
        """Run a command in the directory and return how it went; see `pyi.sandbox.process.run`.

        Commands of one sandbox run one after the other and see each other's files. Temporary files (``TMPDIR``) are
        the sandbox's own.

        Raises:
            StorageError: It could not be started.

        Cost: one process start and one mount, about 3 ms.
        """
        layers = None
        if self._backend is Backend.OVERLAY:
            # A fresh work directory each time: a volatile overlay refuses one that was used before.
            work = self._home / f"work{self._runs}"
            work.mkdir()
            layers = Layers(self._base, self._root, work)
        self._runs += 1
        argv = self._capabilities.command(as_argv(command), directory=self.directory, layers=layers)
        full = environment({"PWD": str(self.directory), "TMPDIR": str(self._tmp), **(env or {})})
        return run(
            argv,
            directory=self.directory,
            env=full,
            log=self.log,
            timeout=timeout,
            cancel=cancel,
            tick=tick,
            every_s=every_s,
        )

    def capture(self, workspace: Workspace) -> list[Change]:
        """Take what the commands changed into `workspace`, a fork of the base's; return the changes.

        Paths that git ignores are left out. May be called while a command runs: it then takes what is there.

        Raises:
            StorageError: A file could not be read, or vanished meanwhile.

        Cost: O(changed) with the overlay backend; a look at every file with the other.
        """
        if self._backend is Backend.OVERLAY:
            return workspace.capture(
                self._base, upper=self._root, base=self._origin.head, excludes_file=self._excludes_file
            )
        changes = workspace.capture(self.directory, excludes_file=self._excludes_file)
        for effect in self._side_effects:
            self._take_back(workspace, effect)
        return changes

    def _take_back(self, workspace: Workspace, effect: Change) -> None:
        """Undo in `workspace` what setup did and the candidate left alone."""
        now = workspace.stat(effect.path) if workspace.exists(effect.path) else None
        same = now is None and effect.new is None
        if now is not None and effect.new is not None:
            same = (now.kind, now.mode, now.id) == (effect.new.kind, effect.new.mode, effect.new.id)
        if not same:
            return
        if now is not None:
            workspace.remove(effect.path)
        old = effect.old
        if old is not None and old.kind == "symlink":
            workspace.symlink(effect.path, self._origin.readlink(effect.path))
        elif old is not None and old.kind == "file":
            workspace.write(effect.path, self._origin.read(effect.path), mode=old.mode & 0o777)
        elif old is not None and old.kind == "dir":
            workspace.mkdir(effect.path)

    def populate(self, workspace: Workspace, changes: Iterable[Change]) -> None:
        """Bring `changes`, made in `workspace` through the API, into the directory before the first command runs.

        Raises:
            StorageError: A file could not be written.

        Cost: O(changed).
        """
        ordered = sorted(changes, key=lambda change: change.new is not None)  # first make room
        try:
            for change in ordered:
                target = self._root / change.path
                if change.new is None:
                    self._hide(target)
                elif change.new.kind == "dir":
                    self._parents(target)
                    target.mkdir(exist_ok=True)
                elif change.new.kind == "symlink":
                    self._clear(target)
                    target.symlink_to(workspace.readlink(change.path))
                elif change.new.kind == "file":
                    self._clear(target)
                    target.write_bytes(workspace.read(change.path))
                    target.chmod(0o755 if change.new.mode & 0o111 else 0o644)
        except OSError as error:
            raise StorageError(f"cannot fill the sandbox: {error}", error.errno) from error

    def _hide(self, target: Path) -> None:
        if self._backend is Backend.COPY:
            if target.is_dir() and not target.is_symlink():
                remove_tree(target)
            else:
                target.unlink(missing_ok=True)
            return
        self._parents(target)
        if target.is_dir():
            return  # all that was in it is marked already
        # overlayfs's mark for "not here any more"; everybody may make this one device.
        os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))

    def _clear(self, target: Path) -> None:
        """Make the parents of a new file, and room for it."""
        self._parents(target)
        if target.is_dir() and not target.is_symlink():
            remove_tree(target)
        else:
            target.unlink(missing_ok=True)

    def _parents(self, target: Path) -> None:
        """Make the directories above `target`; a mark or file in the way gives way to a directory."""
        for parent in reversed(target.parents):
            if parent != self._root and self._root not in parent.parents:
                continue
            if parent.is_symlink() or (os.path.lexists(parent) and not parent.is_dir()):
                parent.unlink()
            parent.mkdir(exist_ok=True)
