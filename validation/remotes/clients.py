"""`clients`: every git client there is, every operation, over HTTP and SSH; what it gets is what the source has."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

import pyi
from validation.generator import Tree, git, make_repository
from validation.remotes.libraries import Library, libraries
from validation.remotes.serving import serve

__all__ = ["add_arguments", "run"]

OPERATIONS = (
    "ls-remote", "clone", "fetch", "push", "lease", "delete", "tags", "shallow", "depth1", "partial", "bundle",
)  # fmt: skip
_WHO = ("-c", "user.name=validation", "-c", "user.email=validation@example.invalid", "-c", "gc.auto=0")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument(
        "--git", action="append", default=[], metavar="PROGRAM", help="another git, beside those of PATH"
    )
    parser.add_argument("--gix", type=Path, metavar="PROGRAM", help="gitoxide's (`cargo install gitoxide`)")
    parser.add_argument("--go-git", type=Path, metavar="PROGRAM", help="what validation/remotes/gogit.go is built to")


@dataclass
class Ground:
    """Where a client works, and what it has to find."""

    repository: pyi.Repository
    source: Path
    place: Path
    url: str
    prefix: str
    environment: dict[str, str]
    key: Path | None
    used: list[Path] = field(default_factory=list)

    def directory(self) -> Path:
        """Return a name for a new directory."""
        made = self.place / f"{self.prefix}-{len(self.used)}"
        self.used.append(made)
        return made

    def same(self, directory: Path, ref: str = "HEAD", *, partial: bool = False) -> None:
        """Make sure that a clone is sound and has the source's names."""
        _expect(git(directory, "rev-parse", ref), git(self.source, "rev-parse", "main"))
        if not partial:
            _expect(git(directory, "fsck", "--strict", "--no-dangling", "--no-progress"), b"")

    def complete(self, directory: Path) -> None:
        """Make sure that a clone has every object of the source's branch, and that names and kinds are the same."""
        self.same(directory)
        ask = ("cat-file", "--batch-check=%(objectname) %(objecttype)", "--batch-all-objects")
        have, want = set(git(directory, *ask).splitlines()), set(git(self.source, *ask).splitlines())
        _expect(want - have, set())

    def on_the_server(self, branch: str, file: str) -> bytes:
        """Return a file of a branch of the repository."""
        return bytes(self.repository.workspace(branch).read(file))

    def move_server(self, branch: str) -> None:
        """Add a commit to a branch, on the server."""
        workspace = self.repository.workspace("main")
        workspace.write("server.txt", branch)
        workspace.checkpoint("on the server")
        if branch in self.repository.branches():
            self.repository.delete_branch(branch)
        workspace.publish(branch, expect=None)

    def has_branch(self, branch: str) -> bool:
        """Whether the repository has it."""
        return branch in self.repository.branches()


def _expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{str(found)[:200]} instead of {str(wanted)[:200]}")


