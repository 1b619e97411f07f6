"""A MariaDB server of the tests' own; every test that wants one takes a fresh database."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import sqlalchemy

from servers.process import LOOPBACK, PATIENCE, Server, ServerError, reaper, unprivileged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Names are not resolved, so the root@localhost of a new server is nobody who comes over TCP.
USERS = f"""\
CREATE USER IF NOT EXISTS root@'{LOOPBACK}';
GRANT ALL ON *.* TO root@'{LOOPBACK}' WITH GRANT OPTION;
"""
# Asynchronous I/O has limits that all processes of a machine share, so a start could fail for want
# of it; and a small log is soon made and copied.
STORAGE = ("--innodb-use-native-aio=0", "--innodb-log-file-size=16M")
SYSTEM_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


def _program(name: str) -> str | None:
    """Find a program of MariaDB; the server is in a directory users seldom have on their PATH."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)


class MariaDB(Server):
    """A server whose root has no password; `settings` are options of mariadbd."""

    name = "mariadb"
    package = "mariadb-server"

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.user = unprivileged("mysql")
        self.settings = {"innodb-buffer-pool-size": "64M", **(settings or {})}
        self._numbers = itertools.count(1)

    @classmethod
    def installed(cls) -> bool:
        return _program("mariadbd") is not None

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database every server has; tests want `database()`."""
        return self._url("mysql")

    def database(self) -> str:
        """Create an empty database and return its SQLAlchemy URL."""
        name = f"test{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4", PATIENCE)
        return self._url(name)

    def prepare(self) -> None:
        (self.directory / "users.sql").write_text(USERS)
        template = reaper().directory / "mariadb-template"
        if not template.exists():
            self._make(template)
        self.run("cp", "-R", template / "data", self.directory / "data")

    def _make(self, template: Path) -> None:
        """Make the data directory that every server of this process begins with."""
        unfinished = template.with_suffix(".unfinished")
        try:
            self._install(unfinished)
        except ServerError:  # once more, since a busy machine refuses now and then
            self._install(unfinished)
        unfinished.rename(template)

    def _install(self, directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        if self.user:
            shutil.chown(directory, self.user)
        self.run(
            *(_program("mariadb-install-db") or "", "--no-defaults", "--skip-test-db"),
            *(f"--datadir={directory / 'data'}", "--auth-root-authentication-method=normal"),
            *("--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", *STORAGE),
        )

    def command(self) -> Sequence[str | Path]:
        return [
            *(_program("mariadbd") or "", "--no-defaults", f"--datadir={self.directory / 'data'}"),
            *(f"--port={self.port}", f"--bind-address={LOOPBACK}", "--skip-name-resolve"),
            *(f"--socket={self.directory / 'socket'}", f"--pid-file={self.directory / 'pid'}"),
            *(f"--init-file={self.directory / 'users.sql'}", "--character-set-server=utf8mb4"),
            *STORAGE,
            *(f"--{name}={value}" for name, value in self.settings.items()),
        ]

    def answers(self) -> bool:
        try:
            self._execute("SELECT 1", 5)
        except sqlalchemy.exc.OperationalError:
            return False
        return True

    def _execute(self, statement: str, timeout: float) -> None:
        engine = sqlalchemy.create_engine(
            self.url,
            poolclass=sqlalchemy.NullPool,
            connect_args={"connect_timeout": 2, "read_timeout": timeout},
        )
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(statement))

    def _url(self, database: str) -> str:
        return f"mysql+pymysql://root@{self.address}/{database}?charset=utf8mb4"
