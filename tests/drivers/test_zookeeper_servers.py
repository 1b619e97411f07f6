"""Driver zookeeper on servers as operators run them: with chroots, quotas, many members."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from drivers.refusals import refused
from drivers.zookeeper_contract import ZooKeeperContract, plain
from servers.plugin import require
from servers.zookeeper import ZooKeeper, ZooKeeperEnsemble
from servicegroup.drivers.zookeeper.driver import ZooKeeperDriver
from servicegroup.drivers.zookeeper.examination import JUTE_MAXBUFFER, size_of
from servicegroup.drivers.zookeeper.nodes import Node
from servicegroup.model import Member, PresenceState
from servicegroup.testing.harness import ask, states
from support.waiting import until

pytestmark = pytest.mark.long

Make = Callable[..., ZooKeeperDriver]

MEMBER = Member("compute", "host-1")


@pytest.fixture(scope="module")
def server() -> Iterator[ZooKeeper]:
    require(ZooKeeper)
    with ZooKeeper(settings={"enforceQuota": "true"}) as server:
        yield server


@pytest.fixture
def make() -> Iterator[Make]:
    """Make handles that are closed with the test."""
    with contextlib.ExitStack() as stack:

        def made(address: str, **options: Any) -> ZooKeeperDriver:
            handle = ZooKeeperDriver.from_options(plain(address, **options))
            return stack.enter_context(contextlib.closing(handle))

        yield made


@pytest.fixture
def raw(server: ZooKeeper) -> Iterator[KazooClient]:
    """Somebody else with access to the server."""
    client = KazooClient(server.address)
    client.start(10)
    yield client
    client.stop()
    client.close()


def refusals(handle: ZooKeeperDriver) -> list[str]:
    """Return why a heartbeat and an examination fail."""
    return refused(lambda: handle.heartbeat(MEMBER, 1, 10), handle.warnings)


# -- chroots -------------------------------------------------------------------------------


class TestChroot(ZooKeeperContract):
    chroot = "/deep/down"


def test_a_chroot_that_is_missing_is_made(server: ZooKeeper, make: Make, raw: KazooClient) -> None:
    """By whoever is first, agent or control plane; no path is outside of it."""
    observer = make(f"{server.address}/made-by/observer")
    assert ask(observer, MEMBER).state is PresenceState.ABSENT
    assert raw.get_children("/made-by/observer") == ["servicegroups"]
    agent = make(f"{server.address}/made-by/agent", prefix="/own")
    agent.heartbeat(MEMBER, 1, 10)
    (node,) = raw.get_children("/made-by/agent/own/compute")
    assert node.startswith("host-1@1@")
    assert make(f"{server.address}/made-by/doctor").warnings() == []
    plain = make(f"{server.address}/", prefix="/made-by/agent/own")
    until(lambda: ask(plain, MEMBER).state is PresenceState.PRESENT)


def test_a_chroot_that_may_not_be_made_is_refused_by_name(
    server: ZooKeeper, make: Make, raw: KazooClient
) -> None:
    """Nobody can be present below it, so nobody is absent either."""
    raw.create("/guarded", acl=[make_digest_acl("somebody", "else", all=True)])
    handle = make(f"{server.address}/guarded/below")
    answer = ask(handle, MEMBER)
    assert answer.state is PresenceState.UNKNOWN
    for refusal in (answer.detail, *refusals(handle)):
        assert "does not let this user in" in refusal
        assert "/guarded/below" in refusal


# -- quotas --------------------------------------------------------------------------------


def test_a_quota_that_is_exceeded_is_named(server: ZooKeeper, make: Make, raw: KazooClient) -> None:
    raw.ensure_path("/limited/compute")
    limits = b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3"
    raw.create("/zookeeper/quota/limited/zookeeper_limits", limits, makepath=True)
    raw.create("/zookeeper/quota/limited/zookeeper_stats", b"count=2,bytes=0")
    first, second = (make(server.address, prefix="/limited") for _ in range(2))
    first.heartbeat(Member("compute", "host-0"), 1, 10)
    for refusal in refusals(second):
        assert "refuses to write, for a quota is exceeded" in refusal
        assert "/limited" in refusal
        assert "setquota" in refusal
        assert "quorum" not in refusal


# -- read-only servers ---------------------------------------------------------------------


def test_a_read_only_server_is_never_believed(
    own_zookeeper_ensemble: Callable[..., ZooKeeperEnsemble], make: Make
) -> None:
    """It answers readers with what it had when it lost its quorum."""
    read_only = partial(
        ZooKeeper,
        settings={"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"},
        properties={"readonlymode.enabled": "true"},
    )
    servers = own_zookeeper_ensemble(read_only)
    agent, observer = make(servers.address), make(servers.address)
    agent.heartbeat(MEMBER, 1, 60)
    until(lambda: ask(observer, MEMBER).state is PresenceState.PRESENT)
    last, *others = servers.servers
    for server in others:
        server.kill()
    until(lambda: servers._mode(last) == "read-only", what="it is read-only")
    until(lambda: ask(observer, MEMBER).state is PresenceState.UNKNOWN)
    for handle in (agent, observer, make(servers.address)):
        assert ask(handle, MEMBER).state is PresenceState.UNKNOWN
        beaten, examined = refusals(handle)
        assert "quorum" in beaten
        assert f"ZooKeeper at {last.address} is read-only" in examined


def test_local_sessions_which_hold_no_members_are_named(
    own_zookeeper_ensemble: Callable[..., ZooKeeperEnsemble], make: Make
) -> None:
    """ZK-17: they read, so only who writes hears of it."""
    local_sessions = partial(ZooKeeper, settings={"localSessionsEnabled": "true"})
    servers = own_zookeeper_ensemble(local_sessions)
    for refusal in refusals(make(servers.address)):
        assert "gives local sessions, which hold no members" in refusal
        assert "localSessionsUpgradingEnabled = true" in refusal


# -- large groups --------------------------------------------------------------------------


def test_a_group_that_other_tools_cannot_list_is_warned_of(
    server: ZooKeeper, make: Make, raw: KazooClient
) -> None:
    """ZK-8: the driver reads it, and says from where on others do not."""
    hosts = [f"{'rack-1.' * 30}host-{number:05}" for number in range(5_000)]
    names = [Node(host, 1, raw.client_id[0]).name for host in hosts]
    fits = next(n for n in range(5_001) if size_of(names[: n + 1]) > JUTE_MAXBUFFER)
    raw.ensure_path("/large/compute")
    driver = make(server.address, prefix="/large")

    def join(chosen: list[str]) -> None:
        for start in range(0, len(chosen), 1000):
            bulk = raw.transaction()
            for name in chosen[start : start + 1000]:
                bulk.create(f"/large/compute/{name}", ephemeral=True)
            assert all(isinstance(made, str) for made in bulk.commit())

    join(names[:fits])
    assert driver.warnings() == []
    join(names[fits:])
    members = [Member("compute", host) for host in hosts]
    until(lambda: states(driver.presence(members)) == {PresenceState.PRESENT})
    warnings = driver.warnings()
    assert len(warnings) == 1
    assert warnings[0].startswith(f"ZooKeeper's list of /large/compute has {size_of(names)} bytes")
    assert "use more groups" in warnings[0]
