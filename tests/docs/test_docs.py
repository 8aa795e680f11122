"""The documents run: every example in README.md, docs/guides/ and docs/concepts/ is executed as it stands.

The ```python and ```console blocks of one file run in order, in one fresh directory. That directory holds `project`, a
small git repository with two commits, which the examples may use. Python names live on from block to block. In a
console block the lines after `$ ` (and `> ` for what continues them) are given to bash, and each must exit with
status 0; the output shown below a command is for the reader and is not compared, since ids and times differ. Each
console block starts in the fresh directory. A block behind a line `<!-- no-test -->` is left out, as are blocks in any
other language (```sh: commands that a reader runs once and a test does not).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 240
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*$")

# Runs in a process of its own: the examples may change the directory, the environment, or crash.
RUNNER = """
import json, subprocess, sys
names = {"__name__": "__main__"}
for block in json.load(sys.stdin):
    if block["language"] == "python":
        source = "\\n" * block["line"] + block["text"]
        exec(compile(source, block["file"], "exec"), names)
    else:
        sys.stdout.flush()
        done = subprocess.run(["bash", "-c", "set -euo pipefail\\n" + block["text"]], stdin=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(f"{block['file']}:{block['line']}: exit status {done.returncode} from\\n{block['text']}")
"""


@dataclass(frozen=True)
class Block:
    file: str
    line: int  # of the opening fence, from 1
    language: str
    text: str


def commands(text: str) -> str:
    """The commands of a console block, without the `$` and the output."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ ") or (line.startswith("> ") and found):
            found.append(line[2:])
    return "\n".join(found) + "\n"


def blocks(text: str, file: str) -> list[Block]:
    found: list[Block] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        if opening is None:
            number += 1
            continue
        start, indent, language = number, opening["indent"], opening["language"]
        number += 1
        body = []
        while number < len(lines) and lines[number].strip() != "```":
            body.append(lines[number].removeprefix(indent))
            number += 1
        number += 1
        before = next((line.strip() for line in reversed(lines[:start]) if line.strip()), "")
        if language in {"python", "console"} and before != "<!-- no-test -->":
            content = "\n".join(body) + "\n"
            found.append(Block(file, start + 1, language, content if language == "python" else commands(content)))
    return found


def environment(directory: Path) -> dict[str, str]:
    """A user without settings, whose PATH starts with the environment under test."""
    (directory / "gitconfig").write_text(
        "[user]\n\tname = A Reader\n\temail = reader@example.invalid\n[init]\n\tdefaultBranch = main\n"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "PYI_"))}
    return kept | {
        "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(directory),
        "GIT_CONFIG_GLOBAL": str(directory / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_PAGER": "cat",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def make_project(directory: Path, env: dict[str, str]) -> None:
    script = """
        set -euo pipefail
        git init -q project && cd project && mkdir src tests
        printf '# Project\\n' > README.md
        printf 'def add(a, b):\\n    return a - b\\n' > src/app.py
        git add . && git commit -q -m 'Start'
        printf 'from app import add\\nassert add(2, 3) == 5\\n' > tests/check.py
        git add . && git commit -q -m 'Say what add should do'
    """
    subprocess.run(["bash", "-c", script], cwd=directory, env=env, check=True)


def run(found: list[Block], home: Path) -> subprocess.CompletedProcess[str]:
    env = environment(home)
    work = home / "work"
    work.mkdir()
    make_project(work, env)
    return subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps([asdict(block) for block in found]),
        cwd=work,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


FOLDERS = [ROOT / "docs" / "guides", ROOT / "docs" / "concepts"]
DOCUMENTS = [ROOT / "README.md", *(document for folder in FOLDERS for document in sorted(folder.glob("*.md")))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_of_a_document_run(document: Path, tmp_path: Path) -> None:
    found = blocks(document.read_text(), str(document.relative_to(ROOT)))
    if not found:
        pytest.skip("no examples in it")
    done = run(found, tmp_path)
    assert done.returncode == 0, done.stdout


SAMPLE = """
```python
names = ["kept"]
open("made", "w").close()
```
<!-- no-test -->
```python
raise SystemExit("left out")
```
1. in a list
   ```console
   $ test -e made && cd project
   $ git log \\
   >   --oneline
   output that is not a command
   ```
```sh
exit 9
```
```python
assert names == ["kept"]
{}
```
"""


def test_the_runner_runs_what_it_should(tmp_path: Path) -> None:
    done = run(blocks(SAMPLE.format("print('end')"), "sample.md"), tmp_path)
    assert done.returncode == 0, done.stdout
    assert "Say what add should do" in done.stdout
    assert done.stdout.endswith("end\n")


def test_a_failing_example_fails_with_its_line(tmp_path: Path) -> None:
    done = run(blocks(SAMPLE.format("1 / 0"), "sample.md"), tmp_path)
    assert done.returncode != 0
    assert 'File "sample.md", line 22' in done.stdout


def test_a_failing_command_fails_with_its_block(tmp_path: Path) -> None:
    done = run(blocks("```console\n$ false\n$ echo unreached\n```\n", "sample.md"), tmp_path)
    assert done.returncode != 0
    assert "sample.md:1: exit status 1" in done.stdout
