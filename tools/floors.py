"""Check the floors: imports go down only, in Rust and in Python (ARCHITECTURE.md tells why).

    python tools/floors.py [ROOT]

Rust: the dependencies between the crates, as Cargo resolves them, and a few words that a library crate must not use.
Python: every import statement of `python/pyi`, inside functions and under TYPE_CHECKING too. A new crate or a new
top-level module needs a line in the tables below; one that has none is reported. Exit status 1 if anything is.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What each crate may depend on among ours.
CRATES: dict[str, set[str]] = {
    "pyi-cas": set(),
    "pyi-tree": {"pyi-cas"},
    "pyi-git": set(),
    "pyi-engine": {"pyi-cas", "pyi-tree", "pyi-git"},
    "pyi-front": {"pyi-cas", "pyi-tree", "pyi-git", "pyi-engine"},
    "pyi-python": {"pyi-cas", "pyi-tree", "pyi-git", "pyi-engine"},
    "pyi-testing": {"pyi-cas", "pyi-tree", "pyi-git", "pyi-engine"},
}
# Crates that only tests may depend on.
DEV_ONLY = {"pyi-testing"}

LIBRARIES = ("pyi-cas", "pyi-tree", "pyi-git", "pyi-engine", "pyi-python")
# Words a crate's sources must not contain outside tests: (crates, pattern, what the rule says).
RUST_WORDS: list[tuple[tuple[str, ...], re.Pattern[str], str]] = [
    (LIBRARIES, re.compile(r"\benv::(var|vars|var_os|vars_os)\b"), "library crates read no environment variable"),
    (LIBRARIES, re.compile(r"\be?print(ln)?!\s*[(\[{]"), "library crates write to no terminal"),
    (("pyi-git", "pyi-tree"), re.compile(r"\bstd::(fs|net|process)\b"), "this crate does no input or output"),
]

# The floors of python/pyi from the ground up: top-level modules and packages by name.
FLOORS: list[set[str]] = [
    # `state` makes a mapping of the kernel's `StateCore`, and the kernel hands it out; `arrays` is for what it holds.
    # Reports and targets of backups are plain data and a protocol; the kernel's stub names them.
    {"errors", "config", "_native", "arrays", "state", "backup"},
    {"repository", "workspace", "checkpoint", "journal", "superposition", "types", "_convert", "aio"},
    {"git"},
    {"sandbox"},
    {"workflow", "longrun", "dashboard"},
    {"server"},
    {"cli", "__main__"},
]
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}
# The package's own face (`pyi/__init__.py`) stands above all floors: it gathers them, and nothing inside imports it.
FACE = len(FLOORS)


@dataclass(frozen=True)
class Violation:
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


# --- Rust -------------------------------------------------------------------------------------------------------------


def cargo_metadata(root: Path) -> dict[str, Any]:
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True).stdout)
    return found


def check_crates(metadata: dict[str, Any]) -> Iterator[Violation]:
    """Check the dependency graph that `cargo metadata` prints."""
    for package in metadata["packages"]:
        name = package["name"]
        where = f"crates/{name}/Cargo.toml"
        if name not in CRATES:
            yield Violation(where, f"crate {name} has no floor: add it to CRATES in tools/floors.py")
            continue
        for dependency in package["dependencies"]:
            other = dependency["name"]
            if other not in CRATES:
                continue
            if other in DEV_ONLY:
                if dependency["kind"] != "dev":
                    yield Violation(where, f"{other} is for tests only: move it to [dev-dependencies]")
            elif other not in CRATES[name] and not (name in DEV_ONLY or dependency["kind"] == "dev"):
                allowed = ", ".join(sorted(CRATES[name])) or "none of our crates"
                yield Violation(where, f"upward dependency: {name} -> {other} (allowed: {allowed})")


def rust_code(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines of a source file without comments and without what follows its `#[cfg(test)] mod`."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        following = lines[number].strip() if number < len(lines) else ""
        if stripped.startswith("#[cfg(test)]") and re.match(r"(pub(\(.*\))? )?mod \w+ \{", following):
            return
        if not stripped.startswith("//"):
            yield number, line.split(" // ")[0]


def check_words(root: Path) -> Iterator[Violation]:
    for crates, pattern, rule in RUST_WORDS:
        for crate in crates:
            for path in sorted((root / "crates" / crate / "src").rglob("*.rs")):
                inside = path.relative_to(root / "crates" / crate)
                if path.stem == "tests" or path.stem.endswith("_tests") or "tests" in inside.parts:
                    continue
                for number, line in rust_code(path.read_text()):
                    if pattern.search(line):
                        yield Violation(f"{path.relative_to(root)}:{number}", f"{rule}: {line.strip()}")


# --- Python -----------------------------------------------------------------------------------------------------------


def top_level(package: Path) -> set[str]:
    return {path.stem if path.is_file() else path.name for path in package.iterdir() if is_module(path)}


def is_module(path: Path) -> bool:
    if path.is_dir():
        return (path / "__init__.py").exists() or any(path.glob("*.py"))
    return path.suffix in {".py", ".pyi"}


def imported(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Every dotted name that a file imports, with its line. `module` is the file's package (for relative imports)."""
    text = path.read_text()
    if path.suffix == ".pyi":  # a stub may use the `type` statement, which Python 3.11 does not parse
        text = re.sub(r"^type (\w+) = ", r"\1 = ", text, flags=re.MULTILINE)
    for node in ast.walk(ast.parse(text, str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - (node.level - 1)]
                base = ".".join([*parents, base]).rstrip(".")
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def check_package(package: Path, where: Path) -> Iterator[Violation]:
    """Check every import between the modules of `package` (the directory `pyi`)."""
    modules = top_level(package)
    for name in sorted(modules - {"__init__"} - FLOOR_OF.keys()):
        yield Violation(f"{where}/{name}", f"module {name} has no floor: add it to FLOORS in tools/floors.py")
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.pyi")]):
        relative = path.relative_to(package)
        unit = relative.parts[0] if len(relative.parts) > 1 else path.stem
        if unit == "__init__" or unit not in FLOOR_OF:
            continue
        own = ".".join(["pyi", *relative.parent.parts])
        try:
            names = list(imported(path, own))
        except SyntaxError as error:
            yield Violation(f"{where}/{relative}:{error.lineno}", f"does not parse: {error.msg}")
            continue
        for line, name in names:
            problem = upward(unit, name, modules)
            if problem:
                yield Violation(f"{where}/{relative}:{line}", problem)


def upward(unit: str, name: str, modules: set[str]) -> str | None:
    """What is wrong with importing `name` from the top-level module `unit`, if anything."""
    parts = name.split(".")
    if parts[0] == "validation":
        return "the package imports validation; validation imports the package"
    if parts[0] != "pyi":
        return None
    if len(parts) == 1 or parts[1] not in modules | FLOOR_OF.keys():
        return f"{unit} imports the package's face (import {name}): import the module that defines it"
    target = parts[1]
    if target in FLOOR_OF and FLOOR_OF[target] > FLOOR_OF[unit]:
        return f"upward import: {unit} (floor {FLOOR_OF[unit]}) -> {target} (floor {FLOOR_OF[target]})"
    return None


def check_outside(root: Path, directories: Iterable[str]) -> Iterator[Violation]:
    """Nothing but validation itself and the tests imports validation."""
    for directory in directories:
        for path in sorted((root / directory).rglob("*.py")):
            for line, name in imported(path, directory):
                if name.split(".")[0] == "validation":
                    yield Violation(f"{path.relative_to(root)}:{line}", "only tests may import validation")


def check(root: Path) -> list[Violation]:
    return [
        *check_crates(cargo_metadata(root)),
        *check_words(root),
        *check_package(root / "python" / "pyi", Path("python/pyi")),
        *check_outside(root, ["examples", "tools"]),
    ]


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    violations = check(root)
    for violation in violations:
        print(violation, file=sys.stderr)
    print(f"floors: {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
