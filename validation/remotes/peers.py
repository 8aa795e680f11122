"""`peers`: the same requests at PYI, git http-backend behind nginx, git daemon, dulwich and sshd, in turns."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter_ns

import asyncssh

import pyi
from validation.generator import Tree, git, make_repository
from validation.remotes.serving import serve
from validation.statistics import Subject, interleave

__all__ = ["add_arguments", "run"]

_NGINX = """daemon off; master_process off; pid {place}/nginx.pid; error_log {place}/nginx.log;
events {{ worker_connections 64; }}
http {{
  access_log off; keepalive_requests 100000;
  client_body_temp_path {place}/body; fastcgi_temp_path {place}/fast; proxy_temp_path {place}/proxy;
  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location ~ ^/peer\\.git/ {{
      fastcgi_pass unix:{place}/fcgi.sock;
      fastcgi_param SCRIPT_FILENAME {backend};
      fastcgi_param GIT_PROJECT_ROOT {place}; fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
    }}
  }}
}}
"""
# HOME: so that the user's shell, which sshd starts for each command, reads no settings of theirs.
_SSHD = """Port {port}
ListenAddress 127.0.0.1
HostKey {place}/hostkey
AuthorizedKeysFile {place}/authorized
PidFile {place}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
AcceptEnv GIT_PROTOCOL
SetEnv HOME={place}
"""
_DULWICH = """
import sys
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_server, make_wsgi_chain, WSGIRequestHandlerLogger, WSGIServerLogger
class Quiet(WSGIRequestHandlerLogger):
    def log_message(self, *a): pass
    def log_request(self, *a): pass
