"""What `pip install .` leaves behind: a typed package and a native program, from one wheel."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from pyi.cli.main import VERBS, parser

PROGRAM = Path(sys.prefix) / "bin" / "pyi"
ROOT = Path(__file__).resolve().parents[2]


def native_extension() -> Path:
    spec = find_spec("pyi._native")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def test_the_tests_run_against_the_installed_package() -> None:
    assert not native_extension().is_relative_to(ROOT / "python")


def test_the_wheel_fits_every_supported_python() -> None:
    wheel = metadata.distribution("pyi").read_text("WHEEL")
    assert wheel is not None
    assert "Tag: cp311-abi3-" in wheel
    assert native_extension().name == "_native.abi3.so"


def test_the_package_ships_its_types() -> None:
    assert (native_extension().parent / "py.typed").exists()
    assert (native_extension().parent / "_native.pyi").exists()


def test_the_module_is_the_program(tmp_path: Path) -> None:
    """`python -m pyi` once knew the verbs in Python only."""

    def said(*command: str | Path) -> tuple[int, bytes, bytes]:
        done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    for words in (
        ["--version"],
        ["--help"],
        ["stats"],
        ["rev-parse", "HEAD"],
        ["-C", ".", "scrub"],
        ["race", "--help"],
        [],
    ):
        assert said(sys.executable, "-m", "pyi", *words) == said(PROGRAM, *words), words


def test_the_verbs_in_python_are_those_of_the_parser() -> None:
    verbs = next(action.choices for action in parser()._actions if action.dest == "verb")
    assert verbs is not None
    assert set(verbs) == VERBS


@pytest.mark.skipif(sys.platform != "linux", reason="looks at an ELF file")
def test_the_program_is_native_and_needs_no_python() -> None:
    assert PROGRAM.read_bytes()[:4] == b"\x7fELF"
    libraries = subprocess.run(["ldd", str(PROGRAM)], capture_output=True, text=True, check=False).stdout
    assert "python" not in libraries
