"""Build PYI and install it into the running interpreter's environment, if anything changed since the last time.

    .venv/bin/python tools/install.py [--extra dev] [--force]

Two stamps in the environment's directory remember what is installed: the hash of the requirements and the hash of the
sources. Hashes and not file times, because a `git checkout` changes times. The build happens in the tree, so Cargo's
`target/` is used again and an unchanged crate is not compiled twice.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What the wheel is made of. README.md is left out: it is only the wheel's description.
LINKING = ("tools/rustc.sh", "tools/link.sh", "tools/first_functions.txt")
SOURCES = ("pyproject.toml", "Cargo.toml", "Cargo.lock", ".cargo", *LINKING, "crates", "python")
IGNORED_PARTS = {"__pycache__", "tests", "benches", "target"}
IGNORED_SUFFIXES = {".so", ".pyc"}


def source_files(root: Path) -> Iterator[Path]:
    """Every file that can change what gets installed, in a fixed order."""
    for name in SOURCES:
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            relative = path.relative_to(root)
            ignored = IGNORED_PARTS.intersection(relative.parts) or path.suffix in IGNORED_SUFFIXES
            if path.is_file() and not ignored and ".egg-info" not in str(relative):
                yield path


def source_hash(root: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in source_files(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def requirements(root: Path, extras: list[str]) -> list[str]:
    """What the build needs (it is not isolated, so that it downloads nothing), the package, and the extras."""
    with (root / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    found = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in extras:
        found += project["project"]["optional-dependencies"][extra]
    return found


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)} failed with status {done.returncode}")


def changed(stamp: Path, key: str) -> bool:
    return not stamp.exists() or stamp.read_text() != key


def main() -> None:
    parser = argparse.ArgumentParser(description="Build PYI and install it, if anything changed.")
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml (repeatable)")
    parser.add_argument("--force", action="store_true", help="install even if nothing changed")
    options = parser.parse_args()

    environment = Path(sys.prefix)
    if sys.prefix == sys.base_prefix:
        raise SystemExit("error: not in a virtual environment; run it with .venv/bin/python")

    wanted = requirements(ROOT, options.extra)
    stamp = environment / f".pyi-requirements{''.join('-' + extra for extra in sorted(options.extra))}"
    key = "\n".join(wanted)
    if options.force or changed(stamp, key):
        print(f"installing {len(wanted)} requirements into {environment}", flush=True)
        pip(*wanted)
        stamp.write_text(key)

    stamp = environment / ".pyi-installed"
    key = source_hash(ROOT)
    if options.force or changed(stamp, key):
        print("building and installing pyi (the first build compiles everything: minutes)", flush=True)
        started = time.monotonic()
        stamp.unlink(missing_ok=True)
        # setuptools copies into build/ and never removes from it: a module that was deleted would live on in the wheel.
        shutil.rmtree(ROOT / "build", ignore_errors=True)
        pip("--no-deps", "--no-build-isolation", "--force-reinstall", ".")
        stamp.write_text(key)
        print(f"installed pyi in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
