"""A Redis Cluster of the tests' own: masters that divide the slots, each with a replica."""

from __future__ import annotations

import contextlib
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from servers.process import LOOPBACK, Ensemble, ServerError, free_port
from servers.redis import Redis
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOTICED = 2.0
"""Seconds until masters take one that does not answer for down, and a replica is elected."""


class RedisCluster(Ensemble[Redis]):
    """So many masters and replicas; `arguments` are redis-server's own, for each of them."""

    def __init__(self, masters: int = 3, replicas: int = 1, arguments: Sequence[str] = ()) -> None:
        self.buses = [free_port() for _ in range(masters * (1 + replicas))]
        common = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(int(NOTICED * 1000))]
        common += ["--repl-diskless-sync-delay", "0", *arguments]
        super().__init__([Redis([*common, "--cluster-port", str(bus)]) for bus in self.buses])
        self.masters = self.servers[:masters]
        """The masters at first; `replicas` are in their order, as often as each has one."""
        self.replicas = self.servers[masters:]
        self._made = False

    @property
    def url(self) -> str:
        """Where the servers are."""
        return f"redis+cluster://{self.address}"

    def start(self) -> None:
        """Start, divide the slots the first time, and return when all servers serve them all."""
        super().start()
        if not self._made:
            self._make()
            self._made = True
        until(self.settled, 60, what="the cluster serves")

    def empty(self) -> None:
        """Make all masters forget what they hold."""
        for server in self.servers:
            if is_master(server):
                server.tell("FLUSHALL")

    def owner(self, slot: int) -> Redis | None:
        """Return the server that runs and says that it is the master of this slot, or None."""
        for server in self.servers:
            with contextlib.suppress(OSError, ServerError):
                if server.running and slot in slots_of(server) and _serves(server):
                    return server
        return None

    def settled(self) -> bool:
        """Say whether all servers agree: nobody has failed, and all replicas follow."""
        with contextlib.suppress(OSError):
            return all(map(self._agrees, self.servers))
        return False

    def _make(self) -> None:
        """Meet, divide, and follow: what `redis-cli --cluster create` does too."""
        first, *others = self.servers
        limits = [
            REDIS_CLUSTER_HASH_SLOTS * number // len(self.masters)
            for number in range(len(self.masters) + 1)
        ]
        for epoch, (master, (begin, end)) in enumerate(
            zip(self.masters, pairwise(limits), strict=True), 1
        ):
            master.tell(f"CLUSTER SET-CONFIG-EPOCH {epoch}")
            master.tell(f"CLUSTER ADDSLOTSRANGE {begin} {end - 1}")
        for server, bus in zip(others, self.buses[1:], strict=True):
            first.tell(f"CLUSTER MEET {LOOPBACK} {server.port} {bus}")
        for server in self.servers:
            until(partial(self._knows_all, server), 60, what="the servers know one another")
        for number, replica in enumerate(self.replicas):
            master = self.masters[number % len(self.masters)]
            until(partial(_follow, replica, master), 30, what="a replica follows")

    def _knows_all(self, server: Redis) -> bool:
        lines = list(_nodes(server))
        return len(lines) == len(self.servers) and "handshake" not in str(lines)

    def _agrees(self, server: Redis) -> bool:
        lines = list(_nodes(server))
        replicas = [fields for fields in lines if "slave" in fields[2]]
        well = not any("fail" in fields[2] for fields in lines)
        synced = is_master(server) or b"master_link_status:up" in server.tell("INFO replication")
        return well and synced and _serves(server) and len(replicas) == len(self.replicas)


def is_master(server: Redis) -> bool:
    """Say whether a server takes itself for a master. Raises OSError when it does not answer."""
    return b"role:master" in server.tell("INFO replication")


def slots_of(server: Redis) -> set[int]:
    """Return which slots a server says it is the master of."""
    found: set[int] = set()
    for fields in _nodes(server):
        if "myself" in fields[2] and "master" in fields[2]:
            for share in fields[8:]:
                if not share.startswith("["):  # a slot that comes or goes
                    begin, _, end = share.partition("-")
                    found.update(range(int(begin), int(end or begin) + 1))
    return found


def move_slot(slot: int, source: Redis, target: Redis) -> Iterator[str]:
    """Move a slot as an operator's tool does; gives the word for each step after it is taken."""
    there, here = _id(target), _id(source)
    target.tell(f"CLUSTER SETSLOT {slot} IMPORTING {here}")
    source.tell(f"CLUSTER SETSLOT {slot} MIGRATING {there}")
    yield "announced"
    while keys := source.tell(f"CLUSTER GETKEYSINSLOT {slot} 100").decode().split("\r\n")[2::2]:
        source.tell(f"MIGRATE {LOOPBACK} {target.port} '' 0 5000 KEYS {' '.join(keys)}")
    yield "empty"
    for server in (target, source):
        server.tell(f"CLUSTER SETSLOT {slot} NODE {there}")
    yield "moved"


def _follow(replica: Redis, master: Redis) -> bool:
    return replica.tell(f"CLUSTER REPLICATE {_id(master)}") == b"+OK\r\n"


def _serves(server: Redis) -> bool:
    return b"cluster_state:ok" in server.tell("CLUSTER INFO")


def _nodes(server: Redis) -> Iterator[list[str]]:
    """Return what a server knows of each: id, address, flags; its slots follow the eighth field."""
    for line in server.tell("CLUSTER NODES").decode().splitlines():
        if len(fields := line.split()) >= 8:
            yield fields


def _id(server: Redis) -> str:
    return next(fields[0] for fields in _nodes(server) if "myself" in fields[2])
