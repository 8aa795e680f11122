"""Who gets in: every refusal with git's own exit status, and nothing said of what is none of the client's business."""

from __future__ import annotations

import base64
import json
import logging
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyi
from pyi.git.address import Address, parse
from pyi.server.settings import Settings, from_file
from pyi.server.tokens import TokenFile

Serve = Callable[..., Any]
INFO = "info/refs?service=git-upload-pack"


def get(url: str, token: str | None = None, *, bearer: bool = False) -> tuple[int, bytes]:
    request = urllib.request.Request(url)
    if token is not None:
        basic = base64.b64encode(f"x:{token}".encode()).decode()
        request.add_header("Authorization", f"Bearer {token}" if bearer else f"Basic {basic}")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "private" / "tokens.json")


@pytest.fixture
def live(serve: Serve, repository: pyi.Repository, tokens: TokenFile) -> Any:
    repository.workspace().fork("agent/mine")
    repository.workspace().fork("agent/theirs")
    return serve(Settings(tokens=str(tokens.path)), demo=repository)


def test_addresses() -> None:
    good = {
        "/demo.git/info/refs": (Address("demo"), "info/refs"),
        "/demo/agents/a/b.git/git-upload-pack": (Address("demo", "workspace", "a/b"), "git-upload-pack"),
        "/demo/superpositions/s.git/x": (Address("demo", "superposition", "s"), "x"),
        "/demo/checkpoints/0123.git/x": (Address("demo", "checkpoint", "0123"), "x"),
    }
    for path, found in good.items():
        assert parse(path) == found
    for path in (
        "", "/", "/demo", "/demo.git", "demo.git/x", "/../etc/passwd.git/x", "/demo/../x.git/info/refs",
        "/.git/info/refs", "/demo/agents/.git/x", "/demo/agents/../x.git/x", "/demo/agents/a//b.git/x",
        "/demo/other/a.git/x", "//demo.git/x", "/demo/agents/a\0b.git/x", "/demo\\x.git/x", "/a/b.git/x",
        "/.demo.git/x", "/demo/agents/" + "a" * 2000 + ".git/x",
    ):  # fmt: skip
        assert parse(path) is None, path


def test_refusals(live: Any, here: Any, tokens: TokenFile) -> None:
    _, reader = tokens.create()
    known, writer = tokens.create(write=True)
    _, elsewhere = tokens.create(repository="other", write=True)
    _, mine = tokens.create(agent="agent/mine", write=True)
    _, brief = tokens.create(expires=time.time() + 0.3)
    demo, agent = live.url(f"demo.git/{INFO}"), live.url(f"demo/agents/agent/mine.git/{INFO}")
    nothing = [
        live.url(f"{place}/{INFO}") for place in ("none.git", "demo/agents/none.git", "..%2f..%2fetc.git", "demo")
    ]
    assert get(demo, brief)[0] == 200
    assert get(demo, reader)[0] == get(demo, writer, bearer=True)[0] == get(agent, mine)[0] == 200
    # Nobody in particular learns nothing of what exists.
    assert {get(url) for url in [demo, agent, *nothing]} == {(401, b"a token is needed\n")}
    for wrong in ("nonsense", "pyi_x_y", writer[:-1], writer + "x", f"pyi_{known.id}_", ""):
        assert get(demo, wrong)[0] == 401, wrong
    # What a token does not reach looks like what is not there.
    assert {get(url, elsewhere) for url in [demo, agent, *nothing]} == {get(nothing[0], elsewhere)}
    assert get(nothing[0], elsewhere)[0] == 404
    theirs = live.url(f"demo/agents/agent/theirs.git/{INFO}")
    assert get(theirs, mine)[0] == get(demo, mine)[0] == 404
    push = "info/refs?service=git-receive-pack"
    assert get(live.url(f"demo.git/{push}"), reader)[0] == 403
    assert get(live.url(f"demo.git/{push}"), writer)[0] == 200
    time.sleep(0.3)
    assert get(demo, brief)[0] == 401
    tokens.revoke(known.id)
    assert get(demo, writer)[0] == 401
    url = live.base.replace("http://", f"http://x:{reader}@")
    here("clone", "--quiet", f"{url}/demo.git", "clone")
    clone = type(here)(here.directory / "clone")
    clone.commit("no", {"x": "y"})
    done = clone.run("push", "origin", "main")
    assert (done.returncode, b"403" in done.stderr) == (128, True)
    assert "Authentication failed" in here.fails(
        "clone", live.base.replace("http://", "http://x:wrong@") + "/demo.git", "c"
    )
    assert here.run("clone", live.url("demo.git"), "c").returncode == 128


