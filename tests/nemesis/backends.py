"""The backends that a world may have: how each is reached, who leads it, and how it refuses.

Where all have to know a backend by one address, as memcached's agents and control planes do, there
is one way to it for everybody; else each site and each control plane has its own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar

from kazoo.client import KazooClient

from nemesis.limits import LIMITS, LINGER, OF_SESSIONS, SESSION
from nemesis.ways import MakeWay
from servers.etcd import Etcd, EtcdCluster
from servers.memcached import Memcached
from servers.process import PATIENCE, Server, Started, ask
from servers.proxy import Proxy
from servers.redis import PRIMARY, Redis, RedisWithSentinels
from servers.zookeeper import ZooKeeper, ZooKeeperEnsemble
from servicegroup.liveness import MARK_TOLERANCE
from servicegroup.model import Limits
from support.waiting import until


class Backend(Started):
    """Servers that hold presence; of ``voters`` a majority has to agree.

    Without any, the record does: whatever touches it touches presence.
    """

    name: ClassVar[str]
    """The driver's."""
    programs: ClassVar[Sequence[type[Server]]]
    """What a machine needs to have."""
    option: ClassVar[str] = ""
    """Where it is, in the driver's section; empty without servers."""
    settings: ClassVar[str] = ""
    """The further lines of that section."""
    limits: ClassVar[Limits] = LIMITS
    kept: ClassVar[float] = LIMITS.membership_ttl
    linger: ClassVar[float | None] = None
    """Seconds; both are those of ``promises.history.Settings``."""
    has_leader: ClassVar[bool] = True

    all: Any
    """Everything that is started."""
    servers: Sequence[Server]
    """Those that hold presence."""
    voters: Sequence[Server]
    shared: Sequence[Proxy] = ()
    """The ways of everybody, to each of the servers."""

    def __init__(self) -> None:
        """Have servers, which start later."""
        self._stack = ExitStack()

    def start(self) -> None:
        for part in (*self.shared, self.all):
            self._stack.enter_context(part)

    def close(self) -> None:
        self._stack.close()

    def reach(self, way: MakeWay) -> str:
        """Return its address, by a way that is made, unless there is one for everybody."""
        proxies = self.shared or way([server.port for server in self.servers])
        return ",".join(proxy.address for proxy in proxies)

    def revive(self) -> None:
        """Start what does not run."""
        self.all.start()

    def settle(self) -> None:
        """Return when a failover that a fault began is over, where it may last longer."""

    def leader(self) -> Server:
        """Return the server that leads, waiting for an election."""
        return until(self._leader, PATIENCE, what=f"{self.name} has a leader")

    def successor(self, former: Server) -> Server:
        """Return who leads in a former leader's place, waiting for an election."""
        return until(lambda: self._leader(former), PATIENCE, what=f"{self.name} has another leader")

    def _leader(self, former: Server | None = None) -> Server | None:
        others = (server for server in self.servers if server is not former)
        return next(filter(self._leads, others), None)

    def _leads(self, server: Server) -> bool:
        with contextlib.suppress(OSError):
            return server.running and self.leads(server)
        return False

    @property
    def is_recorded(self) -> bool:
        """Whether presence is in the record."""
        return not self.servers

    def place(self, way: MakeWay) -> dict[str, str]:
        """Return the option that says where it is, by a way that is made; none without servers."""
        return {self.option: self.reach(way)} if self.option else {}

    # What one has and another has not.

    def leads(self, server: Any) -> bool:
        """Say whether a server leads. Raises OSError where it cannot say."""
        raise NotImplementedError

    def hand_over(self) -> None:
        """Make another server lead, in good order."""
        raise NotImplementedError

    def refusing(self, dice: random.Random) -> AbstractContextManager[str]:
        """Refuse writes in a block, and answer questions (F-1); gives how."""
        raise NotImplementedError

    def empty(self) -> None:
        """Forget everything."""
        raise NotImplementedError

    @classmethod
    def can(cls, what: str) -> bool:
        """Tell whether it can do this, by the method's name."""
        return getattr(cls, what) is not getattr(Backend, what)


