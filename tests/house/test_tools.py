"""The small checks find what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import install, links, module_length

ROOT = Path(__file__).resolve().parents[2]


def test_no_module_is_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert module_length.main([str(ROOT)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("lines", "status"), [(600, 0), (601, 1)])
def test_module_length_stops_above_600(tmp_path: Path, lines: int, status: int) -> None:
    (tmp_path / "crates").mkdir()
    (tmp_path / "crates" / "lib.rs").write_text("//\n" * lines)
    assert module_length.main([str(tmp_path)]) == status


def test_the_links_between_documents_hold() -> None:
    assert links.check(ROOT) == []


def test_broken_links_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One two\n[x](b.md) [y](#one-two) [z](#three) [w](a.md#one-two) `[c](d.md)`\n")
    assert links.check(tmp_path) == [
        "a.md: link to b.md: no such file",
        "a.md: link to #three: no such heading",
    ]


def test_a_changed_source_changes_the_hash_and_a_test_does_not(tmp_path: Path) -> None:
    source = tmp_path / "crates" / "pyi-cas" / "src" / "lib.rs"
    source.parent.mkdir(parents=True)
    for name in ("pyproject.toml", "Cargo.toml", "Cargo.lock", "python"):
        (tmp_path / name).write_text("")
    source.write_text("one")
    before = install.source_hash(tmp_path)
    test = tmp_path / "crates" / "pyi-cas" / "tests" / "kill.rs"
    test.parent.mkdir()
    test.write_text("test")
    assert install.source_hash(tmp_path) == before
    source.write_text("two")
    assert install.source_hash(tmp_path) != before
