"""What goes past SQLAlchemy on PostgreSQL is answered all the same: one host, and columns."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from psycopg import errors
from sqlalchemy import Connection, Engine, event, func, select, text

from servers.postgresql import PostgreSQL
from servicegroup.errors import StoreUnavailable
from servicegroup.group import ServiceGroup
from servicegroup.model import ServiceFilter
from servicegroup.store import database, direct, migrate, snapshots
from servicegroup.store.database import (
    CONNECTIONS,
    connect,
    reading,
    snapshot_read,
    translated,
    write,
)
from servicegroup.store.direct import directly, in_parts, one_row
from servicegroup.store.stamps import read_fingerprint, read_stamps, read_tokens
from servicegroup.store.store import Store
from support.statements import statements

HOSTS = ("a", "b")
WHEN = datetime(2026, 11, 29)


@pytest.fixture
def fleet(group: ServiceGroup) -> ServiceGroup:
    for host in HOSTS:
        for binary in ("web", "db", "web-agent"):
            group.join(host, binary, zone=f"zone of {host}")
    return group


@pytest.fixture
def asked(engine: Engine) -> list[str]:
    """Return what SQLAlchemy is asked from now on."""
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
    return statements


@pytest.mark.parametrize("most", [1, 2, 500])
@pytest.mark.parametrize("with_sessions", [False, True])
@pytest.mark.parametrize(
    "filters",
    [
        ServiceFilter(host="a"),
        ServiceFilter(host="b", binary="web"),
        ServiceFilter(host="a", zone="zone of a", disabled=False),
        ServiceFilter(host="b", limit=2),
        ServiceFilter(host="nobody's"),
    ],
    ids=str,
)
def test_it_finds_what_sqlalchemy_finds(
    engine: Engine, fleet: ServiceGroup, filters: ServiceFilter, with_sessions: bool, most: int
) -> None:
    with reading(engine) as connection:
        values = snapshots.values_of(connection, filters)
        query = snapshots.matching(
            frozenset(values), with_sessions=with_sessions, with_moment=False
        )
        parts = list(in_parts(connection, query, values, most))
        expected = connection.execute(query, values).all()
    found = [tuple(row) for part in parts for row in part]
    assert found == [tuple(row) for row in expected]
    assert [type(value) for row in found for value in row] == [
        type(value) for row in expected for value in row
    ]
    assert all(0 < len(part) <= most for part in parts)


def test_postgresql_alone_is_asked_past_sqlalchemy(
    engine: Engine, fleet: ServiceGroup, asked: list[str]
) -> None:
    found = Store(engine).snapshot(ServiceFilter(host="a")).services
    assert [service.host for service in found] == ["a"] * 3
    assert (not asked) == (engine.dialect.name == "postgresql")


def test_each_question_is_by_itself(engine: Engine, fleet: ServiceGroup) -> None:
    """Nothing of one is left to the next one: no transaction, and no session that is not free."""
    store = Store(engine)
    uuid = store.snapshot(ServiceFilter(host="a")).services[0].uuid
    for zone in map(str, range(2 * CONNECTIONS)):
        store.update(uuid, {"zone": zone})
        assert store.snapshot(ServiceFilter(host="a")).services[0].zone == zone


def test_a_list_begins_before_it_reads_the_clock(postgresql: PostgreSQL) -> None:
    """Or a report in between would be ahead of the clock, and be judged as one (F-50)."""
    engine = connect(postgresql.database())
    migrate.upgrade(engine)
    store = Store(engine)
    for filters in (ServiceFilter(), ServiceFilter(binary="web")):
        for read in (store.batches, lambda some: store.stamped(some, 60.0)):
            with statements(engine, with_begin=True) as said:
                assert [len(batch.services) for batch in read(filters)] == [0]
            assert said[0] == "BEGIN ISOLATION LEVEL REPEATABLE READ"
            assert sum(one.startswith("BEGIN") for one in said) == 1
    engine.dispose()


def test_what_a_transaction_begins_with_is_never_left_out(postgresql: PostgreSQL) -> None:
    query = directly(select(func.current_setting("transaction_isolation")))
    engine = connect(postgresql.database())
    with engine.connect() as connection:
        database._begin_with(connection, "BEGIN ISOLATION LEVEL SERIALIZABLE")
        assert one_row(connection, query) == ("serializable",)
        assert one_row(connection, query) == ("serializable",)
    with snapshot_read(engine) as connection:
        assert one_row(connection, query) == ("repeatable read",)
    engine.dispose()


class OnPostgreSQL:
    """The one database that is asked so."""

    @pytest.fixture
    def database_url(self, postgresql: PostgreSQL) -> str:
        """Return the URL of a database."""
        return postgresql.database()


class TestColumns(OnPostgreSQL):
    """Columns come in binary, and are what SQLAlchemy gets of their digits."""

    @pytest.mark.parametrize("with_moves", [False, True])
    @pytest.mark.parametrize("with_sessions", [False, True])
    @pytest.mark.parametrize(
        "values",
        [{"limit": 9}, {"limit": 2, "marker": 1}, {"zone": "zone of b", "limit": 9}, {"limit": 0}],
        ids=str,
    )
    def test_they_are_the_same(
        self,
        engine: Engine,
        fleet: ServiceGroup,
        asked: list[str],
        monkeypatch: pytest.MonkeyPatch,
        values: dict[str, int | str],
        with_sessions: bool,
        with_moves: bool,
    ) -> None:
        after, until = WHEN, WHEN + timedelta(days=10_000)

        def columns(connection: Connection) -> tuple[object, ...]:
            some = {"with_sessions": with_sessions, "with_moves": with_moves}
            stamps = read_stamps(connection, values, after, until, **some)
            return stamps, read_fingerprint(connection, values), read_tokens(connection, values)

        with snapshot_read(engine) as connection:
            found = columns(connection)
            assert not asked
            monkeypatch.setattr(direct, "_is_at_once", lambda _: False)  # as behind a pooler
            assert columns(connection) == found
            assert len(asked) == 3


class TestErrors(OnPostgreSQL):
    """What psycopg raises is told apart as what SQLAlchemy raises is."""

    def test_a_session_that_is_lost_is_named_and_replaced(
        self, engine: Engine, fleet: ServiceGroup
    ) -> None:
        store = Store(engine)
        query = snapshots.matching(frozenset({"host"}))
        with reading(engine) as lost, reading(engine) as other:
            session = lost.scalar(text("SELECT pg_backend_pid()"))
            assert other.scalar(text(f"SELECT pg_terminate_backend({session}, 5000)"))
            with pytest.raises(StoreUnavailable, match="does not answer"), translated(engine):
                list(in_parts(lost, query, {"host": "a"}, 1))
        assert len(store.snapshot(ServiceFilter(host="a")).services) == 3

    def test_a_wrong_statement_is_no_outage(self, engine: Engine, fleet: ServiceGroup) -> None:
        write(engine, lambda c: c.execute(text("ALTER TABLE services RENAME TO hidden")))
        with pytest.raises(errors.UndefinedTable):
            Store(engine).snapshot(ServiceFilter(host="a"))
