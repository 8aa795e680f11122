"""The directory that all candidates of a race share: materialized once, set up once, never written again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pyi.errors import InvalidPath
from pyi.sandbox.backend import Backend, Capabilities, detect
from pyi.sandbox.copying import copy_path
from pyi.sandbox.process import Cancel, Command, Outcome, as_argv, environment, run
from pyi.sandbox.sandbox import Sandbox
from pyi.sandbox.scratch import Scratch

if TYPE_CHECKING:
    from pyi._native import Change, Workspace

__all__ = ["Base"]


class Base:
    """A workspace as a real directory, from which any number of sandboxes start.

    Order of use: make it, `include` ignored paths, `setup`, then `sandbox(i)` as often as wanted, `close`.
    """

    directory: Path
    backend: Backend
    workspace: Workspace

    def __init__(
        self, workspace: Workspace, *, backend: Backend | str | None = None, excludes_file: Path | None = None
    ) -> None:
        """Materialize `workspace` into a scratch directory.

        Args:
            workspace: What the directory holds; not changed, and not to be changed while the base lives.
            backend: ``"overlay"``, ``"copy"``, or None for the best that works here.
            excludes_file: The user's own list of ignored files (git's ``core.excludesFile``), for captures.

        Raises:
            StorageError: The directory could not be written.

        Cost: O(tree), once.
        """
        self.capabilities: Capabilities = detect()
        self.backend = self.capabilities.choose(backend)
        self.workspace = workspace
        self._excludes_file = excludes_file
        self._scratch = Scratch()
        self.directory = self._scratch.path / "base"
        self._side_effects: list[Change] | None = None
        try:
            workspace.materialize(self.directory)
        except BaseException:
            self._scratch.close()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Remove the directory and what is left of its sandboxes; idempotent."""
        self._scratch.close()

    def include(self, source: Path, paths: Iterable[str]) -> int:
        """Copy ignored paths (an environment, secrets, data) from the work tree at `source`; return how many files.

        Raises:
            InvalidPath: A path is absolute or leaves the tree.
            NotFound: A path does not exist.

        Cost: O(files copied).
        """
        copied = 0
        for path in paths:
            relative = PurePosixPath(path)
            if relative.is_absolute() or ".." in relative.parts or ".git" in relative.parts or not relative.parts:
                raise InvalidPath(f"cannot include {path!r}: name a path inside the repository, relative to its root")
            target = self.directory / relative
            if self.directory not in (parent := target.parent.resolve()).parents and parent != self.directory:
                raise InvalidPath(f"cannot include {path!r}: it lies below a symlink that leaves the repository")
            copied += copy_path(source / relative, target)
        return copied

    def setup(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
    ) -> Outcome:
        """Run a command in the base itself; every sandbox sees what it made, and none counts it as its own change.

        Cost: the command's.
        """
        argv = self.capabilities.command(as_argv(command), directory=self.directory)
        full = environment({"PWD": str(self.directory), **(env or {})})
        log = self._scratch.path / "setup.log"
        self._side_effects = None
        return run(argv, directory=self.directory, env=full, log=log, timeout=timeout, cancel=cancel)

    def sandbox(self, index: int) -> Sandbox:
        """Return a fresh directory for candidate `index`.

        Cost: three empty directories with the overlay backend; a copy of the tree with the other.
        """
        side_effects = self._changes_of_setup() if self.backend is Backend.COPY else []
        return Sandbox(
            self._scratch.path / "candidates" / str(index),
            base=self.directory,
            backend=self.backend,
            capabilities=self.capabilities,
            origin=self.workspace,
            side_effects=side_effects,
            excludes_file=self._excludes_file,
        )

    def _changes_of_setup(self) -> list[Change]:
        """What `setup` and `include` changed as capture sees it: a copy holds that too, an upper layer does not."""
        if self._side_effects is None:
            self._side_effects = self.workspace.fork().capture(self.directory, excludes_file=self._excludes_file)
        return self._side_effects
