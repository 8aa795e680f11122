"""Generated edits and commands, on a workspace and on a real repository beside it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from .pair import Pair

PATHS = ["a.txt", "b.txt", "d/a.txt", "d/e/c.txt", "d/with space", "x/y/z.py", "\u00fc.txt"]
LINES = ["one", "two", "three", "    four", "", "def f():", "}", "five", "six"]

texts = st.lists(st.sampled_from(LINES), max_size=30).map(lambda lines: "\n".join(lines).encode())
tails = st.sampled_from([b"", b"\n"])
contents = st.builds(lambda text, tail: text + tail, texts, tails) | st.just(b"bin\0ary")

edits = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PATHS), contents),
    st.tuples(st.just("remove"), st.sampled_from(PATHS)),
    st.tuples(st.just("chmod"), st.sampled_from(PATHS), st.booleans()),
)
commands = st.sampled_from(
    [
        ("add", "-A"),
        ("add", "."),
        ("add", "-u"),
        ("add", "d"),
        ("add", "a.txt"),
        ("rm", "--cached", "-q", "a.txt"),
        ("rm", "-r", "d"),
        ("mv", "b.txt", "moved.txt"),
        ("commit", "-m", "change"),
        ("commit", "-a", "-m", "change all"),
        ("commit", "--amend", "-m", "amended"),
        ("reset",),
        ("reset", "--hard"),
        ("reset", "-q", "HEAD~1"),
        ("restore", "."),
        ("restore", "--staged", "d"),
        ("checkout", "-b", "side"),
        ("checkout", "main"),
        ("checkout", "side"),
        ("stash",),
    ]
)
steps = st.lists(edits | edits | commands.map(lambda argv: ("git", argv)), min_size=3, max_size=14)

LOOKS = [
    ("status",),
    ("status", "-s", "-b"),
    ("status", "--porcelain=v2", "-uall"),
    ("diff",),
    ("diff", "--cached"),
    ("diff", "--stat", "HEAD"),
    ("log", "--stat", "--format=%H %s %P"),
    ("show",),
    ("ls-files", "-s"),
]


def run(root: Path, actions: list[tuple[object, ...]]) -> Pair:
    pair = Pair(root, dict.fromkeys(PATHS[:5], b"one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n"))
    for action in actions:
        kind = action[0]
        path = str(action[1])
        if kind == "git":
            argv = action[1]
            assert isinstance(argv, tuple)
            pair.git(*argv)
            if pair.unavailable:
                # The real repository did not do it either.
                pair.unavailable.clear()
        elif kind == "write":
            data = action[2]
            assert isinstance(data, bytes)
            pair.write(path, data)
        elif not pair.ws.exists(path):
            continue
        elif kind == "remove":
            pair.remove(path)
        else:
            pair.chmod(path, bool(action[2]))
    for argv in LOOKS:
        pair.git(*argv)
    return pair


@pytest.mark.filterwarnings("ignore")
@seed(20261122)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(steps)
def test_generated_steps(actions: list[tuple[object, ...]]) -> None:
    root = Path(tempfile.mkdtemp(prefix="pyi-compat-"))
    try:
        pair = run(root, actions)
        try:
            pair.check()
            pair.check_same_files()
            assert pair.unavailable == []
        finally:
            pair.repo.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)
