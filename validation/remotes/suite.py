"""`suite`: transport tests of git's own suite, with the programs of its server side replaced by PYI's server."""

from __future__ import annotations

import argparse
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

from validation.remotes.bridge import CGI, PIPE, bridge

__all__ = ["add_arguments", "run"]

_TESTS = (
    "t5541-http-push-smart",
    "t5542-push-http-shallow",
    "t5551-http-fetch-smart",
    "t5560-http-backend-noserver",
    "t5561-http-backend",
    "t5562-http-backend-content-length",
    "t5581-http-curl-verbose",
    "t5700-protocol-v1",
    "t5702-protocol-v2",
    "t5404-tracking-branches",
    "t5406-remote-rejects",
    "t5408-send-pack-stdin",
    "t5500-fetch-pack",
    "t5501-fetch-push-alternates",
    "t5502-quickfetch",
    "t5503-tagfollow",
    "t5538-push-shallow",
    "t5543-atomic-push",
    "t5546-receive-limits",
    "t5547-push-quarantine",
    "t5600-clone-fail-cleanup",
    "t5703-upload-pack-ref-in-want",
)
_PROGRAMS = ("git-http-backend", "git-upload-pack", "git-receive-pack")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the recipe's options."""
    parser.add_argument("--source", type=Path, required=True, help="git's own source directory, built (`make`)")
    parser.add_argument("--user", default="nobody", help="who runs the tests, as Apache does not run as root")
    parser.add_argument("--minutes", type=float, default=4.0, help="for each file (default: 4)")
    parser.add_argument("--stock", action="store_true", help="leave git's own program where it is, for comparison")
    parser.add_argument("--show", action="store_true", help="name the tests that failed")
    parser.add_argument("tests", nargs="*", help="files, without .sh (default: those that speak HTTP)")


def run(options: argparse.Namespace, place: Path) -> int:
    """Run the recipe and return the exit status; tests that fail do not count."""
    user = pwd.getpwnam(options.user)
    place.chmod(0o755)
    for name in ("home", "out", "trash"):
        (place / name).mkdir()
        os.chown(place / name, user.pw_uid, user.pw_gid)
    programs = [options.source.resolve() / name for name in _PROGRAMS]
    with bridge(place, user.pw_uid) as ports:
        for program in programs:
            program.rename(program.with_name(program.name + ".kept"))
        try:
            for program in programs:
                if options.stock:
                    shutil.copy2(program.with_name(program.name + ".kept"), program)
                    continue
                text = CGI if program.name == "git-http-backend" else PIPE
                program.write_text(text.replace("@port@", str(ports.cgi)).replace("@pipe@", str(ports.pipe)))
                program.chmod(0o755)
            print("| file | passed | failed | skipped | known breakage |\n|---|---|---|---|---|")
            for test in options.tests or _TESTS:
                _one(test, options, place, user)
        finally:
            for program in programs:
                program.with_name(program.name + ".kept").replace(program)
    return 0


def _one(test: str, options: argparse.Namespace, place: Path, user: pwd.struct_passwd) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYI"))}
    environment |= {"HOME": str(place / "home"), "TEST_OUTPUT_DIRECTORY": str(place / "out"), "GIT_TEST_HTTPD": "true"}
    command = ["sh", f"./{test}.sh", f"--root={place / 'trash'}"]
    with subprocess.Popen(
        command, cwd=options.source / "t", env=environment, user=user.pw_uid, group=user.pw_gid, extra_groups=[],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=60 * options.minutes)
            late = ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 15)
            said, _ = process.communicate()
            late = f" (cut off after {options.minutes:g} min)"
    lines = [line for line in said.splitlines() if re.match(r"(not )?ok \d", line)]
    skipped = [line for line in lines if "# skip" in line.lower()]
    known = [line for line in lines if "# TODO" in line]
    failed = [line for line in lines if line.startswith("not ok") and line not in known]
    passed = len(lines) - len(skipped) - len(known) - len(failed)
    print(f"| {test} | {passed} | {len(failed)} | {len(skipped)} | {len(known)} |{late}", flush=True)
    if not lines:
        print("   " + "\n   ".join(said.splitlines()[-5:]))
    if options.show:
        for line in failed:
            print(f"   {line}")
