"""One service's history from the log: which events it is made of, and what it knows not."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, delete, update

from servicegroup.errors import InvalidInput
from servicegroup.events import Event, EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.model import Reason
from servicegroup.store import history as store_history
from servicegroup.store.database import write
from servicegroup.store.events import append
from servicegroup.store.tables import event_log, events
from support.aging import backdate

HOUR = timedelta(hours=1)


@pytest.fixture
def uuid(group: ServiceGroup, engine: Engine) -> str:
    """Give a service that joined ten hours ago, came up after one, failed for one after five."""
    uuid = group.join("h1", "nova-compute").uuid
    backdate(engine, 10 * HOUR.total_seconds())
    born = group.get(uuid).created_at
    write(engine, lambda c: c.execute(update(events).values(at=born)))

    def went(hours: int, before: str | None, after: str) -> Event:
        kind = EventKind.UP if after == "up" else EventKind.DOWN
        return Event(
            at=born + hours * HOUR,
            kind=kind,
            uuid=uuid,
            before=before,
            after=after,
            reason=Reason.PRESENT if after == "up" else Reason.ABSENT,
        )

    happened = [went(1, None, "up"), went(5, "up", "down"), went(6, "down", "up")]
    other = Event(at=born + 2 * HOUR, kind=EventKind.DOWN, uuid="other", after="down")
    write(engine, lambda c: append(c, [*happened, other]))
    return uuid


def hours(group: ServiceGroup, uuid: str, since: int | None, until: int | None) -> list[float]:
    """Return the hours up, down and covered in a period, given in hours of its life."""
    born = group.get(uuid).created_at
    times = [None if hour is None else born + hour * HOUR for hour in (since, until)]
    found = group.history(uuid, *times)
    parts = (found.up_seconds, found.down_seconds, (found.until - found.since).total_seconds())
    return [round(part / 3600, 2) for part in parts]


def test_a_period_is_what_the_events_say(group: ServiceGroup, uuid: str) -> None:
    found = group.history(uuid)
    assert [e.kind for e in found.events] == [
        EventKind.JOIN, EventKind.UP, EventKind.DOWN, EventKind.UP,
    ]  # fmt: skip
    assert (found.flaps, found.complete) == (1, True)
    assert found.availability == pytest.approx(8 / 9, abs=1e-3)
    assert hours(group, uuid, None, None) == [8, 1, 10], "not before it was created"
    assert hours(group, uuid, 2, 5) == [3, 0, 3]
    assert hours(group, uuid, 5, 6) == [0, 1, 1]
    assert hours(group, uuid, 3, 99) == [6, 1, 7], "it ends now"
    assert hours(group, uuid, -9, 3) == [2, 0, 3]
    assert hours(group, uuid, 0, 1) == [0, 0, 1], "nothing was known until it came up"
    assert hours(group, uuid, 2, 2) == [0, 0, 0]


def test_a_time_cannot_end_before_it_begins(group: ServiceGroup, uuid: str) -> None:
    born = group.get(uuid).created_at
    with pytest.raises(InvalidInput, match="is later than until"):
        group.history(uuid, born + 2 * HOUR, born + HOUR)
    with pytest.raises(InvalidInput, match="is later than until"):
        group.history(uuid, since=datetime(9999, 1, 1))


@pytest.mark.parametrize("extreme", [datetime(1, 1, 1), datetime(9999, 12, 31)])
def test_a_period_may_end_as_early_and_as_late_as_a_time_can_be(
    group: ServiceGroup, uuid: str, extreme: datetime
) -> None:
    created = group.get(uuid).created_at
    assert group.history(uuid, until=extreme).since == created
    told = [group.events(wanted, 9).events for wanted in _periods(extreme)]
    assert sorted(map(len, told)) == [0, 5]


def _periods(moment: datetime) -> list[EventFilter]:
    return [EventFilter(since=moment), EventFilter(until=moment)]


def test_what_is_not_kept_is_not_claimed(group: ServiceGroup, uuid: str, engine: Engine) -> None:
    """Without older events, the next transition says how the service stood."""
    write(engine, lambda c: c.execute(delete(events).where(events.c.id <= 2)))
    write(engine, lambda c: c.execute(update(event_log).values(purged=2)))
    born = group.get(uuid).created_at
    assert not group.history(uuid).complete
    assert group.history(uuid, since=born + 7 * HOUR).complete
    assert hours(group, uuid, 2, 4) == [2, 0, 2], "it went down at five, so it was up"
    assert hours(group, uuid, 7, 8) == [1, 0, 1]


def test_more_than_can_be_told_is_cut(
    group: ServiceGroup, uuid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_history, "MAX_EVENTS", 3)
    found = group.history(uuid)
    assert not found.complete
    assert found.until == found.since + 5 * HOUR
    assert (len(found.events), found.up_seconds, found.down_seconds) == (2, 4 * 3600, 0)
