"""Stock git clones and fetches: what it gets is what the source has, in every version of the protocol."""

from __future__ import annotations

import gzip
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyi

Serve = Callable[..., Any]


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_a_clone_has_the_objects_of_the_source(
    serve: Serve, repository: pyi.Repository, source: Any, here: Any, version: str
) -> None:
    live = serve(demo=repository)
    here("-c", f"protocol.version={version}", "clone", "--quiet", live.url("demo.git"), "clone")
    clone = type(here)(here.directory / "clone")
    clone.fsck()
    assert clone("rev-parse", "HEAD", "light", "annotated", "outer") == source(
        "rev-parse", "main", "light", "annotated", "outer"
    )
    assert clone.objects() == source.objects()
    assert clone("status", "--porcelain") == ""
    assert clone("symbolic-ref", "HEAD") == "refs/heads/main"
    listed = here("ls-remote", live.url("demo.git"))
    wanted = source("ls-remote", ".", "refs/heads/main", "refs/tags/*").splitlines()
    assert set(wanted) <= set(listed.splitlines())


def test_a_clone_by_the_next_client_is_the_same(
    serve: Serve, repository: pyi.Repository, source: Any, here: Any
) -> None:
    """What went into a clone is remembered; neither filters nor what came since, or was packed anew, get mixed up."""
    live = serve(demo=repository)

    def cloned(name: str, *options: str) -> Any:
        here("clone", "--quiet", "--bare", *options, live.url("demo.git"), name)
        clone = type(here)(here.directory / name)
        if not options:
            clone.fsck()
        return clone

    first, partial = cloned("1.git"), cloned("2.git", "--filter=blob:none", "--no-local")
    source("gc", "--quiet", "--prune=now")
    again, partial_again = cloned("3.git"), cloned("4.git", "--filter=blob:none", "--no-local")
    assert first.objects() == again.objects() == source.objects()
    missing = partial("rev-list", "--objects", "--all", "--missing=print")
    assert missing == partial_again("rev-list", "--objects", "--all", "--missing=print")
    assert "?" in missing
    workspace = repository.workspace()
    workspace.write("d1/f1.txt", "changed\n")
    workspace.checkpoint("a change")
    workspace.publish("main")
    later = cloned("5.git")
    assert set(later.objects()) > set(first.objects())
    assert cloned("6.git", "--depth=1")("rev-list", "--count", "main") == "1"


def test_deltas_of_the_source_are_copied(serve: Serve, repository: pyi.Repository, source: Any, here: Any) -> None:
    """A clone is about as large as the source's own pack, not as its contents."""
    live = serve(demo=repository)
    source("gc", "--quiet", "--prune=now")
    here("clone", "--quiet", "--bare", live.url("demo.git"), "clone.git")
    size = sum(path.stat().st_size for path in (here.directory / "clone.git/objects/pack").glob("*.pack"))
    own = sum(path.stat().st_size for path in (source.directory / ".git/objects/pack").glob("*.pack"))
    assert size < own * 1.1


def test_a_fetch_brings_only_what_is_new(serve: Serve, repository: pyi.Repository, source: Any, here: Any) -> None:
    live = serve(demo=repository)
    here("clone", "--quiet", live.url("demo.git"), "clone")
    clone = type(here)(here.directory / "clone")
    before = clone.objects()
    workspace = repository.workspace()
    workspace.write("d1/f1.txt", "changed\n")
    workspace.checkpoint("a change")
    workspace.publish("main")
    workspace.write("d2/new.txt", "new\n")
    second = workspace.checkpoint("another")
    workspace.publish("main")
    clone("fetch", "--quiet")
    fresh = clone.objects() - before
    # Two commits, each with a root tree, a directory and a blob.
    assert sorted(line.split()[1] for line in fresh) == ["blob"] * 2 + ["commit"] * 2 + ["tree"] * 4
    assert clone("show", "origin/main:d1/f1.txt") == "changed"
    assert clone("log", "--format=%s", "-2", "origin/main") == "another\na change"
    assert f"PYI-Checkpoint: {second.id}" in clone("log", "-1", "--format=%B", "origin/main")
    clone("merge", "--quiet", "--ff-only", "origin/main")
    clone.fsck()
    assert clone("fetch") == ""


