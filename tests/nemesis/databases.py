"""The databases that a world may have: how each is reached, and who takes a lost server's place.

A new one is a class here with its name: what ``--database`` takes, and a seed chooses from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Literal

from sqlalchemy import make_url

from nemesis.clock import Clock
from nemesis.mishaps import SmallDisk
from nemesis.ways import MakeWay
from servers.galera import GaleraCluster, GaleraNode
from servers.galera_proxy import CHECKER, GaleraProxy
from servers.haproxy import HAProxy
from servers.mariadb import MariaDB
from servers.pgbouncer import PgBouncer
from servers.postgresql import PostgreSQL, Standby
from servers.process import Server, Started
from servers.proxy import Proxy

Loss = Literal["kill", "freeze", "stop"]
"""How a server is lost, as methods of ``Server``: ``stop`` is in good order."""


class Database(Started):
    """One server, on a small disk of its own and by a clock that steps; ``server`` takes writes."""

    name: ClassVar[str]
    program: ClassVar[type[Server]]
    """What a machine needs to have."""
    beside: ClassVar[Sequence[type[Server]]] = ()
    """What else it needs to have."""
    copies: ClassVar[int] = 0
    """How many other servers follow that one."""

    server: Any
    disk: SmallDisk | None = None

    def __init__(self, clock: Clock) -> None:
        """Have a server, which starts later."""
        self.clock = clock
        self._ways: list[Sequence[Proxy]] = []
        self._ended = ExitStack()

    def start(self) -> None:
        self.serve(self.program())
        self._register()

    def close(self) -> None:
        self._ended.close()

    @property
    def url(self) -> str:
        """The register's URL, past all proxies."""
        return self._url.replace(self._first, self.server.address)

    @property
    def servers(self) -> Sequence[Any]:
        """The servers that take writes."""
        return [self.server]

    def reach(self, way: MakeWay) -> str:
        """Return the register's URL by a way that is made."""
        self._ways.append(way([self.server.port]))
        return self.url.replace(self.server.address, self._ways[-1][0].address)

    def settle(self) -> None:
        """Return when all servers that run have found one another, where they have to."""

    def _register(self) -> None:
        """Make the register's database."""
        self._url: str = self.server.database()
        self._first: str = self.server.address

    def serve(self, server: Any) -> None:
        """Start a server, which takes writes from then on."""
        self.disk = self.added(server)
        self.server = server

    def added(self, server: Any) -> SmallDisk:
        """Start a server and return its disk."""
        server.before = self.clock.words
        disk = SmallDisk(server.directory)
        for part in (disk, server):
            self._ended.enter_context(part)
        return disk


class OnMariaDB(Database):
    """MariaDB, alone."""

    name = "mariadb"
    program = MariaDB


class OnPostgreSQL(Database):
    """PostgreSQL, alone until it is lost and another server, which kept up, has its address."""

    name = "postgresql"
    program = PostgreSQL

    def fail_over(self) -> None:
        """Lose the server, and promote one that kept up with it in its place."""
        primary, standby = self.server, Standby(self.server)
        disk = self.added(standby)
        standby.keep_up()
        primary.kill()
        standby.promote()
        self.server, self.disk = standby, disk
        for (proxy,) in self._ways:
            proxy.target = standby.port


class OnStandby(OnPostgreSQL):
    """A primary and a standby that keeps up, both in the URL of every control plane."""

    name = "standby"
    copies = 1

    def start(self) -> None:
        # The clock steps here, and these limits go by it.
        timeouts = {"wal_sender_timeout": "0", "wal_receiver_timeout": "0"}
        self.serve(PostgreSQL({**timeouts, "wal_retrieve_retry_interval": "500ms"}))
        self._register()
        self.standby, self._spare = self._followed()
        self._places = [self.server, self.standby]

    def reach(self, way: MakeWay) -> str:
        self._ways.append(way([server.port for server in self._places]))
        hosts = "&".join(f"host={proxy.address}" for proxy in self._ways[-1])
        url = self.url.replace(self.server.address, "")
        return f"{url}?{hosts}&target_session_attrs=read-write"

    def promote(self, loss: Loss) -> None:
        """Lose the primary, and promote the standby; where each is found stays as it was."""
        self.standby.keep_up()
        getattr(self.server, loss)()
        self.standby.promote()
        self._lost, self._lost_disk = self.server, self.disk
        self.server, self.disk = self.standby, self._spare

    def replace(self) -> None:
        """Put a new standby in the place of the primary that was lost, and is so for ever."""
        self._lost.kill()
        self.standby, self._spare = self._followed()
        place = self._places.index(self._lost)
        self._places[place] = self.standby
        for proxies in self._ways:
            proxies[place].target = self.standby.port
        if self._lost_disk is not None:
            self._lost_disk.close()
        self._lost.close()

    def _followed(self) -> tuple[Standby, SmallDisk]:
        """Return a new standby of the server, which keeps up, and its disk."""
        standby = Standby(self.server)
        disk = self.added(standby)
        standby.keep_up()
        return standby, disk


class OnPgBouncer(OnPostgreSQL):
    """PostgreSQL behind a pooler in transaction mode, with fewer sessions than are wanted."""

    name = "pgbouncer"
    beside = (PgBouncer,)

    SESSIONS = 6
    SETTINGS: ClassVar = {
        "default_pool_size": str(SESSIONS),
        # As the documentation says: sooner than a statement is given up, and back in a second.
        "query_wait_timeout": "5",
        "server_login_retry": "1",
    }

    def start(self) -> None:
        super().start()
        address = self._ended.enter_context(Proxy(self.server.port))
        self._ways.append([address])  # which leads to whoever takes a lost server's place
        self.pooler = self._ended.enter_context(PgBouncer(address.port, self.SETTINGS))

    def reach(self, way: MakeWay) -> str:
        (proxy,) = way([self.pooler.port])
        return self.url.replace(self.server.address, proxy.address)


class OnGalera(Database):
    """Three nodes, each by a clock of its own.

    The first control plane is told a node, and the next one an address before all of them, where
    HAProxy prefers another node.
    """

    name = "galera"
    program = GaleraNode
    beside = (HAProxy,)

    def start(self) -> None:
        self.cluster = GaleraCluster()
        self.clocks = [self.clock.another(f"node{n}") for n, _ in enumerate(self.servers)]
        for node, clock in zip(self.cluster.servers, self.clocks, strict=True):
            node.before = clock.words
            node.provider["repl.causal_read_timeout"] = "PT3S"  # as the documentation says
        self._ended.enter_context(self.cluster)
        first, *others = self.cluster.servers
        self.server = first
        self._database = str(make_url(self.cluster.database()[0]).database)
        first.ask(f"CREATE USER {CHECKER}@'127.0.0.1'")
        proxy = self._ended.enter_context(GaleraProxy([*others, first]))
        self._doors: Iterator[int] = iter([first.port, proxy.port])

    @property
    def servers(self) -> Sequence[GaleraNode]:
        return self.cluster.servers

    @property
    def url(self) -> str:
        return self.cluster.url_at(self.server.address, self._database)

    def reach(self, way: MakeWay) -> str:
        (proxy,) = way([next(self._doors)])
        return self.cluster.url_at(proxy.address, self._database)

    def settle(self) -> None:
        self.cluster.wait_until_whole()


DATABASES: dict[str, type[Database]] = {
    one.name: one for one in (OnPostgreSQL, OnMariaDB, OnStandby, OnPgBouncer, OnGalera)
}
"""By the names that ``--database`` takes."""
