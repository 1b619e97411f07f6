"""Rows of ``/v1/services`` that are kept are what they would be if they were made anew."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from servicegroup import batches
from servicegroup.api.v1 import rows
from servicegroup.api.v1.rows import Frames
from servicegroup.batches import Glimpse
from servicegroup.driver import load
from servicegroup.errors import InvalidInput
from servicegroup.group import ServiceGroup
from servicegroup.liveness import Listening, Unheard
from servicegroup.messages import Leave, Report
from servicegroup.model import Departure, Limits, ServiceFilter
from servicegroup.moments import moment_of
from servicegroup.sessions import SessionEnd
from servicegroup.store import snapshots
from servicegroup.store.clock import utcnow
from servicegroup.store.database import write
from servicegroup.store.sessions import Ending, Lapsed, Opening, SessionWriter
from servicegroup.store.store import Store
from servicegroup.store.tables import listening_gaps, services, sessions
from support.aging import backdate, backdate_mark

if TYPE_CHECKING:
    from servers.postgresql import PostgreSQL

COUNT = 9
LIMITS = Limits(service_down_time=60)
EVERYBODY = ServiceFilter()


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH", 4)


@pytest.fixture
def database_url(postgresql: PostgreSQL) -> str:
    """Return the URL of a database that draws tokens."""
    return postgresql.database()


def plane(engine: Engine, driver: str, shadow: str = "") -> ServiceGroup:
    store = Store(engine, LIMITS.service_down_time, with_sessions="session" in {driver, shadow})
    beside = load(shadow, {}) if shadow else None
    return ServiceGroup(store, load(driver, {}), LIMITS, beside, monotonic=lambda: 0.0)


def both(group: ServiceGroup, frames: Frames) -> tuple[list[Any], list[Any]]:
    """Return a list by its frames, and the same batches judged and encoded as a whole."""
    whole: list[Any] = []

    def seen(glimpses: Iterator[Glimpse]) -> Iterator[Glimpse]:
        for glimpse in glimpses:
            for judged in glimpse.judged(glimpse.batch.kept.ids):
                whole.extend(json.loads(msgspec.json.encode(judged)))
            yield glimpse

    glimpses = group.lists().glimpses(EVERYBODY)
    assert glimpses is not None
    parts = list(frames.encoded(seen(glimpses), EVERYBODY))
    return json.loads(b"[" + b",".join(map(bytes, filter(len, parts))) + b"]"), whole


def change(group: ServiceGroup, engine: Engine, writer: SessionWriter, dice: random.Random) -> None:
    """Do something to somebody that a list shows."""
    one = dice.choice(group.services())
    life, host = (one.uuid, one.incarnation), {"host": one.host}
    number = dice.randrange(2**31)

    def sql(statement: Any) -> None:
        write(engine, partial(Connection.execute, statement=statement))

    own = services.c.id == one.id
    its = sessions.c.service_id == one.id
    changes: list[Callable[[], object]] = [
        lambda: group.report([Report(*life), Report(*life)]),
        lambda: group.report([Report(*life, failing='no "disk"')]),
        lambda: group.report([Report(*life)]),
        lambda: group.depart([Leave(*life, Departure.STOPPED)]),
        lambda: group.join(one.host, one.binary),
        lambda: group.join(f"new-{number}", 'a "binary"'),
        lambda: group.update(one.uuid, disabled=True, disabled_reason='"report_age":1,é'),
        lambda: group.update(one.uuid, disabled=False),
        lambda: group.update(one.uuid, forced_down=dice.random() < 0.5),
        lambda: group.delete(one.uuid) if number % 3 == 0 else None,
        lambda: backdate(engine, dice.choice([1, 59, 61, -5]), **host),
        lambda: backdate_mark(engine, dice.choice([0, 10, -5])),
        lambda: sql(services.update().where(own).values(last_seen_up=None)),
        lambda: sql(services.update().where(own).values(absent_since=utcnow())),
        lambda: sql(services.update().where(own).values(flapping_until=utcnow())),
        lambda: sql(services.update().where(own).values(backend_error="refused")),
        lambda: sql(services.update().where(own).values(updated_at=None)),
        lambda: sql(listening_gaps.insert().values(start_at=one.registered_at, end_at=utcnow())),
        lambda: writer.open([Opening(*life, number, str(number))]),
        lambda: writer.end([Ending(one.uuid, str(number), SessionEnd.BROKEN)]),
        lambda: sql(sessions.update().where(its).values(deaf_since=utcnow())),
        lambda: sql(sessions.update().where(its).values(asked_incarnation=one.incarnation)),
        lambda: sql(sessions.update().where(its).values(opened_at=utcnow())),
        lambda: writer.end([]),
    ]
    dice.choice(changes)()


@pytest.mark.parametrize("drivers", ["db", "session", "db session", "session db"])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_is_what_would_be_made(
    engine: Engine, drivers: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside a shadow, whose sessions are read and not told of."""
    dice = random.Random(seed)
    monkeypatch.setattr(rows, "MOST_GLIMPSED", room := dice.choice([COUNT + 2, 100]))
    group, frames = plane(engine, *drivers.split()), Frames()
    writer = SessionWriter(engine, 'node "1"')
    writer.begin_anew([])
    lives = [group.join(f"h{n}", "worker") for n in range(COUNT)]
    group.report([Report(life.uuid, life.incarnation) for life in lives])
    writer.open([Opening(life.uuid, 1, 1, f"s{n}") for n, life in enumerate(lives[:6])])
    most = 0
    for _ in range(60):
        kept, made = both(group, frames)
        assert kept == made
        most = max(most, len(frames._frames))
        try:
            writer.end([])
            change(group, engine, writer, dice)
        except Lapsed:  # this machine was busy, or the mark was moved
            writer.begin_anew([])
    kept, made = both(group, frames)
    assert kept == made
    assert COUNT / 2 < most <= room
    group.close()