@pytest.mark.parametrize("version", ["0", "2"])
def test_histories_that_went_apart_agree_on_where(
    serve: Serve, repository: pyi.Repository, here: Any, version: str
) -> None:
    """The client has hundreds of commits that the server does not know: they talk in several rounds."""
    live = serve(demo=repository)
    here("clone", "--quiet", live.url("demo.git"), "clone")
    clone = type(here)(here.directory / "clone", "-c", f"protocol.version={version}")
    tree = clone("rev-parse", "HEAD^{tree}")
    tip = clone("rev-parse", "HEAD")
    stream = "".join(
        f"commit refs/heads/local\ncommitter A <a@b> {1_700_000_000 + number} +0000\ndata 1\nx"
        + (f"from {tip}\n" if number == 0 else "")
        + f'M 040000 {tree} ""\n'
        for number in range(400)
    )
    assert clone.run("fast-import", "--quiet", "--force", input=stream.encode()).returncode == 0
    workspace = repository.workspace()
    workspace.write("server", "side\n")
    workspace.checkpoint("on the server")
    workspace.publish("main")
    before = clone.objects()
    clone("fetch", "--quiet", "origin", "main")
    assert sorted(line.split()[1] for line in clone.objects() - before) == ["blob", "commit", "tree"]
    clone.fsck()


def test_shallow_clones_grow(serve: Serve, repository: pyi.Repository, source: Any, here: Any) -> None:
    live = serve(demo=repository)
    here("clone", "--quiet", "--depth=1", live.url("demo.git"), "clone")
    clone = type(here)(here.directory / "clone")
    assert clone("rev-list", "--count", "HEAD") == "1"
    clone.fsck()
    clone("fetch", "--quiet", "--deepen=2")
    here("clone", "--quiet", "--depth=3", f"file://{source.directory}", "theirs")
    assert clone("rev-list", "HEAD") == type(here)(here.directory / "theirs")("rev-list", "HEAD")
    clone.fsck()
    clone("fetch", "--quiet", "--depth=5")
    clone.fsck()
    clone("fetch", "--quiet", "--unshallow")
    assert clone("rev-list", "HEAD") == source("rev-list", "main")
    assert not (clone.directory / ".git/shallow").exists()
    clone.fsck()
    here("clone", "--quiet", "--shallow-exclude=light", live.url("demo.git"), "excluded")
    excluded = type(here)(here.directory / "excluded")
    assert set(excluded("rev-list", "HEAD").splitlines()) == set(source("rev-list", "main", "^light").splitlines())
    excluded.fsck()


@pytest.mark.parametrize("depth", [1, 2, 3, 12])
def test_shallow_clones_are_those_of_git(
    serve: Serve, repository: pyi.Repository, source: Any, here: Any, depth: int
) -> None:
    live = serve(demo=repository)
    here("clone", "--quiet", f"--depth={depth}", live.url("demo.git"), "ours")
    here("clone", "--quiet", f"--depth={depth}", f"file://{source.directory}", "theirs")
    ours, theirs = type(here)(here.directory / "ours"), type(here)(here.directory / "theirs")
    assert ours("rev-list", "HEAD") == theirs("rev-list", "HEAD")
    shallow = [sorted((git.directory / ".git/shallow").read_text().split()) for git in (ours, theirs)]
    assert shallow[0] == shallow[1]
    assert {line for line in ours.objects() if "tag" not in line} == {
        line for line in theirs.objects() if "tag" not in line
    }


