"""Thousands of values of one memcached server in one question, read as they come.

The library takes four times as long, for it is made for a few: a look at a fleet is nearly nothing
but this.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NoReturn

from pymemcache.client.base import Client
from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

_HEAD = re.compile(rb"VALUE (\S+) \d+ (\d+)\r\n")
_LINE = re.compile(rb"(.*)\r\n")
_REFUSALS: dict[bytes, type[Exception]] = {
    b"CLIENT_ERROR ": MemcacheClientError,
    b"SERVER_ERROR ": MemcacheServerError,
}
_AT_ONCE = 256 * 1024


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
    answer, place = bytearray(), 0
    found: dict[str, bytes] = {}
    while True:
        while (head := _HEAD.match(answer, place)) is not None:
            begin, size = head.end(), int(head[2])
            if len(answer) < begin + size + 2:
                break
            if not answer.startswith(b"\r\n", begin + size):
                _refuse(head[0])
            found[head[1].decode()] = bytes(answer[begin : begin + size])
            place = begin + size + 2
        if head is None and (line := _LINE.match(answer, place)) is not None:
            if line[1] == b"END" and found.keys() <= asked:
                return found
            _refuse(line[1])
        received = connection.recv(_AT_ONCE)
        if not received:
            raise MemcacheUnexpectedCloseError
        answer += received


def _refuse(line: bytes) -> NoReturn:
    for words, kind in _REFUSALS.items():
        if line.startswith(words):
            raise kind(line.removeprefix(words))
    raise MemcacheUnknownError(line[:32])