def test_anonymous_readers(serve: Serve, repository: pyi.Repository, here: Any) -> None:
    head = repository.workspace().head.id
    live = serve(Settings(anonymous="read"), demo=repository)
    here("clone", "--quiet", live.url("demo.git"), "clone")
    assert get(live.url("demo.git/info/refs?service=git-receive-pack"))[0] == 401
    assert get(live.url(f"none.git/{INFO}"))[0] == 404
    assert get(live.url("demo.git/HEAD"))[0] == 404
    assert get(live.url("demo.git/info/refs"))[0] == 404
    open_to_all = serve(Settings(anonymous="write"), demo=repository)
    clone = type(here)(here.directory / "clone")
    said = clone.fails("push", open_to_all.url(f"demo/checkpoints/{head}.git"), "HEAD:refs/heads/main")
    assert "403" in said


def test_no_secret_is_written_down(
    serve: Serve, repository: pyi.Repository, tokens: TokenFile, caplog: pytest.LogCaptureFixture
) -> None:
    token, text = tokens.create(write=True, note="ci")
    secret = text.rsplit("_", 1)[1] if text.count("_") == 2 else text.split("_", 2)[2]
    assert secret not in tokens.path.read_text()
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    live = serve(Settings(tokens=str(tokens.path)), demo=repository)
    with caplog.at_level(logging.DEBUG):
        assert get(live.url(f"demo.git/{INFO}"), text)[0] == 200
        assert get(live.url(f"demo.git/{INFO}"), text + "x")[0] == 401
    entries = [json.loads(record.message) for record in caplog.records if record.name == "pyi.server.audit"]
    assert [(entry["status"], entry.get("token")) for entry in entries] == [(200, token.id), (401, None)]
    assert secret not in caplog.text
    metrics = get(live.url("metrics"))[1].decode()
    assert 'pyi_requests_total{service="git-upload-pack",status="200"} 1' in metrics
    assert get(live.url("healthz")) == (200, b"ok\n")


def test_too_many_requests(serve: Serve, repository: pyi.Repository) -> None:
    live = serve(Settings(anonymous="read", requests_per_second=0.5), demo=repository)
    assert [get(live.url(f"demo.git/{INFO}"))[0] for _ in range(6)] == [200] * 5 + [429]