class Stock:
    """A program `git`."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.name = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        self.name = "git " + self.name.split()[2]

    def __call__(self, ground: Ground, directory: Path, *arguments: str, fails: bool = False) -> str:
        """Run it."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
        done = subprocess.run(
            [self.program, *_WHO, *arguments], cwd=directory, env=environment | ground.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if (done.returncode != 0) != fails:
            raise AssertionError(f"{arguments[0]}: {done.returncode} {done.stderr.strip()[-300:]}")
        return done.stdout if not fails else done.stderr

    def clone(self, ground: Ground, *options: str) -> Path:
        """Clone the repository."""
        directory = ground.directory()
        self(ground, ground.place, "clone", "--quiet", *options, ground.url, str(directory))
        return directory

    def commit(self, ground: Ground, directory: Path, text: str) -> None:
        """Commit a file."""
        (directory / "client.txt").write_text(text)
        self(ground, directory, "add", "--all")
        self(ground, directory, "commit", "--quiet", "-m", text)

    def run(self, operation: str, ground: Ground) -> bool:
        """Do one; False if it cannot."""
        return bool(getattr(self, "do_" + operation.replace("-", "_"))(ground) is None)

    def do_ls_remote(self, ground: Ground) -> None:
        lines = self(ground, ground.place, "ls-remote", ground.url).splitlines()
        listed = {name: oid for oid, name in (line.split("\t") for line in lines)}
        _expect(listed["refs/heads/main"], git(ground.source, "rev-parse", "main").decode().strip())

    def do_clone(self, ground: Ground) -> None:
        ground.complete(self.clone(ground))

    def do_fetch(self, ground: Ground) -> None:
        directory, branch = self.clone(ground), f"{ground.prefix}/moving"
        ground.move_server(branch)
        self(ground, directory, "fetch", "--quiet")
        _expect(git(directory, "show", f"origin/{branch}:server.txt").decode(), branch)
        ground.same(directory)

    def do_push(self, ground: Ground) -> None:
        directory, branch = self.clone(ground), f"{ground.prefix}/pushed"
        self.commit(ground, directory, "pushed")
        self(ground, directory, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        _expect(ground.on_the_server(branch, "client.txt"), b"pushed")
        again = self.clone(ground, "-b", branch)
        _expect(git(again, "rev-parse", "HEAD"), git(directory, "rev-parse", "HEAD"))
        git(again, "fsck", "--strict")

    def do_lease(self, ground: Ground) -> None:
        directory, branch = self.clone(ground), f"{ground.prefix}/leased"
        self.commit(ground, directory, "first")
        self(ground, directory, "push", "--quiet", "-u", "origin", f"HEAD:refs/heads/{branch}")
        self(ground, directory, "commit", "--quiet", "--amend", "-m", "second")
        refspec = f"HEAD:refs/heads/{branch}"
        self(ground, directory, "push", "--quiet", "origin", refspec, fails=True)
        self(ground, directory, "push", "--quiet", f"--force-with-lease={branch}", "origin", refspec)
        ground.move_server(branch)
        self(ground, directory, "commit", "--quiet", "--amend", "-m", "third")
        said = self(ground, directory, "push", f"--force-with-lease={branch}", "origin", refspec, fails=True)
        _expect("stale info" in said, True)

    def do_delete(self, ground: Ground) -> None:
        directory, branch = self.clone(ground), f"{ground.prefix}/deleted"
        self(ground, directory, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        _expect(ground.has_branch(branch), True)
        self(ground, directory, "push", "--quiet", "origin", "--delete", branch)
        _expect(ground.has_branch(branch), False)

    def do_tags(self, ground: Ground) -> None:
        directory, tag = self.clone(ground), f"{ground.prefix}-tag"
        _expect(git(directory, "rev-parse", "annotated"), git(ground.source, "rev-parse", "annotated"))
        self(ground, directory, "tag", "-a", "-m", "mine", tag)
        self(ground, directory, "push", "--quiet", "origin", tag)
        again = self.clone(ground)
        _expect(git(again, "rev-parse", tag), git(directory, "rev-parse", tag))

    def do_shallow(self, ground: Ground) -> None:
        directory = self.clone(ground, "--depth=3")
        _expect(git(directory, "rev-list", "--count", "HEAD"), b"3\n")
        ground.same(directory)
        self(ground, directory, "fetch", "--quiet", "--deepen=2")
        _expect(git(directory, "rev-list", "--count", "HEAD"), b"5\n")
        self(ground, directory, "fetch", "--quiet", "--unshallow", "--tags")
        ground.complete(directory)

    def do_depth1(self, ground: Ground) -> None:
        directory = self.clone(ground, "--depth=1")
        _expect(git(directory, "rev-list", "--count", "HEAD"), b"1\n")
        ground.same(directory)

    def do_partial(self, ground: Ground) -> None:
        directory = self.clone(ground, "--filter=blob:none", "--no-checkout")
        kinds = git(directory, "cat-file", "--batch-check=%(objecttype)", "--batch-all-objects", "--unordered")
        _expect(b"blob" in kinds.split(), False)
        self(ground, directory, "checkout", "--quiet", "main")
        self(ground, directory, "fsck", "--strict", "--no-dangling", "--no-progress")
        _expect(self(ground, directory, "status", "--porcelain"), "")
        ground.same(directory, partial=True)

    def do_bundle(self, ground: Ground) -> None:
        directory, bundle, unpacked = self.clone(ground), ground.directory(), ground.directory()
        self(ground, directory, "bundle", "create", "--quiet", str(bundle), "--all")
        self(ground, directory, "bundle", "verify", "--quiet", str(bundle))
        self(ground, ground.place, "clone", "--quiet", "-b", "main", str(bundle), str(unpacked))
        ground.same(unpacked)


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    source = make_repository(place / "source", Tree(120), commits=40)
    git(source, "tag", "-a", "-m", "a tag", "annotated", "HEAD~3")
    git(source, "gc", "--quiet")
    found = dict.fromkeys(filter(None, [shutil.which("git"), "/usr/bin/git", *options.git]))
    stock = {client.name: client for client in map(Stock, found)}
    clients: list[Stock | Library] = [*stock.values(), *libraries(options.go_git, options.gix)]
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(place / "key"))
    key.write_public_key(str(place / "key.pub"))
    (place / "key").chmod(0o600)
    (place / "authorized").write_bytes(key.export_public_key())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        ssh_port: int = probe.getsockname()[1]
    ssh = (
        "--ssh-port",
        str(ssh_port),
        "--authorized-keys",
        str(place / "authorized"),
        "--host-key",
        str(place / "host"),
    )
    command = f"ssh -F none -i {place / 'key'} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no"
    command += " -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes"
    failures: list[str] = []
    print(f"| client | {' | '.join(OPERATIONS)} |\n|---|{'---|' * len(OPERATIONS)}")
    with pyi.open(place / "store") as repository:
        repository.import_git(source)
        with serve(place / "store", *ssh) as server:
            number = 0
            for client in clients:
                for transport in ("http", "ssh"):
                    cells = []
                    for operation in OPERATIONS:
                        number += 1
                        is_ssh = transport == "ssh"
                        url = f"ssh://git@127.0.0.1:{ssh_port}/it.git" if is_ssh else f"{server.url}/it.git"
                        environment = {"GIT_SSH_COMMAND": command} if is_ssh else {}
                        ground = Ground(
                            repository, source, place, url, f"c{number}", environment, place / "key" if is_ssh else None
                        )
                        try:
                            cells.append("yes" if client.run(operation, ground) else "-")
                        except Exception:
                            cells.append("NO")
                            text = traceback.format_exc().strip().splitlines()[-1]
                            failures.append(f"{client.name}, {transport}, {operation}: {text}")
                        for directory in ground.used:
                            shutil.rmtree(directory, ignore_errors=True)
                    print(f"| {client.name}, {transport} | {' | '.join(cells)} |", flush=True)
    for failure in failures:
        print(failure)
    return 1 if failures else 0
