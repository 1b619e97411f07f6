"""A server that answers and may not write is a lost one, and leaves without a word (F-3, F-28)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import DBAPIError

from servers.mariadb import MariaDB
from servers.postgresql import PostgreSQL
from servicegroup.errors import StoreUnavailable, Unavailable
from servicegroup.store import attempts
from servicegroup.store.database import RESERVED, connect, reading, snapshot_read, write


class Register:
    """A table in a server that can be made read-only, and what an engine asks of it."""

    def __init__(self, url: str, change: Callable[[str], None], dialect: str) -> None:
        self.url = url
        self._change = change
        self._is_postgresql = dialect == "postgresql"

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Make the server one that takes no writes, as a demoted primary or a replica is."""
        names = ("default_transaction_read_only = on", "default_transaction_read_only = off")
        statements = (
            [f"ALTER DATABASE {make_url(self.url).database} SET {name}" for name in names]
            if self._is_postgresql
            else [f"SET GLOBAL read_only = {value}" for value in (1, 0)]
        )
        self._change(statements[0])
        yield
        self._change(statements[1])

    def session(self, engine: Engine) -> int:
        """Return which of the server's sessions an engine's next question is asked in."""
        with reading(engine) as connection:
            return _session_of(connection)


@pytest.fixture(params=["postgresql", "mariadb"])
def register(request: pytest.FixtureRequest) -> Iterator[Register]:
    """Give a register of a user who is no administrator, as whom a server may refuse."""
    server: PostgreSQL | MariaDB = request.getfixturevalue(f"own_{request.param}")()
    administrator = sqlalchemy.create_engine(server.database(), isolation_level="AUTOCOMMIT")

    def change(statement: str) -> None:
        with administrator.connect() as connection:
            connection.exec_driver_sql(statement)

    url = administrator.url
    if request.param == "mariadb":
        change("CREATE USER plain@'127.0.0.1'")
        change(f"GRANT ALL ON {url.database}.* TO plain@'127.0.0.1'")
        url = url.set(username="plain")
    change("CREATE TABLE note (note VARCHAR(20))")
    if request.param == "postgresql":
        change("GRANT ALL ON note TO public")
    yield Register(url.render_as_string(hide_password=False), change, request.param)
    administrator.dispose()


def note(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO note VALUES ('one')")


@contextmanager
def engines(url: str) -> Iterator[tuple[Engine, Engine]]:
    both = connect(url), connect(url, RESERVED)
    yield both
    for engine in both:
        engine.dispose()


def test_all_connections_to_a_server_that_refuses_are_left(
    register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    with engines(register.url) as (writing, listing):
        write(writing, note)
        before = {register.session(engine) for engine in (writing, listing)}
        with register.read_only():
            if register.url.startswith("postgresql"):
                _demote(writing)  # a session that began before has been told nothing
            with pytest.raises(StoreUnavailable, match="takes no writes"):
                write(writing, note)
            meanwhile = [register.session(engine) for engine in (writing, listing)]
            assert not before & {*meanwhile}
        write(writing, note)
        after = [register.session(engine) for engine in (writing, listing)]
        assert meanwhile[1] != after[1], "what was opened in between leads to who knows where"
        assert after == [register.session(engine) for engine in (writing, listing)]
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_server_that_takes_writes_is_found_within_one_write(register: Register) -> None:
    """As where an address has moved: the old connection hears a refusal, a new one does not."""
    with engines(register.url) as (engine, _):
        write(engine, note)
        if register.url.startswith("postgresql"):
            _demote(engine)
        else:
            with engine.connect() as connection:
                connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
        with refusing_nothing():
            write(engine, note)


@contextmanager
def refusing_nothing() -> Iterator[None]:
    """Let the database refuse nothing of what is asked meanwhile."""
    refusal = ""
    try:
        yield
    except StoreUnavailable as error:
        refusal = str(error)
    assert not refusal


def _demote(engine: Engine) -> None:
    """Make the sessions that there are read-only, as a demotion does."""
    with engine.connect() as connection:
        connection.exec_driver_sql("SET SESSION default_transaction_read_only = on")
        connection.commit()


def test_nobody_waits_for_a_server_that_refuses(register: Register) -> None:
    with engines(register.url) as (engine, _), register.read_only():
        opened: list[object] = []
        event.listen(engine, "connect", lambda connection, _: opened.append(connection))
        with pytest.raises(StoreUnavailable):
            write(engine, note)
        assert len(opened) == 2


def test_what_others_undid_is_tried_again_until_there_is_no_time_left(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LONGEST_PAUSE", 0.02)
    tried = 0

    def work(connection: Connection) -> None:
        nonlocal tried
        tried += 1
        if tried <= 20:
            _undo(connection)
        note(connection)

    with engines(register.url) as (engine, _):
        with refusing_nothing():
            write(engine, work)
        assert tried == 21
        tried = -(10**6)
        began = time.monotonic()
        with pytest.raises((StoreUnavailable, Unavailable)):
            write(engine, work, began + 0.5)
        assert 0.5 <= time.monotonic() - began < attempts.LONGEST / 2


def _undo(connection: Connection) -> None:
    """Hear what the database says of a deadlock."""
    said = {
        "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$",
        "mysql": "BEGIN NOT ATOMIC SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213; END",
    }
    connection.exec_driver_sql(said[connection.dialect.name])


def test_a_rollback_that_fails_is_told_to_nobody(
    register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    class Left(Exception):
        pass

    def leave(connection: Connection) -> None:
        note(connection)
        _kill(other, _session_of(connection))
        raise Left

    with engines(register.url) as (engine, other):
        with refusing_nothing(), pytest.raises(Left):
            write(engine, leave)
        write(engine, note)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_session_that_ended_is_replaced_however_lately_it_was_used(register: Register) -> None:
    """Nobody asks one that was used just now whether it is there: what it said last tells."""
    failures = []
    with engines(register.url) as (engine, other):
        for ask in (reading, snapshot_read):
            with ask(engine) as connection:
                session = _session_of(connection)
            _kill(other, session)
            try:
                with ask(engine) as connection:
                    assert _session_of(connection) != session
            except StoreUnavailable as error:
                failures.append(str(error))
    assert failures == []


def _session_of(connection: Connection) -> int:
    question = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
    return int(connection.exec_driver_sql(question[connection.dialect.name]).scalar_one())


def _kill(engine: Engine, session: int) -> None:
    statement = {
        "postgresql": f"SELECT pg_terminate_backend({session}, 5000)",
        "mysql": f"KILL {session}",
    }
    with engine.connect() as connection:
        connection.exec_driver_sql(statement[connection.dialect.name])


def test_an_error_of_another_kind_is_raised_at_once(register: Register) -> None:
    with engines(register.url) as (engine, _), pytest.raises(DBAPIError):
        write(engine, lambda c: c.exec_driver_sql("INSERT INTO nothing VALUES (1)"))
