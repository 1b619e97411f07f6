"""Types become known to msgspec in one thread at a time, wherever something is decoded into one."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import servicegroup
from servicegroup import decoding
from servicegroup.decoding import converted, decoder

SOURCE = Path(servicegroup.__file__).parent


class Inner(msgspec.Struct):
    number: int


class Outer(msgspec.Struct):
    inner: Inner


def test_a_type_becomes_known_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    is_alone: list[bool] = []
    make = msgspec.json.Decoder

    def watched(kind: type[object], *, strict: bool) -> object:
        is_alone.append(decoding._learning.locked())
        return make(kind, strict=strict)

    monkeypatch.setattr(msgspec.json, "Decoder", watched)
    assert converted({"inner": {"number": 1}}, Outer) == Outer(Inner(1))
    assert decoder(Outer).decode(b'{"inner":{"number":2}}') == Outer(Inner(2))
    assert is_alone == [True]
    assert not decoding._learning.locked()


FORKED_BY_C = """
import ctypes, os
from servicegroup.decoding import decoder
child = ctypes.CDLL(None).fork()
if child == 0:
    ctypes.pythonapi.PyOS_AfterFork_Child()
    decoder(int).decode(b"1")
    os._exit(0)
os._exit(os.waitpid(child, 0)[1])
"""
"""Forks as uWSGI does with `py-call-osafterfork`: Python is not told before it."""


def test_a_fork_that_python_is_told_of_afterwards_is_quiet() -> None:
    command = [sys.executable, "-c", FORKED_BY_C]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_may_decode() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0 if decoder(Outer).decode(b'{"inner":{"number":3}}').inner.number == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not decoding._learning.locked()


def test_numbers_may_be_text_where_that_is_wanted() -> None:
    assert decoder(Inner, strict=False).decode(b'{"number":"1"}') == Inner(1)
    assert converted({"number": "1"}, Inner, strict=False) == Inner(1)
    with pytest.raises(msgspec.ValidationError):
        decoder(Inner).decode(b'{"number":"1"}')


def test_nothing_is_decoded_into_a_type_in_another_way() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{call.lineno}"
        for path in SOURCE.rglob("*.py")
        if path != Path(decoding.__file__)
        for call in _decoding(path)
    ]
    assert found == []


def _decoding(path: Path) -> Iterator[ast.Call]:
    """Yield the calls by which msgspec decodes into a type."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            typed = len(node.args) > 1 or any(word.arg == "type" for word in node.keywords)
            if name.endswith(("json.Decoder", "msgspec.convert")) or (
                name.endswith("json.decode") and typed
            ):
                yield node
