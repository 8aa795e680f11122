"""``pyi serve``: repositories and workspaces as git remotes over HTTP."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pyi.cli.output import show
from pyi.cli.store import add_store, open_store
from pyi.config import serve_settings, tokens_file
from pyi.errors import NotFound
from pyi.server.settings import ACCESS, Settings, from_file

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Serve repositories, and every workspace, superposition and checkpoint in them, as git remotes: stock git clones, fetches
and pushes. A push to a branch or a workspace becomes a checkpoint. Without a REPOSITORY, the store here or above is
served. Nobody gets in without a token (see `pyi token`), unless --anonymous says so.
"""

_EPILOG = """\
addresses:
  URL/NAME.git                       the branches
  URL/NAME/agents/WORKSPACE.git      a workspace
  URL/NAME/superpositions/NAME.git   a branch for each candidate, to read
  URL/NAME/checkpoints/ID.git        one checkpoint, to read
  URL/healthz, URL/metrics           for whoever watches the server

examples:
  pyi serve --anonymous read
  pyi serve project=/srv/project other=/srv/other --host 0.0.0.0 --certificate cert.pem --key key.pem
  pyi serve --config serve.toml --audit-log audit.jsonl

A file of settings is TOML with the names of the options (max_pack_bytes = 1000000), and repositories as a table. What
is set in the environment (PYI_SERVE_PORT=8000) goes before the file, an option before both. SIGTERM lets requests end.

exit status: 0 stopped by a signal; 1 no store; 2 wrong usage; 3 a failed run
"""

# Options that are settings: name, type, metavar, help.
_OPTIONS: tuple[tuple[str, type, str, str], ...] = (
    ("host", str, "ADDRESS", "listen here (default: 127.0.0.1)"),
    ("port", int, "PORT", "and on this port, 0 for any (default: 8417)"),
    (
        "tokens",
        str,
        "FILE",
        "the file of tokens (default: PYI_TOKENS, or pyi/tokens.json where the user's settings are)",
    ),
    ("certificate", str, "FILE", "serve TLS with this certificate"),
    ("key", str, "FILE", "and its key"),
    ("ssh_port", int, "PORT", "listen for SSH too, on this port"),
    ("authorized_keys", str, "FILE", "the keys that may come in over SSH, as sshd's file"),
    ("host_key", str, "FILE", "the server's own key for SSH; made if it does not exist"),
    ("audit_log", str, "FILE", "write one JSON object for each request; - for standard error"),
    ("max_pack_bytes", int, "BYTES", "longest pack of a push (default: 2 GiB)"),
    ("max_object_bytes", int, "BYTES", "largest object in a push (default: 1 GiB)"),
    ("max_request_bytes", int, "BYTES", "longest other request (default: 64 MiB)"),
    ("head_timeout", float, "SECONDS", "how long to wait for the head of a request (default: 15)"),
    ("read_timeout", float, "SECONDS", "how long to wait for the next piece of a request (default: 60)"),
    ("requests_per_second", float, "N", "for each client address, with bursts (default: any number)"),
    ("threads", int, "N", "requests that are worked on at once (default: 16)"),
    ("stop_timeout", int, "SECONDS", "how long requests may go on after a signal (default: 30)"),
)


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "serve",
        help="serve repositories and workspaces as git remotes over HTTP",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("repositories", metavar="REPOSITORY", nargs="*", help="a path, or NAME=PATH")
    parser.add_argument("--config", metavar="FILE", help="settings, as TOML")
    parser.add_argument("--anonymous", choices=ACCESS, help="what may be done without a token (default: none)")
    for name, kind, metavar, text in _OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=text)
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="print the URL and the addresses as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Run the verb and return its exit status."""
    try:
        from pyi.server.run import run as serve
    except ModuleNotFoundError as error:
        if error.name in ("starlette", "uvicorn", "anyio"):
            raise NotFound(f"{error.name} is not installed: pip install 'pyi[serve]'") from error
        raise
    settings = settings_of(options)

    def ready(url: str) -> None:
        addresses = {name: f"{url}/{name}.git" for name in settings.repositories}
        if options.json:
            show(json.dumps({"url": url, "repositories": addresses}))
        else:
            show(
                "\n".join(f"serving {settings.repositories[name]} at {address}" for name, address in addresses.items())
            )

    serve(settings, ready)
    return 0


def settings_of(options: argparse.Namespace) -> Settings:
    """Put the file, the environment and the options together, the last one on top."""
    changes: dict[str, Any] = {"tokens": tokens_file()}
    if options.config is not None:
        changes.update(from_file(options.config))
    changes.update(serve_settings({"anonymous": str, **{name: kind for name, kind, _, _ in _OPTIONS}}))
    for name in ("anonymous", *(name for name, _, _, _ in _OPTIONS)):
        given = getattr(options, name)
        if given is not None:
            changes[name] = given
    if options.repositories:
        changes["repositories"] = dict(_named(text) for text in options.repositories)
    if not changes.get("repositories"):
        with open_store(options.store) as repo:
            changes["repositories"] = {_name_of(repo.path): str(repo.path)}
    return Settings().with_changes(changes)


def _named(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    return (name, path) if equals and "/" not in name else (_name_of(Path(text)), text)


def _name_of(path: Path) -> str:
    """Return what a repository is called if nobody says: the directory that it belongs to."""
    path = path.absolute()
    if path.name in (".pyi", "pyi") and path.parent.name == ".git":
        path = path.parent.parent
    elif path.name in (".pyi", ".git"):
        path = path.parent
    return path.name.removesuffix(".git") or "repository"
