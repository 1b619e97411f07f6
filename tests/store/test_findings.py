"""What the observer records: once, and only what is still as it was judged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest
from sqlalchemy import Engine, select

from servicegroup.events import Event, EventFilter, EventKind, Protection, Signal
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Report
from servicegroup.model import Departure, Reason, Service
from servicegroup.store import findings, lease
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading
from servicegroup.store.findings import (
    FLAP_WINDOW,
    Finding,
    clamp_future_stamps,
    conclude,
    current_protections,
    record,
)
from servicegroup.store.lease import LeaseLost
from support.aging import backdate

MINUTE = timedelta(minutes=1)


@pytest.fixture
def number(engine: Engine) -> int:
    """Give the number of a lease that is held."""
    return lease.take(engine, "observer", None)


@pytest.fixture
def now(engine: Engine) -> datetime:
    """Give the register's time."""
    with reading(engine) as connection:
        moment: datetime = connection.execute(select(utcnow())).scalar_one()
    return moment


def went(service: Service, after: str, at: datetime, reason: Reason = Reason.ABSENT) -> Finding:
    """Return the finding that a service changed its state."""
    transition = Event(
        at=at,
        kind=EventKind.UP if after == "up" else EventKind.DOWN,
        uuid=service.uuid,
        before=service.observed_state,
        after=after,
        reason=Reason.PRESENT if after == "up" else reason,
    )
    return Finding(service, None, None, transition)


def joined(group: ServiceGroup, count: int) -> list[Service]:
    """Return services that have registered and reported."""
    lives = [group.join(f"h{n}", "nova-compute") for n in range(count)]
    group.report([Report(life.uuid, 1) for life in lives])
    return group.services()


def told(group: ServiceGroup) -> list[tuple[EventKind, str | None]]:
    """Return the events that the observer recorded, with their services."""
    kinds = (EventKind.UP, EventKind.DOWN, EventKind.PROTECTION_ON, EventKind.PROTECTION_OFF)
    happened = group.events(EventFilter(after=0), 1_000).events
    return [(e.kind, e.uuid) for e in happened if e.kind in kinds]


def test_what_was_found_is_kept_and_told(
    group: ServiceGroup, engine: Engine, number: int, now: datetime
) -> None:
    first, second = joined(group, 2)
    up = went(first, "up", now)
    absent, held = now - 2 * MINUTE, now - MINUTE
    (happened,) = record(engine, number, [up, Finding(second, absent, held)])
    assert up.transition is not None
    assert happened == msgspec.structs.replace(up.transition, id=happened.id)
    assert happened.id == group.event_log().last
    first, second = group.services()
    assert (first.observed_state, first.observed_since) == ("up", now)
    assert (first.absent_since, first.held_since) == (None, None)
    assert (second.observed_state, second.observed_since) == (None, None)
    assert (second.absent_since, second.held_since) == (absent, held)
    assert record(engine, number, []) == []


def test_a_transition_is_recorded_once(
    group: ServiceGroup, engine: Engine, number: int, now: datetime
) -> None:
    """Whoever judged the same service before it was recorded finds it recorded."""
    (service,) = joined(group, 1)
    again = went(service, "up", now)
    assert len(record(engine, number, [again])) == 1
    assert record(engine, number, [again]) == []
    assert told(group) == [(EventKind.UP, service.uuid)]


CHANGES: list[Callable[[ServiceGroup, Service], object]] = [
    lambda group, service: group.report([Report(service.uuid, 1)]),
    lambda group, service: group.update(service.uuid, forced_down=True),
    lambda group, service: group.depart([Leave(service.uuid, 1, Departure.EXITED)]),
    lambda group, service: group.join(service.host, service.binary),
    lambda group, service: group.delete(service.uuid),
]


def test_what_changed_since_it_was_judged_is_left_to_the_next_look(
    group: ServiceGroup, engine: Engine, number: int, now: datetime
) -> None:
    joined(group, len(CHANGES) + 1)
    backdate(engine, 1)
    *changed, unchanged = judged = group.services()
    for change, service in zip(CHANGES, changed, strict=True):
        change(group, service)
    happened = record(engine, number, [went(service, "down", now) for service in judged])
    assert [event.uuid for event in happened] == [unchanged.uuid]


def test_who_was_replaced_records_nothing(
    group: ServiceGroup, engine: Engine, number: int, now: datetime
) -> None:
    services = joined(group, 1)
    successor = lease.take(engine, "successor", lease.current(engine))
    suspect = Protection("compute", "nova", Signal.PRESENCE, now, 3, 3)
    with pytest.raises(LeaseLost):
        record(engine, number, [went(services[0], "up", now)])
    with pytest.raises(LeaseLost):
        conclude(engine, number, [], [suspect], now)
    assert told(group) == []
    assert current_protections(engine) == []
    assert group.get(services[0].uuid).observed_state is None
    assert group.revision() is None
    assert len(record(engine, successor, [went(services[0], "up", now)])) == 1


