"""What agents changed goes out as deltas of what stood there before."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyi

Serve = Callable[..., Any]
STEPS = 40
LINES = 400


def agent(repository: pyi.Repository, steps: int, *, seed: int = 1) -> list[bytes]:
    """Change one line of a long file again and again, each time on `main`; return what the file was."""
    source = random.Random(seed)
    workspace = repository.workspace("main") if "main" in repository.branches() else repository.workspace()
    lines = [source.randbytes(30).hex() for _ in range(LINES)]
    versions = []
    for step in range(steps):
        lines[source.randrange(LINES)] = source.randbytes(30).hex()
        versions.append("\n".join(lines).encode())
        workspace.write("src/long.txt", versions[-1])
        workspace.write(f"log/{step % 5}.txt", f"step {step}\n")
        workspace.checkpoint(f"step {step}")
        workspace.publish("main")
    return versions


def chains(git: Any) -> dict[str, int]:
    """How many deltas each object of the packs is made of."""
    found = {}
    for index in (git.directory / git("rev-parse", "--git-dir") / "objects/pack").glob("*.idx"):
        for line in git("verify-pack", "-v", str(index)).splitlines():
            words = line.split()
            if len(words) in (5, 7) and words[1] in ("blob", "tree"):
                found[words[0]] = int(words[5]) if len(words) == 7 else 0
    return found


def pack_bytes(git: Any) -> int:
    """Return the size of a repository's packs."""
    place = git.directory / git("rev-parse", "--git-dir") / "objects/pack"
    return sum(path.stat().st_size for path in place.glob("*.pack"))


@pytest.mark.parametrize("version", ["0", "2"])
def test_versions_of_a_file_are_deltas_of_each_other(serve: Serve, tmp_path: Path, here: Any, version: str) -> None:
    with pyi.open(tmp_path / "store") as repository:
        versions = agent(repository, STEPS)
        live = serve(demo=repository)
        here("-c", f"protocol.version={version}", "clone", "--quiet", "--bare", live.url("demo.git"), "clone.git")
    clone = type(here)(here.directory / "clone.git")
    clone.fsck()
    commits = clone("rev-list", "--reverse", "main").splitlines()
    found = [clone.run("cat-file", "blob", f"{commit}:src/long.txt").stdout for commit in commits]
    assert found == versions
    depths = chains(clone)
    assert max(depths.values()) <= 50
    # Each version but the first is at most a line, and its place.
    assert pack_bytes(clone) < 2 * len(versions[0]) + STEPS * 1500


def test_a_long_chain_begins_anew(serve: Serve, tmp_path: Path, here: Any) -> None:
    with pyi.open(tmp_path / "store") as repository:
        agent(repository, 120)
        live = serve(demo=repository)
        here("clone", "--quiet", "--bare", live.url("demo.git"), "clone.git")
    clone = type(here)(here.directory / "clone.git")
    clone.fsck()
    depths = chains(clone)
    assert max(depths.values()) == 50


def fetched_pack(git: Any, place: Path, *options: str) -> bytes:
    """Fetch, and return the pack that came."""
    done = git.run(*options, "fetch", "--quiet", GIT_TRACE_PACKFILE=str(place))
    assert done.returncode == 0, done.stderr
    pack = place.read_bytes()
    assert pack.startswith(b"PACK")
    return pack


def add_line(repository: pyi.Repository) -> bytes:
    """Add a line to the long file; return what it is then."""
    workspace = repository.workspace("main")
    content = bytes(workspace.read("src/long.txt")) + b"one line more\n"
    workspace.write("src/long.txt", content)
    workspace.checkpoint("more")
    workspace.publish("main")
    return content


@pytest.mark.parametrize("version", ["0", "2"])
def test_a_fetch_is_a_delta_of_what_the_client_has(
    serve: Serve, repository: pyi.Repository, here: Any, tmp_path: Path, version: str
) -> None:
    whole = len(agent(repository, 1)[0])
    live = serve(demo=repository)
    here("clone", "--quiet", live.url("demo.git"), "clone")
    clone = type(here)(here.directory / "clone")
    content = add_line(repository)
    assert len(fetched_pack(clone, tmp_path / "pack", "-c", f"protocol.version={version}")) < whole / 10
    clone.fsck()
    assert clone.run("show", "origin/main:src/long.txt").stdout == content


def test_a_client_without_the_bases_gets_none(serve: Serve, repository: pyi.Repository, here: Any) -> None:
    """A partial clone has trees and no blobs, a shallow one no history: neither can unfold what it does not have."""
    agent(repository, 3)
    live = serve(demo=repository)
    here("clone", "--quiet", "--filter=blob:none", "--no-checkout", live.url("demo.git"), "partial")
    here("clone", "--quiet", "--depth=1", live.url("demo.git"), "shallow")
    content = add_line(repository)
    for name in ("partial", "shallow"):
        clone = type(here)(here.directory / name)
        clone("fetch", "--quiet")
        assert clone.run("show", "origin/main:src/long.txt").stdout == content
        clone("fsck", "--strict", "--no-dangling", "--no-progress")
    shallow = type(here)(here.directory / "shallow")
    shallow("fetch", "--quiet", "--unshallow")
    shallow.fsck()


def test_a_workspace_goes_out_as_deltas_of_what_was_imported(
    serve: Serve, repository: pyi.Repository, here: Any
) -> None:
    """Bases may be what is copied from the source's packs."""
    workspace = repository.workspace().fork("agent")
    text = bytes(workspace.read("d1/f1.txt"))
    workspace.write("d1/f1.txt", text + b"and more\n")
    workspace.checkpoint("more")
    live = serve(demo=repository)
    here("clone", "--quiet", "--bare", live.url("demo/agents/agent.git"), "clone.git")
    clone = type(here)(here.directory / "clone.git")
    clone.fsck()
    head = clone("rev-parse", "HEAD")
    assert chains(clone)[clone("rev-parse", f"{head}:d1/f1.txt")] >= 1


def test_what_came_back_is_no_delta_of_what_follows(serve: Serve, tmp_path: Path, here: Any) -> None:
    """A file that goes back and forth between two contents must not be a delta of itself."""
    with pyi.open(tmp_path / "store") as repository:
        source, workspace = random.Random(4), repository.workspace()
        one = "\n".join(source.randbytes(30).hex() for _ in range(200))
        other = one[:5000] + "between" + one[5000:]
        for step in range(12):
            workspace.write("a/flip.txt", (one, other)[step % 2])
            workspace.write("b/flip.txt", (other, one)[step % 2])
            workspace.checkpoint(f"step {step}")
            workspace.publish("main")
        live = serve(demo=repository)
        here("clone", "--quiet", "--bare", live.url("demo.git"), "clone.git")
    clone = type(here)(here.directory / "clone.git")
    clone.fsck()
    assert sorted(chains(clone).values())[0] == 0
    assert clone.run("show", "main:a/flip.txt").stdout.decode() == other
