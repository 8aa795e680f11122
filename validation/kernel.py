"""Programs in Rust that measure what is below Python: the examples of `crates/pyi-cas` and `crates/pyi-engine`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["built", "output"]

_ROOT = Path(__file__).resolve().parent.parent


def built(name: str, package: str = "pyi-cas") -> Path | str:
    """Build an example and return its path, or why there is none. Costs a build of the package the first time."""
    if not (_ROOT / "Cargo.toml").is_file():
        return "the sources of the kernel are not beside the laboratory"
    if shutil.which("cargo") is None:
        return "cargo is not installed: the kernel is measured by a program in Rust"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", package, "--example", name]
    done = subprocess.run([*command, "--message-format=json"], cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == name and message.get("executable"):
            return Path(message["executable"])
    raise RuntimeError(f"cargo built no example {name}")


def output(program: Path, *arguments: object) -> Any:
    """Run an example and return what it prints, which is JSON."""
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{program.name} {' '.join(map(str, arguments))} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout)