@pytest.mark.parametrize("spec", ["blob:none", "blob:limit=300", "tree:0", "tree:1", "tree:2"])
def test_partial_clones_fetch_what_is_missing_later(
    serve: Serve, repository: pyi.Repository, source: Any, here: Any, spec: str
) -> None:
    live = serve(demo=repository)
    here("clone", "--quiet", "--bare", f"--filter={spec}", live.url("demo.git"), "bare.git")
    source("config", "uploadpack.allowFilter", "true")
    here("clone", "--quiet", "--bare", f"--filter={spec}", f"file://{source.directory}", "theirs.git")
    ours, theirs = (type(here)(here.directory / name) for name in ("bare.git", "theirs.git"))
    assert ours.objects() == theirs.objects()
    here("clone", "--quiet", f"--filter={spec}", live.url("demo.git"), "clone")
    clone = type(here)(here.directory / "clone")
    assert clone("status", "--porcelain") == ""
    assert (clone.directory / "log.txt").read_text() == (source.directory / "log.txt").read_text()
    clone("checkout", "--quiet", "HEAD~4")
    assert clone("status", "--porcelain") == ""
    clone("log", "-p", "--all")
    clone.fsck()


def test_an_empty_repository_is_cloned(serve: Serve, tmp_path: Path, here: Any) -> None:
    with pyi.open(tmp_path / "empty") as repo:
        live = serve(demo=repo)
        assert "empty repository" in here.run("clone", live.url("demo.git"), "clone").stderr.decode()
        assert type(here)(here.directory / "clone")("symbolic-ref", "HEAD") == "refs/heads/main"


def test_a_workspace_is_one_commit_on_what_it_came_from(
    serve: Serve, repository: pyi.Repository, source: Any, here: Any
) -> None:
    agent = repository.workspace().fork("agents/one")
    first = None
    for number in range(5):
        agent.write("work.txt", f"{number}\n")
        first = first or agent.checkpoint(f"step {number}")
        agent.checkpoint(f"step {number}")
    agent.mkdir("empty directories/are dropped")
    agent.checkpoint("last step")
    live = serve(demo=repository)
    url = live.url("demo/agents/agents/one.git")
    here("clone", "--quiet", url, "clone")
    clone = type(here)(here.directory / "clone")
    clone.fsck()
    assert (clone.directory / "work.txt").read_text() == "4\n"
    assert clone("rev-parse", "HEAD^") == source("rev-parse", "main")
    assert clone("rev-parse", "HEAD^{tree}") != source("rev-parse", "main^{tree}")
    assert first is not None
    clone("fetch", "--quiet", "origin", f"refs/pyi/checkpoints/{first.id}")
    assert clone("show", "FETCH_HEAD:work.txt") == "0"
    refs = here("ls-remote", url)
    assert "refs/pyi/work" in refs
    assert first.id in refs
    here("clone", "--quiet", live.url(f"demo/checkpoints/{first.id}.git"), "view")
    assert (here.directory / "view/work.txt").read_text() == "0\n"


def test_candidates_of_a_superposition_are_branches(serve: Serve, repository: pyi.Repository, here: Any) -> None:
    superposition = repository.superpose("main", 70, name="race/one")  # more than one value of the ref log holds
    for number, candidate in enumerate(superposition.candidates):
        candidate.write("answer", str(number))
        candidate.checkpoint(f"candidate {number}")
    live = serve(demo=repository)
    here("clone", "--quiet", live.url("demo/superpositions/race/one.git"), "clone")
    clone = type(here)(here.directory / "clone")
    clone.fsck()
    assert [clone("show", f"origin/candidate/{number}:answer") for number in (0, 1, 69)] == ["0", "1", "69"]


def test_weights_of_candidates_are_notes(serve: Serve, repository: pyi.Repository, here: Any) -> None:
    superposition = repository.superpose("main", 3, name="race")
    for number in (0, 1):
        superposition.candidates[number].write("answer", str(number))
        superposition.candidates[number].checkpoint(f"candidate {number}")
    superposition.weigh(1, 0.25)
    superposition.reject(0)
    live = serve(demo=repository)
    here("clone", "--quiet", live.url("demo/superpositions/race.git"), "clone")
    clone = type(here)(here.directory / "clone")
    clone("fetch", "--quiet", "origin", "+refs/notes/*:refs/notes/*")

    def note(number: int) -> str:
        return str(clone("notes", "--ref=weights", "show", f"origin/candidate/{number}"))

    assert note(0) == "candidate/0: weight 1, failed its check"
    assert note(1) == "candidate/1: weight 0.25"
    assert note(2) == "candidate/2: weight 1", "it is where all came from"
    assert "weight 0.25" in clone("log", "-1", "--notes=weights", "origin/candidate/1")
    superposition.weigh(1, 7)
    clone("fetch", "--quiet", "origin", "+refs/notes/*:refs/notes/*")
    assert note(1) == "candidate/1: weight 7"
    clone.fsck()


