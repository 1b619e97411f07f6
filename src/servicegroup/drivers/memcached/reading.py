"""Thousands of values of one memcached server in one question, read as they come.

The library takes four times as long, for it is made for a few: a look at a fleet is nearly nothing
but this.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import NoReturn

from pymemcache.client.base import Client
from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

_HEAD = re.compile(rb"VALUE (\S+) \d+ (\d{1,10})\r\n")
_LINE = re.compile(rb"(.*)\r\n")
_REFUSALS: dict[bytes, type[Exception]] = {
    b"CLIENT_ERROR ": MemcacheClientError,
    b"SERVER_ERROR ": MemcacheServerError,
}
_ENDS = (b"END", b"ERROR", *_REFUSALS)
_AT_ONCE = 256 * 1024
_LONGEST = 1024  # bytes of two lines of an answer about keys of ours, at the least


def read_many(client: Client, keys: Collection[str]) -> dict[str, bytes]:
    """Return the values of those of these keys that the server holds.

    ``client`` is connected, and of no use after an error. Raises what the library raises for any
    question: OSError, and its own errors for what the server says instead.
    """
    connection = client.sock
    if connection is None:
        raise MemcacheUnexpectedCloseError
    asked = set(keys)
    connection.sendall(b"get %b\r\n" % " ".join(keys).encode())
    answer = bytearray()
    while received := connection.recv(_AT_ONCE):
        answer += received
        if _may_be_all(answer) and (found := values_of(bytes(answer))) is not None:
            if found.keys() <= asked:
                return found
            _refuse(b"END")
    raise MemcacheUnexpectedCloseError


def _may_be_all(answer: bytearray) -> bool:
    """Tell whether the last line may end an answer: a value that was announced mostly does not."""
    *_, head, line, rest = (b"\r\n\r\n" + answer[-_LONGEST:]).split(b"\r\n")
    is_announced = head.startswith(b"VALUE ") or line.startswith(b"VALUE ")
    return not rest and (line.startswith(_ENDS) or not is_announced)


def values_of(answer: bytes) -> dict[str, bytes] | None:
    """Return the values that an answer has, None if it has not come to its end."""
    lines = answer.split(b"\r\n")
    heads, values = lines[:-2:2], lines[1:-2:2]
    if lines[-2] == b"END" and max(map(len, heads), default=0) <= _LONGEST:
        told = list(map(_head_of, heads))
        if [size for _, size in told] == list(map(len, values)):
            return dict(zip((key for key, _ in told), values, strict=True))
    return _read_through(answer)


def _read_through(answer: bytes) -> dict[str, bytes] | None:
    """Return the same of an answer in which a value has line feeds, or that is an error."""
    found, place = {}, 0
    while (head := _HEAD.match(answer, place)) is not None:
        begin, size = head.end(), int(head[2])
        if len(answer) < begin + size + 2:
            return None
        if not answer.startswith(b"\r\n", begin + size):
            _refuse(head[0])
        found[head[1].decode()] = answer[begin : begin + size]
        place = begin + size + 2
    if (line := _LINE.match(answer, place)) is None:
        return None
    if line[1] != b"END":
        _refuse(line[1])
    return found


@lru_cache(maxsize=131_072)  # mostly the keys that were found before
def _head_of(line: bytes) -> tuple[str, int]:
    """Return the key and the size that a line announces; what announces nothing has none.

    It may be a part of a value, and so anything.
    """
    head = _HEAD.fullmatch(line + b"\r\n")
    return (head[1].decode(), int(head[2])) if head and line.isascii() else ("", -1)


def _refuse(line: bytes) -> NoReturn:
    for words, kind in _REFUSALS.items():
        if line.startswith(words):
            raise kind(line.removeprefix(words))
    raise MemcacheUnknownError(line[:32])
