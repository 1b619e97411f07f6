"""Driver redis on clusters of a few masters: one slot, which moves, is lost, or is not allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from drivers.redis_members import CROWD, beat, settle
from servers.certificates import Authority
from servers.process import LOOPBACK, free_port
from servers.redis import Redis, RedisSentinel
from servers.redis_cluster import RedisCluster, move_slot
from servicegroup.drivers.redis import RedisDriver
from servicegroup.drivers.redis.keys import IN_ONE_SLOT, SLOT
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, PresenceState
from servicegroup.testing import RefusalContract
from servicegroup.testing.harness import states
from support.waiting import until

Handles = Callable[[str], RedisDriver]
Clusters = Callable[..., RedisCluster]

PRESENT, ABSENT, UNKNOWN = PresenceState.PRESENT, PresenceState.ABSENT, PresenceState.UNKNOWN

SECRET = "s3cret-of-redis"
RIGHTS = (
    "~servicegroup:* +@read +@write +@scripting +@transaction +@connection +info +time"
    " +cluster|slots +cluster|info"
)
"""What the documentation says a user needs."""


def moving(cluster: RedisCluster) -> tuple[Redis, Redis, Iterator[str]]:
    """Return who serves the slot, who is to, and the steps of the move."""
    source = until(lambda: cluster.owner(SLOT))
    target = next(server for server in cluster.servers if server is not source)
    return source, target, move_slot(SLOT, source, target)


@pytest.mark.parametrize("group", ["compute", "{other}", "}{", "{}", "a{b", ""])
def test_every_key_is_in_one_slot(group: str) -> None:
    found = [IN_ONE_SLOT.group(group), *IN_ONE_SLOT.marks, *IN_ONE_SLOT.proof]
    assert {key_slot(key.encode()) for key in found} == {SLOT}
    assert all(key.startswith("servicegroup:") for key in found)


def test_all_groups_cost_one_question(own_redis_cluster: Clusters, redis_at: Handles) -> None:
    cluster = own_redis_cluster(1, 0)
    observer = redis_at(cluster.url)
    members = [CROWD[0], *(Member(f"group-{number}", "host") for number in range(50))]

    def is_sure() -> bool:
        observer.heartbeat(CROWD[0], 1, 2)
        return observer.presence(members)[members[1]].state is PresenceState.ABSENT

    def asked() -> dict[bytes, int]:
        found = re.findall(
            rb"cmdstat_(\S+):calls=(\d+)", cluster.servers[0].tell("INFO commandstats")
        )
        return {name: int(calls) for name, calls in found}

    until(is_sure, 30, what="no doubt is left, in which all servers are asked who serves the slot")
    before = asked()
    answers = observer.presence(members)
    after = asked()
    assert answers[CROWD[0]].state is PRESENT
    # Who serves the slot is asked of all, whether they agree, and then of one who speaks for most.
    assert {name: after[name] - before[name] for name in (b"exec", b"cluster|slots")} == {
        b"exec": 1,
        b"cluster|slots": 2,
    }


def test_a_slot_that_is_moved_is_unknown_until_it_is(
    own_redis_cluster: Clusters, redis_at: Handles
) -> None:
    """Half of its keys are elsewhere, then all (ASK), then the slot is too (MOVED)."""
    cluster = own_redis_cluster(3, 0)
    agent, observer = redis_at(cluster.url), redis_at(cluster.url)
    settle(agent, observer)
    beat(agent)
    source, target, steps = moving(cluster)
    said = {"announced": "another server: Multiple keys", "empty": f"to {LOOPBACK}:{target.port}"}
    for step in ("announced", "empty"):
        assert next(steps) == step
        with pytest.raises(DriverUnavailable, match="slot") as refusal:
            agent.heartbeat(CROWD[0], 1, 30)
        assert said[step] in str(refusal.value)
        answers = observer.presence(CROWD)
        assert states(answers) == {UNKNOWN}
        assert said[step] in answers[CROWD[0]].detail
    assert next(steps) == "moved"
    assert states(observer.presence(CROWD)) == {PRESENT}
    stranger = Member("compute", "stranger")
    assert observer.presence([stranger])[stranger].state is UNKNOWN  # a server of which it is new
    agent.leave(CROWD[0])
    agent.leave(CROWD[1], 1)
    assert states(observer.presence(CROWD[2:])) == {PRESENT}
    assert PRESENT not in states(observer.presence(CROWD[:2]))
    assert b":0" in source.tell("DBSIZE")


def test_a_heartbeat_waits_while_its_slot_is_moved(
    own_redis_cluster: Clusters, redis_at: Handles
) -> None:
    cluster = own_redis_cluster(2, 0)
    agent, observer = redis_at(cluster.url), redis_at(cluster.url)
    settle(agent, observer)
    beat(agent)
    source, _, steps = moving(cluster)
    next(steps)
    with ThreadPoolExecutor() as pool:
        answers = pool.submit(observer.presence, CROWD)
        heartbeat = pool.submit(agent.heartbeat, CROWD[0], 2, 30)
        until(lambda: _refused(source, b"TRYAGAIN") >= 2, 1, 0.01, "both are refused once")
        assert list(steps) == ["empty", "moved"]
        assert heartbeat.exception() is None
        assert states(answers.result()) == {PRESENT}
    assert observer.presence(CROWD)[CROWD[0]].incarnations == {1, 2}


def _refused(server: Redis, word: bytes) -> int:
    found = re.search(rb"errorstat_%b:count=(\d+)" % word, server.tell("INFO errorstats"))
    return int(found[1]) if found else 0


@pytest.mark.parametrize("slot", [SLOT, SLOT - 1])
def test_a_cluster_that_is_down_is_unknown_with_its_words(
    slot: int, own_redis_cluster: Clusters, redis_at: Handles
) -> None:
    """Nobody serves the members' slot, or another one that the cluster wants served."""
    cluster = own_redis_cluster(1, 0)
    agent, observer = redis_at(cluster.url), redis_at(cluster.url)
    settle(agent, observer)
    server = cluster.servers[0]
    server.tell(f"CLUSTER DELSLOTS {slot}")
    until(lambda: b"cluster_state:fail" in server.tell("CLUSTER INFO"))
    answers = observer.presence(CROWD)
    assert states(answers) == {UNKNOWN}
    words = f"no master serves the members' slot {SLOT}" if slot == SLOT else "CLUSTERDOWN "
    assert words in answers[CROWD[0]].detail
    assert "Command #" not in answers[CROWD[0]].detail
    assert "see CLUSTER INFO" in answers[CROWD[0]].detail
    with pytest.raises(DriverUnavailable, match=r"CLUSTERDOWN .*see CLUSTER INFO"):
        agent.heartbeat(CROWD[0], 1, 30)
    for call in (observer.warnings, lambda: observer.prove(CROWD[0])):
        with pytest.raises(DriverUnavailable, match="see CLUSTER INFO"):
            call()
    server.tell(f"CLUSTER ADDSLOTS {slot}")
    until(lambda: b"cluster_state:ok" in server.tell("CLUSTER INFO"))
    beat(agent)
    assert states(observer.presence(CROWD)) == {PRESENT}


