"""Make a git repository of the example project with one seeded bug.

    python make_repo.py DIR             the demo bug
    python make_repo.py BUG DIR         another bug of bugs.toml
    python make_repo.py --all DIR       DIR/BUG for every bug
    python make_repo.py --list          the names of the bugs

The commit id of a bug is the same on every machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE / "project"
DEMO_BUG = "wrap-space"

_LITTER = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache", ".git")


@dataclass(frozen=True)
class Bug:
    """A mistake at one place of the project."""

    id: str
    file: str
    mistake: str
    needs: str
    original: str
    buggy: str

    def plant(self, root: Path) -> None:
        """Put the mistake into the copy of the project at ``root``."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.original) != 1:
            raise ValueError(f"{self.id}: the original must occur exactly once")
        path.write_text(text.replace(self.original, self.buggy), encoding="utf-8")


def load_bugs() -> dict[str, Bug]:
    """All bugs by name, in the order of bugs.toml."""
    with (HERE / "bugs.toml").open("rb") as file:
        records = tomllib.load(file)["bug"]
    bugs = [Bug(**record) for record in records]
    return {bug.id: bug for bug in bugs}


def copy_project(target: Path, bug: Bug | None = None) -> None:
    """Copy the project to ``target``, a new or empty directory."""
    if target.exists() and any(target.iterdir()):
        raise FileExistsError(f"{target} is not empty")
    shutil.copytree(PROJECT, target, ignore=_LITTER, dirs_exist_ok=True)
    if bug is not None:
        bug.plant(target)


def make_repo(bug: Bug, target: Path) -> str:
    """Commit the project with ``bug``; the commit id is always the same."""
    copy_project(target, bug)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    _git(target, "init", "-q", "-b", "main")
    _git(target, "add", "-A")
    _git(target, "commit", "-q", "--no-verify", "-m", "Import pocket")
    return _git(target, "rev-parse", "HEAD")


def _git(root: Path, *args: str) -> str:
    """Run git untouched by the user's settings; return what it printed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env["GIT_CONFIG_GLOBAL"] = env["GIT_CONFIG_SYSTEM"] = os.devnull
    for who in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{who}_NAME"] = "Pocket"
        env[f"GIT_{who}_EMAIL"] = "pocket@example.org"
        env[f"GIT_{who}_DATE"] = "2024-01-01T00:00:00 +0000"
    done = subprocess.run(["git", *args], cwd=root, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make a repository with a seeded bug.")
    parser.add_argument("--all", action="store_true", help="one repository per bug")
    parser.add_argument("--list", action="store_true", help="name the bugs")
    parser.add_argument("names", nargs="*", metavar="[BUG] DIR", help=f"BUG is {DEMO_BUG} if left out")
    options = parser.parse_args()
    bugs = load_bugs()
    if options.list:
        for bug in bugs.values():
            print(f"{bug.id:20} {bug.mistake}")
        return 0
    if len(options.names) not in ((1,) if options.all else (1, 2)):
        parser.error("expected [BUG] DIR, or --all DIR")
    target = Path(options.names[-1])
    wanted = list(bugs) if options.all else [(DEMO_BUG, *options.names[:-1])[-1]]
    for name in wanted:
        if name not in bugs:
            parser.error(f"no bug {name!r}; --list names them")
        where = target / name if options.all else target
        try:
            commit = make_repo(bugs[name], where)
        except FileExistsError as error:
            print(f"make_repo: {error}", file=sys.stderr)
            return 1
        print(f"{commit[:12]} {name} {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
