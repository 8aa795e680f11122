"""`many`: hundreds of clients at once, each clones, and commits and pushes three times to a workspace of its own."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pyi
from validation.generator import Tree, git, make_repository
from validation.remotes.client import Thin
from validation.remotes.serving import serve
from validation.statistics import Distribution

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--thin", type=int, default=765, help="clients in threads of a few processes (default: 765)")
    parser.add_argument("--git", type=int, default=85, help="clients that run git itself (default: 85)")
    parser.add_argument("--git-at-once", type=int, default=85, help="of those, at the same time (default: 85)")
    parser.add_argument("--rounds", type=int, default=3, help="commits and pushes of each (default: 3)")
    parser.add_argument("--files", type=int, default=40, help="of the repository that is cloned (default: 40)")
    parser.add_argument("--processes", type=int, default=4, help="that the thin clients share (default: 4)")


@dataclass
class _Told:
    """What some clients tell."""

    clones_ns: list[int] = field(default_factory=list)
    pushes_ns: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status."""
    allow_files()
    count = options.thin + options.git
    source = make_repository(place / "source", Tree(options.files), commits=20)
    names = [f"agents/{number:04}" for number in range(count)]
    with pyi.open(place / "store") as repository:
        base = repository.import_git(source)
        for name in names:
            base.fork(name)
        with serve(place / "store") as server:
            urls = [f"{server.url}/it/agents/{name}.git" for name in names]
            before = server.memory_bytes()
            begin = time.monotonic()
            thin, stock = _go(options, place, urls)
            seconds = time.monotonic() - begin
            memory, peak, cpu = server.memory_bytes(), server.peak_bytes(), server.cpu_seconds()
            refused = server.metric("pyi_requests_total")
        lost = _lost(repository, names, options.rounds)
    for what, told in (("thin clients", thin), ("git", stock)):
        for title, samples in (("clone", told.clones_ns), ("push", told.pushes_ns)):
            if samples:
                print(f"{what}, {title}: {_text(Distribution.of(samples))}")
    failures = thin.failures + stock.failures
    print(f"{count} clients, {options.rounds} rounds: {seconds:.1f} s; {refused:.0f} requests, server {cpu:.1f} s CPU")
    print(f"server's private memory {before / 1e6:.0f} MB before, {memory / 1e6:.0f} after; peak {peak / 1e6:.0f} MB")
    print(f"failures {len(failures)}, pushes that are not there {len(lost)}")
    for text in [*failures[:5], *lost[:5]]:
        print(f"  {text}")
    done = len(thin.pushes_ns) + len(stock.pushes_ns)
    return 0 if not failures and not lost and done == count * options.rounds else 1


def allow_files() -> None:
    """Let this process have as many files open as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _text(found: Distribution) -> str:
    milliseconds = (value / 1000 for value in (found.p50_us, found.p95_us, found.p99_us, found.max_us))
    return f"{found.count} x, " + ", ".join(
        f"{name} {value:.0f} ms" for name, value in zip(("p50", "p95", "p99", "max"), milliseconds, strict=True)
    )


def _go(options: argparse.Namespace, place: Path, urls: list[str]) -> tuple[_Told, _Told]:
    """Let all clients begin at one moment, and wait for them."""
    context = multiprocessing.get_context("spawn")
    queue: SimpleQueue[tuple[str, _Told]] = context.SimpleQueue()
    processes = min(options.processes, options.thin)
    barrier = context.Barrier(processes + bool(options.git))
    thin, stock = urls[: options.thin], urls[options.thin :]
    shares = [thin[number::processes] for number in range(processes)]
    workers = [context.Process(target=_thin, args=(share, options.rounds, barrier, queue)) for share in shares]
    if stock:
        arguments = (stock, options.rounds, place, options.git_at_once, barrier, queue)
        workers.append(context.Process(target=_stock, args=arguments))
    for worker in workers:
        worker.start()
    told = {"thin": _Told(), "git": _Told()}
    for _ in workers:
        kind, part = queue.get()
        whole = told[kind]
        whole.clones_ns += part.clones_ns
        whole.pushes_ns += part.pushes_ns
        whole.failures += part.failures
    for worker in workers:
        worker.join()
    return told["thin"], told["git"]


def _crowd(count: int, one: Callable[[int, _Told], None]) -> _Told:
    """Run clients in threads."""
    told = _Told()
    threading.stack_size(256 << 10)

    def guarded(number: int) -> None:
        try:
            one(number, told)
        except Exception:
            told.failures.append(traceback.format_exc().strip().splitlines()[-1])

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def _thin(urls: list[str], rounds: int, barrier: object, queue: SimpleQueue[tuple[str, _Told]]) -> None:
    allow_files()
    ready = threading.Barrier(len(urls), action=lambda: barrier.wait(300))  # type: ignore[attr-defined]

    def one(number: int, told: _Told) -> None:
        client = Thin(urls[number])
        ready.wait(300)
        begin = time.perf_counter_ns()
        client.clone()
        told.clones_ns.append(time.perf_counter_ns() - begin)
        for round_number in range(rounds):
            data = client.commit(f"round{round_number}.txt", _content(urls[number], round_number), "round")
            begin = time.perf_counter_ns()
            client.push(data)
            told.pushes_ns.append(time.perf_counter_ns() - begin)
        client.close()

    queue.put(("thin", _crowd(len(urls), one)))


def _stock(
    urls: list[str], rounds: int, place: Path, at_once: int, barrier: object, queue: SimpleQueue[tuple[str, _Told]]
) -> None:
    turns = threading.Semaphore(at_once)
    barrier.wait(300)  # type: ignore[attr-defined]

    def one(number: int, told: _Told) -> None:
        with turns:
            begin = time.perf_counter_ns()
            directory = place / f"clone{number}"
            git(place, "clone", "--quiet", urls[number], str(directory))
            told.clones_ns.append(time.perf_counter_ns() - begin)
            for round_number in range(rounds):
                (directory / f"round{round_number}.txt").write_bytes(_content(urls[number], round_number))
                git(directory, "add", "--all")
                git(directory, "commit", "--quiet", "-m", "round")
                begin = time.perf_counter_ns()
                git(directory, "push", "--quiet")
                told.pushes_ns.append(time.perf_counter_ns() - begin)
            subprocess.run(["rm", "-rf", str(directory)], check=True)

    queue.put(("git", _crowd(len(urls), one)))


def _content(url: str, round_number: int) -> bytes:
    name = url.rpartition("/")[2].removesuffix(".git")
    return f"{name} in round {round_number}\n".encode()


def _lost(repository: pyi.Repository, names: list[str], rounds: int) -> list[str]:
    """Return what the workspaces do not hold."""
    lost = []
    for name in names:
        workspace = repository.view_workspace(name)
        for number in range(rounds):
            path = f"round{number}.txt"
            if not workspace.exists(path) or bytes(workspace.read(path)) != _content(f"/{name}.git", number):
                lost.append(f"{name}: {path}")
    return lost
