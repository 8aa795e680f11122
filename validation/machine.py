"""What the figures were measured on. Reads /proc and asks git for its version; changes nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Machine", "available_memory_bytes", "file_system", "load_average"]

_PEERS = ("blake3", "sandfs", "agentfs-sdk", "langgraph-checkpoint-sqlite")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, described as far as figures depend on it."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    scratch: str
    file_system: str
    python: str
    pyi: str
    git: str
    peers: dict[str, str]
    clock_ns: int
    load_before: tuple[float, float, float]
    time: str

    @classmethod
    def here(cls, scratch: Path) -> Machine:
        """Describe this machine and the file system that holds `scratch`."""
        return cls(
            cpu=_cpu_model(),
            cores=len(os.sched_getaffinity(0)),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            kernel=f"{platform.system()} {platform.release()}",
            scratch=str(scratch),
            file_system=file_system(scratch),
            python=platform.python_version(),
            pyi=version("pyi") or "not installed",
            git=_git_version(),
            peers={name: found for name in _PEERS if (found := version(name)) is not None},
            clock_ns=_clock_ns(),
            load_before=load_average(),
            time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-like data."""
        return asdict(self)


def version(package: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def load_average() -> tuple[float, float, float]:
    """Return the load over the last 1, 5 and 15 minutes."""
    one, five, fifteen = os.getloadavg()
    return round(one, 2), round(five, 2), round(fifteen, 2)


def available_memory_bytes() -> int:
    """Return what can be had without swapping, as the kernel estimates it; 0 if it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


def file_system(path: Path, mounts: str | None = None) -> str:
    """Return type and device of the file system that holds `path`; `mounts` stands in for /proc/mounts."""
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text()
        except OSError:
            return "unknown"
    best, found = -1, "unknown"
    place = path.resolve()
    for line in mounts.splitlines():
        device, where, kind = line.split()[:3]
        mount = Path(where.encode().decode("unicode_escape"))
        if (place == mount or mount in place.parents) and len(mount.parts) >= best:
            best, found = len(mount.parts), f"{kind} on {device}"
    return found


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git_version() -> str:
    try:
        done = subprocess.run(["git", "version"], capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "not installed"
    return done.stdout.removeprefix("git version").strip()


def _clock_ns() -> int:
    """Return what reading the clock twice costs at the median: it is part of every sample."""
    found = []
    for _ in range(1001):
        before = time.perf_counter_ns()
        found.append(time.perf_counter_ns() - before)
    return sorted(found)[500]
