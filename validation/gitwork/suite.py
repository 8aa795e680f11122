"""`suite`: git's own tests with `pyi` as the git that they run, and with git itself; who passes what."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["add_arguments", "run"]

#: Which command the tests in a file are about, by the beginning of the file's name; the first that fits counts.
#: They are run in this order.
_ABOUT: tuple[tuple[str, str], ...] = (
    ("status", "t7508 t706 t7511 t7525 t7011 t7012 t6040"),
    ("add", "t2200 t2201 t2202 t2203 t37"),
    ("commit", "t750 t7516 t7517 t7518 t752"),
    ("diff", "t4013 t4069 t400 t401[1-35-9] t402 t403 t404 t405 t406"),
    ("log", "t4202 t4203 t4205 t4207 t4208 t421"),
    ("show", "t7007"),
    ("branch", "t3200 t3202 t3203 t3204"),
    ("tag", "t7004"),
    ("ls-files", "t300 t301 t302 t613"),
    ("rev-list", "t600 t6012 t6014 t6016 t6019 t61"),
    ("rev-parse", "t150 t151"),
    ("cat-file", "t1006"),
    ("ls-tree", "t310"),
    ("for-each-ref", "t630"),
    ("show-ref", "t1403"),
    ("symbolic-ref", "t1401"),
    ("merge-base", "t6010"),
    ("hash-object", "t1007"),
    ("checkout", "t200[5-9] t2003 t201 t202 t2060 t207 t7201"),
    ("stash", "t3903 t3905 t3908 t3909"),
    ("reset", "t710 t711"),
    ("config", "t13"),
    ("rm", "t3600"),
    ("clean", "t7301"),
    ("reflog", "t141"),
)
_NATIVE_AT_ALL = "all"
_LINE = re.compile(r"(not ok|ok) (\d+)(?: - (.*))?$")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--source", type=Path, required=True, metavar="DIR", help="git's own source directory, built")
    parser.add_argument("--program", type=Path, help="the `pyi` that is tested (default: the one on PATH)")
    parser.add_argument(
        "--files", type=Path, default=Path("../shared/git-tests-open.txt"), help="names of test files, # groups"
    )
    parser.add_argument(
        "--native",
        default=_NATIVE_AT_ALL,
        metavar="CMD",
        help=f"this command only, others by git (default: {_NATIVE_AT_ALL})",
    )
    parser.add_argument("--about", metavar="CMD,...", help="only the files about these commands")
    parser.add_argument("--jobs", type=int, default=1, help="files at once (default: 1)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for each file (default: 600)")
    parser.add_argument("--log", type=Path, help="a file that gets a line of JSON for each run")
    parser.add_argument(
        "--baseline", type=Path, help="such a file, from which git's own runs are taken if they are there"
    )
    parser.add_argument("tests", nargs="*", help="names of files, or their beginnings (default: all)")


@dataclass
class Result:
    """One run of one file."""

    file: str
    side: str
    native: str
    seconds: float
    passed: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    skipped: int = 0
    known: int = 0
    late: bool = False
    ways: dict[str, dict[str, int]] = field(default_factory=dict)
    said: str = ""


@dataclass(frozen=True)
class _Side:
    """A git as the tests see it: a directory of programs, and git's own path of programs."""

    name: str
    programs: Path
    exec_path: Path
    #: Where hand-overs find git.
    behind: Path


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status: 0 if nothing is lost that git passes."""
    tests = _chosen(options)
    # The tests run in other directories, and git's source is named in them.
    options.source = options.source.resolve()
    git, pyi = _sides(options.source, options.program.resolve(), place)
    known = _read(options.baseline)
    results: list[tuple[Result, Result]] = []
    print("| file | about | git passes | pyi passes | lost | native | handed over |\n|---|---|---|---|---|---|---|")

    def both(test: str) -> tuple[Result, Result]:
        theirs = known.get(test) or _run(test, git, options, place)
        return theirs, _run(test, pyi, options, place)

    with ThreadPoolExecutor(options.jobs) as pool:
        for theirs, ours in pool.map(both, tests):
            results.append((theirs, ours))
            for result in (theirs, ours):
                if options.log and result is not known.get(result.file):
                    with options.log.open("a") as log:
                        log.write(json.dumps(asdict(result)) + "\n")
            _print(theirs, ours)
    return _sum_up(results)


def _chosen(options: argparse.Namespace) -> list[str]:
    """The files to run, those about native commands first."""
    names = [
        word.removesuffix(".sh")
        for line in options.files.read_text().splitlines()
        if not line.startswith("#")
        for word in line.split()
    ]
    there = [name for name in names if (options.source / "t" / f"{name}.sh").exists()]
    for name in sorted(set(names) - set(there)):
        print(f"not in this version of git: {name}")
    order = [command for command, _ in _ABOUT]
    wanted = options.about.split(",") if options.about else None
    if wanted is None and options.native != _NATIVE_AT_ALL and not options.tests:
        wanted = options.native.split(",")
    if wanted is not None:
        there = [name for name in there if _about(name) in wanted]
    if options.tests:
        there = [name for name in there if name.startswith(tuple(options.tests))]
    there.sort(key=lambda name: (order.index(about) if (about := _about(name)) in order else len(order), name))
    return there


def _about(test: str) -> str:
    for command, beginnings in _ABOUT:
        if any(re.match(beginning, test) for beginning in beginnings.split()):
            return command
    return "-"


def _sides(source: Path, pyi: Path, place: Path) -> tuple[_Side, _Side]:
    """Git itself, and `pyi` in its place wherever a test or git looks for it."""
    behind = place / "behind"
    behind.mkdir()
    (behind / "git").symlink_to(source / "git")
    sides = []
    for name in ("git", "pyi"):
        programs, exec_path = place / name / "bin", place / name / "exec"
        programs.mkdir(parents=True)
        exec_path.mkdir()
        for wrapper in (source / "bin-wrappers").iterdir():
            program = source / wrapper.name
            if wrapper.name != "git" and program.is_file() and os.access(program, os.X_OK):
                (programs / wrapper.name).symlink_to(program)
        for program in source.iterdir():
            # Parts of scripts are not executable.
            if program.name.startswith(("git-", "mergetools", "scalar")) and not program.suffix:
                (exec_path / program.name).symlink_to(program)
        for directory in (programs, exec_path):
            if name == "git":
                (directory / "git").symlink_to(source / "git")
            else:
                subprocess.run([pyi, "git-shim", directory], check=True, stdout=subprocess.DEVNULL)
        sides.append(_Side(name, programs, exec_path, behind))
    return sides[0], sides[1]


def _read(path: Path | None) -> dict[str, Result]:
    """Git's own runs in a log."""
    found = {}
    for line in path.read_text().splitlines() if path and path.exists() else ():
        result = Result(**json.loads(line))
        result.failed = {int(number): name for number, name in result.failed.items()}
        if result.side == "git" and not result.late:
            found[result.file] = result
    return found


