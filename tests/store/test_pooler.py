"""F-13: PostgreSQL behind PgBouncer in transaction mode, where sessions are everybody's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, func, select, text

from servers.pgbouncer import PgBouncer
from servers.postgresql import PostgreSQL
from servicegroup.cli.database_checks import database_checks
from servicegroup.controlplane.observer import Observer
from servicegroup.driver import load
from servicegroup.errors import StoreUnavailable
from servicegroup.events import EventFilter
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Refusals, Report
from servicegroup.model import Limits, ServiceFilter
from servicegroup.sessions import SessionEnd
from servicegroup.store import migrate, snapshots, tokens
from servicegroup.store.database import connect, reading, snapshot_read, write
from servicegroup.store.direct import directly, one_row
from servicegroup.store.postgresql import LIMITS, is_shared
from servicegroup.store.sessions import Ending, Opening, SessionWriter
from servicegroup.store.store import Store

MANY = 8
"""As often as psycopg would have prepared a statement since long."""


@pytest.fixture
def pooler(
    postgresql: PostgreSQL, own_pgbouncer: Callable[..., PgBouncer]
) -> Callable[..., PgBouncer]:
    def start(**settings: str) -> PgBouncer:
        return own_pgbouncer(postgresql.port, settings)

    return start


@pytest.fixture
def pooled(postgresql: PostgreSQL, pooler: Callable[..., PgBouncer]) -> Iterator[Engine]:
    """Give an engine on a register that is reached by few sessions."""
    engine = connect(pooler().pooled(postgresql.database()))
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


def _planes(engine: Engine, many: int) -> list[ServiceGroup]:
    url = engine.url.render_as_string(hide_password=False)
    return [ServiceGroup(Store(connect(url)), load("db"), Limits()) for _ in range(many)]


def test_a_pooler_is_found(pooled: Engine, postgresql: PostgreSQL) -> None:
    with reading(pooled) as connection:
        assert is_shared(connection)
    direct = connect(postgresql.url)
    with reading(direct) as connection:
        assert not is_shared(connection)
    direct.dispose()


def test_sessions_are_written_by_several_control_planes(pooled: Engine) -> None:
    """What one of them prepares, or sets, is met by the other."""
    (group,) = _planes(pooled, 1)
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(3)]
    url = pooled.url.render_as_string(hide_password=False)
    writers = [SessionWriter(connect(url), f"node{n}") for n in range(2)]
    for number in range(1, MANY + 1):
        writer = writers[number % 2]
        opened = [Opening(uuid, 1, number, f"{uuid[:8]}-{number}") for uuid in uuids]
        writer.begin_anew([])
        assert writer.open(opened).outdated == {}
        writer.end([Ending(one.uuid, one.session, SessionEnd.CLOSED) for one in opened[1:]])
    held = Store(pooled, with_sessions=True).snapshot().sessions.values()
    assert [one.ended_at is None for one in held] == [True, False, False]
    for engine in (group._store.engine, *(writer._engine for writer in writers)):
        engine.dispose()


def test_doctor_says_what_is_between(pooled: Engine, postgresql: PostgreSQL) -> None:
    checks = list(database_checks(pooled))
    assert {check.result for check in checks} == {"OK"}
    found = {check.check: check.finding for check in checks}
    assert "A pooler is between" in found["pooler"]
    assert found["encoding"] == "Texts are kept in UTF8."
    direct = connect(postgresql.url)
    (check,) = (one for one in database_checks(direct) if one.check == "pooler")
    assert "None is between" in check.finding
    direct.dispose()


@pytest.mark.parametrize("settings", [{}, {"ignore_startup_parameters": "options"}])
def test_any_configuration_will_do(
    postgresql: PostgreSQL, pooler: Callable[..., PgBouncer], settings: dict[str, str]
) -> None:
    engine = connect(pooler(**settings).pooled(postgresql.database()))
    migrate.upgrade(engine)
    migrate.require_current(engine)
    engine.dispose()


def test_nothing_is_prepared_in_a_session_of_others(pooled: Engine) -> None:
    """From the fifth time on psycopg prepares what is repeated, in whichever session it is then."""
    with pooled.connect() as connection:
        session: Any = connection.connection.dbapi_connection
        assert session.prepare_threshold is None


def test_limits_hold_in_each_transaction_and_in_none_of_others(
    pooled: Engine, postgresql: PostgreSQL
) -> None:
    names = [text(f"SHOW {name}") for name in LIMITS]

    def limits(connection: Connection) -> list[str]:
        return [str(connection.scalar(name)) for name in names]

    wanted = list(LIMITS.values())
    plainly = directly(select(*(func.current_setting(name) for name in LIMITS)))
    with reading(pooled) as connection:
        assert list(one_row(connection, plainly)) == wanted
    with reading(pooled) as connection:
        assert limits(connection) == wanted
    with snapshot_read(pooled) as connection:
        assert limits(connection) == wanted
        assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    assert write(pooled, limits) == wanted
    level = text("SHOW transaction_isolation")
    assert write(pooled, lambda connection: connection.scalar(level)) == "read committed"
    somebody = pooled.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(somebody, autocommit=True) as session:
        for name in LIMITS:
            row = session.execute(f"SHOW {name}").fetchone()
            assert row == ("0",), name
    direct = connect(postgresql.url)
    with reading(direct) as connection:
        assert list(one_row(connection, plainly)) == wanted
        assert limits(connection) == wanted
    direct.dispose()


def test_control_planes_share_sessions_and_mix_up_nothing(pooled: Engine) -> None:
    """Statements prepared by one client were run for another: a SELECT ran an UPDATE (F-13)."""
    groups = _planes(pooled, 4)
    lives = [groups[n % 4].join(f"h{n}", "nova-compute") for n in range(8)]
    start = threading.Barrier(8)

    def work(number: int) -> int:
        group, life = groups[number % 4], lives[number]
        start.wait()
        for _ in range(MANY):
            assert group.report([Report(life.uuid, life.incarnation)]) == Refusals()
            assert group.get(life.uuid).host == f"h{number}"
            assert {s.host for s in group.services()} == {f"h{n}" for n in range(8)}
            assert group.services(ServiceFilter(host=f"h{number}"))[0].uuid == life.uuid
            group.update(life.uuid, disabled=True, disabled_reason=f"r{number}")
            group.update(life.uuid, disabled=False)
            assert group.events(EventFilter(uuid=life.uuid), 1).events[0].host == f"h{number}"
            assert group.versions(["nova-compute"])[0].maximum == 0
        return group.get(life.uuid).report_count

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [MANY] * 8
    page = groups[0].events(EventFilter(after=0), 1_000)
    assert [found.id for found in page.events] == list(range(1, 8 + 2 * MANY * 8 + 1))
    with reading(pooled) as connection:
        prepared = "SELECT count(*) FROM pg_prepared_statements"
        assert connection.exec_driver_sql(prepared).scalar_one() == 0
    for group in groups:
        group.close()


def test_observers_replace_each_other(pooled: Engine) -> None:
    first, second = _planes(pooled, 2)
    life = first.join("node1", "worker")
    one, other = Observer(first), Observer(second)
    for _ in range(MANY):
        assert one.keep_lease()
        assert not other.keep_lease()
        one.look()
        one.release()
        assert other.keep_lease()
        other.look()
        other.release()
    assert second.depart([Leave(life.uuid, life.incarnation)]) == Refusals()
    assert one.keep_lease()
    assert [found.after for found in one.look()] == ["down"]
    second.delete(life.uuid)
    assert first.services() == []
    for group in (first, second):
        group.close()


def test_tokens_are_everybodys(pooled: Engine) -> None:
    for number in range(MANY):
        made = tokens.create(pooled, f"t{number}", "reader", None, timedelta(days=1))
        assert made.startswith(tokens.PREFIX)
    assert [issued.name for issued in tokens.issued(pooled)] == [f"t{n}" for n in range(MANY)]


def test_lists_in_batches_are_of_one_moment(
    pooled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "BATCH", 2)
    (group,) = _planes(pooled, 1)
    for number in range(5):
        group.join(f"h{number}", "worker")
    batches = group.batches()
    seen = [service.host for service in next(batches)]
    group.join("late", "worker")
    seen += [service.host for batch in batches for service in batch]
    assert seen == [f"h{number}" for number in range(5)]
    group.close()


def test_a_report_takes_no_more_round_trips_than_without(
    pooled: Engine, postgresql: PostgreSQL
) -> None:
    direct = connect(postgresql.database())
    migrate.upgrade(direct)
    counts = []
    for engine in (direct, pooled):
        group = ServiceGroup(Store(engine), load("db"), Limits())
        life = group.join("node1", "worker")
        asked: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda *a, asked=asked: asked.append(a[2]))
        for _ in range(3):
            group.report([Report(life.uuid, 1)], marking=False)
        counts.append(len(asked))
        assert life.incarnation == 1
        group.close()
    assert counts[0] == counts[1]


def test_a_pool_that_is_too_small_is_said(
    postgresql: PostgreSQL, pooler: Callable[..., PgBouncer]
) -> None:
    """A session pool of one, and another client holds it (F-31)."""
    url = pooler(pool_mode="session", default_pool_size="1").pooled(postgresql.database())
    plain = url.replace("+psycopg", "")
    engine = connect(url)
    with psycopg.connect(plain, autocommit=True) as somebody:
        somebody.execute("SELECT 1")
        with pytest.raises(StoreUnavailable, match="make the pool larger"), reading(engine):
            pass
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    engine.dispose()
