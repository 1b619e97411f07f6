"""Many values in one question are what the library finds one by one, whatever they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError, MemcacheUnexpectedCloseError

from servers.memcached import Memcached
from servicegroup.drivers.memcached.reading import read_many, values_of

STRANGE = {
    "empty": b"",
    "a line": b"1 10\r\n",
    "the end": b"END\r\n",
    "another one": b"\r\nVALUE other 0 2\r\n1 \r\nEND\r\n",
    "a refusal": b"SERVER_ERROR out of memory\r\n",
    "bytes": bytes(range(256)),
    "a head of no text": b"x\r\nVALUE \xff 0 1",
    "a head of no number": b"x\r\nVALUE a 0 " + b"9" * 5_000,
    "a long head": b"x\r\nVALUE " + b"a" * 5_000 + b" 0 1",
    "a head": b"VALUE x 0 1",
    "large": b"x" * 900_000,
}
"""What whoever may write to a server could plant."""


@pytest.fixture
def client(memcached_server: Memcached) -> Iterator[Client]:
    client = Client(("127.0.0.1", memcached_server.port), timeout=5)
    client.version()
    yield client
    client.close()


def test_values_are_read_whatever_is_in_them(client: Client) -> None:
    planted = {f"reading:{n}": value for n, value in enumerate(STRANGE.values())}
    client.set_many(planted, noreply=False)
    asked = ["reading:missing", *planted, "reading:missing-too"]
    assert read_many(client, asked) == client.get_many(asked) == planted
    assert read_many(client, ["reading:missing"]) == {}
    for key, value in planted.items():
        assert read_many(client, [key]) == {key: value}, "it is the last one of its answer"
    assert read_many(client, asked) == planted, "nothing is left of the answer before"
    client.delete_many(asked, noreply=False)


values = st.one_of(st.sampled_from(list(STRANGE.values())[:-1]), st.binary(max_size=20))


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), values, max_size=5))
def test_an_answer_is_whole_at_its_end_and_not_before(held: dict[str, bytes]) -> None:
    """It comes in pieces, and a value may have whatever ends an answer."""
    told = (b"VALUE %b 0 %d\r\n%b\r\n" % (key.encode(), len(v), v) for key, v in held.items())
    answer = b"".join([*told, b"END\r\n"])
    assert values_of(answer) == held
    ends = (end + 2 for end in range(len(answer) - 2) if answer.startswith(b"\r\n", end))
    assert [end for end in ends if values_of(answer[:end]) is not None] == []


def test_a_fleet_is_read_in_one_question(client: Client) -> None:
    fleet = {f"reading:host-{n}": b"%d 10" % n for n in range(20_000)}
    client.set_many(fleet, noreply=False)
    assert read_many(client, list(fleet)) == fleet
    client.delete_many(fleet, noreply=False)


def test_what_a_server_says_instead_is_an_error_of_the_library(client: Client) -> None:
    with pytest.raises(MemcacheClientError):
        read_many(client, ["k" * 300])


def test_a_server_that_ends_meanwhile_is_an_error(memcached_server: Memcached) -> None:
    with Memcached() as server:
        client = Client(("127.0.0.1", server.port), timeout=5)
        client.version()
        server.kill()
        with pytest.raises((MemcacheUnexpectedCloseError, ConnectionError)):
            read_many(client, ["one"])
        client.close()
        with pytest.raises(MemcacheUnexpectedCloseError):
            read_many(client, ["one"])
