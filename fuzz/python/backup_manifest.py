"""Fuzz the manifests of backups: run with libFuzzer's arguments, as tools/fuzz.py does.

Whatever the bytes are, they are refused by name or make a manifest that says the same when it is written again, leads
nowhere but into a store, and fits what reads it. No fuzzer guesses checksums, so each input is tried as it is and once
more with its checksum set right. Only the decoder is loaded: the package need not be built.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import atheris

PACKAGE = Path(__file__).resolve().parent.parent.parent / "python" / "pyi"
for name, directory in (("pyi", PACKAGE), ("pyi.backup", PACKAGE / "backup")):
    # Without what the packages themselves import: the built extension.
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [str(directory)]
with atheris.instrument_imports():
    from pyi.backup import manifest
    from pyi.errors import Corrupt, UnsupportedFormat

FILE = re.compile(r"(segments/[0-9a-f]{16}\.seg|refs/[0-9a-f]{16}\.log)")


def check(data: bytes) -> None:
    """Decode, and look at what was made of it."""
    try:
        found = manifest.decode(data, "here")
    except (Corrupt, UnsupportedFormat):
        return
    again = manifest.decode(found.encode(), "again")
    assert again == found, "written again it says something else"
    names = [file.name for file in found.files]
    assert len(set(names)) == len(names), f"a file twice: {names}"
    for file in found.files:
        assert FILE.fullmatch(file.name), file.name
        assert all(re.fullmatch(r"parts/[0-9a-f]{64}", part.name) for part in file.parts)
    numbers = [found.position, found.taken_ns, found.objects, found.bytes, *(file.bytes for file in found.files)]
    assert all(0 <= number < 1 << 64 for number in numbers), numbers
    assert re.fullmatch(r"manifests/[0-9a-f]{16}-[0-9a-f]{16}\.json", found.name), found.name


def one(data: bytes) -> None:
    """Try an input."""
    check(data)
    try:
        body = json.loads(data)
        body.pop("sha256", None)
        plain = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    except (ValueError, AttributeError, TypeError, RecursionError):
        return
    body["sha256"] = hashlib.sha256(plain).hexdigest()
    check(json.dumps(body).encode())


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