def test_settings_come_from_a_file_the_environment_and_options(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 9\ntokens = "t.json"\nthreads = 3\n[repositories]\ndemo = "store"\n')
    settings = Settings().with_changes(from_file(file))
    assert (settings.port, settings.threads, settings.tokens) == (9, 3, str(tmp_path / "t.json"))
    assert settings.repositories == {"demo": str(tmp_path / "store")}
    for wrong in (
        {"nothing": 1},
        {"port": "x"},
        {"port": 70000},
        {"repositories": {"a/b": "x"}},
        {"key": "k"},
        {"anonymous": "all"},
    ):
        with pytest.raises(pyi.InvalidArgument):
            Settings().with_changes(wrong)


def test_the_verbs(repository: pyi.Repository, tmp_path: Path, here: Any) -> None:
    """`pyi token` makes one, `pyi serve` knows it, a signal ends it with 0."""
    tokens = tmp_path / "tokens.json"

    def pyi_verb(*arguments: str) -> str:
        command = [sys.executable, "-m", "pyi", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    token = pyi_verb("token", "create", "--write", "--expires", "1h", "--tokens", str(tokens))
    audit = tmp_path / "audit.jsonl"
    command = [sys.executable, "-m", "pyi", "serve", f"demo={repository.path}", "--port", "0", "--tokens", str(tokens)]
    command += ["--audit-log", str(audit), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["repositories"]["demo"]
        here("clone", "--quiet", url.replace("http://", f"http://x:{token}@"), "clone")
        clone = type(here)(here.directory / "clone")
        clone.commit("through the verb", {"x": "y"})
        clone("push", "--quiet", "origin", "main")
        server.send_signal(signal.SIGTERM)
        out, errors = server.communicate(timeout=30)
        assert (server.returncode, out, errors) == (0, "", "")
    pushed = json.loads(audit.read_text().splitlines()[-1])
    assert (pushed["service"], pushed["status"], pushed["refs"][0][0]) == ("git-receive-pack", 200, "refs/heads/main")
    listed = json.loads(pyi_verb("token", "list", "--json", "--tokens", str(tokens)))
    assert [one["write"] for one in listed] == [True]
    assert pyi_verb("token", "revoke", listed[0]["id"], "--tokens", str(tokens)) == f"revoked {listed[0]['id']}"
    assert "revoked" in pyi_verb("token", "list", "--tokens", str(tokens))


def test_what_is_not_there_and_what_is_somebody_elses_are_refused_alike(live: Any, tokens: TokenFile) -> None:
    _, mine = tokens.create(repository="demo", agent="agent/mine*", write=True)
    _, elsewhere = tokens.create(repository="other", write=True)

    def refusal(place: str, token: str, service: str) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(live.url(f"{place}/info/refs?service={service}"))
        request.add_header("Authorization", f"Bearer {token}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        with refused.value as error:
            headers = {name: value for name, value in error.headers.items() if name != "date"}
            return error.code, headers, error.read()

    for service in ("git-upload-pack", "git-receive-pack"):
        cases = [
            ("none.git", mine),  # no such repository
            ("demo/agents/agent/theirs.git", mine),  # another tenant's agent
            ("demo/agents/agent/none.git", mine),  # nobody's
            ("demo/agents/agent/mine-not-there.git", mine),  # one's own, not there
            ("demo.git", mine),  # more than the scope
            ("demo/superpositions/none.git", mine),
            ("demo/checkpoints/00000000.git", mine),
            ("demo.git", elsewhere),
            ("none.git", elsewhere),
        ]
        answers = [refusal(*case, service) for case in cases]
        assert answers == [answers[0]] * len(cases)
        assert answers[0][0] == 404
    # Who is nobody hears the same whatever the reason.
    known, revoked = tokens.create()
    tokens.revoke(known.id)
    nobody = [refusal(place, token, "git-upload-pack") for place in ("demo.git", "none.git")
              for token in (revoked, revoked + "x", "pyi_0000000000_x", "nonsense")]  # fmt: skip
    assert nobody == [nobody[0]] * len(nobody)


def test_no_secret_reaches_any_output_of_a_server(repository: pyi.Repository, tmp_path: Path, here: Any) -> None:
    """Right, wrong, expired and revoked tokens, in every place a client may put one, with all logs on."""
    tokens = TokenFile(tmp_path / "tokens.json")
    _, good = tokens.create(write=True)
    known, revoked = tokens.create(write=True)
    tokens.revoke(known.id)
    _, brief = tokens.create(expires=time.time() + 0.01)
    wrong = good[:-6] + "wrong!"
    command = [sys.executable, "-X", "dev", "-m", "pyi", "serve", f"demo={repository.path}", "--port", "0"]
    command += ["--tokens", str(tokens.path), "--audit-log", "-", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        base = json.loads(server.stdout.readline())["url"]
        for token in (good, revoked, brief, wrong):
            for place in (
                f"demo.git/{INFO}",
                f"{token}.git/{INFO}",
                f"demo/agents/{token}.git/{INFO}",
                f"demo.git/{token}",
            ):
                get(f"{base}/{place}", token)
                get(f"{base}/{place}", token, bearer=True)
            get(f"{base}/demo.git/{INFO}&token={token}", token)
            url = base.replace("http://", f"http://x:{token}@") + "/demo.git"
            here.run("ls-remote", url)
            here.run("push", url, ":refs/heads/none")
        raw = socket.create_connection(base.removeprefix("http://").split(":"))
        raw.sendall(f"GET /demo.git/{INFO} HTTP/1.1\r\nAuthorization: Bearer {good}\r\nbroken header\r\n\r\n".encode())
        raw.recv(4096)
        raw.close()
        metrics = get(f"{base}/metrics")[1].decode()
        server.send_signal(signal.SIGTERM)
        out, errors = server.communicate(timeout=60)
    assert "git-upload-pack" in errors
    for token in (good, revoked, brief, wrong):
        secret = token.split("_", 2)[2]
        basic = base64.b64encode(f"x:{token}".encode()).decode()
        for text in (secret, secret[:20], basic, basic[24:]):
            assert text not in out + errors + metrics
