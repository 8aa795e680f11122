"""Other clients than git itself: dulwich and libgit2 clone, fetch and push."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pyi

Serve = Callable[..., Any]


def test_dulwich(serve: Serve, repository: pyi.Repository, source: Any, here: Any) -> None:
    porcelain = pytest.importorskip("dulwich.porcelain")
    live = serve(demo=repository)
    url = live.url("demo.git")
    directory = here.directory / "clone"
    cloned = porcelain.clone(url, str(directory))
    clone = type(here)(directory)
    clone.fsck()
    assert clone("rev-parse", "HEAD", "annotated") == source("rev-parse", "main", "annotated")
    workspace = repository.workspace()
    workspace.write("server.txt", "side\n")
    workspace.checkpoint("on the server")
    workspace.publish("main")
    porcelain.fetch(cloned, url)
    porcelain.pull(cloned, url)
    assert (directory / "server.txt").read_text() == "side\n"
    (directory / "client.txt").write_text("side\n")
    porcelain.add(cloned, [str(directory / "client.txt")])
    porcelain.commit(cloned, message=b"by dulwich", author=b"A <a@b>", committer=b"A <a@b>")
    porcelain.push(cloned, url, "main")
    assert bytes(repository.workspace().read("client.txt")) == b"side\n"
    listed = porcelain.ls_remote(url)
    refs = getattr(listed, "refs", listed)
    assert refs[b"refs/heads/main"].decode() == clone("rev-parse", "HEAD")
    porcelain.clone(url, str(here.directory / "shallow"), depth=1).close()
    shallow = type(here)(here.directory / "shallow")
    assert shallow("rev-list", "--count", "HEAD") == "1"
    shallow.fsck()
    cloned.close()


def test_libgit2(serve: Serve, repository: pyi.Repository, source: Any, here: Any) -> None:
    pygit2 = pytest.importorskip("pygit2")
    live = serve(demo=repository)
    directory = here.directory / "clone"
    cloned = pygit2.clone_repository(live.url("demo.git"), str(directory))
    clone = type(here)(directory)
    clone.fsck()
    assert str(cloned.head.target) == source("rev-parse", "main")
    clone.commit("for libgit2", {"client.txt": "side\n"})
    cloned.remotes["origin"].push(["refs/heads/main"])
    assert bytes(repository.workspace().read("client.txt")) == b"side\n"
    workspace = repository.workspace()
    workspace.write("server.txt", "side\n")
    workspace.checkpoint("on the server")
    workspace.publish("main")
    cloned.remotes["origin"].fetch()
    assert clone("show", "origin/main:server.txt") == "side"
    clone.fsck()
    pygit2.clone_repository(live.url("demo.git"), str(here.directory / "shallow"), depth=2)
    assert type(here)(here.directory / "shallow")("rev-list", "--count", "HEAD") == "2"
