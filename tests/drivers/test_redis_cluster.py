"""Driver redis on a real cluster of three masters and three replicas: the contract, and failovers.

Its servers are killed, hang and lose their majority; what is of one master only is in
``test_redis_slots``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drivers.ensembles import EnsembleContract
from servers.process import LOOPBACK, free_port
from servers.redis import Redis
from servers.redis_cluster import RedisCluster, slots_of
from servicegroup.driver import Driver
from servicegroup.drivers.redis import RedisDriver
from servicegroup.drivers.redis.keys import SLOT
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.testing import DriverContract
from servicegroup.testing.harness import BOUND, states
from support.waiting import until

pytestmark = pytest.mark.long

Handles = Callable[[str], RedisDriver]

MEMBER = Member("compute", "host")


class TestRedisCluster(DriverContract):
    driver = RedisDriver
    patience = 40.0

    @pytest.fixture
    def backend(self, redis_cluster: RedisCluster) -> RedisCluster:
        until(redis_cluster.settled, 60, what="the outage of the test before is over")
        return redis_cluster

    @pytest.fixture
    def options(self, backend: RedisCluster) -> dict[str, Any]:
        return {"url": backend.url}

    @pytest.fixture
    def nowhere(self) -> dict[str, Any]:
        return {"url": f"redis+cluster://{LOOPBACK}:{free_port()},{LOOPBACK}:{free_port()}"}


class OneShard:
    """The servers of a cluster as the contract of ensembles sees them."""

    def __init__(self, cluster: RedisCluster) -> None:
        self.all = cluster
        self.servers = cluster.servers
        self.start = cluster.start

    def leader(self) -> Redis:
        """Return the master of the members' slot, once its replica could take over from it."""

        def elected() -> Redis | None:
            complete = all(server.running for server in self.servers)
            return None if complete and not self.all.settled() else self.all.owner(SLOT)

        return until(elected, 60, what="a master is elected")


class TestFailoversOfRedisCluster(EnsembleContract):
    driver = RedisDriver
    ttl = 4.0

    @pytest.fixture
    def servers(self, own_redis_cluster: Callable[..., RedisCluster]) -> Any:
        return OneShard(own_redis_cluster())

    @pytest.fixture
    def options(self, servers: OneShard) -> dict[str, Any]:
        return {"url": servers.all.url}

    def bound_with_a_leaders_death(self, observer: Driver) -> float:
        """A failover takes what the cluster is set to, and then comes a time to live (docs)."""
        return 2 * observer.detection_time(self.ttl) + self.patience / 2

    def leads(self, server: Redis) -> bool:
        return SLOT in slots_of(server)

    def test_without_a_quorum_nothing_is_known(
        self,
        servers: Any,
        agents: list[Driver],
        observer: Driver,
        crowd: list[Member],
        accusations: list[Presence],
    ) -> None:
        """Two masters of three are away, and not the one that holds the members."""
        holder = servers.leader()
        for master in servers.all.masters:
            if master is not holder:
                master.kill()
        self.eventually(
            lambda: states(observer.presence(crowd)) == {PresenceState.UNKNOWN}, "nothing is known"
        )
        assert "CLUSTERDOWN The cluster is down" in observer.presence(crowd)[crowd[0]].detail
        self.eventually(lambda: "CLUSTERDOWN" in self.refusal(agents[0], crowd[0]), "it fails")
        with pytest.raises(DriverUnavailable, match="see CLUSTER INFO"):
            observer.warnings()
        servers.start()
        self.becomes_sure(observer, crowd)
        assert accusations == []


@pytest.fixture
def handle() -> Iterator[Handles]:
    """Make handles, which are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda url: stack.enter_context(
            contextlib.closing(RedisDriver.from_options({"url": url}))
        )


def test_a_master_that_was_replaced_and_comes_back_is_not_asked(
    own_redis_cluster: Callable[..., RedisCluster], handle: Handles
) -> None:
    """It serves until the others find it; a heartbeat leaves it while it hangs."""
    cluster = own_redis_cluster()
    observer, agent = handle(cluster.url), handle(cluster.url)
    agent.heartbeat(MEMBER, 1, 60)
    assert observer.presence([MEMBER])[MEMBER].state is PresenceState.PRESENT
    old = until(lambda: cluster.owner(SLOT))
    old.freeze()
    others = [server for server in cluster.servers if server is not old]
    until(lambda: any(SLOT in slots_of(server) for server in others), 30, what="one is elected")
    until(lambda: _heartbeats(agent, 2), 30, what="the agent is at the new master")
    agent.heartbeat(MEMBER, 3, 60)  # the old one still gets what it was sent while it hung
    old.thaw()
    assert 3 in observer.presence([MEMBER])[MEMBER].incarnations
    until(cluster.settled, 60, what="the old one follows")
    assert 3 in observer.presence([MEMBER])[MEMBER].incarnations


def test_servers_that_hang_cost_a_limited_time(
    own_redis_cluster: Callable[..., RedisCluster], handle: Handles
) -> None:
    """All but the master of the members hang, and the first question begins at one of them."""
    cluster = own_redis_cluster()
    observer = handle(cluster.url)
    observer.heartbeat(MEMBER, 1, 60)
    holder = until(lambda: cluster.owner(SLOT))
    for server in cluster.replicas:
        server.freeze()
    until(
        lambda: observer.presence([MEMBER])[MEMBER].state is PresenceState.PRESENT,
        what="a server that answers is asked",
    )
    holder.freeze()
    begun = time.monotonic()
    assert observer.presence([MEMBER])[MEMBER].state is PresenceState.UNKNOWN
    assert time.monotonic() - begun < BOUND


@pytest.mark.parametrize("form", ["redis", "valkey"])
def test_a_server_of_a_cluster_is_refused_by_its_plain_url(
    form: str, redis_cluster: RedisCluster, handle: Handles
) -> None:
    """F-16: its keys are in several slots there."""
    right = r"write redis\+cluster://host:port,host:port"
    for server in redis_cluster.servers:
        driver = handle(f"{form}://{server.address}/0")
        answer = driver.presence([MEMBER])[MEMBER]
        assert answer.state is PresenceState.UNKNOWN
        assert "write redis+cluster://host:port,host:port" in answer.detail
        with pytest.raises(DriverUnavailable, match=right):
            driver.heartbeat(MEMBER, 1, 30)
        with pytest.raises(DriverUnavailable, match=right):
            driver.warnings()


def _heartbeats(agent: RedisDriver, incarnation: int) -> bool:
    with contextlib.suppress(DriverUnavailable):
        agent.heartbeat(MEMBER, incarnation, 60)
        return True
    return False
