"""One owner of a name, across processes and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pyi

TAKE = """
import sys
import pyi
with pyi.open(sys.argv[1], create=False) as repo:
    ws = repo.open_workspace("agent")
    ws.write("theirs", "1")
    print(ws.checkpoint("theirs").id, flush=True)
    sys.stdin.read()
"""


def test_another_process_takes_a_name_and_a_dead_one_holds_nothing(repo: pyi.Repository, tmp_path: Path) -> None:
    mine = repo.workspace().fork("agent")
    mine.write("mine", "1")
    command = [sys.executable, "-c", TAKE, str(tmp_path / "store")]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    id = other.stdout.readline().strip()
    with pytest.raises(pyi.LeaseLost):
        mine.state["x"] = 1
    with pytest.raises(pyi.LeaseLost):
        mine.journal.append("step")
    assert bytes(mine.read("mine")) == b"1"
    assert repo.view_workspace("agent").head.id == id
    other.kill()
    other.communicate()
    again = repo.open_workspace("agent")
    assert again.head.id == id
    again.write("mine", "1")
    again.checkpoint("both")


def test_threads_share_the_handle_of_a_name(repo: pyi.Repository) -> None:
    ws = repo.workspace().fork("agent")

    def write(number: int) -> None:
        same = repo.open_workspace("agent")
        for step in range(20):
            same.write(f"{number}/{step}", "x")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ws.checkpoint()
    assert len(ws) == 160


def test_the_child_of_a_fork_is_another_owner(repo: pyi.Repository) -> None:
    ws = repo.workspace().fork("agent")
    ws.write("a", "1")
    ws.checkpoint("parent")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            try:
                ws.write("a", "2")
            except pyi.LeaseLost:
                own = repo.open_workspace("agent")
                own.write("a", "2")
                own.checkpoint("child")
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with pytest.raises(pyi.LeaseLost):
        ws.write("a", "3")
    assert bytes(repo.open_workspace("agent").read("a")) == b"2"
