"""Driver redis behind three sentinels: a failover accuses nobody, and only the elected is asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drivers.ensembles import EnsembleContract
from servers.process import LOOPBACK, ask, free_port
from servers.redis import PRIMARY, Redis, RedisSentinel, RedisWithSentinels
from servicegroup.driver import Driver
from servicegroup.drivers.redis import RedisDriver
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.testing.harness import BOUND, states
from support.waiting import until

pytestmark = pytest.mark.long

SECRET, SENTINELS_SECRET = "s3cret-of-redis", "w0rd-of-sentinels"
MEMBER, OTHER = Member("compute", "host"), Member("compute", "other")


class Replicated:
    """The servers of Redis as the contract of ensembles sees them."""

    def __init__(self, all_of_them: RedisWithSentinels) -> None:
        self.all = all_of_them
        self.servers = all_of_them.redis
        self.start = all_of_them.start

    def leader(self) -> Redis:
        """Return the primary that the sentinels name, once it runs and answers as one."""

        def elected() -> Redis | None:
            with contextlib.suppress(OSError):
                primary = self.all.primary()
                if primary.running and b"role:master" in primary.tell("INFO replication"):
                    return primary
            return None

        return until(elected, 30, what="a primary is elected")


class TestRedisWithSentinels(EnsembleContract):
    driver = RedisDriver
    ttl = 4.0

    @pytest.fixture
    def servers(self, own_redis_with_sentinels: Callable[[], RedisWithSentinels]) -> Any:
        return Replicated(own_redis_with_sentinels())

    @pytest.fixture
    def options(self, servers: Replicated) -> dict[str, Any]:
        return {"url": servers.all.url}

    def bound_with_a_leaders_death(self, observer: Driver) -> float:
        """A failover takes what the sentinels are set to, and then comes a time to live (docs)."""
        return 2 * observer.detection_time(self.ttl) + self.patience / 2

    def leads(self, server: Redis) -> bool:
        return b"role:master" in server.tell("INFO replication")

    def test_without_a_quorum_nothing_is_known(
        self,
        servers: Any,
        agents: list[Driver],
        observer: Driver,
        crowd: list[Member],
        accusations: list[Presence],
    ) -> None:
        """Who is missing is UNKNOWN without a quorum, and so is everybody without a primary."""
        stranger = Member(crowd[0].group, "stranger")
        self.becomes_absent(observer, stranger)
        first, second, _ = servers.all.sentinels
        first.kill()
        second.kill()
        self.eventually(
            lambda: "quorum" in observer.presence([stranger])[stranger].detail, "it is said"
        )
        self.become_present(observer, crowd)
        with pytest.raises(DriverUnavailable, match="quorum"):
            observer.warnings()
        servers.leader().kill()
        self.eventually(
            lambda: states(observer.presence(crowd)) == {PresenceState.UNKNOWN}, "nothing is known"
        )
        self.eventually(lambda: "quorum" in self.refusal(agents[0], crowd[0]), "it fails")
        servers.start()
        self.becomes_sure(observer, crowd)
        assert accusations == []


def test_a_primary_that_was_replaced_and_comes_back_is_not_asked(
    own_redis_with_sentinels: Callable[[], RedisWithSentinels],
    redis_at: Callable[[str], RedisDriver],
) -> None:
    """It says that it is the primary until the sentinels find it; a connection to it was kept."""
    servers = own_redis_with_sentinels()
    observer, agent = redis_at(servers.url), redis_at(servers.url)
    agent.heartbeat(MEMBER, 1, 60)
    assert observer.presence([MEMBER])[MEMBER].state is PresenceState.PRESENT
    old = servers.primary()
    old.freeze()
    until(lambda: servers.primary() is not old, 30, what="another primary is elected")
    until(lambda: _heartbeats(agent, 2), 30, what="the agent is at the new primary")
    agent.heartbeat(MEMBER, 3, 60)  # the old one still gets what it was sent while it hung
    old.thaw()
    assert 3 in observer.presence([MEMBER])[MEMBER].incarnations
    until(lambda: b"role:slave" in old.tell("INFO replication"), 60, what="it follows")
    assert 3 in observer.presence([MEMBER])[MEMBER].incarnations


def test_a_heartbeat_finds_the_new_primary_while_the_old_one_hangs(
    own_redis_with_sentinels: Callable[[], RedisWithSentinels],
    redis_at: Callable[[str], RedisDriver],
) -> None:
    """Its connection hangs with the old one, whose answers may still come."""
    servers = own_redis_with_sentinels()
    agent = redis_at(servers.url)
    agent.heartbeat(MEMBER, 1, 60)
    old = servers.primary()
    old.freeze()
    with pytest.raises(DriverUnavailable, match="Timeout"):
        agent.heartbeat(MEMBER, 1, 60)
    until(lambda: servers.primary() is not old, 30, what="another primary is elected")
    until(lambda: _heartbeats(agent, 1), 5, what="the agent is at the new primary")


def test_a_heartbeat_leaves_a_primary_that_was_replaced_unseen(
    own_redis: Callable[[], Redis], redis_at: Callable[[str], RedisDriver]
) -> None:
    """It runs on, and a replica still follows it: nothing but the sentinels tells."""
    former, successor, replica = own_redis(), own_redis(), own_redis()
    replica.tell(f"REPLICAOF {LOOPBACK} {former.port}")
    until(lambda: b"master_link_status:up" in replica.tell("INFO replication"), 30)
    with RedisSentinel(former, quorum=1) as sentinel:
        url = f"redis+sentinel://{sentinel.address}/{PRIMARY}"
        agent, leaver = redis_at(url), redis_at(url)
        until(lambda: _heartbeats(agent, 1), what="the sentinel knows the first one")
        leaver.leave(MEMBER, 1)
        sentinel.tell(f"SENTINEL REMOVE {PRIMARY}")
        sentinel.tell(f"SENTINEL MONITOR {PRIMARY} {LOOPBACK} {successor.port} 1")
        until(lambda: _heartbeats(redis_at(url), 2), what="it knows the other")
        agent.heartbeat(MEMBER, 3, 60)
        assert redis_at(successor.url).presence([MEMBER])[MEMBER].incarnations == {2, 3}
        leaver.leave(MEMBER, 2)
        assert redis_at(successor.url).presence([MEMBER])[MEMBER].incarnations == {3}
        sentinel.kill()
        agent.heartbeat(MEMBER, 4, 60)


@pytest.mark.parametrize("first", ["early", "late"])
def test_while_sentinels_name_two_primaries_nobody_is_absent(
    own_redis: Callable[[], Redis], redis_at: Callable[[str], RedisDriver], first: str
) -> None:
    """F-21: who asks another sentinel writes to another server, whichever of them is looked at."""
    former, successor = own_redis(), own_redis()
    ttl = 1.0
    with RedisSentinel(former, quorum=1) as late, RedisSentinel(successor, quorum=1) as early:
        sentinels = (
            [early.address, late.address] if first == "early" else [late.address, early.address]
        )
        agents = [redis_at(f"redis+sentinel://{address}/{PRIMARY}") for address in sentinels]
        observer = redis_at(f"redis+sentinel://{','.join(sentinels)}/{PRIMARY}")

        def look() -> Presence:
            for number, agent in enumerate(agents):
                agent.heartbeat(Member("compute", f"other{number}"), 1, ttl)
            return observer.presence([MEMBER])[MEMBER]

        begun = time.monotonic()
        while time.monotonic() < begun + 4 * ttl:
            found = look()
            assert found.state is PresenceState.UNKNOWN
        assert "more than one primary" in found.detail
        with pytest.raises(DriverUnavailable, match="more than one primary"):
            observer.warnings()
        late.tell(f"SENTINEL REMOVE {PRIMARY}")
        late.tell(f"SENTINEL MONITOR {PRIMARY} {LOOPBACK} {successor.port} 1")
        until(lambda: look().state is PresenceState.ABSENT, 30, what="the sentinels agree")


def test_who_leads_a_failover_names_the_new_primary_before_it_is_over(
    own_redis_with_sentinels: Callable[[], RedisWithSentinels],
    redis_at: Callable[[str], RedisDriver],
) -> None:
    """It describes the former one until all replicas follow, and that one takes writes (F-16)."""
    servers = own_redis_with_sentinels()
    former = until(servers.settled, 30)
    leader = servers.sentinels[0]
    agent = redis_at(f"redis+sentinel://{leader.address}/{PRIMARY}")
    assert _heartbeats(agent, 1)
    failover = f"SENTINEL FAILOVER {PRIMARY}"
    until(lambda: leader.tell(failover).startswith(b"+OK"), 30, what="it fails over")
    named = until(lambda: _named(leader) if _named(leader) != former.port else None, 30, 0.0)
    assert _heartbeats(agent, 2)
    successor = next(server for server in servers.redis if server.port == named)
    entries = successor.tell("ZRANGE servicegroup:members:compute 0 -1")
    assert b"host@2" in entries


def test_sentinels_that_hang_cost_a_limited_time(
    own_redis_with_sentinels: Callable[[], RedisWithSentinels],
    redis_at: Callable[[str], RedisDriver],
) -> None:
    """Two that hang are left aside soon, and all of them together do not add up."""
    servers = own_redis_with_sentinels()
    *others, last = servers.sentinels
    for sentinel in others:
        sentinel.freeze()
    observer = redis_at(servers.url)
    until(lambda: _heartbeats(observer, 1), what="the third one is asked")

    def look(member: Member) -> Presence:
        begun = time.monotonic()
        told = observer.presence([member])[member]
        assert time.monotonic() - begun < BOUND / 2
        return told

    # The third one needs its own time to miss the others, and so perhaps some looks.
    until(lambda: "quorum" in look(OTHER).detail)
    assert look(MEMBER).state is PresenceState.PRESENT
    quickest = min(_seconds(lambda: observer.presence([MEMBER])) for _ in range(3))
    assert quickest < 0.5, "who is known to hang is not waited for (F-18)"
    last.freeze()
    begun = time.monotonic()
    assert observer.presence([MEMBER])[MEMBER].state is PresenceState.UNKNOWN
    assert time.monotonic() - begun < BOUND


def _seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _named(sentinel: RedisSentinel) -> int:
    """Return the port that a sentinel gives to whoever asks for an address."""
    return int(sentinel.tell(f"SENTINEL GET-MASTER-ADDR-BY-NAME {PRIMARY}").split(b"\r\n")[4])


def _heartbeats(agent: RedisDriver, incarnation: int) -> bool:
    with contextlib.suppress(DriverUnavailable):
        agent.heartbeat(MEMBER, incarnation, 60)
        return True
    return False


@pytest.fixture
def guarded() -> Iterator[tuple[Redis, RedisSentinel]]:
    """Give a server with a password, and its one sentinel with another."""
    server = Redis(["--requirepass", SECRET])
    server.answers = lambda: b"NOAUTH" in ask(server.port, b"PING\r\n", b"\r\n")  # type: ignore[method-assign]
    settings = [f"sentinel auth-pass {PRIMARY} {SECRET}", f"requirepass {SENTINELS_SECRET}"]
    sentinel = RedisSentinel(server, quorum=1, settings=settings)
    sentinel.answers = lambda: b"NOAUTH" in ask(sentinel.port, b"PING\r\n", b"\r\n")  # type: ignore[method-assign]
    with server, sentinel:
        yield server, sentinel


OWN = "redis+sentinel://:{password}@{nowhere},{address}/mymaster/0?sentinel_password={other}"
KOLLA = (
    "redis://default:{password}@{nowhere}?sentinel=mymaster&sentinel_fallback={address}"
    "&db=0&socket_timeout=60&retry_on_timeout=yes&sentinel_password={other}"
)


@pytest.mark.parametrize("form", [OWN, OWN.replace("redis", "valkey", 1), KOLLA])
def test_either_form_leads_to_the_primary_with_each_password(
    form: str, guarded: tuple[Redis, RedisSentinel], redis_at: Callable[[str], RedisDriver]
) -> None:
    """The first sentinel is away; agents get both passwords from their own environment."""
    address, nowhere = guarded[1].address, f"{LOOPBACK}:{free_port()}"

    def url(password: str, other: str) -> str:
        return form.format(password=password, other=other, address=address, nowhere=nowhere)

    driver = redis_at(url(SECRET, SENTINELS_SECRET))
    until(lambda: _heartbeats(driver, 1), what="it leads to the primary")
    assert driver.presence([MEMBER])[MEMBER].state is PresenceState.PRESENT
    assert driver.warnings() == []
    shared = driver.shared_options()["url"]
    assert SECRET not in shared
    assert SENTINELS_SECRET not in shared
    assert nowhere in shared
    assert address in shared
    for wrong in (
        redis_at(shared),
        redis_at(url("no", SENTINELS_SECRET)),
        redis_at(url(SECRET, "no")),
    ):
        with pytest.raises(DriverUnavailable) as raised:
            wrong.heartbeat(MEMBER, 1, 60)
        answer = wrong.presence([MEMBER])[MEMBER]
        assert answer.state is PresenceState.UNKNOWN
        assert "s3cret" not in answer.detail + str(raised.value)
        assert "w0rd" not in answer.detail + str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel://host:26379",
        "redis+sentinel://host:26379/",
        "redis+sentinel://host:26379,/mymaster",
        "redis+sentinel://host:port/mymaster",
        "redis+sentinel://host:0/mymaster",
        "redis+sentinel://host/mymaster/first",
        "redis+sentinel://:s3/cret@host/mymaster",
        "redis+sentinel://host/mymaster?colour=blue",
        "redis+sentinel://host/mymaster?sentinel_colour=blue",
        "redis://:s3cret@host:26379?sentinel=",
        "redis://:s3cret@host:26379?sentinel=mymaster&sentinel_fallback=s3cret@other",
        "redis://:s3cret@host:26379?sentinel=mymaster&db=s3cret",
        "redis+sentinels://host/mymaster",
    ],
)
def test_what_leads_to_no_sentinel_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\+sentinel://") as raised:
        RedisDriver.from_options({"url": url})
    assert "cret" not in str(raised.value)
    assert raised.value.__cause__ is None
