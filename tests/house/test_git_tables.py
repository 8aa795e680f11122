"""The table of git's options says what git says."""

from __future__ import annotations

import pytest

from tools import git_tables


def test_the_table_is_what_the_installed_git_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert git_tables.main(["--check"]) == 0, capsys.readouterr().err


def test_a_list_is_read_by_its_columns() -> None:
    text = """usage: git x [<options>]

Group
    -q, --[no-]quiet      be quiet
    -F, --[no-]file <file>
                          read it
    -S, --[no-]gpg-sign[=<key>]
                          sign it
    --no-assume-unchanged clear the bit
    --src-prefix <prefix> show the prefix
    -n[<n>]               lines
    -L <range:file>       trace (it)
    -NUM                  a number
    --chmod (+|-)x        change
"""
    options, number = git_tables.read_list(text)
    assert number
    assert options == {
        ("quiet", "q", ".!"),
        ("file", "F", "=!"),
        ("gpg-sign", "S", "?!"),
        ("no-assume-unchanged", "-", "."),
        ("src-prefix", "-", "="),
        ("-", "n", "?"),
        ("-", "L", "="),
        ("chmod", "-", "="),
    }


def test_a_list_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot read"):
        git_tables.read_list("    --one,--two\n")
