"""A PostgreSQL server of the tests' own; every test that wants one takes a fresh database."""

from __future__ import annotations

import itertools
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.engine import make_url

from servers.process import LOOPBACK, PATIENCE, Server, unprivileged
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# One template is enough for every database, and the write-ahead log is quicker than a checkpoint.
CREATE = "CREATE DATABASE {} TEMPLATE template0 STRATEGY wal_log"


def _program(name: str) -> Path | None:
    """Find a program of the newest PostgreSQL; Debian keeps them off the PATH."""
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = max(versions, key=lambda path: float(path.parts[-3]), default=None)
    return newest or (Path(found) if (found := shutil.which(name)) else None)


class PostgreSQL(Server):
    """A server that trusts everybody on loopback; `settings` are its own, such as fsync="off"."""

    name = "postgresql"
    package = "postgresql"
    stop_signal = signal.SIGINT  # the fast shutdown; SIGTERM would wait for the clients

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.user = unprivileged("postgres")
        self.settings = {"max_connections": "200", **(settings or {})}
        self._numbers = itertools.count(1)

    @classmethod
    def installed(cls) -> bool:
        return _program("postgres") is not None

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database every server has; tests want `database()`."""
        return self._url("postgres")

    def database(self) -> str:
        """Create an empty database and return its SQLAlchemy URL."""
        name = f"test{next(self._numbers)}"
        with self._connect() as connection:
            connection.execute(CREATE.format(name))
        return self._url(name)

    def prepare(self) -> None:
        initdb = _program("initdb")
        assert initdb is not None
        self.run(
            *(initdb, "--pgdata", self.directory / "data", "--no-sync", "--auth=trust"),
            *("--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"),
        )

    def command(self) -> Sequence[str | Path]:
        postgres = _program("postgres")
        assert postgres is not None
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        network = [f"--listen_addresses={LOOPBACK}", "--unix_socket_directories="]
        # In the server's directory, since a killed one leaves what it has in /dev/shm behind there.
        memory = "--dynamic_shared_memory_type=mmap"
        return [
            *(postgres, "-D", self.directory / "data", "-p", str(self.port)),
            *(*network, memory, *settings),
        ]

    def answers(self) -> bool:
        try:
            return self.ask("SELECT 1") == 1
        except psycopg.OperationalError:
            return False

    def ask(self, question: str) -> object:
        """Return the only answer to a question, asked of the database every server has."""
        with self._connect() as connection:
            answer = connection.execute(question)
            row = answer.fetchone() if answer.description else None
        return row and row[0]

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            user="postgres",
            dbname="postgres",
            autocommit=True,
            connect_timeout=2,
        )

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@{self.address}/{database}"


class Standby(PostgreSQL):
    """A server that follows another one, until it is promoted to take its place."""

    def __init__(self, primary: PostgreSQL) -> None:
        super().__init__(primary.settings)
        self._primary = primary

    def prepare(self) -> None:
        copy = _program("pg_basebackup")
        assert copy is not None
        self.run(
            *(copy, "--pgdata", self.directory / "data", "--write-recovery-conf", "--no-sync"),
            *("--checkpoint=fast", f"--host={LOOPBACK}", f"--port={self._primary.port}"),
            "--username=postgres",
        )

    def keep_up(self) -> None:
        """From now on, what the primary has committed is here too: it waits for that."""
        self._primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._primary.ask("SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication"
        until(lambda: self._primary.ask(state) == "sync", PATIENCE, what="the standby keeps up")

    def promote(self) -> None:
        """Take the primary's place, and wait for nobody; on return it takes writes."""
        self.ask(f"SELECT pg_promote(true, {PATIENCE:.0f})")
        self.ask("ALTER SYSTEM RESET synchronous_standby_names")
        self.ask("SELECT pg_reload_conf()")


def several(url: str, *ports: int) -> str:
    """Return the URL as users write it, of servers on these ports instead of the one."""
    hosts = ",".join(f"{LOOPBACK}:{port}" for port in ports)
    return f"postgresql://postgres@{hosts}/{make_url(url).database}"
