"""PYI: the state engine under a swarm of AI agents.

Every agent gets its own copy of a workspace in a microsecond, every step is kept, hundreds of attempts run side by
side, and the one that worked becomes an ordinary git commit.

>>> import pyi
>>> with pyi.open("my-project") as repo:  # the store lives in my-project/.git/pyi
...     ws = repo.import_git("my-project")
...     attempt = ws.fork()
...     attempt.write("README.md", "better")
...     saved = attempt.checkpoint("a try")
...     ws.restore(saved)

Importing this package loads the kernel and the errors and nothing else; ``race``, ``swarm``, ``session``, ``resumable``
and ``restore_backup`` are loaded when they are first touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyi import errors
from pyi._native import (
    Change,
    Checkpoint,
    Entry,
    GcReport,
    GitResult,
    MergeResult,
    Operation,
    RefMove,
    Repository,
    Retention,
    Superposition,
    Workspace,
    __version__,
    open,
)
from pyi.errors import (
    Closed,
    Conflict,
    Corrupt,
    GitError,
    InvalidArgument,
    InvalidPath,
    LeaseLost,
    NotFound,
    PyiError,
    QuotaExceeded,
    StorageError,
    UnsupportedFormat,
)

if TYPE_CHECKING:
    from pyi.backup.report import BackupReport, LogPosition, ScrubReport
    from pyi.backup.restore import restore_backup
    from pyi.longrun.opening import session
    from pyi.longrun.report import SessionReport
    from pyi.longrun.resumable import resumable
    from pyi.longrun.session import Session
    from pyi.workflow.race import race
    from pyi.workflow.result import CandidateResult, RaceResult
    from pyi.workflow.swarm import SwarmReport, swarm

__all__ = [
    "BackupReport",
    "CandidateResult",
    "Change",
    "Checkpoint",
    "Closed",
    "Conflict",
    "Corrupt",
    "Entry",
    "GcReport",
    "GitError",
    "GitResult",
    "InvalidArgument",
    "InvalidPath",
    "LeaseLost",
    "LogPosition",
    "MergeResult",
    "NotFound",
    "Operation",
    "PyiError",
    "QuotaExceeded",
    "RaceResult",
    "RefMove",
    "Repository",
    "Retention",
    "ScrubReport",
    "Session",
    "SessionReport",
    "StorageError",
    "Superposition",
    "SwarmReport",
    "UnsupportedFormat",
    "Workspace",
    "__version__",
    "errors",
    "open",
    "race",
    "restore_backup",
    "resumable",
    "session",
    "swarm",
]

_LAZY = {
    "restore_backup": "pyi.backup.restore",
    "BackupReport": "pyi.backup.report",
    "LogPosition": "pyi.backup.report",
    "ScrubReport": "pyi.backup.report",
    "session": "pyi.longrun.opening",
    "Session": "pyi.longrun.session",
    "SessionReport": "pyi.longrun.report",
    "resumable": "pyi.longrun.resumable",
    "race": "pyi.workflow.race",
    "RaceResult": "pyi.workflow.result",
    "CandidateResult": "pyi.workflow.result",
    "swarm": "pyi.workflow.swarm",
    "SwarmReport": "pyi.workflow.swarm",
}


def __getattr__(name: str) -> object:
    """Load what is asked for by name for the first time; later look-ups find it as an ordinary attribute."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Show the lazy names too."""
    return sorted({*globals(), *__all__})