class OnZooKeeper(Backend):
    """Three servers; a hard quota refuses whoever is new."""

    name = "zookeeper"
    programs = (ZooKeeper,)
    option = "address"
    settings = f"session_timeout = {SESSION}\ntick_time = 0.5\n"
    kept = SESSION * 2 / 3

    _QUOTA = "/zookeeper/quota/servicegroups"

    def __init__(self) -> None:
        super().__init__()
        self.all = ZooKeeperEnsemble(partial(ZooKeeper, settings={"enforceQuota": "true"}))
        self.servers = self.voters = self.all.servers

    def leads(self, server: ZooKeeper) -> bool:
        return server.mode() == "leader"

    @contextmanager
    def refusing(self, dice: random.Random) -> Iterator[str]:
        limits = b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=1"
        with self._client() as client:
            client.create(f"{self._QUOTA}/zookeeper_limits", limits, makepath=True)
            client.create(f"{self._QUOTA}/zookeeper_stats", b"count=0,bytes=0")
        try:
            yield "zookeeper, a quota"
        finally:
            with self._client() as client:
                client.delete(self._QUOTA, recursive=True)

    @contextmanager
    def _client(self) -> Iterator[KazooClient]:
        client = KazooClient(self.all.address, connection_retry={"max_tries": -1})
        client.start(PATIENCE)
        try:
            yield client
        finally:
            client.stop()
            client.close()


class OnMemcached(Backend):
    """One server, which all have to know by the same name."""

    name = "memcached"
    programs = (Memcached,)
    option = "servers"
    has_leader = False

    def __init__(self) -> None:
        super().__init__()
        self.all = Memcached()
        self.servers = self.voters = [self.all]
        self.shared = [Proxy(self.all.port)]

    def empty(self) -> None:
        assert ask(self.all.port, b"flush_all\r\n", b"\r\n") == b"OK\r\n"


class OnEtcd(Backend):
    """Three servers with little space."""

    name = "etcd"
    programs = (Etcd,)
    option = "endpoints"

    _SPACE = 8 * 2**20
    _BALLAST: ClassVar = {"key": "YmFsbGFzdA==", "value": "A" * 2**20}

    def __init__(self) -> None:
        super().__init__()
        self.all = EtcdCluster(["--quota-backend-bytes", str(self._SPACE)])
        self.servers = self.voters = self.all.servers

    def reach(self, way: MakeWay) -> str:
        return ",".join(f"http://{address}" for address in super().reach(way).split(","))

    def leads(self, server: Etcd) -> bool:
        return server.leads()

    def hand_over(self) -> None:
        leader = self.leader()
        assert isinstance(leader, Etcd)
        other = next(server for server in self.all.servers if server is not leader)
        # It may have lost its office meanwhile; then another leads as well.
        leader.post("/v3/maintenance/transfer-leadership", targetID=other.id)

    @contextmanager
    def refusing(self, dice: random.Random) -> Iterator[str]:
        server = dice.choice(self.all.servers)
        until(partial(self._is_full, server), PATIENCE, 0.0, what="etcd has no space")
        try:
            yield "etcd, no space"
        finally:
            until(partial(self._make_room, server), PATIENCE, what="etcd takes writes again")

    def _is_full(self, server: Etcd) -> bool:
        """Write more; tell whether an alarm is armed."""
        with contextlib.suppress(OSError):
            server.post("/v3/kv/put", **self._BALLAST)
            return bool(self._alarms(server))
        return False

    @staticmethod
    def _alarms(server: Etcd) -> Sequence[dict[str, str]]:
        found: Sequence[dict[str, str]] = server.post("/v3/maintenance/alarm", action="GET").get(
            "alarms", ()
        )
        return found

    def _make_room(self, server: Etcd) -> bool:
        """Do what the manual says: compact, defragment, disarm; tell whether it took."""
        with contextlib.suppress(OSError):
            key = {"key": self._BALLAST["key"]}
            deleted = server.post("/v3/kv/deleterange", **key)
            found = deleted or server.post("/v3/kv/range", **key)
            server.post("/v3/kv/compaction", revision=found["header"]["revision"], physical=True)
            for one in self.all.servers:
                one.post("/v3/maintenance/defragment")
            for alarm in self._alarms(server):
                server.post("/v3/maintenance/alarm", **alarm, action="DEACTIVATE")
            return bool(server.post("/v3/kv/put", key=self._BALLAST["key"], value=""))
        return False