def _run(test: str, side: _Side, options: argparse.Namespace, place: Path) -> Result:
    root, state, out = (place / f"{kind}-{side.name}-{test}" for kind in ("root", "state", "out"))
    for directory in (root, state, out):
        directory.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYI", "XDG_"))}
    environment |= {
        "PATH": f"{side.behind}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(place),
        "GIT_TEST_INSTALLED": str(side.programs),
        "GIT_TEST_EXEC_PATH": str(side.exec_path),
        # The tests' own wording and the allocator are not what is tested here.
        "GIT_TEST_EXT_CHAIN_LINT": "0",
        "GIT_TEST_CHAIN_LINT": "0",
        "TEST_NO_MALLOC_CHECK": "1",
        "TEST_OUTPUT_DIRECTORY": str(out),
        "XDG_STATE_HOME": str(state),
        "PYI_GIT_NATIVE": "auto" if options.native == _NATIVE_AT_ALL else f"only={options.native}",
    }
    begin = time.monotonic()
    result = Result(test, side.name, options.native if side.name == "pyi" else "", 0)
    with subprocess.Popen(
        ["nice", "sh", f"./{test}.sh", f"--root={root}"], cwd=options.source / "t", env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=options.timeout)
        except subprocess.TimeoutExpired:
            result.late = True
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
    result.seconds = round(time.monotonic() - begin, 1)
    _parse(said, result)
    result.ways = _ways(state / "pyi")
    for directory in (root, state, out):
        shutil.rmtree(directory, ignore_errors=True)
    return result