backend = DictBackend({"/peer.git": Repo(sys.argv[1])})
make_server("127.0.0.1", int(sys.argv[2]), make_wsgi_chain(backend), handler_class=Quiet,
            server_class=WSGIServerLogger).serve_forever()
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--rounds", type=int, default=60, help="of each request (default: 60)")
    parser.add_argument("--files", type=int, default=1_000, help="of the repository (default: 1000)")


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    place.chmod(0o755)
    source = make_repository(place / "source", Tree(options.files), commits=200)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(place / "key"))
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(place / "hostkey"))
    (place / "authorized").write_bytes(key.export_public_key())
    for name in ("key", "hostkey"):
        (place / name).chmod(0o600)
    with ExitStack() as stack:
        repository = stack.enter_context(pyi.open(place / "store"))
        repository.import_git(source)
        ssh_port = _port()
        ssh = (
            "--ssh-port",
            str(ssh_port),
            "--authorized-keys",
            str(place / "authorized"),
            "--host-key",
            str(place / "ours"),
        )
        server = stack.enter_context(serve(place / "store", *ssh))
        ours = int(server.url.rpartition(":")[2])
        git(place, "clone", "--quiet", "--bare", f"{server.url}/it.git", "peer.git")
        ports = {name: _port() for name in ("nginx", "daemon", "dulwich", "sshd")}
        missing = [name for name in ("nginx", "fcgiwrap") if not shutil.which(name, path="/usr/sbin:/usr/bin")]
        http = {"pyi": (ours, "/it.git")}
        urls = {"pyi, http": f"{server.url}/it.git", "pyi, ssh": f"ssh://git@127.0.0.1:{ssh_port}/it.git"}
        if not missing:
            stack.enter_context(_nginx(place, ports["nginx"]))
            http["git http-backend, nginx"] = (ports["nginx"], "/peer.git")
            urls["git http-backend, nginx"] = f"http://127.0.0.1:{ports['nginx']}/peer.git"
        stack.enter_context(
            _started([sys.executable, "-c", _DULWICH, str(place / "peer.git"), str(ports["dulwich"])], ports["dulwich"])
        )
        http["dulwich"] = (ports["dulwich"], "/peer.git")
        urls["dulwich"] = f"http://127.0.0.1:{ports['dulwich']}/peer.git"
        daemon = [
            "git",
            "daemon",
            "--listen=127.0.0.1",
            f"--port={ports['daemon']}",
            "--export-all",
            f"--base-path={place}",
        ]
        stack.enter_context(_started(daemon, ports["daemon"]))
        urls["git daemon"] = f"git://127.0.0.1:{ports['daemon']}/peer.git"
        hosts = {"pyi, ssh": (ssh_port, "/it.git")}
        if shutil.which("sshd", path="/usr/sbin"):
            (place / "sshd.conf").write_text(_SSHD.format(place=place, port=ports["sshd"]))
            Path("/run/sshd").mkdir(exist_ok=True)
            command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(place / "sshd.conf")]
            stack.enter_context(_started(command, ports["sshd"]))
            user = os.environ.get("USER", "root")
            urls["sshd"] = f"ssh://{user}@127.0.0.1:{ports['sshd']}{place}/peer.git"
            hosts["sshd"] = (ports["sshd"], f"{place}/peer.git")
        _say("GET info/refs, protocol v0, a connection that stays open", [
            Subject(name, _refs(port, path)) for name, (port, path) in http.items()], options.rounds * 5)  # fmt: skip
        asyncio.run(_over_ssh(place, hosts, options.rounds))
        _say("git ls-remote", [Subject(name, _listing(place, url)) for name, url in urls.items()], options.rounds // 2)
        _say("git clone --bare", [Subject(name, _clone(place, url)) for name, url in urls.items()], options.rounds // 6)
    if missing:
        print(f"not there: {', '.join(missing)}")
    return 0


def _say(title: str, subjects: list[Subject], rounds: int) -> None:
    print(f"{title}:")
    for name, series in interleave(subjects, max(rounds, 1), warmup=2).items():
        found = series.distribution()
        print(
            f"  {name}: p50 {found.p50_us / 1000:.2f} ms, p95 {found.p95_us / 1000:.2f} ms ({found.count} x)",
            flush=True,
        )


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _started(command: list[str], port: int) -> Iterator[None]:
    """Run a server until the end of the block."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            for _ in range(500):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
            yield
        finally:
            os.killpg(process.pid, 15)


@contextmanager
def _nginx(place: Path, port: int) -> Iterator[None]:
    backend = git(place, "--exec-path").decode().strip() + "/git-http-backend"
    (place / "nginx.conf").write_text(_NGINX.format(place=place, port=port, backend=backend))
    with subprocess.Popen(
        ["/usr/sbin/fcgiwrap", "-c", "2", "-s", f"unix:{place}/fcgi.sock"], start_new_session=True
    ) as wrap:
        try:
            with _started(["/usr/sbin/nginx", "-c", str(place / "nginx.conf"), "-p", str(place)], port):
                yield
        finally:
            os.killpg(wrap.pid, 15)


def _refs(port: int, path: str) -> Callable[[int], int]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def sample(number: int) -> int:
        before = perf_counter_ns()
        connection.request("GET", f"{path}/info/refs?service=git-upload-pack")
        answer = connection.getresponse()
        said = answer.read()
        elapsed = perf_counter_ns() - before
        if answer.status != 200 or b"refs/heads/main" not in said:
            raise RuntimeError(f"port {port}: {answer.status} {said[:200]!r}")
        return elapsed

    return sample


def _environment(place: Path) -> dict[str, str]:
    command = f"ssh -F none -i {place / 'key'} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    kept["GIT_SSH_COMMAND"] = command + " -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes"
    return kept | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}


def _listing(place: Path, url: str) -> Callable[[int], int]:
    def sample(number: int) -> int:
        before = perf_counter_ns()
        subprocess.run(["git", "ls-remote", url], env=_environment(place), check=True, capture_output=True)
        return perf_counter_ns() - before

    return sample


def _clone(place: Path, url: str) -> Callable[[int], int]:
    def sample(number: int) -> int:
        target = place / "clone.git"
        before = perf_counter_ns()
        command = ["git", "clone", "--quiet", "--bare", url, str(target)]
        subprocess.run(command, env=_environment(place), check=True, capture_output=True)
        elapsed = perf_counter_ns() - before
        shutil.rmtree(target)
        return elapsed

    return sample


async def _over_ssh(place: Path, hosts: dict[str, tuple[int, str]], rounds: int) -> None:
    """Time to the whole list of refs: on a new connection, and on one that is open."""
    user = os.environ.get("USER", "root")
    options: dict[str, object] = {
        "known_hosts": None,
        "username": user,
        "client_keys": [str(place / "key")],
        "config": None,
    }

    async def refs(connection: asyncssh.SSHClientConnection, path: str) -> None:
        command = f"git-upload-pack '{path}'"
        process = await connection.create_process(command, encoding=None)
        said = b""
        while not said.endswith(b"0000"):
            piece = await process.stdout.read(1 << 16)
            if not piece:
                raise RuntimeError(f"{path}: {said[:100]!r}")
            said += piece
        process.stdin.write(b"0000")
        process.close()
        await process.wait_closed()

    results: dict[str, list[int]] = {}
    for number in range(-2, rounds):
        for name, (port, path) in hosts.items():
            before = perf_counter_ns()
            connection = await asyncssh.connect("127.0.0.1", port, **options)
            await refs(connection, path)
            first = perf_counter_ns()
            await refs(connection, path)
            second = perf_counter_ns()
            connection.close()
            await connection.wait_closed()
            if number >= 0:
                results.setdefault(f"{name}, a new connection", []).append(first - before)
                results.setdefault(f"{name}, an open connection", []).append(second - first)
    print("the list of refs over SSH, protocol v0:")
    for name, samples in sorted(results.items()):
        samples.sort()
        p50, p95 = samples[len(samples) // 2] / 1e6, samples[int(len(samples) * 0.95)] / 1e6
        print(f"  {name}: p50 {p50:.2f} ms, p95 {p95:.2f} ms ({len(samples)} x)", flush=True)
