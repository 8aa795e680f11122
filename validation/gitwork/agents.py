"""`agents`: many agents edit, add and commit on forks of one workspace; all of it is exported and git checks it."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter_ns
from typing import TypeVar

import pyi
from validation.generator import Tree, git, make_repository
from validation.statistics import Distribution

__all__ = ["add_arguments", "run"]

_T = TypeVar("_T")
_ROUNDS = ("status", "diff", "add -A", "commit -q", "log -1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--agents", type=int, default=850, help="forks (default: 850)")
    parser.add_argument("--commits", type=int, default=10, help="of each agent (default: 10)")
    parser.add_argument("--files", type=int, default=4_500, help="of the workspace (default: 4500)")
    parser.add_argument("--threads", type=int, default=8, help="that work at once (default: 8)")
    parser.add_argument("--rounds", type=int, default=300, help="in which single commands are timed (default: 300)")
    parser.add_argument("--commit-p50-us", type=float, help="fail if `commit` takes longer")


def _said(workspace: pyi.Workspace, *argv: str) -> bytes:
    done = workspace.git(*argv)
    if done.returncode or done.stderr:
        raise RuntimeError(f"git {' '.join(argv)}: {done.returncode} {done.stderr!r}")
    return bytes(done.stdout)


def _subject(agent: int, step: int) -> str:
    return f"agent {agent}, step {step}"


def _work(workspace: pyi.Workspace, agent: int, commits: int, tree: Tree) -> int:
    """Edit, add and commit; how many commits there were."""
    for step in range(commits):
        workspace.write(f"agents/{agent}.txt", f"{_subject(agent, step)}\n")
        number = (agent * commits + step) % tree.count
        workspace.write(tree.path(number), f"by {_subject(agent, step)}\n")
        _said(workspace, "add", "-A")
        _said(workspace, "commit", "-q", "-m", _subject(agent, step))
    return commits


def _own_history(workspace: pyi.Workspace, agent: int, commits: int) -> bool:
    """Whether the agent sees its own commits and nobody else's."""
    log = _said(workspace, "log", "--format=%s", f"-{commits + 1}").decode().splitlines()
    clean = _said(workspace, "status", "--porcelain") == b""
    return clean and log[:commits] == [_subject(agent, step) for step in reversed(range(commits))]


def _latencies(base: pyi.Workspace, rounds: int, tree: Tree) -> dict[str, Distribution]:
    samples: dict[str, list[int]] = defaultdict(list)
    workspace = base.fork()
    for number in range(rounds):
        workspace.write(tree.path(number * 7 % tree.count), f"round {number}\n")
        for command in _ROUNDS:
            argv = [*command.split(), "-m", f"round {number}"] if command.startswith("commit") else command.split()
            before = perf_counter_ns()
            done = workspace.git(*argv)
            samples[command].append(perf_counter_ns() - before)
            if done.returncode:
                raise RuntimeError(f"git {command}: {done.stderr!r}")
    return {command: Distribution.of(taken) for command, taken in samples.items()}


def _exported(target: Path, agents: int, commits: int, heads: dict[int, str]) -> list[str]:
    """What is not as it should be in the repository that everything was exported to."""
    wrong = []
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    log = git(target, "log", "--source", "--format=%S%x09%H%x09%s", "--branches=agent-*", "^base")
    for line in log.decode().splitlines():
        source, name, subject = line.split("\t")
        found[source.rpartition("/")[2]].append((name, subject))
    for agent in range(agents):
        mine = found.pop(f"agent-{agent}", [])
        if mine and mine[0][0] != heads[agent]:
            wrong.append(f"agent {agent}: another head")
        if [subject for _, subject in mine] != [_subject(agent, step) for step in reversed(range(commits))]:
            wrong.append(f"agent {agent}: {len(mine)} commits, {mine[:2]}")
    wrong += [f"commits of nobody: {source}" for source in found]
    try:
        said = git(target, "fsck", "--strict", "--no-dangling", "--no-progress")
    except RuntimeError as error:
        said = str(error).encode()
    if said:
        wrong.append(f"git fsck --strict: {said[:300]!r}")
    return wrong


def _timed(what: str, work: Callable[[], _T]) -> _T:
    before = time.perf_counter()
    result = work()
    print(f"{what}: {time.perf_counter() - before:.1f} s", flush=True)
    return result


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    tree = Tree(options.files)
    source = make_repository(place / "source", tree, commits=20)
    expected = options.agents * options.commits
    with pyi.open(place / "store") as repository:
        base = repository.import_git(source)
        forks = [base.fork() for _ in range(options.agents)]
        with ThreadPoolExecutor(options.threads) as pool:
            made = _timed(
                f"{options.agents} agents, {options.commits} times edit, add, commit each",
                lambda: sum(pool.map(lambda one: _work(one[1], one[0], options.commits, tree), enumerate(forks))),
            )
            own = pool.map(lambda one: _own_history(one[1], one[0], options.commits), enumerate(forks))
            mixed = [agent for agent, is_own in enumerate(own) if not is_own]
        heads = {agent: _said(fork, "rev-parse", "HEAD").decode().strip() for agent, fork in enumerate(forks)}
        git(place, "init", "-q", "--bare", "target.git")
        target = place / "target.git"
        git(source, "push", "-q", str(target), "HEAD:refs/heads/base")

        def export() -> int:
            return sum(fork.export_git(target, f"agent-{agent}") == heads[agent] for agent, fork in enumerate(forks))

        exported = _timed(f"{options.agents} branches exported", export)
        wrong = _timed("checked by git", lambda: _exported(target, options.agents, options.commits, heads))
        latencies = _latencies(base, options.rounds, tree)
    print(f"{made} of {expected} commits, {len(mixed)} agents with anything mixed")
    print(f"{exported} of {options.agents} exported under the names that they had; wrong there: {len(wrong)}")
    for line in wrong[:20]:
        print(f"  {line}")
    for command, taken in latencies.items():
        print(f"git {command:<10} p50 {taken.p50_us:8.1f} us   p95 {taken.p95_us:8.1f} us")
    slow = options.commit_p50_us is not None and latencies["commit -q"].p50_us > options.commit_p50_us
    return int(made != expected or bool(mixed) or exported != options.agents or bool(wrong) or slow)