def test_odd_contents_keep_their_names(serve: Serve, tmp_path: Path, source: Any, here: Any) -> None:
    """Trees that git would write in another way, and directories without files, beside what was changed."""
    blob = source("rev-parse", "HEAD:log.txt")
    inner = source.run(
        "hash-object", "-t", "tree", "-w", "--literally", "--stdin", input=b"100664 a\0" + bytes.fromhex(blob)
    )
    tree = source.run(
        "hash-object", "-t", "tree", "-w", "--literally", "--stdin",
        input=b"100644 b\0" + bytes.fromhex(blob) + b"40000 odd\0" + bytes.fromhex(inner.stdout.decode().strip()),
    )  # fmt: skip
    commit = source("commit-tree", "-m", "odd", "-p", "HEAD", tree.stdout.decode().strip())
    source("update-ref", "refs/heads/odd", commit)
    with pyi.open(tmp_path / "oddstore") as repo:
        workspace = repo.import_git(source.directory, "odd")
        workspace.write("c", "new\n")
        workspace.mkdir("nothing/below")
        workspace.checkpoint("beside the odd one")
        workspace.publish("main")
        live = serve(demo=repo)
        here("clone", "--quiet", live.url("demo.git"), "clone")
        clone = type(here)(here.directory / "clone")
        clone("fsck", "--no-dangling")
        assert clone("rev-parse", "HEAD^", "HEAD:odd") == f"{commit}\n{inner.stdout.decode().strip()}"
        assert clone("ls-tree", "--name-only", "HEAD").split() == ["b", "c", "odd"]


def test_the_map_between_names_may_be_deleted(serve: Serve, repository: pyi.Repository, here: Any) -> None:
    agent = repository.workspace().fork("one")
    agent.write("a/b/c.txt", "deep\n")
    agent.checkpoint("deep")
    agent.publish("main")
    live = serve(demo=repository)
    before = here("ls-remote", live.url("demo.git"))
    shutil.rmtree(Path(repository.path) / "gitmap")
    assert here("ls-remote", live.url("demo.git")) == before
    here("clone", "--quiet", live.url("demo.git"), "clone")
    type(here)(here.directory / "clone").fsck()
    with pyi.open(repository.path, create=False) as again:
        shutil.rmtree(Path(repository.path) / "gitmap")
        other = serve(demo=again)
        assert here("ls-remote", other.url("demo.git")) == before
        here("clone", "--quiet", "--filter=blob:none", other.url("demo.git"), "partial")
        assert (here.directory / "partial/a/b/c.txt").read_text() == "deep\n"


def test_clones_beside_a_busy_agent_are_checkpoints(serve: Serve, repository: pyi.Repository, here: Any) -> None:
    """Two files always change together: no clone sees one without the other."""
    agent = repository.workspace().fork("busy")
    agent.write_many({"left": "0", "deep/right": "0"})
    agent.checkpoint("begin")
    over = threading.Event()

    def work() -> None:
        number = 0
        while not over.is_set():
            number += 1
            agent.write_many({"left": str(number), "deep/right": str(number)})
            agent.checkpoint(f"{number}")

    live = serve(demo=repository)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        seen = set()
        for number in range(8):
            here("clone", "--quiet", live.url("demo/agents/busy.git"), f"c{number}")
            left, right = ((here.directory / f"c{number}" / name).read_text() for name in ("left", "deep/right"))
            assert left == right
            seen.add(left)
            type(here)(here.directory / f"c{number}").fsck()
        assert len(seen) > 1
    finally:
        over.set()
        thread.join()


