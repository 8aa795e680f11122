"""CRIU: a running Python process with the same state, dumped to files and restored.

The process holds the files in a dict. A step lets it change one, dumps it while it goes on, kills it and restores the
first dump. What it does outside of its memory (files, connections) is not versioned. CRIU needs root, and a version
that knows the kernel's layout of processes; `criu check` says whether it does.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import perf_counter_ns

from validation.generator import Tree
from validation.hypothesis import Guarantees
from validation.peers.saved import Edit, Saver, check

__all__ = ["criu"]

_LONGEST_SECONDS = 60
_PROGRAM = """\
import sys
state = {}
for line in sys.stdin:
    verb, path, data = line.split(" ")
    if verb == "set":
        state[path] = bytes.fromhex(data)
    print(state[path].hex() if verb == "get" else len(state), flush=True)
"""


class _Process:
    """A process that holds files, and its two pipes, which outlive it."""

    def __init__(self, program: str, place: Path) -> None:
        self.program, self.place = program, place
        self._in_end, self._to = os.pipe()
        self._from, self._out_end = os.pipe()
        self._said = os.fdopen(self._from, "r")
        self.child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=self._in_end,
            stdout=self._out_end,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid: int | None = self.child.pid
        self._pipes = [
            (end, os.readlink(f"/proc/{self.pid}/fd/{number}"))
            for end, number in ((self._in_end, 0), (self._out_end, 1))
        ]

    def ask(self, verb: str, path: str, data: bytes = b"") -> str:
        rest = memoryview(f"{verb} {path} {data.hex()}\n".encode())
        while rest:
            rest = rest[os.write(self._to, rest) :]
        if not select.select([self._said], [], [], _LONGEST_SECONDS)[0]:
            raise RuntimeError("the process does not answer")
        return self._said.readline().strip()

    def dump(self, name: str) -> None:
        images = self.place / name
        images.mkdir()
        self._run("dump", "--tree", str(self.pid), "--images-dir", str(images), "--leave-running")

    def restore(self, name: str) -> None:
        noted = self.place / "pid"
        noted.unlink(missing_ok=True)
        inherited = [f"fd[{end}]:{link}" for end, link in self._pipes]
        options = [word for one in inherited for word in ("--inherit-fd", one)]
        where = ["--images-dir", str(self.place / name), "--pidfile", str(noted)]
        self._run("restore", *where, "--restore-detached", "--restore-sibling", *options)
        self.pid = int(noted.read_text())

    def kill(self) -> None:
        """Kill it and wait for its end, as the restored one gets the same number; that one is our child, too."""
        if self.pid is None:
            return
        os.kill(self.pid, signal.SIGKILL)
        if self.child.returncode is None:
            self.child.wait()
        else:
            os.waitpid(self.pid, 0)
        self.pid = None

    def close(self) -> None:
        self.kill()
        self._said.close()
        for end in (self._in_end, self._out_end, self._to):
            os.close(end)

    def _run(self, verb: str, *arguments: str) -> None:
        command = [self.program, verb, *arguments]
        ends = (self._in_end, self._out_end)
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_SECONDS, pass_fds=ends)
        if done.returncode != 0:
            raise RuntimeError(f"criu {verb}: {_reason(done.stderr or done.stdout)}")


def _reason(said: str) -> str:
    """Return what it complains of: its last words only say that it ends."""
    lines = [line.split("): ", 1)[-1].strip() for line in said.splitlines() if "Error" in line and "exited" not in line]
    return "; ".join(lines)[:300] or said.strip()[-300:]


def criu(place: Path, tree: Tree, edit: Edit) -> Saver:
    """Return CRIU with a process that holds the tree.

    Raises:
        FileNotFoundError: It is not installed.
        RuntimeError: It says that it does not work on this kernel, or for this user.
    """
    program = shutil.which("criu")
    if program is None:
        raise FileNotFoundError("criu is not installed (apt-get install criu)")
    checked = subprocess.run([program, "check"], capture_output=True, text=True, timeout=_LONGEST_SECONDS)
    if checked.returncode != 0:
        raise RuntimeError(f"criu check: {_reason(checked.stderr or checked.stdout)}")
    process = _Process(program, place)
    try:
        original = dict(tree.items())
        for path, data in original.items():
            process.ask("set", path, data)
        process.dump("base")
    except BaseException:
        process.close()
        raise

    def sample(number: int) -> int:
        path, data = edit(number)
        before = perf_counter_ns()
        process.ask("set", path, data)
        process.dump(f"version{number}")
        process.kill()
        process.restore("base")
        elapsed_ns = perf_counter_ns() - before
        check("CRIU", path, bytes.fromhex(process.ask("get", path)), original[path])
        return elapsed_ns

    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()
    name = f"CRIU {said[1]}" if len(said) > 1 else "CRIU"
    # Its images are not flushed.
    guarantees = Guarantees(isolated=True, history=True, survives="kill -9", directory=False)
    return Saver(name, "set in a process, dump, kill, restore the first dump", guarantees, sample, place, process.close)