def _parse(said: str, result: Result) -> None:
    lines = said.splitlines()
    for match in filter(None, map(_LINE.match, lines)):
        number, name = int(match[2]), match[3] or ""
        if "# skip" in name or "# SKIP" in name:
            result.skipped += 1
        elif "# TODO" in name:
            result.known += 1
        elif match[1] == "ok":
            result.passed.append(number)
        else:
            result.failed[number] = name
    if not result.passed:
        result.said = "\n".join(lines[-4:])


def _ways(state: Path) -> dict[str, dict[str, int]]:
    """What ran natively, and why the rest did not."""
    ways: dict[str, Counter[str]] = defaultdict(Counter)
    for name in ("git-report.log.old", "git-report.log"):
        path = state / name
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            command, way, reason = (*line.split("\t"), "", "", "")[:3]
            ways[command]["native" if way == "native" else reason] += 1
    return {command: dict(counts) for command, counts in ways.items()}


def _lost(theirs: Result, ours: Result) -> dict[int, str]:
    """What git passes and `pyi` does not."""
    return {
        number: ours.failed.get(number, "(did not get there)")
        for number in sorted(set(theirs.passed) - set(ours.passed))
    }


def _counts(results: Sequence[tuple[Result, Result]], command: str | None = None) -> tuple[int, int]:
    """How often commands ran natively, and how often they did not."""
    native = other = 0
    for _, ours in results:
        for name, ways in ours.ways.items():
            if command in (None, name):
                native += ways.get("native", 0)
                other += sum(ways.values()) - ways.get("native", 0)
    return native, other


def _print(theirs: Result, ours: Result) -> None:
    lost = _lost(theirs, ours)
    native, other = _counts([(theirs, ours)])
    late = "".join(f" ({result.side} cut off)" for result in (theirs, ours) if result.late)
    passed = len(set(theirs.passed) & set(ours.passed))
    what = (ours.file, _about(ours.file), len(theirs.passed), passed, f"{len(lost)}{late}", native, other)
    print(f"| {' | '.join(map(str, what))} |", flush=True)
    for number, name in lost.items():
        print(f"    lost {ours.file}.{number}: {name}", flush=True)
    for result in (theirs, ours):
        if result.said and not result.skipped:
            print(f"    {result.side} said: {result.said}", flush=True)


def _by_command(results: Sequence[tuple[Result, Result]]) -> Iterator[tuple[str, list[tuple[Result, Result]]]]:
    for command in [*(command for command, _ in _ABOUT), "-"]:
        if own := [pair for pair in results if _about(pair[0].file) == command]:
            yield command, own


def _sum_up(results: Sequence[tuple[Result, Result]]) -> int:
    print("\n| files about | files | git passes | pyi passes | % | native | not |\n|---|---|---|---|---|---|---|")
    rows = [*_by_command(results), ("all", list(results))]
    for command, own in rows:
        passed = sum(len(theirs.passed) for theirs, _ in own)
        kept = passed - sum(len(_lost(*pair)) for pair in own)
        native, other = _counts(own, None if command in ("-", "all") else command)
        print(
            f"| {command} | {len(own)} | {passed} | {kept} | {100 * kept / max(1, passed):.2f} | {native} | {other} |"
        )
    reasons: Counter[tuple[str, str]] = Counter()
    for _, ours in results:
        for command, ways in ours.ways.items():
            reasons.update({(command, reason): count for reason, count in ways.items() if reason != "command"})
    print("\nwhat ran natively, and why the rest did not:")
    for (command, reason), count in reasons.most_common(60):
        print(f"  {count:>7} {command}: {reason}")
    return int(any(_lost(*pair) for pair in results))
