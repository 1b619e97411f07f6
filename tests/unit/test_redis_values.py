"""What is read from Redis and from its configuration never raises the wrong thing."""

from __future__ import annotations

import contextlib
import math
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from servicegroup.drivers.redis import RedisDriver
from servicegroup.drivers.redis.causes import NoPrimary
from servicegroup.drivers.redis.cluster import Layout
from servicegroup.drivers.redis.entries import listed, parse_canary, parse_entry
from servicegroup.errors import ConfigError
from servicegroup.model import PresenceState

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


@given(st.binary() | st.from_regex(rb"[a-z@]*@[-+_ 0-9.e]*", fullmatch=True))
def test_a_planted_entry_never_raises(entry: bytes) -> None:
    host, incarnation = parse_entry(entry)
    assert entry.startswith(host)
    assert incarnation is None or isinstance(incarnation, int)


@given(names, st.integers(0, 2**63))
def test_an_entry_is_read_back(host: str, incarnation: int) -> None:
    assert parse_entry(f"{host}@{incarnation}".encode()) == (host.encode(), incarnation)


@given(st.binary() | st.from_regex(rb"[0-9]* ?[0-9]*", fullmatch=True))
def test_a_planted_canary_never_raises(value: bytes) -> None:
    ttl = parse_canary(value)
    assert ttl is None or ttl >= 0


words = st.none() | st.integers() | st.binary() | st.sampled_from([0, 16383, b"", b"?", b"host"])
answers = st.recursive(words, lambda parts: st.lists(parts, max_size=5), max_leaves=20)


@given(answers, st.lists(words, max_size=3))
def test_any_answer_of_a_cluster_is_read_or_refused(answer: object, server: list[object]) -> None:
    for shares in (answer, [[0, 16383, server]]):
        with contextlib.suppress(NoPrimary):
            layout = Layout(shares, "asked")
            assert all(host and isinstance(port, int) for host, port in layout.servers)
            assert layout.owner is None or layout.owner in layout.servers


def test_a_server_of_a_cluster_may_not_know_its_address() -> None:
    for unknown in (b"", b"?", None):
        layout = Layout([[0, 16383, [unknown, 7, b"id"], [b"other", 8, b"id"]]], "asked")
        assert layout.owner == ("asked", 7)
        assert layout.servers == [("asked", 7), ("other", 8)]


@settings(deadline=None)
@given(st.text())
def test_a_url_is_taken_or_refused(url: str) -> None:
    for text in (url, f"redis://{url}"):
        with contextlib.suppress(ConfigError):
            RedisDriver.from_options({"url": text}).close()


@settings(deadline=None)
@given(names, names)
def test_user_and_password_are_not_shared(user: str, password: str) -> None:
    user, password = (quote(f"~{part}~", safe="") for part in (user, password))
    driver = RedisDriver.from_options({"url": f"redis://{user}:{password}@host:1/0"})
    assert driver.shared_options()["url"] == "redis://host:1/0"
    theirs = f"sentinel_username={user}&sentinel_password={password}"
    url = f"redis+sentinel://{user}:{password}@host:1,host:2/name/0?{theirs}"
    driver = RedisDriver.from_options({"url": url})
    assert driver.shared_options()["url"] == "redis+sentinel://host:1,host:2/name/0"
    driver = RedisDriver.from_options({"url": f"redis+cluster://{user}:{password}@host:1,host:2"})
    assert driver.shared_options()["url"] == "redis+cluster://host:1,host:2"


def test_an_entry_without_an_end_is_present_where_nothing_bounds_it() -> None:
    """Whoever may write to the server can plant one, and no list may fail by it."""
    members = [b"own@2", b"60000", b"other@7", b"inf", b"own@1", b"inf"]
    found = listed(members, 1.0, math.inf, "").present
    assert {host: one.incarnations for host, one in found.items()} == {"own": {1, 2}, "other": {7}}
    found = listed(members, 1.0, 100.0, "").present
    assert found["own"].incarnations == {2}
    assert found["other"].state is PresenceState.UNKNOWN


def test_many_lives_of_one_host_are_one_answer() -> None:
    """Whoever may write to the server can plant thousands; they cost as much as so many hosts."""
    members = [part for n in range(50_000) for part in (b"own@%d" % n, b"60000")]
    found = listed([*members, b"x" * 1_000_000 + b"@1", b"60000"], 1.0, 100.0, "").present
    assert len(found["own"].incarnations) == 50_000
    assert len(found) == 2
