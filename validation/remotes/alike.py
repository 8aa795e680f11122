"""`alike`: refusals of what does not exist and of what is somebody else's are the same, in bytes and in time."""

from __future__ import annotations

import argparse
import random
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter_ns
from urllib.parse import urlsplit

import pyi
from pyi.server.tokens import TokenFile
from validation.generator import Tree, make_repository
from validation.remotes.serving import serve
from validation.statistics import Series, ratio_of_medians

__all__ = ["add_arguments", "run"]

_MARGIN = 0.10
_SLACK_US = 25.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--requests", type=int, default=600, help="of each kind, in turns (default: 600)")


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    source = make_repository(place / "source", Tree(200), commits=20)
    tokens = TokenFile(place / "tokens.json")
    _, mine = tokens.create(repository="it", agent="mine/*", write=True)
    known, other = tokens.create(repository="other", write=True)
    _, gone = tokens.create(write=True)
    tokens.revoke(gone.split("_")[1])
    with pyi.open(place / "store") as repository:
        base = repository.import_git(source)
        for number in range(50):
            base.fork(f"theirs/{number}")
        with serve(place / "store", "--tokens", str(tokens.path)) as server:
            parts = urlsplit(server.url)
            wrong = f"pyi_{known.id}_{'x' * 43}"
            kinds = {
                "no such repository": ("/none.git", mine),
                "another tenant's agent": ("/it/agents/theirs/7.git", mine),
                "an agent that is not there": ("/it/agents/theirs/none.git", mine),
                "one's own that is not there": ("/it/agents/mine/none.git", mine),
                "the repository, with a token for an agent": ("/it.git", mine),
                "the repository, with a token for another": ("/it.git", other),
            }
            nobody = {
                "a wrong token": ("/it.git", wrong),
                "a token nobody made": ("/it.git", "pyi_0000000000_" + "x" * 43),
                "a revoked token": ("/it.git", gone),
                "a wrong token, no such repository": ("/none.git", wrong),
            }
            good = [
                _compare(parts.hostname or "", parts.port or 0, group, options.requests) for group in (kinds, nobody)
            ]
    return 0 if all(good) else 1


_Answer = tuple[int, tuple[tuple[str, str], ...], bytes]


def _compare(host: str, port: int, kinds: dict[str, tuple[str, str]], requests: int) -> bool:
    connection = HTTPConnection(host, port, timeout=60)
    series = {name: Series() for name in kinds}
    said: dict[str, set[_Answer]] = {name: set() for name in kinds}
    source = random.Random(6)
    for number in range(-20, requests):
        for name in source.sample(list(kinds), len(kinds)):
            path, token = kinds[name]
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            begin = perf_counter_ns()
            connection.request("GET", f"{path}/info/refs?service=git-receive-pack", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            elapsed = perf_counter_ns() - begin
            kept = tuple((name, value) for name, value in answer.getheaders() if name.lower() != "date")
            said[name].add((answer.status, kept, body))
            if number >= 0:
                series[name].add(elapsed, number)
    first = next(iter(kinds))
    good = True
    for name, one in series.items():
        ratio = ratio_of_medians(one, series[first])
        apart_us = abs(one.median_ns() - series[first].median_ns()) / 1000
        late = ratio.low > 1 + _MARGIN or ratio.high < 1 - _MARGIN
        same = said[name] == said[first]
        found = one.distribution()
        (status, _, _), *more = said[name]
        good_one = same and not more and not (late and apart_us > _SLACK_US)
        print(
            f"{name}: {status}, p50 {found.p50_us:.0f} us, p95 {found.p95_us:.0f} us, "
            f"median / that of the first {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
            f"{'' if good_one else ', NOT ALIKE'}"
        )
        good &= good_one
    connection.close()
    return good