def test_requests_may_be_compressed_and_bad_ones_are_refused(serve: Serve, repository: pyi.Repository) -> None:
    live = serve(demo=repository)

    def post(body: bytes, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(live.url("demo.git/git-upload-pack"), body, method="POST")
        request.add_header("Content-Type", "application/x-git-upload-pack-request")
        request.add_header("Git-Protocol", "version=2")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    ask = b"0014command=ls-refs\n00010009peel\n0000"
    plain = post(ask)
    assert plain[0] == 200
    assert b"refs/heads/main" in plain[1]
    assert post(gzip.compress(ask), Content_Encoding="gzip") == plain
    assert post(gzip.compress(ask)[:-9], Content_Encoding="gzip")[0] == 400
    assert post(b"not gzip", Content_Encoding="gzip")[0] == 400
    assert post(ask, Content_Encoding="br")[0] == 415
    assert post(ask, Content_Type="text/plain")[0] == 415
    for bad in (
        b"0003",
        b"zzzz",
        b"0014command=ls-refs\n",
        b"0015command=nothing!\n0000",
        b"0014command=ls-refs\n00010008nix\n0000",
    ):
        assert post(bad)[0] == 400, bad
    missing = b"0012command=fetch\n0001" + b"0032want " + b"1" * 40 + b"\n" + b"0009done\n0000"
    status, said = post(missing)
    assert (status, b"not our ref" in said) == (200, True)


def test_a_commit_without_files_whose_tree_nobody_stored(serve: Serve, tmp_path: Path, here: Any) -> None:
    """Git has the empty tree whether it is stored or not."""
    directory = tmp_path / "bare"
    directory.mkdir()
    source = type(here)(directory)
    source("init", "--quiet", "-b", "main")
    source("commit", "--quiet", "--allow-empty", "-m", "nothing")
    (empty,) = (directory / ".git" / "objects").glob("4b/825dc642*") or [None]
    if empty is not None:
        empty.unlink()
    with pyi.open(tmp_path / "store-of-nothing") as repo:
        repo.import_git(directory)
        live = serve(demo=repo)
        here("clone", "--quiet", live.url("demo.git"), "clone")
        clone = type(here)(here.directory / "clone")
        clone.fsck()
        assert clone("rev-parse", "HEAD") == source("rev-parse", "HEAD")


def test_a_depth_by_date_that_selects_nothing_is_refused(serve: Serve, repository: pyi.Repository, here: Any) -> None:
    live = serve(demo=repository)
    for version in ("0", "2"):
        options = ("-c", f"protocol.version={version}", "clone", "--shallow-since=2090-01-01")
        said = here.fails(*options, live.url("demo.git"))
        assert "no commits selected" in said


def test_deepening_makes_nothing_shallow_that_was_whole(serve: Serve, tmp_path: Path, here: Any) -> None:
    """A merged branch that began near the end of the history: its first commit's parent is there by the other way."""
    (tmp_path / "merged").mkdir()
    source = type(here)(tmp_path / "merged")
    source("init", "--quiet", "-b", "main")
    for name in ("one", "two", "three"):
        source.commit(name, {name: name})
    source("switch", "--quiet", "-c", "branch")
    for name in ("four", "five"):
        source.commit(name, {name: name})
    source("switch", "--quiet", "main")
    source("merge", "--quiet", "--no-ff", "-m", "merged", "branch")
    with pyi.open(tmp_path / "store-of-a-merge") as repo:
        repo.import_git(tmp_path / "merged")
        live = serve(demo=repo)
        for version in ("0", "2"):
            options = ("-c", f"protocol.version={version}")
            here(*options, "clone", "--quiet", "--bare", "--depth=3", live.url("demo.git"), f"c{version}")
            clone = type(here)(here.directory / f"c{version}")
            assert len((clone.directory / "shallow").read_text().split()) == 2
            clone(*options, "fetch", "--quiet", "origin", "--deepen=1")
            assert not (clone.directory / "shallow").exists()
            assert clone("rev-list", "--count", "--all") == "6"
            clone.fsck()


def test_only_a_ref_can_be_excluded(serve: Serve, repository: pyi.Repository, source: Any, here: Any) -> None:
    live = serve(demo=repository)
    for what in (source("rev-parse", "light"), "nothing"):
        said = here.fails("clone", f"--shallow-exclude={what}", live.url("demo.git"), "clone")
        assert f"deepen-not is not a ref: {what}" in said
