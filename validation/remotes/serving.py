"""A `pyi serve` in a process of its own, and what it uses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

__all__ = ["Server", "serve"]


@dataclass(frozen=True)
class Server:
    """One that answers."""

    url: str
    process: subprocess.Popen[str]

    def memory_bytes(self) -> int:
        """Return the private memory that it uses now."""
        return self._status("RssAnon") * 1024

    def peak_bytes(self) -> int:
        """Return the most memory that was resident at any time, mapped files included."""
        return self._status("VmHWM") * 1024

    def files(self) -> int:
        """Return how many files and sockets it has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def cpu_seconds(self) -> float:
        """Return the processor time that it used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        with urlopen(f"{self.url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)

    def _status(self, what: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1])
        return 0


@contextmanager
def serve(store: Path, *options: str, port: int = 0) -> Iterator[Server]:
    """Run a server of one repository, `it`, which anybody may write to unless the options say otherwise."""
    access = () if "--tokens" in options else ("--anonymous", "write")
    command = [sys.executable, "-P", "-m", "pyi", "serve", f"it={store}", "--port", str(port), *access, "--json"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not (line := process.stdout.readline()):
                raise RuntimeError("the server did not start")
            yield Server(json.loads(line)["url"], process)
        finally:
            process.terminate()
