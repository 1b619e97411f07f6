"""A listing in batches is one listing: one moment, one clock, and never a part of it as all."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from servicegroup.errors import NotFound, StoreUnavailable
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import ServiceFilter
from servicegroup.store import snapshots
from servicegroup.store.database import connect, snapshot_read
from servicegroup.store.store import Store

COUNT = 7


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "BATCH", 3)


def fill(group: ServiceGroup) -> list[str]:
    """Register services of two groups, and return their uuids in order."""
    lives = [group.join(f"h{n}", "web" if n % 2 else "db") for n in range(COUNT)]
    group.report([Report(life.uuid, life.incarnation) for life in lives])
    return [life.uuid for life in lives]


def test_batches_are_the_whole_list_in_order(group: ServiceGroup) -> None:
    uuids = fill(group)
    batches = list(group.batches())
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert [service.uuid for batch in batches for service in batch] == uuids
    for filters, found in (
        (ServiceFilter(group="web"), uuids[1::2]),
        (ServiceFilter(marker=uuids[1]), uuids[2:]),
        (ServiceFilter(host="h4"), uuids[4:5]),
        (ServiceFilter(limit=4), uuids[:4]),
        (ServiceFilter(group="nobody"), []),
    ):
        batches = list(group.batches(filters))
        assert [service.uuid for batch in batches for service in batch] == found
    group.update(uuids[2], forced_down=True)
    for state, count in (("up", COUNT - 1), ("down", 1)):
        assert len([s for batch in group.batches(state=state) for s in batch]) == count
        assert len(group.services(state=state)) == count
    with pytest.raises(NotFound):
        list(group.batches(ServiceFilter(marker="nobody")))


def test_all_batches_are_of_one_moment_on_one_clock(store: Store, group: ServiceGroup) -> None:
    """Whoever reports, joins or goes between two batches is as it was (SQL-1)."""
    uuids = fill(group)
    batches = store.batches(ServiceFilter())
    first = next(batches)
    group.delete(uuids[-1])
    group.report([Report(uuids[4], 1)])
    group.join("new", "web")
    rest = list(batches)
    assert [s.uuid for snapshot in (first, *rest) for s in snapshot.services] == uuids
    assert all(snapshot.listening == first.listening for snapshot in rest)
    assert {s.report_count for snapshot in rest for s in snapshot.services} == {1}
    assert [service.uuid for service in group.services()][:-1] == uuids[:-1]


def test_nobody_waits_for_a_list_that_is_read(store: Store, group: ServiceGroup) -> None:
    """Reports are committed while a list is half read (SQL-18)."""
    uuids = fill(group)
    batches = store.batches(ServiceFilter())
    next(batches)
    assert group.report([Report(uuid, 1) for uuid in uuids]).unknown == frozenset()
    assert {service.report_count for service in group.services()} == {2}
    batches.close()


def test_an_abandoned_list_leaves_a_connection_that_works(
    store: Store, group: ServiceGroup
) -> None:
    fill(group)
    for _ in range(30):  # more than the pool has
        batches = store.batches(ServiceFilter())
        next(batches)
        batches.close()
    assert len(group.services()) == COUNT


def test_a_list_that_breaks_off_is_an_error(engine: Engine, group: ServiceGroup) -> None:
    """Never a short list: a database that goes between two batches is told of."""
    if engine.dialect.name == "sqlite":
        pytest.skip("it is in the process")
    fill(group)
    batches = group.batches()
    next(batches)
    _end_all_other_connections(engine)
    with pytest.raises(StoreUnavailable):
        list(batches)
    assert len(group.services()) == COUNT, "the next one is whole"


def test_a_connection_that_is_lost_while_it_is_given_back_costs_nothing(engine: Engine) -> None:
    """What was read is right, and what tidying up raises is no answer for a client (F-28)."""
    if engine.dialect.name == "sqlite":
        pytest.skip("it is in the process")
    given = snapshot_read(engine)
    given.__enter__().execute(text("SELECT 1"))
    _end_all_other_connections(engine)
    given.__exit__(None, None, None)
    with snapshot_read(engine) as another:
        assert another.scalar(text("SELECT 1")) == 1


def _end_all_other_connections(engine: Engine) -> None:
    ended = {
        "postgresql": "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        "mysql": "SELECT concat('KILL ', id) FROM information_schema.processlist"
        " WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    }
    own = connect(engine.url.render_as_string(hide_password=False))
    with own.connect() as connection:
        for done in connection.scalars(text(ended[engine.dialect.name])).all():
            if done is not True:
                connection.execute(text(done))
    own.dispose()
