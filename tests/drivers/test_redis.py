"""Driver ``redis`` on real servers: the contract, and what a missing entry is worth."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from drivers.redis_members import CROWD, beat, settle
from servers.process import LOOPBACK, ask, free_port
from servers.redis import Redis
from servicegroup.drivers.redis import RedisDriver
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, PresenceState
from servicegroup.testing import DriverContract
from servicegroup.testing.harness import states
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handles = Callable[..., RedisDriver]

PRESENT, ABSENT, UNKNOWN = PresenceState.PRESENT, PresenceState.ABSENT, PresenceState.UNKNOWN


class Emptiable:
    """A server that forgets on request."""

    def __init__(self, server: Redis) -> None:
        self.server = server
        self.freeze, self.thaw, self.restart = server.freeze, server.thaw, server.restart

    def empty(self) -> None:
        assert ask(self.server.port, b"FLUSHALL\r\n", b"\r\n") == b"+OK\r\n"


class TestRedis(DriverContract):
    driver = RedisDriver

    @pytest.fixture
    def backend(self, redis_server: Redis) -> Emptiable:
        return Emptiable(redis_server)

    @pytest.fixture
    def options(self, backend: Emptiable) -> dict[str, Any]:
        return {"url": backend.server.url}

    @pytest.fixture
    def nowhere(self) -> dict[str, Any]:
        return {"url": f"redis://{LOOPBACK}:{free_port()}/0"}


@pytest.fixture(scope="module")
def forgetful(redis_server: Redis) -> Iterator[Redis]:
    """A server that keeps nothing across a restart."""
    with Redis(["--appendonly", "no"]) as server:
        yield server


@pytest.mark.long
class TestForgetfulRedis(TestRedis):
    @pytest.fixture
    def backend(self, forgetful: Redis) -> Emptiable:
        return Emptiable(forgetful)


def test_every_living_incarnation_is_told(redis_server: Redis, redis_at: Handles) -> None:
    agent, member = redis_at(redis_server.url), Member("both", "host")
    agent.heartbeat(member, 1, 30)
    agent.heartbeat(member, 2, 30)
    answer = agent.presence([member])[member]
    assert answer.incarnations == {1, 2}
    assert "expires in " in answer.detail


def expiring(server: Redis, redis_at: Handles, **options: Any) -> RedisDriver:
    """Let everybody be present for one more second; return who beats for them."""
    agent = redis_at(server.url, **options)
    settle(agent, redis_at(server.url))
    beat(agent, 1)
    return agent


def pass_time(seconds: float) -> None:
    """Wait for what ends by itself after so many seconds."""
    over = time.monotonic() + seconds
    until(lambda: time.monotonic() > over)


def is_unknown_at_first(server: Redis, redis_at: Handles) -> None:
    """Check that observers that start now do not know, and believe the server's word later."""
    assert states(redis_at(server.url).presence(CROWD)) == {UNKNOWN}
    until(lambda: states(redis_at(server.url).presence(CROWD)) == {ABSENT})