def test_servers_that_the_url_does_not_name_are_found(
    own_redis_cluster: Clusters, redis_at: Handles
) -> None:
    """All that it names are gone; another handle, which starts after that, has to be told."""
    cluster = own_redis_cluster(1, 1)
    (master,), (replica,) = cluster.masters, cluster.replicas
    url = f"redis+cluster://{replica.address}"
    agent = redis_at(url)
    beat(agent)
    replica.kill()
    beat(agent)
    assert states(agent.presence(CROWD)) == {PRESENT}
    with pytest.raises(DriverUnavailable, match="refused"):
        redis_at(url).heartbeat(CROWD[0], 1, 30)
    beat(redis_at(f"{url},{master.address}"))


def test_a_user_needs_what_the_documentation_says(
    own_redis_cluster: Clusters, redis_at: Handles
) -> None:
    cluster = own_redis_cluster(1, 0)
    server = cluster.servers[0]
    assert server.tell(f"ACL SETUSER allowed on >{SECRET} {RIGHTS}") == b"+OK\r\n"
    few = RIGHTS.partition("+cluster")[0]
    assert server.tell(f"ACL SETUSER few on >{SECRET} {few}") == b"+OK\r\n"
    assert server.tell("ACL SETUSER default off") == b"+OK\r\n"
    allowed = redis_at(f"redis+cluster://allowed:{SECRET}@{server.address}")
    beat(allowed)
    assert states(allowed.presence(CROWD)) == {PRESENT}
    assert allowed.warnings() == []
    allowed.leave(CROWD[0])
    assert allowed.shared_options()["url"] == f"redis+cluster://{server.address}"
    for login, words in ((f"few:{SECRET}@", "no permissions"), ("", "Auth"), (":s3cret-no@", "")):
        refused = redis_at(f"redis+cluster://{login}{server.address}")
        answer = refused.presence(CROWD)[CROWD[0]]
        assert answer.state is UNKNOWN
        with pytest.raises(DriverUnavailable) as raised:
            refused.heartbeat(CROWD[0], 1, 30)
        for text in (answer.detail, str(raised.value)):
            assert words in text
            assert "s3cret" not in text


