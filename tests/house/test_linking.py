"""The order in which the program's functions are linked: tools/link.sh, with the linker that rustc brings along."""

from __future__ import annotations

import os
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


def lld() -> Path:
    """Where the linker is that rustc brings along."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    found = sorted(Path(sysroot).glob("lib/rustlib/*/bin/gcc-ld"))
    if not found:
        pytest.skip("rustc brings no linker on this platform")
    return found[0]


def test_listed_functions_come_first_whatever_hash_their_names_have(tmp_path: Path) -> None:
    order = linked(tmp_path, f"-B{lld()}", "-fuse-ld=lld")
    assert order == [
        "_ZN4last17hfedcba9876543210E",
        "_RNvCsjrHSEGnQ3l9_3std5third",
        "main",
        "_ZN5first17h0123456789abcdefE",
    ]


@pytest.mark.parametrize(("more", "tries"), [([], 1), (["-fuse-ld=lld"], 2), (["-fuse-ld=lld", "-static-pie"], 3)])
def test_who_links_in_vain_hears_of_every_try(tmp_path: Path, more: list[str], tries: int) -> None:
    """What the first tries said was thrown away, also where the last one failed too, perhaps for another reason."""
    shutil.copy(ROOT / "tools" / "link.sh", tmp_path)
    (tmp_path / "first_functions.txt").write_text("main\n")
    source, built = tmp_path / "program.c", tmp_path / "program.o"
    source.write_text("int nowhere(void);\nint main(void) { return nowhere(); }\n")
    subprocess.run(["cc", "-fPIE", "-c", "-o", built, source], check=True)
    place = tmp_path / "temporary"
    place.mkdir()
    if more:
        found = lld()
        more = [f"-B{found}", *more]
    command = [tmp_path / "link.sh", built, "-o", tmp_path / "program", *more]
    environment = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert sum("undefined" in line and "nowhere" in line for line in done.stderr.splitlines()) == tries, done.stderr
    assert done.stderr.count("link.sh: before, with functions in order") == tries - 1
    assert not list(place.iterdir())


def test_another_linker_links_in_its_own_order(tmp_path: Path) -> None:
    assert linked(tmp_path)[0] == "_ZN5first17h0123456789abcdefE"
