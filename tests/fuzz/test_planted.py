"""What somebody plants in a backend raises nothing and changes nobody else's presence.

Whoever may write there can of course plant a member; all else is nothing, or UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import msgspec
import pymemcache
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from servers.memcached import Memcached
from servers.redis import Redis
from servicegroup.driver import Driver
from servicegroup.drivers.etcd import keys as etcd_keys
from servicegroup.drivers.memcached.driver import MemcachedDriver, member_key
from servicegroup.drivers.redis import RedisDriver
from servicegroup.drivers.redis.entries import parse_entry
from servicegroup.drivers.zookeeper.nodes import Node, parse
from servicegroup.drivers.zookeeper.view import View
from servicegroup.group import ServiceGroup
from servicegroup.liveness import judge
from servicegroup.messages import Report
from servicegroup.model import Limits, Member, Presence, PresenceState, Reason
from servicegroup.store import migrate
from servicegroup.store.database import connect
from servicegroup.store.store import Store

from .conftest import fuzzed, thoroughly

NEIGHBOUR = Member("planted", "neighbour")
NOBODY = Member("planted", "nobody\ufffd")
TTL = 60.0

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
numbers = st.integers(-1, 10**20).map(str) | st.sampled_from(
    ["007", "+1", "1_0", " 1", "\u0661", "1e3"]
)
hosts = (
    names
    | names.map(lambda name: quote(name, safe=""))
    | st.sampled_from(["%00", "%2", "..", "%C3"])
)
nodes = st.builds("{}@{}@{}".format, hosts, numbers, st.integers(0, 2**70).map("{:x}".format))
keys = st.builds("/servicegroups/{}/{}/{}".format, hosts, hosts, numbers).map(str.encode)


# -- ZooKeeper and etcd: names ---------------------------------------------------------------------


def held_of(view: View, host: str) -> Presence:
    """Return what the view says of a host."""
    (held,) = view.presences([host], 0.0, Presence(PresenceState.ABSENT))
    return held


@fuzzed
@given(st.lists(nodes | st.text(max_size=30)), st.booleans())
def test_a_node_counts_for_the_host_of_its_one_name_alone(planted: list[str], twice: bool) -> None:
    """ZK-1: were a node's name read in two ways, it could speak for another host."""
    own = Node(NEIGHBOUR.host, 7, 1)
    view = View(lambda _: None)
    view.list([*planted, own.name], 1)
    if twice:
        for node in filter(None, map(parse, planted)):
            view.change(node, exists=False)
    mine = {node for node in map(parse, planted) if node and node.host == NEIGHBOUR.host}
    assume(not mine)
    assert held_of(view, NEIGHBOUR.host).incarnations == {7}
    known = {node.host for node in map(parse, planted) if node and node.name in planted}
    assert set(view.hosts) == ({NEIGHBOUR.host} if twice else known | {NEIGHBOUR.host})


def test_thousands_of_lives_of_one_host_are_told_of_in_a_few_words() -> None:
    view = View(lambda _: None)
    view.list([Node("crowded", number, number).name for number in range(5_000)], 1)
    view.change(Node("crowded", 5_000, 1), exists=True)
    held = held_of(view, "crowded")
    assert len(held.incarnations) == 5_001
    assert held.detail == "session 0x1386, session 0x1387, session 0x1 and 4998 more"


@thoroughly
@given(keys | st.binary(max_size=40))
def test_a_key_is_nobody_s_or_exactly_its_own(name: bytes) -> None:
    key = etcd_keys.parse("/servicegroups", name)
    assert key is None or key.name("/servicegroups") == name


@thoroughly
@given(st.binary(max_size=40))
@example(b'{"x":' + b"[" * 100_000)
@example(b'{"ttl":' + b"9" * 5_000 + b"}")
@example(b'{"ttl":1e999}')
def test_a_key_s_value_is_a_time_to_live_or_nothing(value: bytes) -> None:
    ttl = etcd_keys.ttl_of(value)
    assert ttl is None or 0 < ttl <= 86_400


# -- Redis and memcached: what a server holds ------------------------------------------------------


