"""Stock git pushes: what lands is a checkpoint, what does not says why in git's words."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

import pyi

Serve = Callable[..., Any]


@pytest.fixture
def live(serve: Serve, repository: pyi.Repository) -> Any:
    return serve(demo=repository)


@pytest.fixture
def clone(live: Any, here: Any) -> Any:
    here("clone", "--quiet", live.url("demo.git"), "clone")
    return type(here)(here.directory / "clone")


def test_a_push_to_a_branch_is_a_checkpoint_for_each_commit(
    live: Any, repository: pyi.Repository, source: Any, here: Any, clone: Any
) -> None:
    before = repository.branches()["main"]
    first = clone.commit("first of two", {"a/b/c.txt": "deep\n", "log.txt": "changed\n"})
    (clone.directory / "run").chmod(0o644)
    second = clone.commit("second of two\n\nwith a body", {"é.txt": "umlaut\n"})
    clone("push", "--quiet", "origin", "main")
    workspace = repository.workspace()
    assert [checkpoint.message for checkpoint in workspace.log(3)][:2] == [
        "second of two\n\nwith a body",
        "first of two",
    ]
    assert workspace.head.parents[0] != before
    assert next(iter(workspace.log(3))).id == repository.branches()["main"]
    assert bytes(workspace.read("a/b/c.txt")) == b"deep\n"
    assert workspace.stat("run").mode == 0o644
    here("clone", "--quiet", live.url("demo.git"), "again")
    again = type(here)(here.directory / "again")
    again.fsck()
    assert again("rev-parse", "HEAD", "HEAD^", "HEAD^^") == f"{second}\n{first}\n{source('rev-parse', 'main')}"
    assert again.objects() == clone.objects()


def test_branches_are_made_moved_and_deleted(live: Any, repository: pyi.Repository, clone: Any, here: Any) -> None:
    clone("push", "--quiet", "origin", "HEAD:refs/heads/topic/one", "HEAD~4:refs/heads/old")
    assert set(repository.branches()) == {"main", "topic/one", "old"}
    assert repository.branches()["topic/one"] == repository.branches()["main"]
    clone("push", "--quiet", "origin", "--delete", "old")
    assert set(repository.branches()) == {"main", "topic/one"}
    assert "deletion of the current branch prohibited" in clone.fails("push", "origin", "--delete", "main")
    assert "only branches and tags" in clone.fails("push", "origin", "HEAD:refs/other/x")
    clone.commit("mine", {"x": "1\n"})
    clone("push", "--quiet", "origin", "main")
    here("clone", "--quiet", live.url("demo.git"), "other")
    other = type(here)(here.directory / "other")
    other.commit("theirs", {"y": "1\n"})
    other("push", "--quiet", "origin", "main")
    clone.commit("mine too", {"x": "2\n"})
    assert "[rejected]" in clone.fails("push", "origin", "main")
    assert "stale info" in clone.fails("push", "--force-with-lease", "origin", "main")
    clone("fetch", "--quiet")
    clone("push", "--quiet", "--force-with-lease", "origin", "main")
    assert here("ls-remote", live.url("demo.git"), "refs/heads/main").split()[0] == clone("rev-parse", "HEAD")


def test_atomic_is_all_or_nothing(repository: pyi.Repository, clone: Any) -> None:
    before = repository.branches()
    clone.commit("one more", {"x": "1\n"})
    said = clone.fails("push", "--atomic", "origin", "main", "HEAD:refs/heads/new", "HEAD:refs/other/x")
    assert "atomic transaction failed" in said
    assert repository.branches() == before
    clone("push", "--quiet", "--atomic", "origin", "main", "HEAD:refs/heads/new")
    after = repository.branches()
    assert after["main"] == after["new"] != before["main"]
    assert "[remote rejected]" in clone.fails("push", "origin", "HEAD:refs/heads/newer", "HEAD:refs/other/x")
    assert "newer" in repository.branches()


def test_tags_are_pushed_and_kept(live: Any, repository: pyi.Repository, clone: Any, here: Any) -> None:
    clone("checkout", "--quiet", "--detach")
    tagged = clone.commit("only a tag has it", {"tagged": "x\n"})
    clone("tag", "-a", "-m", "mine", "mine")
    clone("tag", "plain", "HEAD~2")
    clone("push", "--quiet", "origin", "mine", "plain")
    clone("push", "--quiet", "origin", "HEAD~1:refs/heads/gone")
    clone("push", "--quiet", "origin", "--delete", "gone")
    repository.retention(age=0.0, heads=0)
    repository.gc()
    here("clone", "--quiet", live.url("demo.git"), "again")
    again = type(here)(here.directory / "again")
    again.fsck()
    assert again("rev-parse", "mine^{commit}", "plain") == f"{tagged}\n{clone('rev-parse', 'HEAD~2')}"
    assert "already exists" in clone.fails("push", "origin", "HEAD:refs/tags/plain")
    clone("push", "--quiet", "--force", "origin", "HEAD:refs/tags/plain")
    clone("push", "--quiet", "origin", "--delete", "mine")
    assert "refs/tags/mine" not in here("ls-remote", live.url("demo.git"))
    assert "delete it there" in clone.fails("push", "origin", "--delete", "annotated")


def test_a_push_to_a_workspace_is_a_checkpoint_of_it(live: Any, repository: pyi.Repository, here: Any) -> None:
    agent = repository.workspace().fork("agent")
    agent.write("by-agent.txt", "agent\n")
    agent.state["step"] = 7
    agent.journal.append("note", text="kept")
    head = agent.checkpoint("step")
    url = live.url("demo/agents/agent.git")
    here("clone", "--quiet", url, "clone")
    clone = type(here)(here.directory / "clone")
    pushed = clone.commit("from a person", {"by-person.txt": "person\n"})
    clone("push", "--quiet")
    with pytest.raises(pyi.LeaseLost):
        agent.write("x", "y")
    agent = repository.open_workspace("agent")
    assert bytes(agent.read("by-person.txt")) == b"person\n"
    assert agent.state["step"] == 7
    assert [event.kind for event in agent.journal] == ["note"]
    assert agent.head.parents == [head.id] or tuple(agent.head.parents) == (head.id,)
    agent.write("by-agent.txt", "again\n")
    agent.checkpoint("after the push")
    clone("pull", "--quiet", "--ff-only")
    assert clone("rev-parse", "HEAD^") == pushed
    assert (clone.directory / "by-agent.txt").read_text() == "again\n"
    clone.fsck()
    assert "a workspace is one branch" in clone.fails("push", "origin", "HEAD:refs/heads/other")
    assert "drop the workspace" in clone.fails("push", "origin", "--delete", "main")
    # What was reviewed lands on a branch of the repository, whose history is that of the clone.
    clone("push", "--quiet", live.url("demo.git"), "HEAD:refs/heads/reviewed")
    here("clone", "--quiet", "-b", "reviewed", live.url("demo.git"), "reviewed")
    reviewed = type(here)(here.directory / "reviewed")
    reviewed.fsck()
    assert reviewed("rev-parse", "HEAD") == clone("rev-parse", "HEAD")
    shutil.rmtree(Path(repository.path) / "gitmap")
    with pyi.open(repository.path, create=False) as again:
        here("clone", "--quiet", url, "later")
        assert again.branches()["reviewed"]
    type(here)(here.directory / "later").fsck()


def test_a_workspace_that_moved_on_refuses(live: Any, repository: pyi.Repository, here: Any) -> None:
    agent = repository.workspace().fork("agent")
    agent.checkpoint("begin")
    here("clone", "--quiet", live.url("demo/agents/agent.git"), "clone")
    clone = type(here)(here.directory / "clone")
    clone.commit("late", {"x": "1\n"})
    agent.write("y", "1")
    agent.checkpoint("meanwhile")
    assert "fetch first" in clone.fails("push")
    agent.write("y", "2")  # the refused push took no lease
    agent.checkpoint("on")
    clone("pull", "--quiet", "--rebase")
    clone("push", "--quiet")
    assert bytes(repository.open_workspace("agent").read("y")) == b"2"


def test_every_push_of_many_to_workspaces_of_their_own_lands(live: Any, repository: pyi.Repository, here: Any) -> None:
    base = repository.workspace()
    for number in range(8):
        base.fork(f"w{number}")
    failed: list[str] = []

    def one(number: int) -> None:
        url = live.url(f"demo/agents/w{number}.git")
        here("clone", "--quiet", "--depth=1", url, f"c{number}")
        clone = type(here)(here.directory / f"c{number}")
        for round_number in range(3):
            clone.commit(f"round {round_number}", {f"r{round_number}": str(number)})
            done = clone.run("push", "--quiet")
            if done.returncode:
                failed.append(done.stderr.decode())

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for number in range(8):
        workspace = repository.view_workspace(f"w{number}")
        assert [bytes(workspace.read(f"r{round_number}")) for round_number in range(3)] == [str(number).encode()] * 3


@pytest.mark.slow
def test_a_killed_server_leaves_pushes_whole_or_absent(repository: pyi.Repository, here: Any, tmp_path: Path) -> None:
    """kill -9 in the middle of pushes: what git was told landed is there, and the same push lands on the next one."""
    base = repository.workspace()
    count = 6
    for number in range(count):
        base.fork(f"w{number}")
    landed: dict[int, list[str]] = {number: [] for number in range(count)}
    servers: list[subprocess.Popen[str]] = []
    urls: list[str] = []

    def start(port: int) -> None:
        command = [sys.executable, "-m", "pyi", "serve", f"demo={repository.path}", "--anonymous", "write", "--json"]
        server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        urls.append(json.loads(server.stdout.readline())["url"])
        servers.append(server)

    start(0)
    over = threading.Event()

    def one(number: int) -> None:
        here("clone", "--quiet", "--depth=1", f"{urls[0]}/demo/agents/w{number}.git", f"k{number}")
        clone = type(here)(here.directory / f"k{number}")
        while not over.is_set():
            name = clone.commit("next", {f"f{len(landed[number])}": os.urandom(200_000).hex()})
            while clone.run("push", "--quiet").returncode and not over.is_set():
                clone.run("fetch", "--quiet")
                if clone.run("merge-base", "--is-ancestor", "HEAD", "@{upstream}").returncode == 0:
                    break  # it had landed, and the answer was lost
            else:
                if over.is_set():
                    return
            landed[number].append(name)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            time.sleep(1.0)
            servers[-1].kill()
            servers[-1].wait()
            start(int(urls[0].rsplit(":", 1)[1]))
        time.sleep(1.0)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        servers[-1].terminate()
        for server in servers:
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
    assert sum(map(len, landed.values())) > count
    for number, names in landed.items():
        workspace = repository.view_workspace(f"w{number}")
        clone = type(here)(here.directory / f"k{number}")
        for at, name in enumerate(names):
            assert bytes(workspace.read(f"f{at}")) == clone("show", f"{name}:f{at}").encode()
    assert [path.name for path in Path(repository.path).iterdir() if path.name.startswith("tmp")] == []
    assert repository.scrub().clean


def _pack(*objects: tuple[int, bytes]) -> bytes:
    out = b"PACK" + struct.pack(">II", 2, len(objects))
    for kind, content in objects:
        size = len(content)
        byte, size = kind << 4 | size & 15, size >> 4
        while size:
            out += bytes([byte | 128])
            byte, size = size & 127, size >> 7
        out += bytes([byte]) + zlib.compress(content)
    return out + sha1(out).digest()


def _name(kind: str, content: bytes) -> str:
    return sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def _line(text: bytes) -> bytes:
    return f"{len(text) + 4:04x}".encode() + text


def test_hostile_pushes_are_refused_and_leave_nothing(live: Any, repository: pyi.Repository, clone: Any) -> None:
    main = clone("rev-parse", "HEAD")
    branches = repository.branches()

    def push(commit: str, pack: bytes) -> str:
        command = f"{'0' * 40} {commit} refs/heads/evil\0 report-status object-format=sha1 agent=test".encode()
        request = urllib.request.Request(live.url("demo.git/git-receive-pack"), _line(command) + b"0000" + pack)
        request.add_header("Content-Type", "application/x-git-receive-pack-request")
        try:
            with urllib.request.urlopen(request) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode()}"

    who = b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nevil\n"
    blob = b"content"

    def commit_of(tree: bytes) -> bytes:
        return b"tree " + _name("tree", tree).encode() + b"\nparent " + main.encode() + b"\n" + who

    for name in (b".git", b"..", b".GIT", b"git~1", b"a/b", b".g\xe2\x80\x8cit"):
        tree = b"100644 " + name + b"\0" + bytes.fromhex(_name("blob", blob))
        commit = commit_of(tree)
        said = push(_name("commit", commit), _pack((1, commit), (2, tree), (3, blob)))
        assert "ng refs/heads/evil" in said, name
        assert "unpack ok" in said
    tree = b"120000 .gitmodules\0" + bytes.fromhex(_name("blob", blob))
    commit = commit_of(tree)
    assert "ng refs/heads/evil" in push(_name("commit", commit), _pack((1, commit), (2, tree), (3, blob)))
    tree = b"100644 a\0" + bytes.fromhex(_name("blob", blob))
    commit = commit_of(tree)
    whole = _pack((1, commit), (2, tree), (3, blob))
    assert "missing necessary objects" in push(_name("commit", commit), _pack((1, commit), (2, tree)))
    assert "missing necessary objects" in push(_name("commit", commit), _pack((1, commit)))
    assert "missing necessary objects" in push("7" * 40, whole)
    orphan = b"tree " + _name("tree", tree).encode() + b"\nparent " + b"5" * 40 + b"\n" + who
    assert "missing necessary objects" in push(_name("commit", orphan), _pack((1, orphan), (2, tree), (3, blob)))
    assert "not a commit" in push(_name("blob", blob), _pack((3, blob)))
    for broken in (
        whole[:-1],
        whole[:40],
        whole[:-21] + b"x" + whole[-20:],
        whole + b"more",
        b"PACKnonsense",
        os.urandom(300),
    ):
        said = push(_name("commit", commit), broken)
        assert "unpack pack" in said or "unpack" in said, broken
        assert "ng refs/heads/evil unpacker error" in said
    assert repository.branches() == branches
    leftovers = [path.name for path in Path(repository.path).iterdir() if path.name.startswith("tmp")]
    assert leftovers == []
    assert "ok refs/heads/evil" in push(_name("commit", commit), whole)
    assert bytes(repository.workspace("evil").read("a")) == blob


def test_a_push_over_a_limit_is_refused(serve: Serve, repository: pyi.Repository, here: Any) -> None:
    from pyi.server.settings import Settings

    live = serve(Settings(anonymous="write", max_pack_bytes=40_000, max_object_bytes=30_000), demo=repository)
    here("clone", "--quiet", live.url("demo.git"), "clone")
    clone = type(here)(here.directory / "clone")
    clone.commit("one large object", {"zeros": "0" * 31_000})
    assert "over the limit" in clone.fails("push", "origin", "main")
    clone("reset", "--quiet", "--hard", "HEAD^")
    (clone.directory / "noise").write_bytes(os.urandom(60_000))
    clone.commit("a large pack", {})
    assert "413" in clone.fails("push", "origin", "main")


def test_who_offers_version_2_for_a_push_is_answered_without_a_version(live: Any) -> None:
    """Nobody pushes in version 2; a client that offers it takes a line that says otherwise for a ref (dulwich)."""
    said = {}
    for version in ("0", "1", "2"):
        request = urllib.request.Request(live.url("demo.git/info/refs?service=git-receive-pack"))
        request.add_header("Git-Protocol", f"version={version}")
        with urllib.request.urlopen(request) as answer:
            said[version] = answer.read()
    assert said["2"] == said["0"]
    assert b"000eversion 1\n" in said["1"]
    assert b"version" not in said["0"]


def test_two_updates_of_one_ref_are_both_refused(live: Any, repository: pyi.Repository, clone: Any) -> None:
    """git push refuses that by itself; git send-pack does not."""
    before = repository.branches()
    one, two = clone("rev-parse", "HEAD", "HEAD~1").split()
    body = _line(f"{'0' * 40} {one} refs/heads/foo\0 report-status".encode())
    body += _line(f"{'0' * 40} {two} refs/heads/foo".encode()) + b"0000" + _pack()
    request = urllib.request.Request(live.url("demo.git/git-receive-pack"), body)
    request.add_header("Content-Type", "application/x-git-receive-pack-request")
    with urllib.request.urlopen(request) as answer:
        said = answer.read()
    assert said.count(b"ng refs/heads/foo multiple updates for ref 'refs/heads/foo' not allowed") == 2
    assert repository.branches() == before
