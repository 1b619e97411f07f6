"""A connection is pinged before it is used, unless it shows without that that its server lives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, text

from servicegroup.store import patience
from servicegroup.store.database import connect, reading

if TYPE_CHECKING:
    from servers.postgresql import PostgreSQL


@pytest.fixture
def engine(postgresql: PostgreSQL) -> Iterator[Engine]:
    engine = connect(postgresql.database())
    yield engine
    engine.dispose()


def session_of(engine: Engine) -> Any:
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
        return connection.connection.dbapi_connection


def pings(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    asked: list[Any] = []
    dialect: Any = engine.dialect
    monkeypatch.setattr(dialect, "do_ping", _noting(dialect.do_ping, asked))
    return asked


def _noting(ping: Any, asked: list[Any]) -> Any:
    def do_ping(session: Any) -> Any:
        asked.append(session.is_quiet())
        return ping(session)

    return do_ping


def test_a_connection_that_was_used_just_now_is_not_pinged(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(engine)
    asked = pings(engine, monkeypatch)
    assert session_of(engine) is session
    assert asked == [True]
    monkeypatch.setattr(patience, "QUIET", -1.0)
    assert session_of(engine) is session
    assert asked == [True, False]


def test_a_server_that_ended_a_connection_is_noticed_before_its_use(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(engine)
    pid = session.info.backend_pid
    with engine.connect() as first, engine.connect() as second:
        other = next(
            one for one in (first, second) if one.connection.dbapi_connection is not session
        )
        ended = "SELECT pg_terminate_backend(:pid, 5000)"
        assert other.scalar(text(ended), {"pid": pid})
    asked = pings(engine, monkeypatch)
    for _ in range(3):
        assert session_of(engine) is not session
    assert False in asked
