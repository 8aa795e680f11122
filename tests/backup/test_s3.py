"""Backups to an S3-compatible store: moto's server on the loopback interface."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyi
from pyi.errors import NotFound, StorageError

pytest.importorskip("obstore", reason="the extra pyi[s3] is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto[server] is not installed")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import http.client

    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
        }.items():
            monkeypatch.setenv(name, value)
        connection = http.client.HTTPConnection(host, port)
        connection.request("PUT", "/backups")
        assert connection.getresponse().status == 200
        connection.close()
        yield "s3://backups"
    finally:
        server.stop()


def test_backup_restore_and_repair(bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/project/store"
    content = random.Random(3).randbytes(300_000)
    with pyi.open(tmp_path / "project") as repo:
        ws = repo.workspace()
        ws.write("a", content)
        ws.checkpoint("one")
        ws.publish("main")
        first = repo.backup(url)
        assert first.full
        ws.write("b", b"b" * 1000)
        ws.checkpoint("two")
        ws.publish("main")
        second = repo.backup(url)
        assert not second.full
        assert second.bytes_copied < 10_000
    with pyi.restore_backup(url, tmp_path / "first", at=first.position) as repo:
        assert not repo.workspace().exists("b")
    with pyi.restore_backup(url, tmp_path / "restored") as repo:
        assert bytes(repo.workspace().read("a")) == content
        assert bytes(repo.workspace().read("b")) == b"b" * 1000
        store = repo.path
    (segment,) = (store / "segments").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[5000] ^= 1
    segment.write_bytes(data)
    with pyi.open(store) as repo:
        assert not repo.scrub().clean
        report = repo.scrub(repair_from=url)
        assert report.repaired
        assert not report.lost
        assert bytes(repo.workspace().read("a")) == content


def test_what_is_not_there(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        pyi.restore_backup(f"{bucket}/nothing", tmp_path / "restored")
    with pyi.open(tmp_path / "project") as repo, pytest.raises((NotFound, StorageError)):
        repo.backup("s3://no-such-bucket/x")
