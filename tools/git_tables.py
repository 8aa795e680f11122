"""Write the table of git's options: crates/pyi-git/src/argv/options.txt.

python tools/git_tables.py [--check] [--git PROGRAM]

Asks the installed git what it says about itself (`git COMMAND --help-all`, `--git-completion-helper-all`) and adds
what it does not say, from tools/git_options_by_hand.txt. Only names and their kind are taken. --check compares instead
of writing, if this git has the version that the table was made with.

Lines: `@NAME FLAGS +SET ...` begins a table; then one line an option: long name, short name, value, `-` for no name.
Values: `.` none, `=` one, `?` one if it is attached, `~` only attached; `~?` is `?` that nobody abbreviates.
`!` behind the value: `--no-` turns it off.
Flags: `k` options that it does not know go to the next set, and nothing is abbreviated; `x` options stand by themselves
and are written out; `s` options end at the first operand; `n` `-<number>` is one; `g` the first operand is a subcommand
with a table of its own; `o` unknown options are taken for granted (scripts, and what parses its options by hand).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BY_HAND = ROOT / "tools" / "git_options_by_hand.txt"
TABLE = ROOT / "crates" / "pyi-git" / "src" / "argv" / "options.txt"
# Where the text about an option begins in git's own lists.
TEXT_COLUMN = 26
SPEC = re.compile(
    r"(?:-(?P<short>[A-Za-z0-9]))?(?:, )?"
    r"(?:--(?P<no>\[no-\])?(?P<long>[A-Za-z0-9][A-Za-z0-9-]*))?"
    r"(?P<value>\[.*|=.*| .*)?$"
)
# They never come back, or speak a protocol to whoever starts them.
NOT_ASKED = {
    "checkout--worker",
    "credential-cache--daemon",
    "daemon",
    "fsmonitor--daemon",
    "remote-ext",
    "remote-fd",
    "shell",
    "upload-archive",
    "upload-archive--writer",
}
# What makes a command list its options where its help lists something else.
LISTED_BY = {"config": ["config", "-l", "--no-such-option"]}
TIMEOUT_SECONDS = 20

Option = tuple[str, str, str]


class Table:
    """The options of one command, or a set that several share."""

    def __init__(self, name: str, flags: str = "", sets: tuple[str, ...] = ()) -> None:
        self.name = name
        self.flags = flags
        self.sets = sets
        self.options: set[Option] = set()

    def lines(self) -> list[str]:
        header = " ".join([f"@{self.name}", self.flags or ".", *(f"+{name}" for name in self.sets)])
        return [
            header,
            *(" ".join(option) for option in sorted(self.options, key=lambda option: (bare(option[0]), *option))),
        ]


def bare(long: str) -> str:
    """A name as it is sorted: none comes first."""
    return "" if long == "-" else long


class Git:
    """The installed git, asked in a place where it finds nobody's configuration."""

    def __init__(self, program: str, place: Path) -> None:
        self.program = program
        self.place = place
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(place),
            "XDG_CONFIG_HOME": str(place),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_EDITOR": "false",
            "GIT_PAGER": "cat",
            "LC_ALL": "C",
        }
        self.says("init", "-q", ".")

    def says(self, *args: str) -> str:
        try:
            done = subprocess.run(
                [self.program, *args],
                cwd=self.place,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.decode("utf-8", "replace")

    def version(self) -> str:
        return self.says("version").strip().removeprefix("git version ")

    def subcommands(self, command: str) -> list[str]:
        words = self.says(command, "--git-completion-helper-all").split()
        return [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]


def spec_of(line: str) -> str | None:
    """What a line of git's list says before its text."""
    if not line.startswith("    -") or line.startswith("     "):
        return None
    same_line = (
        len(line) > TEXT_COLUMN
        and line[TEXT_COLUMN - 1] == " "
        and not (line[24] != " " and line[TEXT_COLUMN] in "<([")
    )
    return (line[4:TEXT_COLUMN] if same_line else line[4:]).rstrip()


def read_list(text: str) -> tuple[set[Option], bool]:
    """The options in git's list, and whether a number is one."""
    options: set[Option] = set()
    number = False
    opposites = set(re.findall(r"opposite of --(no-[a-z0-9-]+)$", text, re.MULTILINE))
    for line in text.splitlines():
        spec = spec_of(line)
        if spec is None:
            continue
        if spec == "-NUM":
            number = True
            continue
        found = SPEC.fullmatch(spec)
        if found is None:
            raise ValueError(f"cannot read {line!r}")
        value = found["value"] or ""
        optional = value.startswith("[=") or (value.startswith("[") and not found["long"])
        kind = "?" if optional else "=" if value else "."
        # What has an opposite can be turned off in so many words too: `--no-no-verify`.
        negatable = found["no"] or found["long"] in opposites
        options.add((found["long"] or "-", found["short"] or "-", kind + ("!" if negatable else "")))
    return options, number


def names_to_ask(git: Git) -> list[str]:
    names = set(git.says("--list-cmds=builtins").split())
    return sorted(name for name in names if re.fullmatch(r"[a-z][a-z-]*", name))


def other_names(git: Git) -> set[str]:
    """Commands that are programs of their own."""
    return {
        name
        for name in git.says("--list-cmds=main,list-mainporcelain,list-complete").split()
        if re.fullmatch(r"[a-z][a-z0-9-]*", name)
    }


def read_by_hand() -> dict[str, Table]:
    tables: dict[str, Table] = {}
    table = Table("")
    for line in BY_HAND.read_text().splitlines():
        if line.startswith("@"):
            words = line[1:].split(" ")
            split = next((at for at, word in enumerate(words) if word.startswith("+") and at > 0), len(words))
            plain, sets = words[:split], tuple(word[1:] for word in words[split:])
            flags = plain.pop() if len(plain) > 1 and set(plain[-1]) <= set("kxsngo") else ""
            table = Table(" ".join(plain), flags, sets)
            tables[table.name] = table
        elif line and not line.startswith("#"):
            long, short, value = line.split(" ")
            table.options.add((long, short.removeprefix("-") or "-", value))
    return tables


def generate(git: Git, listed: set[str]) -> str:
    tables = read_by_hand()
    hand_only = set(tables)

    def ask(name: str) -> None:
        words = name.split(" ")
        options, number = (
            read_list(git.says(*LISTED_BY.get(name, [*words, "--help-all"])))
            if words[0] not in NOT_ASKED
            else (set(), False)
        )
        known = tables.get(name)
        if known is None:
            tables[name] = known = Table(name, "" if options or " " in name else "o")
        elif name in hand_only and "x" in known.flags:
            return
        if number and "n" not in known.flags:
            known.flags += "n"
        taken = {option[0] for option in known.options if option[0] != "-"}
        known.options |= {option for option in options if option[0] not in taken}

    diff, _ = read_list(git.says("range-diff", "--help-all").partition("Diff output format options")[2])
    tables["+diff"] = Table("+diff")
    tables["+diff"].options = diff
    for name in names_to_ask(git):
        ask(name)
        if name not in NOT_ASKED and "g" in tables[name].flags and name != "submodule--helper":
            for word in git.subcommands(name):
                ask(f"{name} {word}")
    tables["range-diff"].options -= diff
    for name in listed | other_names(git):
        tables.setdefault(name, Table(name, "o"))
    head = f"# git {git.version()}: the options of its commands. Written by tools/git_tables.py, which explains it.\n"
    lines = [line for _, table in sorted(tables.items()) for line in table.lines()]
    return head + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--git", default="git")
    options = parser.parse_args(arguments)
    # Commands that an installation may lack stay in the table.
    before = TABLE.read_text() if TABLE.exists() else ""
    listed = {line.split(" ")[0][1:] for line in before.splitlines() if line.startswith("@") and " o" in line}
    with tempfile.TemporaryDirectory() as place:
        git = Git(options.git, Path(place))
        if options.check and not before.startswith(f"# git {git.version()}: "):
            print(f"git {git.version()} is not the one that the table was made with")
            return 0
        text = generate(git, {name for name in listed if name[0] not in "+*"})
    if options.check:
        if text != before:
            print(f"{TABLE.relative_to(ROOT)} is not what git says; run tools/git_tables.py", file=sys.stderr)
            return 1
        print("git tables: as git says")
        return 0
    TABLE.write_text(text)
    print(f"{TABLE.relative_to(ROOT)}: {text.count(chr(10) + '@')} tables, {len(text)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
