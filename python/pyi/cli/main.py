"""Arguments in, exit status out: 0 done, 1 a negative answer, 2 wrong usage, 3 a failed run, 128 + n after signal n."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from pyi.cli import race, swarm
from pyi.errors import InvalidArgument, PyiError

__all__ = ["main"]

EXIT_USAGE = 2
EXIT_FAILED = 3


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and the remedy, and exit with 2."""
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Terminated(KeyboardInterrupt):
    """SIGTERM: the same way out as Ctrl-C, so that commands are stopped and directories removed."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    top: argparse.ArgumentParser = Parser(prog="pyi", description="The verbs of pyi that are written in Python.")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    race.add_parser(verbs)
    swarm.add_parser(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status: int = options.run(options)
    except InvalidArgument as error:
        return _complain(options.verb, error, EXIT_USAGE)
    except PyiError as error:
        return _complain(options.verb, error, EXIT_FAILED)
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT
        remedy = "; `pyi race --resume` goes on" if options.verb == "race" else ""
        print(f"pyi {options.verb}: interrupted{remedy}", file=sys.stderr)
        return 128 + number
    except BrokenPipeError:  # who read our output has enough
        sys.stderr.close()
        return 128 + signal.SIGPIPE
    except Exception:  # a bug: all of it, and a status that is not "nobody passed"
        traceback.print_exc()
        return EXIT_FAILED
    return status


def _complain(verb: str, error: PyiError, status: int) -> int:
    print(f"pyi {verb}: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated
