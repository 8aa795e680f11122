"""Over SSH: the same, with keys instead of tokens, and nothing but git."""

from __future__ import annotations

import os
import random
import shutil
import stat
import zlib
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from typing import Any

import asyncssh
import pytest

import pyi
from pyi.git.packend import PackEnd
from pyi.server.settings import Settings

Serve = Callable[..., Any]

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh to be the client")


class Keys:
    """Keys of clients, and the file that lets them in."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.file = directory / "authorized_keys"
        self.file.write_text("")

    def make(self, name: str, options: str | None = "") -> Path:
        """Make a key; `options` of None: it is let in nowhere."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        path = self.directory / name
        key.write_private_key(str(path))
        path.chmod(0o600)
        if options is not None:
            with self.file.open("a") as file:
                file.write(f"{options}{' ' if options else ''}{key.export_public_key().decode().strip()}\n")
        return path


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def live(serve: Serve, repository: pyi.Repository, keys: Keys) -> Any:
    settings = Settings(
        anonymous="none",
        ssh_port=0,
        authorized_keys=str(keys.file),
        host_key=str(keys.directory / "host" / "key"),
    )
    return serve(settings, demo=repository)


def ssh(key: Path) -> dict[str, str]:
    command = f"ssh -F none -i {key} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    return {"GIT_SSH_COMMAND": f"{command} -o LogLevel=ERROR -o BatchMode=yes"}


def test_git_over_ssh(live: Any, keys: Keys, repository: pyi.Repository, source: Any, here: Any) -> None:
    repository.workspace().fork("one")
    key = keys.make("all")
    base = f"ssh://git@127.0.0.1:{live.app.ssh_port}"
    for version in ("0", "1", "2"):
        git = type(here)(here.directory, "-c", f"protocol.version={version}")
        git("clone", "--quiet", f"{base}/demo.git", f"c{version}", **ssh(key))
        clone = type(here)(here.directory / f"c{version}", "-c", f"protocol.version={version}")
        clone.fsck()
        assert clone.objects() >= source.objects()
        clone.commit(f"over ssh, version {version}", {f"v{version}": os.urandom(100_000).hex()})
        clone("push", "--quiet", "origin", "HEAD:main", "HEAD:refs/heads/topic", **ssh(key))
        clone("push", "--quiet", "origin", "--delete", "topic", **ssh(key))
        assert repository.workspace().exists(f"v{version}")
        workspace = repository.workspace()
        workspace.write("server", version)
        workspace.checkpoint("on the server")
        workspace.publish("main")
        clone("pull", "--quiet", "--ff-only", "origin", "main", **ssh(key))
        assert (clone.directory / "server").read_text() == version
        git("clone", "--quiet", "--depth=2", f"{base}/demo.git", f"s{version}", **ssh(key))
        shallow = type(here)(here.directory / f"s{version}", "-c", f"protocol.version={version}")
        assert shallow("rev-list", "--count", "HEAD") == "2"
        shallow("fetch", "--quiet", "--unshallow", **ssh(key))
        shallow.fsck()
        assert shallow("rev-parse", "HEAD") == clone("rev-parse", "HEAD")
    here("clone", "--quiet", f"{base}/demo/agents/one.git", "agent", **ssh(key))
    assert stat.S_IMODE((keys.directory / "host" / "key").stat().st_mode) == 0o600


def test_keys_reach_what_their_options_say(live: Any, keys: Keys, repository: pyi.Repository, here: Any) -> None:
    repository.workspace().fork("mine")
    repository.workspace().fork("theirs")
    base = f"ssh://git@127.0.0.1:{live.app.ssh_port}"
    reader = keys.make("reader", "pyi-read")
    agent = keys.make("agent", 'pyi-agent="mine"')
    other = keys.make("other", 'pyi-repository="other"')
    stranger = keys.make("stranger", None)
    here("clone", "--quiet", f"{base}/demo.git", "clone", **ssh(reader))
    clone = type(here)(here.directory / "clone")
    clone.commit("no", {"x": "y"})
    assert "may read and not write" in clone.fails("push", "origin", "main", **ssh(reader))
    here("ls-remote", f"{base}/demo/agents/mine.git", **ssh(agent))
    nothing = here.fails("ls-remote", f"{base}/demo/agents/none.git", **ssh(other))
    assert "out of reach" in nothing
    for url, key in (
        (f"{base}/demo/agents/theirs.git", agent),
        (f"{base}/demo.git", agent),
        (f"{base}/demo.git", other),
        (f"{base}/../demo.git", reader),
    ):
        assert "there is no such repository" in here.fails("ls-remote", url, **ssh(key))
    done = here.run("ls-remote", f"{base}/demo.git", **ssh(stranger))
    assert (done.returncode, b"Permission denied" in done.stderr) == (128, True)


def test_there_is_no_shell(live: Any, keys: Keys, tmp_path: Path, here: Any) -> None:
    import subprocess

    command = [*ssh(keys.make("all"))["GIT_SSH_COMMAND"].split(), "-p", str(live.app.ssh_port), "git@127.0.0.1"]
    for words in (["id"], ["git-upload-archive", "/demo.git"], ["git-upload-pack '/demo.git'; id"], ["'"], []):
        done = subprocess.run(
            [*command, *words], capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False
        )
        assert done.returncode == 128
        assert b"uid=" not in done.stdout
    forward = subprocess.run(
        [*command[:-1], "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", command[-1], "id"],
        capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False,
    )  # fmt: skip
    assert forward.returncode in (128, 255)


def test_the_end_of_a_pack_is_found_however_it_arrives() -> None:
    chance = random.Random(5)
    for _ in range(60):
        count = chance.randrange(0, 12)
        pack = b"PACK\0\0\0\x02" + count.to_bytes(4, "big")
        for number in range(count):
            content = (
                chance.randbytes(chance.randrange(0, 40_000)) if number % 3 else b"same " * chance.randrange(200_000)
            )
            kind = chance.choice((1, 2, 3, 4, 6, 7))
            size, head = len(content), bytearray()
            byte, size = kind << 4 | size & 15, size >> 4
            while size:
                head.append(byte | 128)
                byte, size = size & 127, size >> 7
            head.append(byte)
            base = {6: b"\x81\x80\x05", 7: b"n" * 20}.get(kind, b"")
            pack += bytes(head) + base + zlib.compress(content)
        pack += sha1(pack).digest()
        end, at, step = PackEnd(20), 0, chance.choice((1, 7, 1000, 100_000)) if len(pack) < 20_000 else 30_011
        while not end.over:
            assert at < len(pack)
            end.feed(pack[at : at + step])
            at += step
        assert at >= len(pack)
        short = PackEnd(20)
        assert not short.feed(pack[:-1])
    with pytest.raises(pyi.GitError):
        PackEnd(20).feed(b"not a pack at all")
