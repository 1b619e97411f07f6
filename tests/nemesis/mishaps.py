"""What can be done to a database beside killing its server."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from servers.process import Started

_CHUNK = b"\0" * 2**20


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Give a connection of its own that commits each statement."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def end_sessions(url: str) -> None:
    """End everybody's connections to the database, whatever is under way there."""
    with connected(url) as connection:
        name = connection.engine.url.database
        if connection.dialect.name == "postgresql":
            others = "datname = :name AND pid <> pg_backend_pid()"
            question = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
            connection.execute(text(question), {"name": name})
            return
        # Those of the system apply what other nodes of a cluster have committed.
        others = "id <> CONNECTION_ID() AND user <> 'system user'"
        question = f"SELECT id FROM information_schema.processlist WHERE db = :name AND {others}"
        for (number,) in connection.execute(text(question), {"name": name}):
            with contextlib.suppress(Exception):  # it has just ended by itself
                connection.execute(text(f"KILL {number}"))


@contextmanager
def sessions_held(url: str, count: int) -> Iterator[None]:
    """Hold so many sessions in transactions that do nothing, or as many as can be had."""
    engine = create_engine(url, poolclass=NullPool)
    with ExitStack() as stack:
        for _ in range(count):
            with contextlib.suppress(OperationalError):
                stack.enter_context(engine.connect()).execute(text("SELECT 1"))
        yield


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Hold a lock on a table that lets nobody read or write it."""
    with connected(url) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("BEGIN"))
            connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        else:
            connection.execute(text(f"LOCK TABLES {table} WRITE"))
        yield  # the lock ends with the connection


class SmallDisk(Started):
    """A disk of 400 MiB in memory, mounted at a directory; only root can mount."""

    def __init__(self, directory: Path) -> None:
        self.mounted = False
        self._directory = directory

    def start(self) -> None:
        if os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "nemesis", str(self._directory)]
            self.mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self._directory)], check=True)
            self.mounted = False

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no byte free."""
        ballast = self._directory / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(_CHUNK):
                    pass
            assert not os.statvfs(self._directory).f_bfree
            yield
        finally:
            ballast.unlink()
