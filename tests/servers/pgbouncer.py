"""PgBouncer before a PostgreSQL server of the tests' own: few sessions for many clients."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.engine import make_url

from servers.process import LOOPBACK, Server, unprivileged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SETTINGS = {
    "pool_mode": "transaction",
    # Few, so that a client's transactions get another session each time.
    "default_pool_size": "3",
    "max_client_conn": "500",
}


class PgBouncer(Server):
    """A pooler that lets everybody in; ``settings`` are its own, such as pool_mode="session"."""

    name = "pgbouncer"
    package = "pgbouncer"

    def __init__(self, target: int, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.user = unprivileged("postgres")  # it refuses to run as root
        self.target = target
        self.settings = {**SETTINGS, **(settings or {})}

    @classmethod
    def installed(cls) -> bool:
        return _program() is not None

    def pooled(self, url: str) -> str:
        """Return the URL by which a server's database is reached through the pooler."""
        through = make_url(url).set(host=LOOPBACK, port=self.port)
        return through.render_as_string(hide_password=False)

    @property
    def configuration(self) -> Path:
        return self.directory / "pgbouncer.ini"

    def prepare(self) -> None:
        settings = {
            "listen_addr": LOOPBACK,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "admin_users": "postgres",
            **self.settings,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        server = f"* = host={LOOPBACK} port={self.target} user=postgres"
        self.configuration.write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))

    def reload(self, **settings: str) -> None:
        """Change settings and take them up; each session ends after its transaction."""
        self.settings = {**self.settings, **settings}
        self.prepare()
        self.tell("RELOAD")
        self.tell("RECONNECT")

    def tell(self, command: str) -> None:
        """Give a command to its console, and return when it is done."""
        with psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            user="postgres",
            dbname="pgbouncer",
            autocommit=True,
            connect_timeout=5,
        ) as console:
            console.execute(command.encode())

    def command(self) -> Sequence[str | Path]:
        return [_program() or "", self.configuration]

    def answers(self) -> bool:
        with socket.create_connection((LOOPBACK, self.port), timeout=5):
            return True


def _program() -> str | None:
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
