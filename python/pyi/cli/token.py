"""``pyi token``: who may use a server."""

from __future__ import annotations

import argparse
import json
import re
import time
from dataclasses import asdict
from typing import Any

from pyi.cli.output import show
from pyi.cli.text import columns
from pyi.config import tokens_file
from pyi.server.tokens import Token, TokenFile

__all__ = ["add_parser", "run"]

_EPILOG = """\
examples:
  pyi token create --write --note "the CI"
  pyi token create --repository project --agent 'agent-*' --write --expires 12h
  pyi token list
  pyi token revoke 3f9a1c22b0

A client gives the token as the password of any user (git asks for it, or takes it from a credential helper), or as a
bearer token. It is shown once; the file keeps a hash of it. A running server follows changes of the file at once.

exit status: 0 done; 1 no such token; 2 wrong usage; 3 a failed run
"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's arguments."""
    top = verbs.add_parser(
        "token",
        help="create, list and revoke tokens for a server",
        description="Create, list and revoke the tokens of `pyi serve`.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.set_defaults(run=run)
    actions = top.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a token, and print it this once")
    create.add_argument("--repository", metavar="GLOB", default="*", help="the repositories it reaches (default: all)")
    create.add_argument("--agent", metavar="GLOB", help="the workspaces it reaches, and nothing else")
    create.add_argument("--write", action="store_true", help="it may push too")
    create.add_argument("--expires", metavar="TIME", type=_seconds, help="after 90s, 30m, 12h, 7d, 4w (default: never)")
    create.add_argument("--note", metavar="TEXT", default="", help="what it is for")
    listed = actions.add_parser("list", help="list the tokens")
    revoke = actions.add_parser("revoke", help="make a token worthless")
    revoke.add_argument("id", metavar="ID", help="the token's id, as `list` shows it")
    for parser in (create, listed, revoke):
        parser.add_argument("--tokens", metavar="FILE", help="the file of tokens (default: as `pyi serve`)")
        parser.add_argument("--json", action="store_true", help="print JSON")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError("a number and s, m, h, d or w")
    return float(found[1]) * _UNITS[found[2]]


def run(options: argparse.Namespace) -> int:
    """Run the verb and return its exit status."""
    file = TokenFile(options.tokens or tokens_file())
    if options.action == "create":
        expires = None if options.expires is None else time.time() + options.expires
        token, text = file.create(
            repository=options.repository,
            agent=options.agent,
            write=options.write,
            expires=expires,
            note=options.note,
        )
        show(json.dumps({**_told(token), "token": text}) if options.json else text)
    elif options.action == "revoke":
        token = file.revoke(options.id)
        show(json.dumps(_told(token)) if options.json else f"revoked {token.id}")
    else:
        tokens = file.list()
        show(json.dumps([_told(token) for token in tokens]) if options.json else _table(tokens))
    return 0


def _told(token: Token) -> dict[str, Any]:
    """Return what may be known of a token: not even the hash of its secret."""
    told = asdict(token)
    del told["sha256"]
    return told


def _table(tokens: list[Token]) -> str:
    now = time.time()
    rows = [("id", "state", "access", "repository", "agent", "note")]
    for token in tokens:
        state = "revoked" if token.revoked else "valid" if token.is_valid(now) else "expired"
        access = "write" if token.write else "read"
        rows.append((token.id, state, access, token.repository, token.agent or "-", token.note))
    return "\n".join(columns(rows, left=range(6)))
