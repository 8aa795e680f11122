"""What this machine permits: overlay mounts, process namespaces. Found out by trying, once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from pyi.config import native_program
from pyi.errors import InvalidArgument, NotFound, PyiError
from pyi.sandbox.scratch import Scratch

__all__ = ["Backend", "Capabilities", "Layers", "detect"]

_TRIAL_TIMEOUT_S = 10.0


class Backend(StrEnum):
    """How a sandbox gets its directory."""

    OVERLAY = "overlay"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Layers:
    """The directories of an overlay; it is mounted at `lower` itself, in the command's own mount namespace."""

    lower: Path
    upper: Path
    work: Path


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the trial showed.

    Attributes:
        launcher: The native program, or None if it is missing: then nothing but copies and process groups works.
        overlay: Overlay mounts work in the place for temporary files.
        namespace: A process namespace works, so that a command's daemons die with it.
        reason: Why overlays do not work; empty if they do.
    """

    launcher: Path | None
    overlay: bool
    namespace: bool
    reason: str = ""

    @property
    def backend(self) -> Backend:
        """The best backend that works."""
        return Backend.OVERLAY if self.overlay else Backend.COPY

    def choose(self, wanted: Backend | str | None) -> Backend:
        """Return the backend to use for `wanted` (None or "auto": the best one).

        Raises:
            InvalidArgument: There is no such backend.
            PyiError: An overlay was asked for by name and does not work here.
        """
        if wanted is None or wanted == "auto":
            return self.backend
        try:
            backend = Backend(wanted)
        except ValueError as error:
            raise InvalidArgument(f"no sandbox backend {wanted!r}: use auto, overlay or copy") from error
        if backend is Backend.OVERLAY and not self.overlay:
            raise PyiError(f"overlay mounts do not work here ({self.reason}): use the copy backend")
        return backend

    def command(self, argv: Sequence[str], *, directory: Path, layers: Layers | None = None) -> list[str]:
        """Return the arguments that run `argv` in `directory`, on an overlay if `layers` are given."""
        if self.launcher is None:
            return list(argv)
        prefix = [str(self.launcher), "sandbox-exec", "--parent", str(os.getpid()), "--chdir", str(directory)]
        if layers is not None:
            prefix += ["--lower", str(layers.lower), "--upper", str(layers.upper)]
            prefix += ["--work", str(layers.work), "--at", str(layers.lower)]
        if self.namespace:
            prefix.append("--pid-ns")
        return [*prefix, "--", *argv]


@cache
def detect() -> Capabilities:
    """Find out what works here, with real mounts; the answer is kept for the life of the process.

    Cost: a few milliseconds, up to four process starts.
    """
    try:
        launcher = native_program()
    except NotFound as error:
        return Capabilities(None, overlay=False, namespace=False, reason=str(error))
    reason = ""
    for overlay in (True, False):
        for namespace in (True, False):
            capabilities = Capabilities(launcher, overlay=overlay, namespace=namespace, reason=reason)
            problem = _try(capabilities)
            if problem is None:
                return capabilities
            if overlay:
                reason = problem
    return Capabilities(None, overlay=False, namespace=False, reason=reason)


def _try(capabilities: Capabilities) -> str | None:
    """Run one command with these capabilities; None if it did what it should, else why not."""
    with Scratch() as scratch:
        lower, upper, work = (scratch.path / name for name in ("lower", "upper", "work"))
        for directory in (lower, upper, work):
            directory.mkdir()
        (lower / "old").write_text("old")
        layers = Layers(lower, upper, work) if capabilities.overlay else None
        argv = capabilities.command(["/bin/sh", "-c", "rm old && echo new > new"], directory=lower, layers=layers)
        try:
            done = subprocess.run(
                argv, capture_output=True, timeout=_TRIAL_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode != 0:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            return lines[-1] if lines else f"exit status {done.returncode}"
        if (upper if capabilities.overlay else lower).joinpath("new").exists():
            return None
        return "the trial command's file is not where it should be"
