"""Git clients that are libraries, as `clients` drives them: dulwich, libgit2 and go-git."""

from __future__ import annotations

import io
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from validation.generator import git

__all__ = ["Library", "Place", "libraries"]


class Place(Protocol):
    """What a client is given: see `clients.Ground`."""

    source: Path
    place: Path
    url: str
    prefix: str
    environment: dict[str, str]
    key: Path | None

    def directory(self) -> Path: ...
    def same(self, directory: Path, ref: str = "HEAD", *, partial: bool = False) -> None: ...
    def complete(self, directory: Path) -> None: ...
    def on_the_server(self, branch: str, file: str) -> bytes: ...
    def move_server(self, branch: str) -> None: ...
    def has_branch(self, branch: str) -> bool: ...


class Library(ABC):
    """A client that can list, clone, fetch and push. Files are committed with the installed git."""

    name = ""
    can: tuple[str, ...] = ("ls-remote", "clone", "fetch", "push", "delete", "tags", "shallow", "depth1")

    @abstractmethod
    def refs(self, ground: Place) -> dict[str, str]:
        """List what is there."""

    @abstractmethod
    def clone(self, ground: Place, directory: Path, depth: int = 0) -> None:
        """Clone it."""

    @abstractmethod
    def fetch(self, ground: Place, directory: Path) -> None:
        """Fetch the branches of `origin`."""

    @abstractmethod
    def push(self, ground: Place, directory: Path, refspec: str) -> None:
        """Push to `origin`."""

    def run(self, operation: str, ground: Place) -> bool:
        """Do one; False if it cannot."""
        if operation not in self.can:
            return False
        getattr(self, "do_" + operation.replace("-", "_"))(ground)
        return True

    def do_ls_remote(self, ground: Place) -> None:
        """Name what is there."""
        _expect(self.refs(ground)["refs/heads/main"], git(ground.source, "rev-parse", "main").decode().strip())

    def do_clone(self, ground: Place) -> None:
        """Have what the source has."""
        self.clone(ground, directory := ground.directory())
        ground.complete(directory)

    def do_fetch(self, ground: Place) -> None:
        """Have what came later."""
        self.clone(ground, directory := ground.directory())
        ground.move_server(branch := f"{ground.prefix}/moving")
        self.fetch(ground, directory)
        _expect(git(directory, "show", f"origin/{branch}:server.txt").decode(), branch)
        git(directory, "fsck", "--strict")

    def do_push(self, ground: Place) -> None:
        """Bring a commit, and find it again."""
        self.clone(ground, directory := ground.directory())
        (directory / "client.txt").write_text("pushed")
        git(directory, "add", "--all")
        git(directory, "commit", "--quiet", "-m", "pushed")
        self.push(ground, directory, f"refs/heads/main:refs/heads/{ground.prefix}/pushed")
        _expect(ground.on_the_server(f"{ground.prefix}/pushed", "client.txt"), b"pushed")
        found = self.refs(ground)[f"refs/heads/{ground.prefix}/pushed"]
        _expect(found, git(directory, "rev-parse", "HEAD").decode().strip())

    def do_delete(self, ground: Place) -> None:
        """Take a branch away."""
        self.clone(ground, directory := ground.directory())
        self.push(ground, directory, f"refs/heads/main:refs/heads/{ground.prefix}/deleted")
        _expect(ground.has_branch(f"{ground.prefix}/deleted"), True)
        self.push(ground, directory, f":refs/heads/{ground.prefix}/deleted")
        _expect(ground.has_branch(f"{ground.prefix}/deleted"), False)

    def do_tags(self, ground: Place) -> None:
        """Have the source's tags, and bring one."""
        self.clone(ground, directory := ground.directory())
        _expect(git(directory, "rev-parse", "annotated"), git(ground.source, "rev-parse", "annotated"))
        git(directory, "tag", "-a", "-m", "mine", tag := f"{ground.prefix}-tag")
        self.push(ground, directory, f"refs/tags/{tag}:refs/tags/{tag}")
        _expect(self.refs(ground)[f"refs/tags/{tag}"], git(directory, "rev-parse", tag).decode().strip())

    def do_shallow(self, ground: Place) -> None:
        """Have three commits."""
        self.clone(ground, directory := ground.directory(), 3)
        _expect(git(directory, "rev-list", "--count", "HEAD"), b"3\n")
        ground.same(directory)

    def do_depth1(self, ground: Place) -> None:
        """Have one commit."""
        self.clone(ground, directory := ground.directory(), 1)
        _expect(git(directory, "rev-list", "--count", "HEAD"), b"1\n")
        ground.same(directory)