def test_many_are_recorded_in_batches(
    group: ServiceGroup,
    engine: Engine,
    number: int,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(findings, "BATCH", 2)
    services = joined(group, 5)
    last = group.event_log().last
    happened = record(engine, number, [went(service, "up", now) for service in services])
    assert [event.id for event in happened] == list(range(last + 1, last + 6))
    assert {service.observed_state for service in group.services()} == {"up"}


def test_three_failures_within_an_hour_are_flapping(
    group: ServiceGroup, engine: Engine, number: int, now: datetime
) -> None:
    (service,) = joined(group, 1)

    def fail(at: datetime, reason: Reason = Reason.ABSENT) -> datetime | None:
        """Go up and down, and return until when that counts as flapping."""
        for state, moment in (("up", at - MINUTE), ("down", at)):
            found = group.get(service.uuid)
            assert record(engine, number, [went(found, state, moment, reason)])
        return group._store.by_id(service.uuid).services[0].flapping_until

    record(engine, number, [went(service, "down", now - 59 * MINUTE)])  # nobody saw it up
    assert fail(now - 70 * MINUTE) is None
    assert fail(now - 50 * MINUTE) is None
    assert fail(now - 40 * MINUTE) is None, "the first of three is more than an hour ago"
    assert fail(now - 30 * MINUTE, Reason.LEFT) is None, "to stop in order is no failure"
    assert fail(now - 20 * MINUTE, Reason.FORCED_DOWN) is None
    assert fail(now - 10 * MINUTE) == now - 50 * MINUTE + FLAP_WINDOW
    assert fail(now - 5 * MINUTE) == now - 40 * MINUTE + FLAP_WINDOW
    assert group.get(service.uuid).flapping_until == now - 40 * MINUTE + FLAP_WINDOW


def test_flapping_ends_by_itself(
    group: ServiceGroup, engine: Engine, number: int, now: datetime
) -> None:
    """What is stored stays; whoever reads it once it has passed sees nothing of it."""
    (service,) = joined(group, 1)
    stored = msgspec.structs.replace(service, flapping_until=now - MINUTE)
    record(engine, number, [went(stored, "up", now)])
    assert group._store.by_id(service.uuid).services[0].flapping_until == now - MINUTE
    assert group.get(service.uuid).flapping_until is None


def test_a_look_is_concluded_with_what_is_suspect(
    group: ServiceGroup, engine: Engine, number: int, now: datetime
) -> None:
    assert group.revision() is None
    first = Protection("compute", "nova", Signal.PRESENCE, now - MINUTE, 3, 3)
    other = Protection("Compute", "nova", Signal.PRESENCE, now, 4, 4)
    (on,) = conclude(engine, number, [], [first], now)
    assert (on.kind, on.group, on.zone, on.uuid) == (
        EventKind.PROTECTION_ON, "compute", "nova", None,
    )  # fmt: skip
    revision = group.revision()
    assert revision is not None
    grown = msgspec.structs.replace(first, members=5, peak=5)
    assert conclude(engine, number, [first], [grown], now) == []
    assert current_protections(engine) == group.protections() == [grown]
    assert group.revision() == revision
    late = msgspec.structs.replace(grown, signal=Signal.REPORTS)
    happened = conclude(engine, number, [grown], [grown, late, other], now)
    assert {event.kind for event in happened} == {EventKind.PROTECTION_ON}
    assert sorted(current_protections(engine), key=str) == sorted([grown, late, other], key=str)
    (off,) = conclude(engine, number, [grown, late, other], [late, other], now)
    assert (off.kind, off.seconds, off.detail) == (
        EventKind.PROTECTION_OFF, 60, "presence of 5 members",
    )  # fmt: skip
    assert group.revision() != revision
    assert conclude(engine, number, [late, other], [late, other], now) == []


def test_what_is_from_the_future_is_dated_back(
    group: ServiceGroup, engine: Engine, number: int
) -> None:
    """SQL-5: so that everybody ages it from one moment."""
    first, second, _ = joined(group, 3)
    ahead = first.created_at + 60 * MINUTE
    record(engine, number, [Finding(second, ahead, second.created_at)])
    backdate(engine, -3600, host="h0")
    before = group.get(second.id)
    assert clamp_future_stamps(engine, number) == 2
    dated, other, third = group.services()
    for stamp in (dated.last_seen_up, dated.created_at, dated.registered_at, other.absent_since):
        assert stamp is not None
        assert timedelta(0) <= stamp - third.created_at < MINUTE
    assert other.held_since == second.created_at
    assert other.last_seen_up == before.last_seen_up
    assert clamp_future_stamps(engine, number) == 0
    lease.take(engine, "another", lease.current(engine))
    backdate(engine, -3600, host="h0")
    with pytest.raises(LeaseLost):
        clamp_future_stamps(engine, number)
