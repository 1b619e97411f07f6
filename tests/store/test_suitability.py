"""F-12: what cannot hold a register is refused in one sentence, wherever it is met first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from servers.mariadb import MariaDB
from servers.postgresql import PostgreSQL
from servicegroup.cli.main import cli
from servicegroup.errors import ConfigError
from servicegroup.store.database import connect, reading

_numbers = itertools.count(1)


@pytest.fixture(params=["SQL_ASCII", "LATIN1", "statement binlog", "charset"])
def unsuitable(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Give the URL of such a database, and what is said of it."""
    kind = request.param
    if kind == "statement binlog":
        own: Callable[..., MariaDB] = request.getfixturevalue("own_mariadb")
        server = own({"log-bin": "log", "binlog-format": "STATEMENT"})
        yield server.database(), "set binlog_format to ROW or MIXED"
    elif kind == "charset":
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        yield mariadb.database().replace("utf8mb4", "latin1"), "leave charset out"
    else:
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        name = f"unsuitable{next(_numbers)}"
        postgresql.ask(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{kind}' LOCALE 'C'")
        yield f"{postgresql.url.rsplit('/', 1)[0]}/{name}", "createdb --encoding UTF8"


@pytest.mark.parametrize("command", [["db", "upgrade"], ["doctor"], ["serve"], ["service", "list"]])
def test_an_unsuitable_database(
    unsuitable: tuple[str, str],
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, remedy = unsuitable
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OS_DATABASE__CONNECTION", url)
    monkeypatch.setenv("OS_DEFAULT__BIND", "127.0.0.1:0")
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == (1 if command == ["doctor"] else 2), done.output
    assert done.output.count(remedy) == 1, done.output
    assert "Traceback" not in done.output


def test_options_in_a_url_are_heard(postgresql: PostgreSQL) -> None:
    url = f"{postgresql.database()}?options=-c%20search_path%3Delsewhere"
    engine = connect(url)
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SHOW search_path").scalar_one() == "elsewhere"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "5s"
    engine.dispose()


@pytest.mark.parametrize("name", ["init_command", "sql_mode"])
def test_what_would_replace_our_own_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        connect(f"mysql+pymysql://root@127.0.0.1/test?{name}=x")