def test_who_is_up_at_a_glance_is_judged_once(engine: Engine) -> None:
    group, frames = plane(engine, "db"), Frames()
    lives = [group.join(f"h{n}", "worker") for n in range(COUNT)]
    group.report([Report(life.uuid, 1) for life in lives])
    asked: list[int] = []

    def seen(glimpses: Iterator[Glimpse]) -> Iterator[Glimpse]:
        for glimpse in glimpses:

            def judged(ids: Any, glimpse: Glimpse = glimpse) -> Any:
                asked.extend(ids)
                return glimpse.judged(ids)

            yield glimpse._replace(judged=judged)

    for number, wanted in enumerate((COUNT, 0, 0)):
        asked.clear()
        glimpses = group.lists().glimpses(EVERYBODY)
        assert glimpses is not None
        list(frames.encoded(seen(glimpses), EVERYBODY))
        assert len(asked) == wanted, f"list {number}"
    group.update(lives[3].uuid, disabled=True)
    group.delete(lives[4].uuid)
    glimpses = group.lists().glimpses(EVERYBODY)
    assert glimpses is not None
    list(frames.encoded(seen(glimpses), EVERYBODY))
    assert len(asked) == 1
    assert len(frames._frames) == COUNT - 1
    group.close()


@pytest.mark.parametrize("filters", [ServiceFilter(binary="\0"), ServiceFilter(zone="\0")])
def test_a_text_that_no_database_takes_is_refused_before_it_is_asked(
    engine: Engine, filters: ServiceFilter
) -> None:
    group = plane(engine, "db")
    with pytest.raises(InvalidInput, match=r"binary|zone"):
        group.lists().glimpses(filters)


@pytest.mark.parametrize("driver", ["zookeeper"])
def test_a_backend_that_is_asked_has_other_rows_each_time(engine: Engine, driver: str) -> None:
    group = plane(engine, driver)
    assert group.lists().glimpses(EVERYBODY) is None
    group.close()


def test_rows_of_a_fleet_that_is_too_large_are_not_kept(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = plane(engine, "db")
    for number in range(COUNT):
        group.join(f"h{number}", "worker")
    for module in (batches, rows):
        monkeypatch.setattr(module, "MOST_GLIMPSED", COUNT - 1)
    monkeypatch.setattr(snapshots, "BATCH_OF_STAMPS", COUNT - 2)
    frames = Frames()
    kept, made = both(group, frames)
    assert kept == made
    assert len(made) == COUNT
    assert not frames._frames
    assert group.lists().glimpses(EVERYBODY) is None, "now it is known how many there are"
    group.close()


@given(
    st.lists(st.tuples(st.integers(-40, 50), st.integers(1, 20)), max_size=4),
    st.lists(st.integers(0, 2 * 10**8), max_size=9),
)
def test_what_was_unheard_is_counted_as_evidence_counts_it(
    gaps: list[tuple[int, int]], ages: list[int]
) -> None:
    now = datetime(2026, 1, 1)
    spans = [
        Unheard(now - timedelta(seconds=ago + length), now - timedelta(seconds=ago))
        for ago, length in gaps
    ]
    listening = Listening.of(now, now, spans)
    stamps = [now - timedelta(microseconds=age) for age in [*ages, 0, 10**15]]
    counted = rows._unheard(listening, [moment_of(stamp) for stamp in stamps])
    assert counted == [listening.unheard_since(stamp) for stamp in stamps]