@pytest.mark.long
def test_a_restart_with_old_data_is_seen_by_an_observer_that_starts_after_it(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    server = own_redis()
    expiring(server, redis_at)
    server.stop()
    pass_time(1.5)
    server.start()
    is_unknown_at_first(server, redis_at)


def test_a_loss_is_seen_by_an_observer_that_starts_after_it(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    server = own_redis()
    agent = expiring(server, redis_at)
    server.tell("FLUSHALL")
    assert states(redis_at(server.url).presence(CROWD)) == {UNKNOWN}
    agent.heartbeat(CROWD[0], 1, 1)
    answers = redis_at(server.url).presence(CROWD)
    assert answers.pop(CROWD[0]).state is PRESENT
    assert states(answers) == {UNKNOWN}
    until(lambda: states(redis_at(server.url).presence(CROWD)) == {ABSENT})


def test_a_long_freeze_is_seen_by_an_observer_that_starts_after_it(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    server = own_redis()
    agent = expiring(server, redis_at, answer_timeout=0.2)
    server.freeze()
    expired = time.monotonic() + 1.5
    while time.monotonic() < expired:
        with pytest.raises(DriverUnavailable):
            agent.heartbeat(CROWD[0], 1, 1)
    server.thaw()
    agent.heartbeat(CROWD[0], 1, 1)
    answers = redis_at(server.url).presence(CROWD)
    assert answers.pop(CROWD[0]).state is PRESENT
    assert states(answers) == {UNKNOWN}


def test_a_replica_is_not_believed(own_redis: Callable[..., Redis], redis_at: Handles) -> None:
    """RD-4."""
    primary = own_redis()
    replica = own_redis(["--replicaof", f"{LOOPBACK} {primary.port}"])
    beat(redis_at(primary.url))
    handle = redis_at(replica.url)
    until(lambda: b"host-0" in replica.tell("ZRANGE servicegroup:members:compute 0 -1"))
    answers = handle.presence(CROWD)
    assert states(answers) == {UNKNOWN}
    assert "replica" in answers[CROWD[0]].detail
    with pytest.raises(DriverUnavailable, match="read only replica"):
        handle.heartbeat(CROWD[0], 1, 1)
    with pytest.raises(DriverUnavailable, match="read only replica"):
        handle.leave(CROWD[0], 1)


@pytest.mark.long
def test_a_replaced_primary_has_a_time_to_live_of_grace(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """RD-5: what was written last is not on the promoted replica."""
    primary = own_redis()
    replica = own_redis(["--replicaof", f"{LOOPBACK} {primary.port}"])
    agent, observer = redis_at(primary.url), redis_at(primary.url)
    beat(agent, 1)
    until(lambda: b"master_link_status:up" in replica.tell("INFO replication"))
    assert replica.tell("REPLICAOF NO ONE") == b"+OK\r\n"
    settle(redis_at(replica.url), redis_at(replica.url))
    settle(agent, observer)
    beat(agent, 30)
    assert states(observer.presence(CROWD)) == {PRESENT}
    primary.kill()
    assert replica.tell(f"CONFIG SET port {primary.port}") == b"+OK\r\n"
    assert states(observer.presence(CROWD)) == {UNKNOWN}
    until(lambda: states(observer.presence(CROWD)) == {ABSENT})
    beat(agent)
    assert states(observer.presence(CROWD)) == {PRESENT}


def test_an_entry_of_a_clock_that_is_ahead_is_never_present(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """F-20: a replica whose clock is 20 s behind was promoted, and holds what its primary wrote."""
    server = own_redis()
    agent, observer = redis_at(server.url), redis_at(server.url)
    settle(agent, observer)
    ahead = 1000 * (int(re.findall(rb"\d{9,}", server.tell("TIME"))[0]) + 20)
    server.tell(f"SET servicegroup:canary '2000 {ahead}'")
    server.tell(f"ZADD servicegroup:members:compute {ahead + 2000} host-0@1")
    answer = observer.presence(CROWD)[CROWD[0]]
    assert answer.state is UNKNOWN
    assert "by another server's clock" in answer.detail
    agent.heartbeat(CROWD[1], 1, 2)
    for handle in (observer, redis_at(server.url)):
        answers = handle.presence(CROWD)
        assert answers.pop(CROWD[1]).state is PRESENT
        assert states(answers) == {UNKNOWN}
    until(lambda: states(observer.presence(CROWD)) == {ABSENT})


def test_members_with_several_times_to_live_are_of_one_clock(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """F-20: as while membership_ttl is changed; the longest one in use is the limit."""
    agent = redis_at(own_redis().url)
    agent.heartbeat(CROWD[0], 1, 30)
    agent.heartbeat(CROWD[1], 1, 2)
    agent.heartbeat(CROWD[1], 1, 2)
    assert states(agent.presence(CROWD[:2])) == {PRESENT}


@pytest.mark.long
def test_a_stale_replica_accuses_nobody_at_the_first_look(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """F-21: it was promoted with entries that expired meanwhile, and the observer is new."""
    primary = own_redis()
    replica = own_redis(["--replicaof", f"{LOOPBACK} {primary.port}"])
    agent = redis_at(primary.url)
    settle(agent, redis_at(primary.url))
    beat(agent, 1)
    redis_at(primary.url).presence(CROWD)
    until(lambda: b"host-19" in replica.tell("ZRANGE servicegroup:members:compute 0 -1"))
    assert replica.tell("REPLICAOF NO ONE") == b"+OK\r\n"
    pass_time(2.5)
    for _ in range(2):
        assert states(redis_at(replica.url).presence(CROWD)) == {UNKNOWN}
    until(lambda: states(redis_at(replica.url).presence(CROWD)) == {ABSENT})


def test_a_promoted_replica_lacks_what_was_written_last(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """F-21: its entries are fresh, but one that was acknowledged is not among them."""
    primary = own_redis()
    replica = own_redis(["--replicaof", f"{LOOPBACK} {primary.port}"])
    agent, late = redis_at(primary.url), Member("compute", "late")
    settle(agent, redis_at(primary.url))
    beat(agent, 3)
    until(lambda: redis_at(primary.url).presence([late])[late].state is ABSENT)
    beat(agent, 3)
    until(lambda: b"host-19" in replica.tell("ZRANGE servicegroup:members:compute 0 -1"))
    assert replica.tell("REPLICAOF NO ONE") == b"+OK\r\n"
    agent.heartbeat(late, 1, 3)
    observer = redis_at(replica.url)
    assert observer.presence([late])[late].state is UNKNOWN
    beat(redis_at(replica.url), 3)
    assert states(observer.presence(CROWD)) == {PRESENT}
    until(lambda: observer.presence([late])[late].state is ABSENT)


@pytest.mark.long
def test_a_server_that_was_away_accuses_nobody_at_the_first_look(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """Nobody wrote to it or looked while everybody expired; the observer is new."""
    server = own_redis()
    expiring(server, redis_at)
    server.freeze()
    pass_time(2.5)
    server.thaw()
    is_unknown_at_first(server, redis_at)


def test_absence_is_believed_only_while_presence_can_be_written(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """F-1: living members expire while their heartbeats are refused, and reading goes on."""
    server = own_redis()
    agent, observer = redis_at(server.url), redis_at(server.url)
    settle(agent, observer)
    beat(agent, 1)
    server.tell("CONFIG SET min-replicas-to-write 1")
    with pytest.raises(DriverUnavailable, match="Not enough good replicas to write"):
        agent.heartbeat(CROWD[0], 1, 1)
    with pytest.raises(DriverUnavailable, match="Not enough good replicas to write"):
        observer.warnings()
    expired = time.monotonic() + 1.5
    seen: set[PresenceState] = set()
    while time.monotonic() < expired:
        answers = observer.presence(CROWD)
        seen |= states(answers)
    assert seen == {PRESENT, UNKNOWN}
    assert "Not enough good replicas to write" in answers[CROWD[0]].detail
    server.tell("CONFIG SET min-replicas-to-write 0")
    assert states(observer.presence(CROWD)) == {UNKNOWN}
    until(lambda: states(observer.presence(CROWD)) == {ABSENT})


def test_a_replica_that_lost_its_primary_says_so(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """RD-4: it is no part of a cluster, though its refusal is of the same kind."""
    primary = own_redis()
    stale = ["--replica-serve-stale-data", "no", "--replica-read-only", "no"]
    replica = own_redis(["--replicaof", f"{LOOPBACK} {primary.port}", *stale])
    primary.kill()
    until(lambda: b"master_link_status:down" in replica.tell("INFO replication"))
    answer = redis_at(replica.url).presence(CROWD)[CROWD[0]]
    assert answer.state is UNKNOWN
    assert "Link with MASTER is down" in answer.detail
    assert "\n" not in answer.detail


def test_a_server_that_evicts_is_not_believed(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """RD-6: even if of all keys the canary was not evicted."""
    server = own_redis(["--maxmemory", "3mb", "--maxmemory-policy", "volatile-random"])
    agent, observer = redis_at(server.url), redis_at(server.url)
    settle(agent, observer)
    beat(agent)
    assert states(observer.presence(CROWD)) == {PRESENT}
    script = "for i = 1, 20000 do redis.call('SET', KEYS[1] .. i, i, 'EX', 999) end"
    while b"evicted_keys:0" in server.tell("INFO stats"):
        server.tell(f'EVAL "{script}" 1 {time.monotonic()}-')
    agent.heartbeat(Member("other", "host"), 1, 1)
    server.tell("DEL servicegroup:members:compute")
    for handle in (observer, redis_at(server.url)):
        answers = handle.presence(CROWD)
        assert states(answers) == {UNKNOWN}
        assert "evicted" in answers[CROWD[0]].detail


@pytest.mark.long
def test_an_observer_that_saw_an_outage_waits_for_the_members(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    """It is the first to be answered after a freeze that outlasted everybody."""
    server = own_redis()
    agent, observer = redis_at(server.url), redis_at(server.url, answer_timeout=0.2)
    settle(agent, observer)
    beat(agent, 1)
    server.freeze()
    expired = time.monotonic() + 1.5
    while time.monotonic() < expired:
        assert states(observer.presence(CROWD)) == {UNKNOWN}
    server.thaw()
    assert states(observer.presence(CROWD)) == {UNKNOWN}
    until(lambda: states(observer.presence(CROWD)) == {ABSENT})


def test_a_server_that_is_loading_is_unknown(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    slowly = ["--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"]
    server = own_redis(slowly)
    agent = redis_at(server.url)
    settle(agent, agent)
    for number in range(1000):
        agent.heartbeat(Member(f"group-{number}", "host"), 1, 30)
    server.tell("BGREWRITEAOF")
    until(lambda: re.search(rb"aof_base_size:\d{5}", server.tell("INFO persistence")))
    server.stop()
    server.launch()

    def loading() -> bool:
        answers = agent.presence(CROWD)
        assert states(answers) == {UNKNOWN}
        return "loading" in answers[CROWD[0]].detail

    until(loading)
    server.wait_until_ready()
    agent.heartbeat(CROWD[0], 1, 30)
    assert agent.presence(CROWD[:1])[CROWD[0]].state is PRESENT


def test_strange_contents_never_raise(own_redis: Callable[..., Redis], redis_at: Handles) -> None:
    server = own_redis()
    agent, other = redis_at(server.url), Member("other", "host")
    settle(agent, agent)
    for entry in ("garbage", "host-0@x", "@", "@@", "host-0@1e3", "host-0@9999999999999999999999"):
        server.tell(f"ZADD servicegroup:members:compute 1e300 {entry}")
    server.tell("ZADD servicegroup:members:compute +inf host-1@5")
    agent.heartbeat(CROWD[0], 1, 30)
    answers = agent.presence(CROWD)
    assert 1 in answers[CROWD[0]].incarnations
    assert answers[CROWD[1]].state is UNKNOWN
    agent.leave(CROWD[1])
    assert agent.presence(CROWD)[CROWD[1]].state is not PRESENT
    server.tell("SET servicegroup:members:compute 1")
    agent.heartbeat(other, 1, 30)
    answers = agent.presence([*CROWD, other])
    assert answers.pop(other).state is PRESENT
    assert states(answers) == {UNKNOWN}
    with pytest.raises(DriverUnavailable, match="WRONGTYPE"):
        agent.heartbeat(CROWD[0], 1, 30)
    server.tell("DEL servicegroup:members:compute")
    server.tell("SET servicegroup:canary garbage")
    assert states(agent.presence(CROWD)) == {UNKNOWN}
    agent.heartbeat(CROWD[0], 1, 30)
    assert agent.presence(CROWD)[CROWD[0]].state is PRESENT


def test_the_password_opens_and_is_told_to_nobody(
    own_redis: Callable[..., Redis], redis_at: Handles
) -> None:
    server = Redis(["--requirepass", "s3cret"])
    server.answers = lambda: b"NOAUTH" in ask(server.port, b"PING\r\n", b"\r\n")  # type: ignore[method-assign]
    with server:
        allowed = redis_at(f"redis://:s3cret@{server.address}/0")
        beat(allowed)
        assert states(allowed.presence(CROWD)) == {PRESENT}
        assert "s3cret" not in str(allowed.shared_options())
        for wrong in ("", ":s3cret-no@"):
            refused = redis_at(f"redis://{wrong}{server.address}/0")
            answer = refused.presence(CROWD)[CROWD[0]]
            assert answer.state is UNKNOWN
            assert "s3cret" not in answer.detail
            with pytest.raises(DriverUnavailable) as raised:
                refused.heartbeat(CROWD[0], 1, 1)
            assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        "http://127.0.0.1",
        "redis://host:port",
        "redis://:s3/cret@host:6379",
        "redis://host/0?colour=blue",
        "redis://host/0?socket_timeout=long",
        "redis://[::1",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="url") as raised:
        RedisDriver.from_options({"url": url})
    assert "cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_agents_are_told_where_without_secrets() -> None:
    url = "rediss://user:word@host:1/2?ssl_ca_certs=%2Fca.pem&ssl_password=x&password=y"
    driver = RedisDriver.from_options({"url": url, "answer_timeout": "0.5"})
    assert driver.shared_options() == {
        "url": "rediss://host:1/2?ssl_ca_certs=%2Fca.pem",
        "connect_timeout": 1.0,
        "answer_timeout": 0.5,
    }


def test_a_server_that_may_evict_is_warned_of(own_redis: Callable[..., Redis]) -> None:
    """RD-6."""
    for arguments, warned in (
        ((), False),
        (("--maxmemory", "50mb", "--maxmemory-policy", "noeviction"), False),
        (("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"), True),
    ):
        driver = RedisDriver.from_options({"url": own_redis(arguments).url})
        warnings = driver.warnings()
        driver.close()
        assert bool(warnings) == warned
        assert all("set noeviction" in warning for warning in warnings)
