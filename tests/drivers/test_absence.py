"""Absence is believed only while presence can be written (F-1), by real servers that refuse."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from kazoo.client import KazooClient

from drivers.zookeeper_contract import plain
from servers.etcd import Etcd
from servers.memcached import Memcached
from servers.plugin import require
from servers.process import LOOPBACK
from servers.redis import Redis
from servers.zookeeper import ZooKeeper
from servicegroup.asking import Asking
from servicegroup.drivers.etcd.driver import EtcdDriver
from servicegroup.drivers.memcached.driver import MemcachedDriver, member_key
from servicegroup.drivers.redis import RedisDriver
from servicegroup.drivers.zookeeper.driver import ZooKeeperDriver
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Limits, Member, PresenceState
from servicegroup.testing import RefusalContract
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


pytestmark = pytest.mark.long

LIMITS = Limits(heartbeat_interval=0.5, membership_ttl=2)
MEMBER = Member("compute", "host-1")


class NoSpace:
    """etcd whose alarm NOSPACE is raised: leases can be renewed, and nothing can be put."""

    words = "has no space left and refuses to write"

    def __init__(self, server: Etcd) -> None:
        self.server = server

    def refuse(self) -> None:
        self._alarm("ACTIVATE")

    def accept(self) -> None:
        self._alarm("DEACTIVATE")

    def _alarm(self, action: str) -> None:
        member = self._ask("cluster/member/list", {})["header"]["member_id"]
        self._ask("maintenance/alarm", {"action": action, "memberID": member, "alarm": "NOSPACE"})

    def _ask(self, path: str, question: dict[str, Any]) -> Any:
        data = json.dumps(question).encode()
        with urlopen(Request(f"{self.server.url}/v3/{path}", data), timeout=10) as answer:
            return json.load(answer)


class TestEtcdWithoutSpace(RefusalContract):
    driver = EtcdDriver

    @pytest.fixture
    def refusing(self, own_etcd: Callable[..., Etcd]) -> NoSpace:
        return NoSpace(own_etcd())

    @pytest.fixture
    def options(self, refusing: NoSpace) -> dict[str, Any]:
        return {"endpoints": refusing.server.url}


class Quota:
    """ZooKeeper with a hard quota of nodes on the chroot: sessions live on, nodes are refused."""

    words = "refuses to write, for a quota is exceeded"
    _LIMITS = "/zookeeper/quota/limited/zookeeper_limits"

    def __init__(self, raw: KazooClient) -> None:
        self.raw = raw
        raw.ensure_path("/limited/servicegroups")
        raw.create(self._LIMITS, self._limits(-1), makepath=True)
        raw.create("/zookeeper/quota/limited/zookeeper_stats", b"count=2,bytes=0")

    def refuse(self) -> None:
        self.raw.set(self._LIMITS, self._limits(1))

    def accept(self) -> None:
        self.raw.set(self._LIMITS, self._limits(-1))

    @staticmethod
    def _limits(nodes: int) -> bytes:
        return b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=%d" % nodes


class TestZooKeeperWithAQuota(RefusalContract):
    driver = ZooKeeperDriver

    @pytest.fixture
    def server(self) -> Iterator[ZooKeeper]:
        require(ZooKeeper)
        with ZooKeeper(settings={"enforceQuota": "true"}) as server:
            yield server

    @pytest.fixture
    def refusing(self, server: ZooKeeper) -> Iterator[Quota]:
        raw = KazooClient(server.address)
        raw.start(10)
        yield Quota(raw)
        raw.stop()
        raw.close()

    @pytest.fixture
    def options(self, server: ZooKeeper) -> dict[str, Any]:
        return plain(f"{server.address}/limited")


class NoReplicas:
    """Redis that wants a replica before it takes a write."""

    words = "Not enough good replicas to write"

    def __init__(self, server: Redis) -> None:
        self.server = server

    def refuse(self) -> None:
        self.server.tell("CONFIG SET min-replicas-to-write 1")

    def accept(self) -> None:
        self.server.tell("CONFIG SET min-replicas-to-write 0")


class TestRedisWithoutReplicas(RefusalContract):
    driver = RedisDriver

    @pytest.fixture
    def refusing(self, own_redis: Callable[..., Redis]) -> NoReplicas:
        return NoReplicas(own_redis())

    @pytest.fixture
    def options(self, refusing: NoReplicas) -> dict[str, Any]:
        return {"url": refusing.server.url}


class Full:
    """memcached that evicts nobody (-M), full of what somebody else keeps in it."""

    words = "takes no new keys (out of memory storing object)"

    def __init__(self, server: Memcached, key: str) -> None:
        """Fill the class of memory that a member with this key is in."""
        self.server = server
        self._length = len(key)
        self._full = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def refuse(self) -> None:
        """Return when it is full; whatever becomes free later is taken too, as by a busy cache."""
        self._full.clear()
        self._stop.clear()
        self._thread = threading.Thread(target=self._fill)
        self._thread.start()
        assert self._full.wait(60)

    def accept(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
            with self._connected() as connection:
                for number in range(1_000):
                    connection.sendall(b"delete %s\r\n" % self._key(number))
                    connection.recv(100)

    def _fill(self) -> None:
        number = 0
        with self._connected() as connection, connection.makefile("rb") as answers:
            while not self._stop.wait(0.001 if self._full.is_set() else 0):
                numbers = range(number, number + (20 if self._full.is_set() else 500))
                connection.sendall(
                    b"".join(b"set %s 0 0 4\r\njunk\r\n" % self._key(one) for one in numbers)
                )
                stored = [answers.readline() == b"STORED\r\n" for _ in numbers]
                number += len(numbers)
                if not any(stored):
                    self._full.set()

    def _key(self, number: int) -> bytes:
        return f"junk:{number}".ljust(self._length, "-").encode()

    def _connected(self) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.server.port), timeout=10)


class TestMemcachedThatIsFull(RefusalContract):
    driver = MemcachedDriver

    @pytest.fixture
    def server(self) -> Iterator[Memcached]:
        require(Memcached)
        with Memcached(2, ["-M"]) as server:
            yield server

    @pytest.fixture
    def refusing(self, server: Memcached, member: Member) -> Full:
        return Full(server, member_key(member))

    @pytest.fixture
    def options(self, server: Memcached) -> dict[str, Any]:
        return {"servers": server.address}

    def test_a_full_server_is_found_by_an_examination(
        self, refusing: Full, observer: MemcachedDriver
    ) -> None:
        assert observer.warnings() == []
        refusing.refuse()
        try:
            with pytest.raises(DriverUnavailable, match="takes no new keys") as refusal:
                observer.warnings()
        finally:
            refusing.accept()
        assert "give it more memory (-m)" in str(refusal.value)

    def test_another_server_is_believed_meanwhile(
        self, refusing: Full, server: Memcached, memcached_server: Memcached
    ) -> None:
        """Servers know nothing of each other: who is missing from one that can write is absent."""
        servers = f"{server.address},{memcached_server.address}"
        with contextlib.closing(MemcachedDriver.from_options({"servers": servers})) as handle:
            names = (Member("group-123456789012", f"host-{number}") for number in range(1_000))
            held = {handle.server_of(one): one for one in names}
            everybody = dict.fromkeys(held.values(), 1)
            for one in everybody:
                handle.heartbeat(one, 1, 1)
            with contextlib.closing(Asking(handle, LIMITS)) as asking:
                _settle(asking, everybody)
                refusing.refuse()
                try:
                    full = held[server.address]
                    until(lambda: asking.ask(everybody)[full].state is PresenceState.UNKNOWN)
                    answers = asking.ask(everybody)
                finally:
                    refusing.accept()
        assert refusing.words in answers[full].detail
        assert answers[held[memcached_server.address]].state is PresenceState.ABSENT


def _settle(asking: Asking, everybody: dict[Member, int]) -> None:
    """Wait until all of them have expired and are believed to be absent."""
    until(
        lambda: {one.state for one in asking.ask(everybody).values()} == {PresenceState.ABSENT},
        30,
        what="everybody is absent",
    )


# -- readers that may not write --------------------------------------------------------------------


def test_a_reader_of_etcd_that_may_not_write_calls_nobody_absent(
    own_etcd: Callable[..., Etcd],
) -> None:
    """Whoever judges has to prove what it says, and frees what is deleted: it has to write."""
    server = own_etcd()
    tell = NoSpace(server)._ask
    tell("auth/user/add", {"name": "root", "password": "r"})
    tell("auth/user/grant", {"user": "root", "role": "root"})
    tell("auth/role/add", {"name": "reader"})
    below = {"key": "L3NlcnZpY2Vncm91cHMv", "range_end": "L3NlcnZpY2Vncm91cHMw"}
    tell("auth/role/grant", {"name": "reader", "perm": {"permType": "READ", **below}})
    tell("auth/user/add", {"name": "reader", "password": "s3cr3t"})
    tell("auth/user/grant", {"user": "reader", "role": "reader"})
    tell("auth/enable", {})
    options = {"endpoints": server.url, "username": "reader", "password": "s3cr3t"}
    with (
        contextlib.closing(EtcdDriver.from_options(options)) as handle,
        contextlib.closing(Asking(handle, LIMITS)) as asking,
    ):
        assert handle.presence([MEMBER])[MEMBER].state is PresenceState.ABSENT
        answer = asking.ask({MEMBER: 1})[MEMBER]
    assert answer.state is PresenceState.UNKNOWN
    assert answer.detail.startswith("a new record cannot be written: etcd at ")
    assert "that this user may read and write below the prefix" in answer.detail
    assert "s3cr3t" not in answer.detail


def test_a_reader_of_zookeeper_that_may_not_write_calls_nobody_absent(
    zookeeper_server: ZooKeeper,
) -> None:
    from kazoo.security import make_acl, make_digest_acl

    raw = KazooClient(zookeeper_server.address)
    raw.start(10)
    acl = [make_digest_acl("agent", "a", all=True), make_acl("world", "anyone", read=True)]
    raw.ensure_path("/readable", acl=acl)
    raw.stop()
    raw.close()
    options = plain(zookeeper_server.address, prefix="/readable")
    with (
        contextlib.closing(ZooKeeperDriver.from_options(options)) as handle,
        contextlib.closing(Asking(handle, LIMITS)) as asking,
    ):
        assert handle.presence([MEMBER])[MEMBER].state is PresenceState.ABSENT
        answer = asking.ask({MEMBER: 1})[MEMBER]
    assert answer.state is PresenceState.UNKNOWN
    assert "does not let this user in at /readable" in answer.detail
