"""Frames that both ends of a session send and read, held against a library on the other end."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

from servicegroup.agent.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameError,
    Frames,
    TooLarge,
    frame,
    plain_frame,
)

SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 65_535, 65_536, 70_000]))


@given(st.sampled_from([TEXT, BINARY]), SIZES, st.binary(min_size=1, max_size=7))
def test_what_is_sent_is_read_by_the_library(opcode: int, size: int, pattern: bytes) -> None:
    payload = (pattern * (size // len(pattern) + 1))[:size]
    server = Protocol(SERVER, max_size=None)
    server.receive_data(frame(opcode, payload))
    assert server.events_received() == [Frame(Opcode(opcode), payload)]
    assert server.parser_exc is None


@given(st.lists(st.tuples(st.sampled_from([TEXT, PING, PONG]), st.binary(max_size=125))),
       st.integers(1, 50))  # fmt: skip
def test_what_the_library_sends_is_read_in_whatever_pieces(
    sent: list[tuple[int, bytes]], piece: int
) -> None:
    server = Protocol(SERVER)
    for opcode, payload in sent:
        server.send_frame(Frame(Opcode(opcode), payload))
    data = b"".join(server.data_to_send())
    frames = Frames(1000)
    found = [one for at in range(0, len(data), piece) for one in frames.feed(data[at : at + piece])]
    assert found == sent


@given(st.binary(max_size=400), st.integers(1, 9))
def test_a_message_in_pieces_is_whole_at_its_last_one(payload: bytes, pieces: int) -> None:
    server = Protocol(SERVER)
    step = len(payload) // pieces + 1
    parts = [payload[at : at + step] for at in range(0, len(payload), step)] or [b""]
    for number, part in enumerate(parts):
        opcode = Opcode.CONT if number else Opcode.TEXT
        server.send_frame(Frame(opcode, part, fin=number == len(parts) - 1))
        server.send_frame(Frame(Opcode.PING, b"between"))
    found = Frames(1000).feed(b"".join(server.data_to_send()))
    assert [one for one in found if one[0] == TEXT] == [(TEXT, payload)]
    assert found.count((PING, b"between")) == len(parts)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x85\0\0\0\0hello",  # masked, as a client's
        b"\xc1\x00",  # reserved bit
        b"\x83\x00",  # no such opcode
        b"\x89\x7e\x00\x7e" + b"x" * 126,  # a large ping
        b"\x09\x01x",  # a ping in pieces
        b"\x80\x01x",  # a continuation of nothing
        b"\x01\x01x\x81\x01y",  # two messages at once
        b"\x81\x7f" + struct.pack("!Q", 1 << 40),  # longer than anybody takes
        b"\x01\x7e\x03\x00" + b"x" * 768 + b"\x80\x7e\x03\x00",  # longer in pieces
    ],
)
def test_what_is_no_frame_of_a_server_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        Frames(1000).feed(data)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waited_for(data: bytes) -> None:
    with suppress(FrameError):
        for opcode, payload in Frames(1000).feed(data):
            assert opcode in (TEXT, BINARY, CLOSE, PING, PONG)
            assert len(payload) <= 1000


@given(st.lists(st.tuples(st.sampled_from([TEXT, BINARY, PING, PONG]), st.binary(max_size=125))),
       st.integers(1, 50))  # fmt: skip
def test_what_a_client_of_the_library_sends_is_read_in_whatever_pieces(
    sent: list[tuple[int, bytes]], piece: int
) -> None:
    client = Protocol(CLIENT)
    for opcode, payload in sent:
        client.send_frame(Frame(Opcode(opcode), payload))
    data = b"".join(client.data_to_send())
    frames = Frames(1000, of_client=True)
    found = [one for at in range(0, len(data), piece) for one in frames.feed(data[at : at + piece])]
    assert found == sent


@given(st.sampled_from([TEXT, BINARY]), SIZES, st.binary(min_size=1, max_size=7))
def test_what_a_server_sends_is_read_by_the_library(opcode: int, size: int, pattern: bytes) -> None:
    payload = (pattern * (size // len(pattern) + 1))[:size]
    client = Protocol(CLIENT, max_size=None)
    client.receive_data(plain_frame(opcode, payload))
    assert client.events_received() == [Frame(Opcode(opcode), payload)]
    assert client.parser_exc is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x05hello",  # not masked, as a server's
        b"\xc1\x80\0\0\0\0",  # reserved bit
        b"\x83\x80\0\0\0\0",  # no such opcode
        b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126,  # a large ping
        b"\x09\x81\0\0\0\0x",  # a ping in pieces
        b"\x80\x81\0\0\0\0x",  # a continuation of nothing
        b"\x01\x81\0\0\0\0x\x81\x81\0\0\0\0y",  # two messages at once
    ],
)
def test_what_is_no_frame_of_a_client_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        Frames(1000, of_client=True).feed(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\xff" + struct.pack("!Q", 1 << 40),
        b"\x01\xfe\x03\x00\0\0\0\0" + b"x" * 768 + b"\x80\xfe\x03\x00",
        b"\x81\xfe\x03\xe9",
    ],
    ids=["by its length", "in pieces", "by one byte"],
)
def test_a_message_that_is_too_large_is_refused_by_its_head(data: bytes) -> None:
    with pytest.raises(TooLarge):
        Frames(1000, of_client=True).feed(data)


@given(st.binary(max_size=200))
def test_garbage_of_a_client_is_refused_or_waited_for(data: bytes) -> None:
    with suppress(FrameError):
        for opcode, payload in Frames(1000, of_client=True).feed(data):
            assert opcode in (TEXT, BINARY, CLOSE, PING, PONG)
            assert len(payload) <= 1000


@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda head, size, rest: bytes((head, size)) + rest,
            st.integers(0x80, 0x8F), st.integers(0, 255), st.binary(max_size=300),
        ),
    ),
    st.booleans(), st.integers(0, 300),
)  # fmt: skip
def test_it_makes_no_difference_in_how_many_pieces_bytes_come(
    data: bytes, of_client: bool, most: int
) -> None:
    def read(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], str]:
        frames, found = Frames(most, of_client=of_client), list[tuple[int, bytes]]()
        try:
            for piece in pieces:
                found += frames.feed(piece)
        except FrameError as error:
            return [], str(error)
        return found, ""

    assert read([data]) == read([bytes((byte,)) for byte in data])


def test_a_client_of_the_library_is_no_server() -> None:
    client = Protocol(CLIENT)
    client.send_text(b"x")
    with pytest.raises(FrameError):
        Frames(1000).feed(b"".join(client.data_to_send()))
