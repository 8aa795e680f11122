"""Run a project's unittest suite against changed sources, in a child process.

Each trial is a fork: the child imports the project afresh, takes the changed
source from memory, runs the tests, reports through a pipe and is gone.  Nothing
is written to disk, and a mutant which hangs or eats memory hurts nobody.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import resource
import signal
import sys
import types
import unittest
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TEST_SECONDS = 0.25  # of processor time, for one test
RUN_SECONDS = 20  # of processor time, for all tests
MEMORY = 1 << 30

Line = tuple[str, int]


class _Hang(BaseException):
    """A test has used up its time."""


@dataclass
class Outcome:
    """What a run of the tests showed."""

    failed: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    hung: bool = False
    complete: bool = False
    lines: dict[str, list[Line]] = field(default_factory=dict)


class Suite:
    """The tests of the project in ``root``."""

    def __init__(self, root: Path, sources: Sequence[Path]) -> None:
        self.root = root
        self.sources = {str(path) for path in sources}
        self._code: dict[str, types.CodeType] = {}
        for path in sorted(root.rglob("*.py")):
            try:
                code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue
            self._code[str(path)] = code

    def survey(self) -> Outcome:
        """Run all tests and record which lines each one executes."""
        return self._fork({}, (), None, traced=True)

    def run(self, changed: Mapping[str, types.CodeType], first: Sequence[str], limit: int) -> Outcome:
        """Run the tests named ``first``, then the others.

        Stop as soon as ``limit`` tests have failed, or one hangs.
        """
        return self._fork(changed, first, limit, traced=False)

    def _fork(
        self,
        changed: Mapping[str, types.CodeType],
        first: Sequence[str],
        limit: int | None,
        traced: bool,
    ) -> Outcome:
        sys.stdout.flush()
        sys.stderr.flush()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reader)
                self._confine()
                outcome = self._execute(changed, first, limit, traced)
                with os.fdopen(writer, "w", encoding="utf-8") as pipe:
                    json.dump(vars(outcome), pipe)
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as pipe:
            report = pipe.read()
        os.waitpid(child, 0)
        try:
            outcome = Outcome(**json.loads(report))
        except ValueError:
            return Outcome(hung=True)
        for name, lines in outcome.lines.items():
            outcome.lines[name] = [(path, number) for path, number in lines]
        return outcome

    @staticmethod
    def _confine() -> None:
        _bound(resource.RLIMIT_CPU, RUN_SECONDS)
        _bound(resource.RLIMIT_CORE, 0)
        _bound(resource.RLIMIT_AS, MEMORY)
        signal.alarm(10 * RUN_SECONDS)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)

    def _execute(
        self,
        changed: Mapping[str, types.CodeType],
        first: Sequence[str],
        limit: int | None,
        traced: bool,
    ) -> Outcome:
        sys.meta_path.insert(0, _Finder({**self._code, **changed}))
        _forget_agent()
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(self.root))
        loaded = unittest.TestLoader().discover(str(self.root))
        tests = list(_flatten(loaded))
        order = {name: i for i, name in enumerate(first)}
        tests.sort(key=lambda test: order.get(test.id(), len(order)))
        result = _Result(limit, self.sources if traced else None)
        unittest.TestSuite(tests).run(result)
        signal.setitimer(signal.ITIMER_PROF, 0)
        result.outcome.complete = not result.shouldStop
        return result.outcome


def _bound(kind: int, value: int) -> None:
    """Lower a limit of this process, never above what it has now."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _forget_agent() -> None:
    """Make room for modules of the project with the agent's names."""
    home = Path(__file__).resolve().parent
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == home.name or (name != "__main__" and file and Path(file).parent == home):
            del sys.modules[name]
    sys.path[:] = [path for path in sys.path if Path(path) not in (home, home.parent)]


def _flatten(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flatten(test)
        else:
            yield test


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules as usual, but loads the code it was given."""

    def __init__(self, code: Mapping[str, types.CodeType]) -> None:
        self._code = code

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        code = self._code.get(spec.origin or "") if spec else None
        if spec is not None and spec.origin is not None and code is not None:
            spec.loader = _Loader(fullname, spec.origin, code)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads code which is compiled already."""

    def __init__(self, fullname: str, path: str, code: types.CodeType) -> None:
        super().__init__(fullname, path)
        self._code = code

    def get_code(self, fullname: str) -> types.CodeType:
        return self._code


class _Result(unittest.TestResult):
    """Collects names and executed lines, and bounds the time of each test."""

    def __init__(self, limit: int | None, traced: set[str] | None) -> None:
        super().__init__()
        self.outcome = Outcome()
        self._limit = limit
        self._traced = traced
        self._lines: set[Line] = set()
        self._bad: set[str] = set()
        signal.signal(signal.SIGPROF, self._expire)

    def _expire(self, signum: int, frame: types.FrameType | None) -> None:
        self.outcome.hung = True
        if self._traced is None:
            self.stop()
        raise _Hang

    def _trace(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        path = frame.f_code.co_filename
        if self._traced is None or path not in self._traced:
            return None
        self._lines.add((path, frame.f_lineno))
        return self._trace

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self._lines.clear()
        signal.setitimer(signal.ITIMER_PROF, TEST_SECONDS, TEST_SECONDS)
        if self._traced is not None:
            sys.settrace(self._trace)

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        super().stopTest(test)
        name = test.id()
        if name not in self._bad:
            self.outcome.passed.append(name)
        if self._traced is not None:
            self.outcome.lines[name] = sorted(self._lines)

    def _fail(self, test: unittest.TestCase) -> None:
        name = test.id()
        if name not in self._bad:
            self._bad.add(name)
            self.outcome.failed.append(name)
        if self._limit is not None and len(self._bad) >= self._limit:
            self.stop()

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._fail(test)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._fail(test)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._fail(test)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._fail(test)
