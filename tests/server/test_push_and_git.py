"""A push to a workspace in which git commands were run: its git state goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pyi

Serve = Callable[..., Any]


@pytest.fixture
def live(serve: Serve, repository: pyi.Repository) -> Any:
    return serve(demo=repository)


def said(ws: pyi.Workspace, *argv: str) -> str:
    done = ws.git(*argv)
    assert (done.returncode, done.stderr) == (0, b""), (argv, done.stderr)
    return bytes(done.stdout).decode()


def agent_with_state(repository: pyi.Repository) -> pyi.Workspace:
    """On a branch with two commits, another branch, a tag, a stash and settings."""
    agent = repository.workspace().fork("agent")
    said(agent, "config", "user.name", "Agent")
    agent.write("one.txt", "1\n")
    said(agent, "add", "-A")
    said(agent, "commit", "-q", "-m", "One")
    said(agent, "branch", "aside")
    said(agent, "tag", "v1")
    agent.write("one.txt", "stashed\n")
    said(agent, "stash")
    agent.write("two.txt", "2\n")
    said(agent, "add", "-A")
    said(agent, "commit", "-q", "-m", "Two")
    agent.checkpoint("before the push")
    return agent


def test_head_moves_and_all_else_stays(live: Any, repository: pyi.Repository, here: Any) -> None:
    agent = agent_with_state(repository)
    kept = [("config", "--list"), ("stash", "list"), ("rev-parse", "aside", "v1", "stash@{0}")]
    before = [said(agent, *argv) for argv in kept]
    two = said(agent, "rev-parse", "HEAD").strip()
    here("clone", "--quiet", live.url("demo/agents/agent.git"), "clone")
    clone = type(here)(here.directory / "clone")
    assert clone("rev-parse", "HEAD") == two
    third = clone.commit("Three", {"three.txt": "3\n"})
    fourth = clone.commit("Four", {"two.txt": "changed\n"})
    clone("push", "--quiet", "origin", "HEAD")

    agent = repository.open_workspace("agent")
    assert [said(agent, *argv) for argv in kept] == before
    assert said(agent, "rev-parse", "HEAD", "HEAD~1", "HEAD~2").split() == [fourth, third, two]
    assert said(agent, "status", "--porcelain", "--branch").splitlines()[1:] == []
    assert said(agent, "rev-parse", "HEAD@{1}").strip() == two
    assert said(agent, "log", "--format=%s").splitlines()[:4] == ["Four", "Three", "Two", "One"]
    assert bytes(agent.read("two.txt")) == b"changed\n"
    assert said(agent, "show", "--stat", "--format=%s") == clone("show", "--stat", "--format=%s") + "\n"
    # It goes on from there, and what it makes is what others fetch.
    agent.write("five.txt", "5\n")
    said(agent, "add", "-A")
    said(agent, "commit", "-q", "-m", "Five")
    fifth = said(agent, "rev-parse", "HEAD").strip()
    clone("pull", "--quiet", "--ff-only")
    assert clone("rev-parse", "HEAD", "HEAD~1") == f"{fifth}\n{fourth}"
    clone.fsck()


def test_a_push_onto_changes_that_were_not_committed(live: Any, repository: pyi.Repository, here: Any) -> None:
    agent = agent_with_state(repository)
    agent.write("open.txt", "not committed\n")
    agent.checkpoint("something open")
    two = said(agent, "rev-parse", "HEAD").strip()
    here("clone", "--quiet", live.url("demo/agents/agent.git"), "clone")
    clone = type(here)(here.directory / "clone")
    # What was open is a commit to those who fetch it; after the push it is part of the history.
    assert clone("rev-parse", "HEAD~1") == two
    third = clone.commit("Three", {"three.txt": "3\n"})
    clone("push", "--quiet", "origin", "HEAD")
    agent = repository.open_workspace("agent")
    assert said(agent, "rev-parse", "HEAD", "HEAD~2").split() == [third, two]
    assert said(agent, "log", "--format=%H") == clone("log", "--format=%H") + "\n"
    assert said(agent, "status", "--short") == ""
    assert said(agent, "show", "--name-only", "--format=%s", "HEAD~1").split("\n\n")[1] == "open.txt\n"


def test_a_detached_head_moves_by_itself(live: Any, repository: pyi.Repository, here: Any) -> None:
    agent = agent_with_state(repository)
    main = said(agent, "rev-parse", "main")
    agent.git("checkout", "-q", "HEAD~1")
    agent.checkpoint("detached")
    here("clone", "--quiet", live.url("demo/agents/agent.git"), "clone")
    clone = type(here)(here.directory / "clone")
    third = clone.commit("Three", {"three.txt": "3\n"})
    clone("push", "--quiet", "origin", "HEAD")
    agent = repository.open_workspace("agent")
    assert said(agent, "rev-parse", "HEAD").strip() == third
    assert said(agent, "rev-parse", "main") == main
    assert said(agent, "branch", "--show-current") == ""


def test_without_git_commands_a_push_leaves_no_state_behind(live: Any, repository: pyi.Repository, here: Any) -> None:
    repository.workspace().fork("agent").checkpoint("nothing")
    here("clone", "--quiet", live.url("demo/agents/agent.git"), "clone")
    clone = type(here)(here.directory / "clone")
    first = clone.commit("First", {"first.txt": "1\n"})
    clone("push", "--quiet", "origin", "HEAD")
    agent = repository.open_workspace("agent")
    assert said(agent, "rev-parse", "HEAD").strip() == first
    assert said(agent, "log", "--format=%H") == clone("log", "--format=%H") + "\n"
