"""The peer's figures: a stock Nova on the same PostgreSQL, in the same run.

Nova looks every host's availability zone up in its cache while it lists services. It is measured
with the quickest cache a lone process can have, its own memory, and with memcached, which is what
several processes share in production.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from msgspec import Struct

from benchmarks.nova_peer import measure, seed
from benchmarks.nova_peer.measure import Heartbeats, Listing
from servers.environments import InstallError
from servers.memcached import Memcached
from servers.nova import NOBODY, Conductor, Databases, NovaAPI, cached_in
from servers.postgresql import PostgreSQL
from servers.rabbitmq import RabbitMQ

REPORTERS = 4

CACHES = ("memory", "memcached")


class Nova(Struct, frozen=True):
    """What Nova took for lists, and for heartbeats through its conductor.

    Without Nova there is nothing of either, and without RabbitMQ there are no heartbeats;
    ``missing`` says why, in one sentence.
    """

    lists: Sequence[Listing]
    heartbeats: Heartbeats | None
    missing: str = ""

    def listing(self, services: int, answered: int, cache: str) -> Listing | None:
        """Return the list that answered so many of so many services, with that cache."""
        wanted = (services, answered, cache)
        return next((x for x in self.lists if (x.services, x.answered, x.cache) == wanted), None)


class Measuring:
    """One Nova, brought up on a PostgreSQL; ``say`` tells what is going on."""

    def __init__(self, peer: NovaAPI, postgresql: PostgreSQL, say: Callable[[str], None]) -> None:
        self.peer = peer
        self.postgresql = postgresql
        self.say = say

    def lists(
        self, sizes: Sequence[int], runs: int, memcached: Memcached | None
    ) -> Iterator[Listing]:
        """Time the lists of all services and of one host's, for each size of the table."""
        self.peer.settings = cached_in(memcached.address) if memcached else {}
        self.peer.restart()
        charged = self._charged(nova=self.peer.pid)
        if memcached:
            charged = {**charged, "memcached": memcached.pid}
        for size in sizes:
            seed.seed(self.peer.databases, size)
            for host in (None, seed.host(size // 2 + 1)):
                self.say(f"Nova: {host or 'all'} of {size:,} services ...")
                yield measure.listing(self.peer, charged, size, runs, host)

    def heartbeats(self, rabbitmq: RabbitMQ, runs: int) -> Heartbeats:
        """Time heartbeats of the services of the last seed."""
        self.say("Nova: heartbeats through the conductor ...")
        with Conductor(self.peer) as conductor:
            charged = self._charged(conductor=conductor.pid, rabbitmq=rabbitmq.pid)
            return measure.heartbeats(self.peer, charged, "conductor", REPORTERS, runs)

    def _charged(self, **servers: int) -> Mapping[str, int]:
        return {**servers, "postgresql": self.postgresql.pid}


def nova(
    postgresql: PostgreSQL, sizes: Sequence[int], runs: int, say: Callable[[str], None]
) -> Nova:
    """Bring a Nova up, measure it and tear it down; raises ServerError, MeasurementError."""
    say("Bringing up Nova ...")
    with ExitStack() as servers:
        rabbitmq = servers.enter_context(RabbitMQ()) if RabbitMQ.installed() else None
        databases = Databases(*(postgresql.database() for _ in Databases._fields))
        try:
            peer = NovaAPI(databases, rabbitmq.url if rabbitmq else NOBODY)
        except InstallError as error:
            return Nova([], None, str(error))
        measuring = Measuring(servers.enter_context(peer), postgresql, say)
        lists = list(measuring.lists(sizes, runs, None))
        heartbeats = measuring.heartbeats(rabbitmq, runs) if rabbitmq else None
        if Memcached.installed():
            memcached = servers.enter_context(Memcached())
            lists += measuring.lists(sizes, runs, memcached)
    missing = "" if rabbitmq else "RabbitMQ is not installed, so Nova has no conductor path"
    return Nova(lists, heartbeats, missing)
