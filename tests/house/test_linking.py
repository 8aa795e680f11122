"""The order in which the program's functions are linked: tools/link.sh, with the linker that rustc brings along."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def linked(place: Path, *more: str) -> list[str]:
    """Link three functions by a copy of the script with a list of its own; their names in the order of their places."""
    shutil.copy(ROOT / "tools" / "link.sh", place)
    (place / "first_functions.txt").write_text(
        "# a comment\nnowhere\n_ZN4last\n_RNvC_3std5third\nmain\n",
    )
    source = place / "program.c"
    # Names as compilers make them: a hash behind the name, or one within it.
    functions = ("_ZN5first17h0123456789abcdefE", "_RNvCsjrHSEGnQ3l9_3std5third", "_ZN4last17hfedcba9876543210E")
    body = "\n".join(f"int {name}(int x) {{ return x + {at}; }}" for at, name in enumerate(functions))
    calls = " + ".join(f"{name}(count)" for name in functions)
    source.write_text(f"{body}\nint main(int count, char **words) {{ (void)words; return {calls} - 6; }}\n")
    built = place / "program.o"
    subprocess.run(["cc", "-O0", "-ffunction-sections", "-c", "-o", built, source], check=True)
    program = place / "program"
    subprocess.run([place / "link.sh", built, "-o", program, *more], check=True)
    assert subprocess.run([program], check=False).returncode == 0
    told = subprocess.run(["nm", "-n", program], check=True, capture_output=True, text=True).stdout
    names = [line.split()[-1] for line in told.splitlines()]
    return [name for name in names if name in functions or name == "main"]


def test_listed_functions_come_first_whatever_hash_their_names_have(tmp_path: Path) -> None:
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    found = sorted(Path(sysroot).glob("lib/rustlib/*/bin/gcc-ld"))
    if not found:
        pytest.skip("rustc brings no linker on this platform")
    order = linked(tmp_path, f"-B{found[0]}", "-fuse-ld=lld")
    assert order == [
        "_ZN4last17hfedcba9876543210E",
        "_RNvCsjrHSEGnQ3l9_3std5third",
        "main",
        "_ZN5first17h0123456789abcdefE",
    ]


def test_another_linker_links_in_its_own_order(tmp_path: Path) -> None:
    assert linked(tmp_path)[0] == "_ZN5first17h0123456789abcdefE"