class _Dulwich(Library):
    name = f"dulwich {version('dulwich')}"

    def refs(self, ground: Place) -> dict[str, str]:
        from dulwich import porcelain

        found = porcelain.ls_remote(ground.url, ssh_command=self._ssh(ground)).refs
        return {name.decode(): oid.decode() for name, oid in found.items() if name and oid}

    def clone(self, ground: Place, directory: Path, depth: int = 0) -> None:
        from dulwich import porcelain

        made = porcelain.clone(
            ground.url, str(directory), depth=depth or None, errstream=io.BytesIO(), ssh_command=self._ssh(ground)
        )
        made.close()

    def fetch(self, ground: Place, directory: Path) -> None:
        from dulwich import porcelain

        porcelain.fetch(str(directory), "origin", errstream=io.BytesIO(), ssh_command=self._ssh(ground))

    def push(self, ground: Place, directory: Path, refspec: str) -> None:
        from dulwich import porcelain

        streams: dict[str, Any] = {"outstream": io.BytesIO(), "errstream": io.BytesIO()}
        porcelain.push(str(directory), ground.url, refspec, ssh_command=self._ssh(ground), **streams)

    def _ssh(self, ground: Place) -> str | None:
        return ground.environment.get("GIT_SSH_COMMAND")


class _Libgit2(Library):
    def __init__(self) -> None:
        import pygit2

        self.name = f"libgit2 {pygit2.LIBGIT2_VERSION}"
        self._git = pygit2

    def _callbacks(self, ground: Place) -> Any:
        keypair = self._git.Keypair("git", f"{ground.key}.pub", str(ground.key), "") if ground.key else None

        class Callbacks(self._git.RemoteCallbacks):  # type: ignore[name-defined, misc]
            refused = ""

            def credentials(self, url: str, user: str | None, allowed: object) -> object:
                return keypair

            def certificate_check(self, certificate: object, valid: bool, host: bytes) -> bool:
                return True

            def push_update_reference(self, name: str, message: str | None) -> None:
                self.refused = message or ""

        return Callbacks()

    def refs(self, ground: Place) -> dict[str, str]:
        directory = ground.directory()
        remote = self._git.init_repository(str(directory), bare=True).remotes.create("it", ground.url)
        found = remote.list_heads(callbacks=self._callbacks(ground))
        return {head.name: str(head.oid) for head in found if head.name}

    def clone(self, ground: Place, directory: Path, depth: int = 0) -> None:
        self._git.clone_repository(ground.url, str(directory), depth=depth, callbacks=self._callbacks(ground))

    def fetch(self, ground: Place, directory: Path) -> None:
        self._git.Repository(str(directory)).remotes["origin"].fetch(callbacks=self._callbacks(ground))

    def push(self, ground: Place, directory: Path, refspec: str) -> None:
        callbacks = self._callbacks(ground)
        self._git.Repository(str(directory)).remotes["origin"].push([refspec], callbacks=callbacks)
        _expect(callbacks.refused, "")


class _GoGit(Library):
    def __init__(self, program: Path) -> None:
        self._program = program
        self.name = "go-git " + self._run("version")

    def _run(self, *arguments: str, key: Path | None = None) -> str:
        environment = {**os.environ, "KEY": str(key or "")}
        done = subprocess.run([self._program, *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"go-git {arguments[0]}: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()

    def refs(self, ground: Place) -> dict[str, str]:
        lines = self._run("ls-remote", ground.url, key=ground.key).splitlines()
        return {name: oid for oid, name in (line.split() for line in lines)}

    def clone(self, ground: Place, directory: Path, depth: int = 0) -> None:
        self._run("clone", ground.url, str(directory), str(depth), key=ground.key)

    def fetch(self, ground: Place, directory: Path) -> None:
        self._run("fetch", str(directory), key=ground.key)

    def push(self, ground: Place, directory: Path, refspec: str) -> None:
        self._run("push", str(directory), refspec, key=ground.key)


class _Gix(Library):
    """Gitoxide's program. It does not push."""

    can = ("ls-remote", "clone", "fetch", "shallow", "depth1")

    def __init__(self, program: Path) -> None:
        self._program = program
        self.name = self._run(program.parent, None, "--version").split("-")[0]

    def _run(self, directory: Path, ground: Place | None, *arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        environment |= ground.environment if ground is not None else {}
        done = subprocess.run(
            [self._program, *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"gix {arguments[0]}: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()

    def refs(self, ground: Place) -> dict[str, str]:
        """List what is there. A line is a name and an object, or two where a tag is at another one."""
        git(ground.place, "init", "--quiet", str(directory := ground.directory()))
        lines = self._run(directory, ground, "remote", "--name", ground.url, "refs").splitlines()
        return {words[1]: words[0] for words in map(str.split, lines) if len(words) > 1}

    def clone(self, ground: Place, directory: Path, depth: int = 0) -> None:
        options = [f"--depth={depth}"] if depth else []
        self._run(ground.place, ground, "clone", *options, ground.url, str(directory))

    def fetch(self, ground: Place, directory: Path) -> None:
        who = ("-c", "committer.name=A", "-c", "committer.email=a@example.org")
        self._run(directory, ground, *who, "fetch")

    def push(self, ground: Place, directory: Path, refspec: str) -> None:
        raise NotImplementedError("gix does not push")


def libraries(go_git: Path | None, gix: Path | None) -> Iterator[Library]:
    """Give those that are there."""
    yield _Dulwich()
    yield _Libgit2()
    if go_git is not None:
        yield _GoGit(go_git)
    if gix is not None:
        yield _Gix(gix)


def _expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{str(found)[:200]} instead of {str(wanted)[:200]}")
