"""The frames of a WebSocket, as both ends of a session send and read them (RFC 6455, section 5).

A library for it costs a guest 8 to 13 MiB and more time to import than all of the agent, and a
control plane as much CPU a frame as all else that is done with it: see decision 0044.
"""

from __future__ import annotations

import os
import struct

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_CONTINUED = 0x0
_FIN, _RESERVED, _OPCODE, _MASKED, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F
_MOST_OF_CONTROL = 125


class FrameError(OSError):
    """What came is no frame of the other end; a connection cannot go on after it."""


class TooLarge(FrameError):
    """A message is larger than it may be."""


def frame(opcode: int, payload: bytes, key: bytes = b"") -> bytes:
    """Return one whole frame of a client, masked by ``key``, which is drawn if it is empty."""
    key = key or os.urandom(4)
    return _head(opcode, len(payload), _MASKED) + key + _masked(payload, key)


def plain_frame(opcode: int, payload: bytes) -> bytes:
    """Return one whole frame of a server, which masks nothing."""
    return _head(opcode, len(payload), 0) + payload


def _head(opcode: int, size: int, masked: int) -> bytes:
    if size < 126:
        return bytes((_FIN | opcode, masked | size))
    if size < 65_536:
        return struct.pack("!BBH", _FIN | opcode, masked | 126, size)
    return struct.pack("!BBQ", _FIN | opcode, masked | 127, size)


def _masked(payload: bytes, key: bytes) -> bytes:
    """Return the payload with each byte changed by the key's in turn."""
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return mixed.to_bytes(size, "big")


class Frames:
    """Reads the frames of one end, in whatever pieces they come."""

    __slots__ = ("_data", "_key_size", "_kind", "_mask", "_message", "_most")

    def __init__(self, most: int, *, of_client: bool = False) -> None:
        """Take messages of ``most`` bytes at the most, of a client or of a server."""
        self._most = most
        self._mask, self._key_size = (_MASKED, 4) if of_client else (0, 0)
        self._data = bytearray()
        self._message = bytearray()
        self._kind: int | None = None

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return opcode and payload of what is whole by now. Raises FrameError."""
        if self._is_one_small_frame(data):  # as nearly always, which costs a third less
            start = 2 + self._key_size
            payload = data[start:]
            return [(data[0] & _OPCODE, _masked(payload, data[2:start]) if self._mask else payload)]
        self._data += data
        found: list[tuple[int, bytes]] = []
        while (one := self._next()) is not None:
            opcode, is_last, payload = one
            if opcode >= CLOSE:
                found.append((opcode, payload))
            elif (whole := self._joined(opcode, is_last, payload)) is not None:
                found.append(whole)
        return found

    def _is_one_small_frame(self, data: bytes) -> bool:
        """Tell whether this is a whole message or a control frame, with nothing before or after."""
        if self._data or self._kind is not None:
            return False
        size = len(data) - 2 - self._key_size
        is_small = 0 <= size <= min(_MOST_OF_CONTROL, self._most)
        return is_small and data[1] == self._mask + size and data[0] in _ALONE

    def _next(self) -> tuple[int, bool, bytes] | None:
        """Take one frame off what came, None while it is not whole."""
        data = self._data
        if len(data) < 2:
            return None
        first, second = data[0], data[1]
        opcode, size, start = first & _OPCODE, second & _LENGTH, 2
        if first & _RESERVED or second & _MASKED != self._mask or opcode not in _KNOWN:
            raise FrameError("it sent what is no frame of its end")
        if opcode >= CLOSE and (size > _MOST_OF_CONTROL or not first & _FIN):
            raise FrameError("it sent a control frame that is too large, or in pieces")
        if size > _MOST_OF_CONTROL:
            start, form = (4, "!H") if size == 126 else (10, "!Q")
            if len(data) < start:
                return None
            (size,) = struct.unpack_from(form, data, 2)
        if size + len(self._message) > self._most:
            raise TooLarge(f"it sent a message of more than {self._most} bytes")
        key_at, start = start, start + self._key_size
        if len(data) < start + size:
            return None
        payload = bytes(data[start : start + size])
        if self._mask:
            payload = _masked(payload, bytes(data[key_at:start]))
        del data[: start + size]
        return opcode, bool(first & _FIN), payload

    def _joined(self, opcode: int, is_last: bool, payload: bytes) -> tuple[int, bytes] | None:
        """Return a message with its last piece, None before that."""
        if (opcode == _CONTINUED) == (self._kind is None):
            raise FrameError("it sent pieces of messages out of order")
        if is_last and self._kind is None:
            return opcode, payload
        self._kind = opcode if self._kind is None else self._kind
        self._message += payload
        if not is_last:
            return None
        whole = (self._kind, bytes(self._message))
        self._kind = None
        self._message.clear()
        return whole


_WHOLE = frozenset({TEXT, BINARY, CLOSE, PING, PONG})
_ALONE = frozenset(_FIN | opcode for opcode in _WHOLE)
_KNOWN = _WHOLE | {_CONTINUED}
