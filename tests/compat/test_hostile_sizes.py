"""Repositories that mean harm: objects that grow, circles, lies about sizes. Memory stays within a gibibyte."""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

import pytest

from .world import CHANGE, LOOK, NOT_NATIVE, World, alike, alone, lines


def test_a_delta_that_makes_gigabytes_of_a_few_kilobytes(tmp_path: Path, shim: Path) -> None:
    base, bomb = "11" * 20, "22" * 20
    size, copies = 1 << 23, 500

    def number(value: int) -> bytes:
        out = bytearray()
        while value >= 0x80:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    def build(world: World) -> None:
        copy = b"\xf0" + struct.pack("<I", size)[:3]
        delta = number(size) + number(size * copies) + copy * copies
        world.pack([(base, 3, bytes(size), None), (bomb, 7, delta, base)])
        pack = world.dot_git / "objects/pack/pack-1.pack"
        assert pack.stat().st_size < 20_000

    commands = [
        ("cat-file", "-t", bomb),
        ("cat-file", "-p", bomb),
        ("show", bomb),
        ("log", "-1", bomb),
        ("diff", base, bomb),
    ]
    only = alone(tmp_path, shim, build, commands)
    assert all(answer.status == NOT_NATIVE for answer in only.answers[1:])


@pytest.mark.parametrize("links", [1, 2, 3])
def test_deltas_in_a_circle(tmp_path: Path, shim: Path, links: int) -> None:
    names = [f"{number + 1:02x}" * 20 for number in range(links)]

    def build(world: World) -> None:
        world.pack([(name, 7, b"\x01\x01\x01x", names[(at + 1) % links]) for at, name in enumerate(names)])

    commands = [("cat-file", "-t", names[0]), ("cat-file", "-p", names[0]), ("show", names[0]), ("log", "-1", names[0])]
    only = alone(tmp_path, shim, build, commands)
    assert all(answer.status == NOT_NATIVE for answer in only.answers)


@pytest.mark.parametrize("kind", [b"blob", b"commit", b"tree"])
def test_a_loose_object_that_inflates(tmp_path: Path, shim: Path, kind: bytes) -> None:
    oids = []

    def build(world: World) -> None:
        oids.append(world.loose(kind, bytes(300 << 20)))

    alone(tmp_path, shim, build, [])
    commands = [("cat-file", "-p", oids[0]), ("show", oids[0]), ("log", "-1", oids[0]), ("diff", oids[0], "HEAD")]
    only = alone(tmp_path, shim, build, commands)
    assert all(answer.status == NOT_NATIVE for answer in only.answers)


@pytest.mark.parametrize("size", [0, 3, 1 << 40, 1 << 62])
def test_a_loose_object_that_lies_about_its_size(tmp_path: Path, shim: Path, size: int) -> None:
    oids = []

    def build(world: World) -> None:
        oids.append(world.loose(b"blob", b"twelve bytes", size=size))

    alone(tmp_path, shim, build, [])
    alike(tmp_path, shim, build, [("cat-file", "-p", oids[0]), ("show", oids[0])])


def test_an_index_that_lies(tmp_path: Path, shim: Path) -> None:
    def build(world: World) -> None:
        world.index([(b"a.txt", world.blob(b"x"))], count=0xFFFFFFFF)

    alike(tmp_path, shim, build, [*LOOK, *CHANGE])


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 1), (3, 7), (2**31 - 1, 1)])
def test_an_index_that_lies_about_its_trees(tmp_path: Path, shim: Path, counts: tuple[int, int]) -> None:
    """A directory of no entries made the comparison stand still."""

    def build(world: World) -> None:
        evil = world.blob(b"x")
        tree = bytes.fromhex(world.git("rev-parse", "HEAD:d").decode())
        node = b"d\0%d 0\n" % counts[1] + tree
        known = b"\x00%d 1\n" % counts[0] + tree + node
        world.index([(b"d/a", evil), (b"d/b", evil), (b"e", evil)], b"TREE" + struct.pack(">I", len(known)) + known)

    alone(
        tmp_path,
        shim,
        build,
        lines("diff --cached", "status", "commit -qm x", "reset -q", "reset -q --hard"),
    )


def test_a_path_that_is_very_deep(tmp_path: Path, shim: Path) -> None:
    def build(world: World) -> None:
        world.index([(b"a/" * 30_000 + b"f", world.blob(b"x"))])

    alone(
        tmp_path,
        shim,
        build,
        lines("status", "diff --cached --stat", "ls-files", "commit -qm x", "add -A"),
    )


def test_an_index_of_version_4_that_grows(tmp_path: Path, shim: Path) -> None:
    """Each path is the one before it and one letter more: 20 MB of paths for each of the 400."""

    def build(world: World) -> None:
        oid = bytes.fromhex(world.blob(b"x"))
        first = b"a" * 10_000_000
        body = b"DIRC" + struct.pack(">2I", 4, 401)
        head = struct.pack(">10I", *[0] * 6, 0o100644, 0, 0, 0) + oid + struct.pack(">H", 0xFFF)
        body += head + b"\0" + first + b"\0"
        for _ in range(400):
            body += head + b"\0a\0"
        (world.dot_git / "index").write_bytes(body + sha1(body).digest())

    alone(tmp_path, shim, build, lines("status", "ls-files -s", "commit -qm x"))


def alternates(text: str) -> Callable[[World], None]:
    return lambda world: (world.dot_git / "objects/info/alternates").write_text(
        text.format(objects=world.dot_git / "objects")
    )


def chain(world: World) -> None:
    """Through more repositories than git follows."""
    last = world.dot_git / "objects"
    for number in range(8):
        here = world.outside / f"chain{number}"
        (here / "info").mkdir(parents=True)
        (last / "info" / "alternates").write_text(f"{here}\n")
        last = here


ALTERNATES = {
    "itself": alternates("{objects}\n"),
    "itself again": alternates("../objects\n{objects}/../objects\n\n# no\n"),
    "nowhere": alternates("/nowhere/objects\n"),
    "quoted": alternates('"{objects}"\n'),
    "a file": alternates("{objects}/../HEAD\n"),
    "zero": alternates("/dev/zero\n"),
    "chain": chain,
}


@pytest.mark.parametrize("name", ALTERNATES)
def test_alternates_that_lead_nowhere(tmp_path: Path, shim: Path, name: str) -> None:
    alike(tmp_path, shim, ALTERNATES[name], [*LOOK, *CHANGE])


@pytest.mark.parametrize("size", [2047, 2048, 5000])
def test_attributes_in_long_lines(tmp_path: Path, shim: Path, size: int) -> None:
    """Git warns of lines of 2,048 bytes and more, and passes them over."""

    def build(world: World) -> None:
        world.write(".gitattributes", "*.txt -diff".ljust(size - 1) + "x\n")

    alike(tmp_path, shim, build, [*LOOK[:8], *CHANGE[:6]])


@pytest.mark.parametrize("name", ["a.txt", "new.txt", ".gitignore", "d/.gitignore"])
def test_files_that_are_too_large_to_hold(tmp_path: Path, shim: Path, name: str) -> None:
    def build(world: World) -> None:
        with (world.repo / name).open("wb") as file:
            file.truncate(1 << 40)

    alone(
        tmp_path,
        shim,
        build,
        lines("status -s", "diff", "diff --stat", "commit -qam x", "stash -q"),
    )
