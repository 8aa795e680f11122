"""Record which functions of the program short commands run, for the linker to put side by side (tools/link.sh).

    .venv/bin/python tools/first_functions.py target/release/pyi      writes tools/first_functions.txt

The program must have its symbols: `cargo build --release -p pyi-front` leaves them, the installed one has none. Each
command runs once, an instruction at a time (tools/steps.c: some 15 seconds each), on a small repository. A function
stands where it was first met. An old list does no harm: a function that is not in it stands where the linker puts it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from bisect import bisect_right
from pathlib import Path

LIST = Path(__file__).with_suffix(".txt")
HEAD = "# Made by tools/first_functions.py; read by tools/link.sh.\n"
# What agents run most, each behind the change that it is about.
COMMANDS = (
    ("status",),
    ("diff",),
    ("add", "src/1.txt"),
    ("diff", "--cached"),
    ("commit", "-m", "message"),
    ("add", "-A"),
    ("log", "--oneline", "-20"),
    ("show",),
    ("mv", "src/2.txt", "src/moved.txt"),
    ("rm", "src/3.txt"),
    ("reset", "-q"),
    ("restore", "."),
    ("checkout", "-q", "other"),
    ("rev-parse", "HEAD"),
    ("grep", "-c", "line"),
)


def stable(name: str) -> str:
    """A symbol without what depends on the place and the compiler of the build; tools/link.sh does the same."""
    name = re.sub(r"17h[0-9a-f]+E.*$", "", name)
    name = re.sub(r"\.llvm\.[0-9]+$", "", name)
    return re.sub(r"Cs[0-9A-Za-z]+_", "C_", name)


def symbols(program: Path) -> tuple[list[int], list[str]]:
    """Where each function of the program starts, in order, and what it is called."""
    nm = ["nm", "-n", "--defined-only", str(program)]
    told = subprocess.run(nm, check=True, capture_output=True, text=True).stdout
    found = [line.split() for line in told.splitlines()]
    functions = [(int(words[0], 16), words[2]) for words in found if len(words) == 3 and words[1] in "tTwWiI"]
    return [start for start, _ in functions], [name for _, name in functions]


def offsets(steps: Path, program: Path, words: tuple[str, ...], where: Path, place: Path) -> list[int]:
    out = place / "offsets"
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(place), "XDG_STATE_HOME": str(place)}
    command = [str(steps), str(out), str(program), *words]
    done = subprocess.run(command, cwd=where, env=env, check=False, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(words)} ended with status {done.returncode}: {done.stderr.decode()}")
    return [int(line, 16) for line in out.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Record which functions of the program short commands run.")
    parser.add_argument("program", type=Path, help="the program, with its symbols")
    options = parser.parse_args()
    program = options.program.resolve()
    starts, names = symbols(program)
    if not names:
        raise SystemExit(f"error: {program} has no symbols; take target/release/pyi and not the installed one")
    found: dict[str, None] = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        steps = place / "steps"
        subprocess.run(["cc", "-O2", "-o", str(steps), str(LIST.with_name("steps.c"))], check=True)
        (place / ".gitconfig").write_text("[user]\n\tname = A\n\temail = a@example.org\n")
        where = place / "project"
        (where / "src").mkdir(parents=True)

        def git(*words: str) -> None:
            env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": directory}
            subprocess.run(["git", *words], cwd=where, env=env, check=True)

        for number in range(20):
            (where / "src" / f"{number}.txt").write_text("".join(f"line {line}\n" for line in range(40)))
        git("init", "-q", "-b", "main")
        git("add", "-A")
        git("commit", "-q", "-m", "first")
        git("branch", "other")
        for words in COMMANDS:
            with (where / "src" / "1.txt").open("a") as file:
                file.write(f"{words}\n")
            if words[0] in {"checkout", "mv", "rm"}:
                git("reset", "-q", "--hard")
            for offset in offsets(steps, program, words, where, place):
                at = bisect_right(starts, offset)
                if at > 0:
                    found[stable(names[at - 1])] = None
    LIST.write_text(HEAD + "".join(f"{name}\n" for name in found))
    print(f"{len(found)} functions in {LIST}")


if __name__ == "__main__":
    main()
