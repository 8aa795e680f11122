"""Run the fuzzers of fuzz/ for some seconds each, and say what they found.

python tools/fuzz.py [--seconds N] [--jobs N] [--keep] [TARGET ...]

Most are targets of one program in Rust; what is decoded in Python has a program in fuzz/python, which needs atheris.
Inputs come from fuzz/corpus; what the runs add goes to target/fuzz/inputs, findings to target/fuzz/findings.
--keep puts the smallest inputs that cover most back into fuzz/corpus.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
FLAGS = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
]
LIMITS = ["-rss_limit_mb=2000", "-timeout=20", "-max_len=8192"]
KEPT_BYTES = 14_000
KEPT_INPUTS = 60
MERGE_SECONDS = 120


def build_directory() -> Path:
    """Return the directory for what is built and what the runs write."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute() / "fuzz"


def build(directory: Path) -> Path:
    """Build the program in Rust; its path."""
    # A target directory and a host triple of its own: the flags are for the program and not for build scripts.
    text = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = next(line.split()[1] for line in text.splitlines() if line.startswith("host:"))
    environment = dict(os.environ, CARGO_TARGET_DIR=str(directory), CARGO_ENCODED_RUSTFLAGS="\x1f".join(FLAGS))
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--target", host]
    subprocess.run(command, check=True, cwd=ROOT / "fuzz", env=environment)
    return directory / host / "release" / "pyi-fuzz"


def in_python(target: str) -> Path | None:
    """Return the program of a target that is decoded in Python."""
    script = ROOT / "fuzz" / "python" / f"{target}.py"
    return script if script.exists() else None


def command_of(program: Path | None, target: str) -> list[str]:
    """Return how a target is run; arguments of libFuzzer follow."""
    script = in_python(target)
    return [sys.executable, str(script)] if script else [str(program)]


def fuzz(program: Path | None, directory: Path, target: str, seconds: int) -> str | None:
    """Run one target; what it found, or None."""
    work, findings = directory / "inputs" / target, directory / "findings"
    for path in (work, findings, CORPUS / target):
        path.mkdir(parents=True, exist_ok=True)
    command = [*command_of(program, target), f"-max_total_time={seconds}", f"-artifact_prefix={findings}/{target}-"]
    command += [*LIMITS, str(work), str(CORPUS / target)]
    begin = time.monotonic()
    environment = dict(os.environ, PYI_FUZZ_TARGET=target)
    result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    lines = result.stderr.splitlines()
    runs = next((line.split()[1] for line in reversed(lines) if line.startswith("Done ")), "?")
    cover = next((line.split("cov: ")[1].split()[0] for line in reversed(lines) if "cov: " in line), "?")
    verdict = "ok" if result.returncode == 0 else "FOUND"
    print(
        f"{target:18} {verdict:5} {runs:>9} runs, {cover:>5} edges, {time.monotonic() - begin:5.1f} s",
        flush=True,
    )
    if result.returncode == 0:
        return None
    telling = ("panicked at", "ERROR: libFuzzer", "Test unit", "Error: ")
    reason = [line for line in lines if any(word in line for word in telling)]
    return "\n".join([f"{target}:", *("  " + line for line in reason)])


def keep(program: Path | None, directory: Path, target: str) -> None:
    """Replace the target's corpus by the smallest inputs that cover most, within its share of bytes."""
    merged = directory / "merged" / target
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    work = directory / "inputs" / target
    work.mkdir(parents=True, exist_ok=True)
    command = [
        *command_of(program, target),
        "-set_cover_merge=1",
        *LIMITS,
        str(merged),
        str(CORPUS / target),
        str(work),
    ]
    environment = dict(os.environ, PYI_FUZZ_TARGET=target)
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=MERGE_SECONDS)
    # Those with a name are made by hand from real bytes: they stay.
    total, kept = 0, 0
    for path in sorted((CORPUS / target).iterdir()):
        if len(path.name) == len("da39a3ee5e6b4b0d3255bfef95601890afd80709"):
            path.unlink()
        else:
            total, kept = total + path.stat().st_size, kept + 1
    for path in sorted(merged.iterdir(), key=lambda path: path.stat().st_size):
        total, kept = total + path.stat().st_size, kept + 1
        if total > KEPT_BYTES or kept > KEPT_INPUTS:
            break
        shutil.copyfile(path, CORPUS / target / path.name)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="for each target (10)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    parser.add_argument("--keep", action="store_true", help="put what was found worth keeping into fuzz/corpus")
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args(arguments)
    # Each has inputs, and with them a directory.
    known = sorted(path.name for path in CORPUS.iterdir())
    unknown = sorted(set(options.targets) - set(known))
    if unknown:
        parser.error(f"no such target: {json.dumps(unknown)}; there are {' '.join(known)}")
    chosen = options.targets or known
    if importlib.util.find_spec("atheris") is None:
        for target in [target for target in chosen if in_python(target)]:
            print(f"{target:18} NOT RUN: there is no atheris here (make develop installs it where there is a wheel)")
            chosen.remove(target)
    directory = build_directory()
    program = None
    if not all(in_python(target) for target in chosen):
        begin = time.monotonic()
        program = build(directory)
        print(f"built in {time.monotonic() - begin:.0f} s", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        found = [text for text in pool.map(lambda t: fuzz(program, directory, t, options.seconds), chosen) if text]
    if options.keep:
        for target in chosen:
            keep(program, directory, target)
    for text in found:
        print(text, file=sys.stderr)
    if found:
        repeat = f"PYI_FUZZ_TARGET=<target> {program or 'python fuzz/python/<target>.py'}"
        print(f"repeat one: {repeat} {directory}/findings/<file>", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