def test_a_cluster_with_tls(own_redis_cluster: Clusters, redis_at: Handles, tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), free_port()
    pair = authority.sign(LOOPBACK)
    files = ["--tls-cert-file", str(pair.cert), "--tls-key-file", str(pair.key)]
    files += ["--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "no"]
    own_redis_cluster(1, 0, [*files, "--tls-port", str(port), "--tls-cluster", "yes"])
    url = f"rediss+cluster://{LOOPBACK}:{port}"
    trusting = redis_at(f"{url}?ssl_ca_certs={authority.file}")
    beat(trusting)
    assert states(trusting.presence(CROWD)) == {PRESENT}
    with pytest.raises(DriverUnavailable, match="certificate"):
        redis_at(url).heartbeat(CROWD[0], 1, 30)


def test_servers_that_are_in_no_cluster_are_refused(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    server = own_redis()
    with RedisSentinel(server, quorum=1) as sentinel:
        for address, words in (
            (server.address, "write redis://host:port"),
            (sentinel.address, r"write redis\+sentinel://"),
        ):
            driver = redis_at(f"redis+cluster://{address}")
            with pytest.raises(DriverUnavailable, match=words):
                driver.heartbeat(CROWD[0], 1, 30)
            assert states(driver.presence(CROWD)) == {UNKNOWN}


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://host,",
        "redis+cluster://host:port",
        "redis+cluster://host:0",
        "redis+cluster://:s3/cret@host",
        "redis+cluster://:s3cret@host/1",
        "redis+cluster://:s3cret@host?db=1",
        "redis+cluster://:s3cret@host/mymaster",
        "redis+cluster://:s3cret@host?colour=blue",
        "valkey+cluster://:s3cret@host?ssl_ca_certs=file",
        "redis+clusters://:s3cret@host",
    ],
)
def test_what_leads_to_no_cluster_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\+cluster://.*host:port,host:port") as raised:
        RedisDriver.from_options({"url": url})
    assert "cret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_agents_are_told_where_without_secrets(scheme: str) -> None:
    for kind, file in (("", ""), ("s", "ssl_keyfile=%2Fkey&ssl_password=word&")):
        url = f"{scheme}{kind}+cluster://user:word@[::1]:1,host/0?{file}password=word"
        shared = RedisDriver.from_options({"url": url}).shared_options()["url"]
        assert shared.startswith(f"{scheme}{kind}+cluster://[::1]:1,host/0")
        assert "word" not in shared


@pytest.mark.long
class TestRedisClusterWithoutReplicas(RefusalContract):
    """F-1: its masters want a replica before they take a write."""

    driver = RedisDriver

    class _Wanting:
        words = "Not enough good replicas to write"

        def __init__(self, cluster: RedisCluster) -> None:
            self.cluster = cluster

        def refuse(self) -> None:
            self._want(1)

        def accept(self) -> None:
            self._want(0)

        def _want(self, replicas: int) -> None:
            for server in self.cluster.servers:
                server.tell(f"CONFIG SET min-replicas-to-write {replicas}")

    @pytest.fixture
    def refusing(self, own_redis_cluster: Clusters) -> Any:
        return self._Wanting(own_redis_cluster(2, 0))

    @pytest.fixture
    def options(self, refusing: Any) -> dict[str, Any]:
        return {"url": refusing.cluster.url}