def check(driver: Driver) -> None:
    """Check that the neighbour is present in its one life, nobody is not, and answers go out."""
    found = driver.presence({NEIGHBOUR, NOBODY})
    assert found[NEIGHBOUR].state is PresenceState.PRESENT
    assert found[NEIGHBOUR].incarnations == {7}
    assert found[NOBODY].state is not PresenceState.PRESENT
    assert msgspec.json.encode(found[NEIGHBOUR])


@pytest.fixture(scope="module")
def on_redis(redis_server: Redis) -> Iterator[RedisDriver]:
    """Give a driver."""
    driver = RedisDriver.from_options({"url": redis_server.url})
    yield driver
    driver.close()


entries = nodes.map(str.encode) | st.builds(
    lambda host, number: host + b"@" + number.encode(), st.binary(max_size=20), numbers
)


def is_for_another(entry: bytes) -> bool:
    """Tell whether an entry is for somebody else than those who are asked about."""
    return parse_entry(entry)[0] not in {NEIGHBOUR.host.encode(), NOBODY.host.encode()}


@fuzzed
@given(st.dictionaries(entries.filter(is_for_another), st.floats(allow_nan=False), min_size=1))
@example({NOBODY.host.encode("utf-16") + b"@1": 1e300, b"nobody\xff@1": float("inf")})
def test_entries_of_redis(on_redis: RedisDriver, planted: dict[bytes, float]) -> None:
    on_redis.heartbeat(NEIGHBOUR, 7, TTL)
    key = f"servicegroup:members:{NEIGHBOUR.group}"
    on_redis._redis.zadd(key, planted)
    try:
        check(on_redis)
    finally:
        on_redis._redis.delete(key)


@fuzzed
@given(st.sampled_from(["canary", "doubt", "members:another"]), st.binary(max_size=40))
@example("canary", b"9" * 15 + b" 1")
def test_other_keys_of_redis(on_redis: RedisDriver, name: str, value: bytes) -> None:
    on_redis.heartbeat(NEIGHBOUR, 7, TTL)
    on_redis._redis.set(f"servicegroup:{name}", value)
    check(on_redis)
    on_redis.heartbeat(NEIGHBOUR, 7, TTL)
    on_redis._redis.delete(f"servicegroup:{name}")


def test_thousands_of_lives_make_no_evidence_that_no_event_can_hold(
    on_redis: RedisDriver, tmp_path: Path
) -> None:
    """MariaDB's TEXT has 64 KiB: an event that is too long would be every look's end."""
    engine = connect(f"sqlite:///{tmp_path / 'r.sqlite'}")
    migrate.upgrade(engine)
    group = ServiceGroup(Store(engine), on_redis, Limits())
    life = group.join("crowded", "planted")
    group.report([Report(life.uuid, life.incarnation)])
    on_redis.heartbeat(Member("planted", "crowded"), life.incarnation, TTL)
    key = "servicegroup:members:planted"
    on_redis._redis.zadd(key, {f"crowded@{number}": 1e18 for number in range(100, 9_000)})
    try:
        service = group.get(life.uuid)
    finally:
        on_redis._redis.delete(key)
        engine.dispose()
    assert service.judged.reason is Reason.PRESENT
    assert judge(service.judged.evidence) == service.judged
    assert len(msgspec.json.encode(service.judged.evidence)) < 4096


@pytest.fixture(scope="module")
def on_memcached(memcached_server: Memcached) -> Iterator[MemcachedDriver]:
    """Give a driver."""
    driver = MemcachedDriver.from_options({"servers": memcached_server.address})
    yield driver
    driver.close()


values = st.binary(max_size=40) | st.builds(
    "{} {}".format, numbers, numbers | st.floats().map(str)
).map(str.encode)


@fuzzed
@given(st.sampled_from(["canary", "doubt", "another"]), values)
def test_keys_of_memcached(
    on_memcached: MemcachedDriver, memcached_server: Memcached, name: str, value: bytes
) -> None:
    another = Member(NEIGHBOUR.group, "another")
    key = member_key(another) if name == "another" else f"servicegroup:{name}"
    on_memcached.heartbeat(NEIGHBOUR, 7, TTL)
    with closing(pymemcache.Client(memcached_server.address)) as client:
        client.set(key, value, noreply=False)
        check(on_memcached)
        on_memcached.heartbeat(NEIGHBOUR, 7, TTL)
        assert msgspec.json.encode(on_memcached.presence({another})[another])
        client.delete(key, noreply=False)