class OnRedis(Backend):
    """A primary, two replicas and three sentinels, who know the servers by everybody's ways."""

    name = "redis"
    programs = (Redis,)
    option = "url"

    def __init__(self) -> None:
        self.shared = [Proxy(0) for _ in range(3)]
        super().__init__()
        self.all = RedisWithSentinels(
            settings=[f"sentinel failover-timeout {PRIMARY} 2000"],
            announced=[proxy.port for proxy in self.shared],
        )
        self.servers, self.voters = self.all.redis, self.all.sentinels
        for proxy, server in zip(self.shared, self.servers, strict=True):
            proxy.target = server.port

    def reach(self, way: MakeWay) -> str:
        sentinels = ",".join(proxy.address for proxy in way([one.port for one in self.voters]))
        return f"redis+sentinel://{sentinels}/{PRIMARY}"

    def way_to(self, server: Server) -> Proxy:
        """Return everybody's way to one of the servers."""
        return self.shared[self.servers.index(server)]

    def settle(self) -> None:
        self.leader()

    def leader(self) -> Redis:
        primary: Redis = until(
            self.all.settled, 2 * PATIENCE, what="the sentinels agree on a primary"
        )
        return primary

    def leads(self, server: Redis) -> bool:
        return b"role:master" in server.tell("INFO replication")

    def hand_over(self) -> None:
        former = self.leader()
        sentinel = self.all.sentinels[0]
        until(
            lambda: sentinel.tell(f"SENTINEL FAILOVER {PRIMARY}").startswith(b"+OK"),
            PATIENCE,
            what="a sentinel fails over",
        )
        self.successor(former)
        self.settle()

    @contextmanager
    def refusing(self, dice: random.Random) -> Iterator[str]:
        how = dice.choice((self._without_replicas, self._unsaved))
        with how() as told:
            yield told
        for server in self.all.redis:  # or one that a sentinel made write it would be so again
            server.tell("CONFIG REWRITE")

    @contextmanager
    def _without_replicas(self) -> Iterator[str]:
        try:
            self._set("min-replicas-to-write 9")
            yield "redis, too few replicas"
        finally:
            self._set("min-replicas-to-write 0")

    @contextmanager
    def _unsaved(self) -> Iterator[str]:
        """MISCONF: a save that is due fails, since a directory is where its file belongs."""
        primary = self.leader()
        obstacle = primary.directory / "dump.rdb"
        try:
            self._set('save "3600 1000000"')
            obstacle.unlink(missing_ok=True)
            obstacle.mkdir()
            until(partial(self._saves, primary, b"err"), PATIENCE, what="a save fails")
            yield "redis, a failed save"
        finally:
            obstacle.rmdir()
            until(partial(self._saves, primary, b"ok"), PATIENCE, what="a save succeeds")
            self._set('save ""')

    def _set(self, setting: str) -> None:
        for server in self.all.redis:
            assert server.tell(f"CONFIG SET {setting}") == b"+OK\r\n"

    @staticmethod
    def _saves(server: Redis, result: bytes) -> bool:
        server.tell("BGSAVE")
        return b"rdb_last_bgsave_status:" + result in server.tell("INFO persistence")

    def empty(self) -> None:
        primary = self.leader()
        assert primary.tell("FLUSHALL") == b"+OK\r\n"


class InSessions(Backend):
    """No server: who holds a session with a control plane is present."""

    name = "session"
    programs = ()
    limits = OF_SESSIONS
    kept = OF_SESSIONS.membership_ttl - MARK_TOLERANCE
    linger = LINGER
    has_leader = False

    def __init__(self) -> None:
        super().__init__()
        self.all = Nobody()
        self.servers = self.voters = []


class Nobody(Started):
    """What needs no start."""

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


BACKENDS: dict[str, type[Backend]] = {
    one.name: one for one in (OnZooKeeper, OnMemcached, OnRedis, OnEtcd, InSessions)
}
"""By the names that ``--backend`` takes."""
