"""A Galera cluster of the tests' own: nodes that copy every commit to one another at once.

A node that was killed and is started again takes up what it missed from the others. How the nodes
reach one another is a way of its own: `cut_off` loses it in both directions, as a network that is
partitioned does, while clients still reach every node.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from servers.mariadb import MariaDB
from servers.process import LOOPBACK, PATIENCE, Ensemble, free_port
from support.waiting import until

NODES = 3

# SQLAlchemy's own connections begin with what a node without a quorum refuses.
_driver: Any = make_url("mysql+pymysql://").get_dialect().import_dbapi()
Refused: type[Exception] = _driver.OperationalError
"""What a question to a node raises that has no answer."""

LIBRARY = Path("/usr/lib/galera/libgalera_smm.so")

# The cluster notices in seconds, as one with its defaults does within about ten, that a node is
# gone; in less than these, two that are left may take each other for gone on a busy machine. A node
# that comes back is given only what it missed, as long as that fits into 64 MiB.
PROVIDER = {
    "evs.inactive_check_period": "PT0.2S",
    "evs.keepalive_period": "PT0.2S",
    "evs.suspect_timeout": "PT2S",
    "evs.inactive_timeout": "PT4S",
    "evs.install_timeout": "PT4S",
    "gcache.size": "64M",
}

# Who joins with nothing copies the data of another node with programs of its own.
STATE_TRANSFER = "rsync"


class GaleraNode(MariaDB):
    """One node; `settings` are options of mariadbd."""

    name = "galera"
    package = "galera-4"

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__({"max_connections": "300", **(settings or {})})
        self.replication, self.incremental, self.whole = (free_port() for _ in range(3))
        self.first = False
        self.peers: Sequence[GaleraNode] = ()
        self.provider = dict(PROVIDER)

    @classmethod
    def installed(cls) -> bool:
        return super().installed() and LIBRARY.exists() and bool(shutil.which(STATE_TRANSFER))

    def command(self) -> Sequence[str | Path]:
        members = ",".join(f"{LOOPBACK}:{peer.replication}" for peer in self.peers)
        options = {
            "base_port": str(self.replication),
            "gmcast.listen_addr": f"tcp://{LOOPBACK}:{self.replication}",
            "ist.recv_addr": f"{LOOPBACK}:{self.incremental}",
            **self.provider,
        }
        words = [
            "--wsrep-on=ON",
            f"--wsrep-provider={LIBRARY}",
            f"--wsrep-provider-options={';'.join(f'{k}={v}' for k, v in options.items())}",
            "--wsrep-cluster-name=servicegroup-tests",
            f"--wsrep-cluster-address=gcomm://{'' if self.first else members}",
            f"--wsrep-node-name=node{self.port}",
            f"--wsrep-node-address={LOOPBACK}:{self.replication}",
            f"--wsrep-node-incoming-address={self.address}",
            f"--wsrep-sst-method={STATE_TRANSFER}",
            f"--wsrep-sst-receive-address={LOOPBACK}:{self.whole}",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
            "--innodb-flush-log-at-trx-commit=0",
        ]
        return [*super().command(), *words]

    def launch(self) -> None:
        super().launch()
        self.first = False  # once there is a cluster, whoever comes back joins it

    def answers(self) -> bool:
        try:
            return self.status("wsrep_ready") == "ON"
        except Refused:
            return False

    def status(self, name: str) -> str:
        """Return what the node says of itself under this name, such as wsrep_cluster_size."""
        return str(self.ask(f"SHOW GLOBAL STATUS LIKE '{name}'")[0][1])

    @property
    def is_primary(self) -> bool:
        """Whether the node is one of a quorum, as far as it knows."""
        try:
            return self.status("wsrep_cluster_status") == "Primary"
        except Refused:
            return False

    def ask(self, *statements: str, timeout: float = 5) -> list[Any]:
        """Run statements in a session of their own and return the rows of the last one."""
        with self._session(timeout) as cursor:
            for statement in statements:
                cursor.execute(statement)
            return [*cursor.fetchall()]

    @contextmanager
    def _session(self, timeout: float) -> Iterator[Any]:
        """Give a cursor of a session, which commits each statement."""
        address = {"host": LOOPBACK, "port": self.port, "user": "root", "database": "mysql"}
        limits = {"connect_timeout": 2, "read_timeout": timeout}
        connection = _driver.connect(autocommit=True, **address, **limits)
        try:
            yield connection.cursor()
        finally:
            connection.close()

    def cut_off(self) -> None:
        """Lose all that this node and the others send to one another; clients notice nothing."""
        self._isolate(on=True)

    def heal(self) -> None:
        """End that; on return it is one of the cluster again."""
        self._isolate(on=False)
        until(lambda: self._answers() and self.is_primary, PATIENCE, what="the node is back")

    def _isolate(self, *, on: bool) -> None:
        self.ask(f"SET GLOBAL wsrep_provider_options='gmcast.isolate={int(on)}'")

    def bootstrap(self) -> None:
        """Make what is left of a cluster one with a quorum, as an operator does."""
        self.ask("SET GLOBAL wsrep_provider_options='pc.bootstrap=1'")
        until(lambda: self._answers() and self.is_primary, PATIENCE, what="the node is a cluster")

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Hold what a backup holds: the node answers, and applies nothing that others commit."""
        with self._session(PATIENCE) as cursor:
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            yield
            cursor.execute("UNLOCK TABLES")


class GaleraCluster(Ensemble[GaleraNode]):
    """Three nodes; each keeps its port and data over a kill and a restart."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__([GaleraNode(settings) for _ in range(NODES)])
        self._numbers = iter(range(1, 1_000))
        for node in self.servers:
            node.peers = [peer for peer in self.servers if peer is not node]

    def start(self) -> None:
        """Start those that do not run, the first one first, and return when all are one cluster."""
        if not any(node.running for node in self.servers):
            self.servers[0].first = True
        for node in self.servers:
            if not node.running:
                node.start()
        self.wait_until_whole()

    def wait_until_whole(self, size: int = NODES) -> None:
        """Return when every running node is one of so many, and takes writes."""
        self.wait_until_is(size, *(node for node in self.servers if node.running))

    @staticmethod
    def wait_until_is(size: int, *nodes: GaleraNode) -> None:
        """Return when these nodes are of a cluster of that size, and take writes."""
        for node in nodes:
            until(partial(_is_one_of, node, size), PATIENCE, what=f"a cluster of {size}")

    def database(self) -> list[str]:
        """Create an empty database; return its SQLAlchemy URL at each of the nodes."""
        name = f"cluster{next(self._numbers)}"
        for node in self.servers:
            make = f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4"
            node.ask("SET SESSION wsrep_sync_wait = 15", make, timeout=PATIENCE)
        return [self.url_at(node.address, name) for node in self.servers]

    @staticmethod
    def url_at(address: str, database: str) -> str:
        """Return the SQLAlchemy URL of a database at an address before the nodes."""
        return f"mysql+pymysql://root@{address}/{database}?charset=utf8mb4"


def _is_one_of(node: GaleraNode, size: int) -> bool:
    try:
        return node.is_primary and node.status("wsrep_cluster_size") == str(size) and node.answers()
    except Refused:
        return False
