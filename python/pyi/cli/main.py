"""Arguments in, exit status out: 0 done, 1 a negative answer, 2 wrong usage, 3 a failed run, 128 + n after signal n.

1 is also: no such thing, or somebody else was first (`NotFound`, `Conflict`), as it is of the native verbs.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from pyi.cli import backup, race, scrub, serve, swarm, token
from pyi.cli.output import say, settle
from pyi.errors import Conflict, InvalidArgument, InvalidPath, NotFound, PyiError

__all__ = ["VERBS", "main"]

VERBS = frozenset({"backup", "race", "restore-backup", "scrub", "serve", "swarm", "token"})

EXIT_NEGATIVE = 1
EXIT_USAGE = 2
EXIT_FAILED = 3


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and the remedy, and exit with 2."""
        say(f"error: {message} (see {self.prog} --help)")
        self.exit(EXIT_USAGE)


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the same way out as Ctrl-C, so that commands are stopped and directories removed."""

    def __init__(self, number: int) -> None:
        """Keep the signal's number."""
        super().__init__()
        self.number = number


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    top: argparse.ArgumentParser = Parser(prog="pyi", description="The verbs of pyi that are written in Python.")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    race.add_parser(verbs)
    swarm.add_parser(verbs)
    scrub.add_parser(verbs)
    backup.add_parsers(verbs)
    serve.add_parser(verbs)
    token.add_parser(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    _prepare_streams()
    try:
        options, unknown = parser().parse_known_args(argv)
        if unknown:
            say(f"error: unrecognized arguments: {' '.join(unknown)} (see pyi {options.verb} --help)")
            return EXIT_USAGE
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, _terminate)
        return _run(options)
    finally:
        settle()


def _run(options: argparse.Namespace) -> int:
    try:
        status: int = options.run(options)
    except (InvalidArgument, InvalidPath) as error:
        return _complain(error, EXIT_USAGE)
    except (NotFound, Conflict) as error:
        return _complain(error, EXIT_NEGATIVE)
    except PyiError as error:
        return _complain(error, EXIT_FAILED)
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, _Terminated) else signal.SIGINT
        remedy = "; `pyi race --resume` goes on" if options.verb == "race" else ""
        say(f"error: interrupted{remedy}")
        return 128 + number
    except BrokenPipeError:  # who read our output has enough
        return 128 + signal.SIGPIPE
    except Exception:  # a bug: all of it, and a status that is not "nobody passed"
        say(traceback.format_exc())
        return EXIT_FAILED
    return status


def _prepare_streams() -> None:
    """Have both streams, and print what is not UTF-8 (a path) somehow and not fail."""
    if sys.stdout is None:  # closed by who started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _complain(error: PyiError, status: int) -> int:
    say(f"error: {' '.join(str(error).split())}")
    return status


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated(number)
