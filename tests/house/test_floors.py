"""The floors hold, and the check that says so can fail.

The second half feeds the check small made-up trees: a check that nothing can fail would guard nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools import floors

ROOT = Path(__file__).resolve().parents[2]


def test_the_floors_hold() -> None:
    assert [str(violation) for violation in floors.check(ROOT)] == []


def crate(name: str, **dependencies: str | None) -> dict[str, Any]:
    found = [{"name": other.replace("_", "-"), "kind": kind} for other, kind in dependencies.items()]
    return {"name": name, "dependencies": found}


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (crate("pyi-cas", pyi_tree=None), "upward dependency: pyi-cas -> pyi-tree"),
        (crate("pyi-git", pyi_engine=None), "upward dependency: pyi-git -> pyi-engine"),
        (crate("pyi-git", pyi_cas=None), "upward dependency: pyi-git -> pyi-cas"),
        (crate("pyi-front", pyi_python=None), "upward dependency: pyi-front -> pyi-python"),
        (crate("pyi-engine", pyi_python="build"), "upward dependency: pyi-engine -> pyi-python"),
        (crate("pyi-tree", pyi_testing=None), "pyi-testing is for tests only"),
        (crate("pyi-new"), "crate pyi-new has no floor"),
    ],
)
def test_a_wrong_dependency_of_a_crate_is_reported(package: dict[str, Any], message: str) -> None:
    (violation,) = floors.check_crates({"packages": [package]})
    assert message in str(violation)


def test_right_dependencies_of_crates_pass() -> None:
    packages = [
        crate("pyi-engine", pyi_cas=None, pyi_tree=None, pyi_git=None, libc=None, pyi_testing="dev"),
        crate("pyi-cas", pyi_testing="dev", pyi_tree="dev"),
        crate("pyi-testing", pyi_cas=None),
    ]
    assert list(floors.check_crates({"packages": packages})) == []


def package_with(tmp_path: Path, files: dict[str, str]) -> list[str]:
    package = tmp_path / "pyi"
    modules = ("__init__", "errors", "config", "repository", "workspace", "git/http", "workflow/race", "cli")
    for name in modules:
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    for name, text in files.items():
        (package / name).write_text(text)
    return [str(violation) for violation in floors.check_package(package, Path("pyi"))]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("errors.py", "import pyi.cli", "upward import: errors (floor 0) -> cli (floor 6)"),
        ("errors.py", "from pyi import workspace", "upward import: errors (floor 0) -> workspace (floor 1)"),
        (
            "workspace.py",
            "from pyi.workflow.race import race",
            "upward import: workspace (floor 1) -> workflow (floor 4)",
        ),
        ("workspace.py", "from .workflow import race", "upward import: workspace (floor 1) -> workflow (floor 4)"),
        ("git/http.py", "from ..cli import main", "upward import: git (floor 2) -> cli (floor 6)"),
        ("git/http.py", "def f():\n    import pyi.workflow", "upward import: git (floor 2) -> workflow (floor 4)"),
        (
            "config.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pyi.repository import Repository",
            "upward import: config (floor 0) -> repository (floor 1)",
        ),
        ("repository.py", "import pyi", "repository imports the package's face"),
        ("repository.py", "from pyi import open", "repository imports the package's face"),
        ("workspace.py", "import validation.peers", "the package imports validation"),
        ("surprise.py", "", "module surprise.py has no floor"),
        ("errors.py", "def", "does not parse"),
    ],
)
def test_a_wrong_import_in_python_is_reported(tmp_path: Path, file: str, text: str, message: str) -> None:
    (violation,) = package_with(tmp_path, {file: text})
    assert message.replace("surprise.py", "surprise") in violation


def test_right_imports_in_python_pass(tmp_path: Path) -> None:
    files = {
        "_native.pyi": "type Path = str | bytes\nfrom pyi.errors import NotFound",
        "workspace.py": "from pyi.errors import Conflict\nfrom . import config\nimport numpy",
        "cli.py": "from pyi.workflow import race\nfrom .git.http import serve\nimport pyi.errors",
        "__init__.py": "from pyi.workflow.race import race\nfrom .repository import open",
    }
    assert package_with(tmp_path, files) == []


@pytest.mark.parametrize(
    ("crate_name", "line", "message"),
    [
        ("pyi-cas", 'let v = std::env::var("HOME");', "read no environment variable"),
        ("pyi-engine", 'println!("{v}");', "write to no terminal"),
        ("pyi-git", "use std::fs;", "no input or output"),
    ],
)
def test_a_forbidden_word_in_a_library_crate_is_reported(
    tmp_path: Path, crate_name: str, line: str, message: str
) -> None:
    source = tmp_path / "crates" / crate_name / "src" / "lib.rs"
    source.parent.mkdir(parents=True)
    source.write_text(f"// {line}\nfn f() {{\n    {line}\n}}\n#[cfg(test)]\nmod tests {{\n    {line}\n}}\n")
    (violation,) = floors.check_words(tmp_path)
    assert message in str(violation)
    assert violation.where.endswith("lib.rs:3")


def test_validation_is_imported_by_nothing_but_tests(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "agent.py").write_text("from validation import peers\n")
    (violation,) = floors.check_outside(tmp_path, ["examples"])
    assert violation.where == "examples/agent.py:1"
