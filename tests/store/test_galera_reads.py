"""What only reads is asked again where a node of a cluster could not answer for a moment (F-24)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

import pytest
from sqlalchemy import Connection, Engine

from servers.mariadb import MariaDB
from servicegroup.errors import StoreUnavailable
from servicegroup.store import attempts
from servicegroup.store.database import connect, reading, snapshot_read, write

# A node that lost another one says of what waits for it what a server says of a lock.
WAITED = """BEGIN NOT ATOMIC
    SET @asked = COALESCE(@asked, 0) + 1;
    IF @asked < 4 THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205; END IF;
END"""
ALWAYS = "BEGIN NOT ATOMIC SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205; END"
CONFLICT = "BEGIN NOT ATOMIC SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213; END"


@pytest.fixture
def engine(mariadb: MariaDB) -> Iterator[Engine]:
    engine = connect(mariadb.database())
    yield engine
    engine.dispose()


@pytest.mark.parametrize("questions", [reading, snapshot_read])
def test_what_waited_in_vain_is_asked_again(
    engine: Engine, questions: Callable[[Engine], AbstractContextManager[Connection]]
) -> None:
    asked = 0
    with suppress(StoreUnavailable), questions(engine) as connection:
        connection.exec_driver_sql(WAITED)
        asked = connection.exec_driver_sql("SELECT @asked").scalar_one()
    assert asked == 4


@pytest.mark.parametrize("said", [ALWAYS, CONFLICT])
def test_until_there_is_no_time_left(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """A conflict ends a transaction, which might have seen something already."""
    monkeypatch.setattr(attempts, "LONGEST", 0.2)
    with pytest.raises(StoreUnavailable), reading(engine) as connection:
        connection.exec_driver_sql(said)


def test_what_writes_begins_again_as_a_whole(engine: Engine) -> None:
    begun: list[Connection] = []

    def work(connection: Connection) -> None:
        begun.append(connection)
        if len(begun) < 3:
            connection.exec_driver_sql(ALWAYS)

    write(engine, work)
    assert len(begun) == 3
