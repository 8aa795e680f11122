"""`traces`: git command lines that agents typed, on a workspace: how many are answered, and what is not."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections import Counter
from pathlib import Path

import pyi
from validation.gitwork.differential import make_template
from validation.gitwork.pair import Pair

__all__ = ["add_arguments", "run"]

_NAME = re.compile(r"^[0-9a-f]{7,40}(?=$|[\^~:.])")
_RANGE = re.compile(r"^(\S*?)(\.\.\.?)(\S*)$")
_REVISIONS = {
    "log",
    "diff",
    "show",
    "checkout",
    "rebase",
    "merge",
    "reset",
    "revert",
    "cherry-pick",
    "rev-list",
    "ls-tree",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--commands", type=Path, required=True, help="lines of JSON with a key `git`")


def _words(line: str) -> list[str] | None:
    """The words of a command; a quote that the trace cut off is closed."""
    for text in (line, line + '"', line + "'"):
        try:
            words = shlex.split(text)
        except ValueError:
            continue
        cut = next((at for at, word in enumerate(words) if word in {"|", "&&", ";", "||", ">"} or "2>" in word), None)
        return words[1:cut]
    return None


def _rewritten(workspace: pyi.Workspace, words: list[str]) -> list[str]:
    """The same command about revisions and paths that are there."""
    out: list[str] = []
    for word in words:
        name = _NAME.sub("HEAD", word)
        between = _RANGE.match(name)
        if between and words[0] in _REVISIONS and not word.startswith("-"):
            out.append(f"{between[1] and 'HEAD~1'}{between[2]}{between[3] and 'HEAD'}")
        elif ":" in name and words[0] == "show" and not word.startswith("-"):
            out.append("HEAD:README.md")
        elif (
            not word.startswith("-") and ("/" in word or "." in word) and " " not in word and not workspace.exists(word)
        ):
            workspace.write(word.strip("/"), "text\n")
            out.append(word)
        else:
            out.append(name)
    return out


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    template = make_template(place / "template")
    pair = Pair(place / "pair", template)
    answered: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    by_command: Counter[str] = Counter()
    unread = 0
    for line in options.commands.read_text().splitlines():
        words = _words(json.loads(line)["git"])
        if not words:
            unread += 1
            continue
        workspace = pair.ws.fork()
        try:
            words = _rewritten(workspace, words)
        except pyi.PyiError:
            unread += 1
            continue
        done = workspace.git(*words)
        if done.stderr.startswith(b"pyi: "):
            said = done.stderr.decode().removeprefix("pyi: ").partition(" is not available")[0]
            missing[said[:70]] += 1
            by_command[words[0]] += 1
        else:
            answered[words[0]] += 1
    pair.close()
    total = answered.total() + missing.total()
    print(
        f"{answered.total()} of {total} lines are answered ({100 * answered.total() / max(1, total):.1f} %), "
        f"{unread} could not be read"
    )
    for what, count in by_command.most_common():
        print(f"  {what:<14} {answered[what]:>5} answered {count:>5} not")
    for what, count in missing.most_common(40):
        print(f"  {count:>4}: {what}")
    return 0
