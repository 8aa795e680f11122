"""What the documents say of the house is so: files that they name, dependencies, words."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"`([^`\n]+)`")


def read(path: str) -> str:
    return (ROOT / path).read_text()


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_the_files_that_architecture_names_exist() -> None:
    for part in re.split(r"^### ", read("ARCHITECTURE.md"), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        homes = [ROOT / name for name in CODE.findall(title)]
        homes += [home / "src" for home in homes]
        for code in CODE.findall(body.split("\n## ")[0]):
            if re.fullmatch(r"[\w./-]+(\.rs|\.py|\.pyi|/)", code) and code != "pyi/":
                found = [home / code for home in [ROOT, *homes] if (home / code).exists()]
                assert found, f"ARCHITECTURE.md, {title}: there is no {code}"


def test_every_crate_and_every_part_of_the_package_is_on_the_map() -> None:
    page = read("ARCHITECTURE.md")
    for crate in (ROOT / "crates").iterdir():
        assert f"`crates/{crate.name}`" in page or f"`{crate.name}`" in page, crate.name
    for part in (ROOT / "python" / "pyi").iterdir():
        if part.is_dir() and (part / "__init__.py").exists():
            assert f"`{part.name}/`" in page, part.name


def test_every_dependency_has_its_row() -> None:
    named: set[str] = set()
    for line in read("docs/design/001-the-house.md").splitlines():
        if line.startswith("| `"):
            named.update(CODE.findall(line.split(" | ")[0]))
    used: set[str] = set()
    for manifest in (ROOT / "crates").glob("*/Cargo.toml"):
        for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
            used.update(toml(manifest).get(kind, {}))
    project = toml(ROOT / "pyproject.toml")
    lines = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        lines += extra
    used.update(re.split(r"[=<>~!\[; ]", line)[0] for line in lines)
    used = {name for name in used if not name.startswith("pyi-")}
    assert used - named == set(), "used, but without a row"


def test_the_glossary_is_sorted() -> None:
    words = re.findall(r"^\| (?!word \|)([^|]+) \|", read("docs/glossary.md"), re.MULTILINE)
    assert words == sorted(words, key=str.lower)
    assert len(words) == len(set(words))
