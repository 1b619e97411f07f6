"""A clock that was wrong for a while, in every table that has stamps (F-50, F-57)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select

from servicegroup.controlplane.observer import Observer
from servicegroup.events import Event, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.liveness import Listening, Unheard
from servicegroup.messages import Report
from servicegroup.model import Reason
from servicegroup.sessions import SessionEnd
from servicegroup.store import marks, tokens
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.events import append, failures
from servicegroup.store.findings import clamp_future_stamps
from servicegroup.store.lease import take
from servicegroup.store.outbox import forget
from servicegroup.store.questions import Heard
from servicegroup.store.retention import purge
from servicegroup.store.sessions import Ending, Opening, SessionWriter
from servicegroup.store.tables import (
    event_log,
    events,
    listening,
    listening_gaps,
    outbox,
    planes,
    protections,
    services,
    sessions,
)
from servicegroup.store.tables import tokens as token_table
from support.aging import backdate

YEAR = timedelta(days=365)


def now_of(engine: Engine) -> datetime:
    with reading(engine) as connection:
        now: datetime = connection.execute(select(utcnow())).scalar_one()
        return now


def unheard_in(engine: Engine) -> list[Unheard]:
    with reading(engine) as connection:
        return list(marks.newest_unheard(connection))


def add_unheard(engine: Engine, start: datetime, end: datetime) -> None:
    row = listening_gaps.insert().values(start_at=start, end_at=end)
    write(engine, lambda connection: connection.execute(row))


def marked_ahead(engine: Engine, ahead: timedelta) -> datetime:
    """Let the latest mark be so far ahead, since the clock stepped back; return it."""
    marked_at = now_of(engine) + ahead
    changed = listening.update().values(marked_at=marked_at)
    write(engine, lambda connection: connection.execute(changed))
    return marked_at


def reported_before(group: ServiceGroup, engine: Engine, ahead: timedelta) -> tuple[str, datetime]:
    """Return the uuid of who reported before the latest mark lay so far ahead, and that mark."""
    joined = group.join("h", "nova-compute")
    group.report([Report(joined.uuid, 1)])
    return joined.uuid, marked_ahead(engine, ahead)


def leap(engine: Engine, ahead: timedelta) -> None:
    """Leave what a clock leaves that leapt, was marked by, and was set right."""
    now = now_of(engine)
    add_unheard(engine, now, marked_ahead(engine, ahead))


@pytest.mark.parametrize("ahead", [timedelta(seconds=600), YEAR])
def test_a_report_is_stamped_no_earlier_than_the_latest_mark(
    group: ServiceGroup, engine: Engine, ahead: timedelta
) -> None:
    """What a clock stamps that is behind for less than marks are apart would seem old."""
    uuid, marked_at = reported_before(group, engine, ahead)
    group.report([Report(uuid, 1)], marking=False)
    assert group.get(uuid).last_seen_up == marked_at


@pytest.mark.parametrize("ahead", [timedelta(seconds=600), YEAR])
def test_what_is_dated_back_before_a_mark_is_not_old_once_the_clock_is_right(
    group: ServiceGroup, engine: Engine, ahead: timedelta
) -> None:
    """F-50: a look comes while the clock is behind, and the next mark only when it is not."""
    uuid, marked_at = reported_before(group, engine, ahead)
    backdate(engine, -ahead.total_seconds() - 60)
    assert clamp_future_stamps(engine, take(engine, "observer", None)) == 1
    found = group.get(uuid)
    assert (found.registered_at, found.last_seen_up) == (marked_at, marked_at)


@pytest.mark.parametrize("ahead", [timedelta(seconds=600), YEAR])
def test_a_session_lasts_through_a_clock_that_is_behind_for_less_than_marks_are_apart(
    group: ServiceGroup, engine: Engine, ahead: timedelta
) -> None:
    """A mark of its control plane by that clock would seem old once it is right."""
    group.report([])
    marked_at = marked_ahead(engine, ahead)
    plane = SessionWriter(engine, "node1")
    plane.begin_anew([])
    plane.end([])
    with reading(engine) as connection:
        assert connection.scalars(select(planes.c.marked_at)).all() == [marked_at]


def test_what_a_look_finds_before_the_next_mark_is_dated_back_by_a_later_look(
    group: ServiceGroup, engine: Engine
) -> None:
    """Until an intake marks by the clock that is right, nothing is dated to it."""
    lives = [group.join(host, "nova-compute") for host in ("h1", "h2")]
    group.report([Report(life.uuid, 1) for life in lives])
    tokens.create(engine, "short", "reader", None, timedelta(hours=1))
    plane = SessionWriter(engine, "node1")
    plane.begin_anew([])
    held = [Opening(life.uuid, 1, 1, life.uuid) for life in lives]
    plane.open(held)
    later = marked_ahead(engine, YEAR)
    made = token_table.update().values(created_at=later, expires_at=later + timedelta(hours=1))
    write(engine, lambda connection: connection.execute(made))
    first, second = held
    plane.end(
        [Ending(first.uuid, first.session, SessionEnd.BROKEN)],
        [Heard(second.uuid, second.session, 30.0)],
    )
    observer = Observer(group)
    observer.keep_lease()
    observer.look()
    group.report([])
    observer.look()
    now = now_of(engine)
    (token,) = tokens.issued(engine)
    assert token.remaining is not None
    assert token.remaining <= 3600
    with reading(engine) as connection:
        columns = (sessions.c.opened_at, sessions.c.ended_at, sessions.c.deaf_since)
        stamps = [stamp for row in connection.execute(select(*columns)) for stamp in row if stamp]
    assert len(stamps) == 4
    assert max(stamps) <= now


def test_a_plane_that_marks_has_not_lapsed_by_a_mark_that_is_ahead(
    group: ServiceGroup, engine: Engine
) -> None:
    """A clock leapt between two marks of the plane, and was set right; an intake marked by it."""
    group.report([])
    plane = SessionWriter(engine, "node1")
    plane.begin_anew([])
    marked_ahead(engine, YEAR)
    plane.end([])
    group.report([])
    plane.end([])
    with reading(engine) as connection:
        assert connection.scalars(select(planes.c.marked_at)).one() <= now_of(engine)


@pytest.mark.parametrize("ahead", [timedelta(seconds=600), YEAR])
def test_a_clock_that_was_ahead_hides_nobody(
    group: ServiceGroup, engine: Engine, ahead: timedelta
) -> None:
    dead, alive = (group.join(host, "nova-compute") for host in ("h1", "h2"))
    group.report([Report(dead.uuid, 1), Report(alive.uuid, 1)])
    backdate(engine, 61, host="h1")
    leap(engine, ahead)
    group.report([Report(alive.uuid, 1)])
    now = now_of(engine)
    assert all(one.end <= now for one in unheard_in(engine))
    backdate(engine, 200, host="h1")
    found = group.get(dead.uuid)
    assert (found.is_up, found.judged.reason) == (False, "silent")
    assert found.judged.evidence.unheard < 60
    assert group.get(alive.uuid).is_up


def test_an_unheard_time_of_before_is_kept_as_far_as_it_is_past(
    group: ServiceGroup, engine: Engine
) -> None:
    now = now_of(engine)
    group.report([])
    add_unheard(engine, now - timedelta(seconds=500), now - timedelta(seconds=400))
    add_unheard(engine, now - timedelta(seconds=100), now + YEAR)
    add_unheard(engine, now + YEAR, now + 2 * YEAR)
    group.report([])
    newest, older = unheard_in(engine)
    assert (older.start, newest.start) == (
        now - timedelta(seconds=500),
        now - timedelta(seconds=100),
    )
    assert now <= newest.end <= now_of(engine)


def test_unheard_times_that_touch_are_one(group: ServiceGroup, engine: Engine) -> None:
    group.report([])
    for _ in range(3):
        now = now_of(engine)
        # What was stored as the end of the last unheard time is the latest mark.
        late = timedelta(seconds=20)

        def shift(connection: Any, late: timedelta = late) -> None:
            for stamp in (
                listening.c.marked_at,
                listening_gaps.c.start_at,
                listening_gaps.c.end_at,
            ):
                for row in connection.execute(select(stamp)).scalars().all():
                    moved = (
                        stamp.table.update().where(stamp == row).values({stamp.name: row - late})
                    )
                    connection.execute(moved)

        write(engine, shift)
        group.report([])
        assert now_of(engine) >= now
    (unheard,) = unheard_in(engine)
    assert unheard.end - unheard.start >= timedelta(seconds=60)


def test_a_question_reads_the_unheard_times_that_matter_and_no_more(
    group: ServiceGroup, engine: Engine
) -> None:
    """F-57: a stall a minute for a week costs no more than one."""
    uuid = group.join("h1", "nova-compute").uuid
    group.report([Report(uuid, 1)])
    now = now_of(engine)
    stalls = [
        {"start_at": now - timedelta(minutes=n, seconds=5), "end_at": now - timedelta(minutes=n)}
        for n in range(10_000, 0, -1)
    ]
    write(engine, lambda connection: connection.execute(listening_gaps.insert(), stalls))
    group._store.silence = 60.0
    asked: list[str] = []
    event.listen(engine, "after_cursor_execute", lambda *args: asked.append(args[2]))
    assert group.get(uuid).is_up
    assert sum("listening_gaps" in statement for statement in asked) == 1


ago = st.integers(0, 5_000)


@example([(100, 50), (200, 80)], 210, 100)
@given(st.lists(st.tuples(ago, st.integers(1, 300)), max_size=8), ago, st.integers(1, 500))
def test_the_unheard_times_that_are_left_out_decide_nothing(
    drawn: list[tuple[int, int]], stamp_ago: int, silence: int
) -> None:
    """A service is silent by the unheard times that matter if and only if it is by all of them."""
    now = datetime(2030, 1, 1, 12)
    ends = sorted((start, start - length) for start, length in drawn if start > length)
    known, last = [], 10_000
    for start, end in sorted(ends, reverse=True):  # as they are stored: the oldest first
        start = min(start, last)
        if start > end:
            known.append(Unheard(now - timedelta(seconds=start), now - timedelta(seconds=end)))
            last = end
    stamp = now - timedelta(seconds=stamp_ago)
    few = marks.deciding(iter(reversed(known)), now, now, float(silence), at_least=0)

    def silent(known: list[Unheard]) -> bool:
        unheard = Listening.of(now, now, known).unheard_since(stamp)
        return (now - stamp).total_seconds() - unheard > silence

    assert silent(few) == silent(known)


def test_nothing_is_removed_for_its_age_after_a_leap(group: ServiceGroup, engine: Engine) -> None:
    """A clock that is ahead makes everything old; what goes then is gone for good."""
    group.join("h1", "nova-compute")
    group.report([])
    last = group.event_log().last
    long_ago = now_of(engine) - YEAR
    # By a clock that leapt by a year, all that happened is a year old.
    write(engine, lambda connection: connection.execute(events.update().values(at=long_ago)))
    write(
        engine, lambda connection: connection.execute(listening.update().values(marked_at=long_ago))
    )
    assert purge(engine) == 0, "before the first mark by that clock"
    group.report([])
    assert purge(engine) == 0, "and after it"
    with reading(engine) as connection:
        assert connection.execute(select(event_log.c.last, event_log.c.purged)).one() == (last, 0)


def test_a_stall_after_a_leap_ends_no_doubt(group: ServiceGroup, engine: Engine) -> None:
    """The newest unheard time alone does not show that the clock leapt before it."""
    group.join("h1", "nova-compute")
    group.report([])
    now = now_of(engine)
    write(engine, lambda connection: connection.execute(events.update().values(at=now - YEAR)))
    add_unheard(engine, now - YEAR, now - timedelta(seconds=20))
    add_unheard(engine, now - timedelta(seconds=10), now - timedelta(seconds=5))
    assert purge(engine) == 0


def test_a_leap_removes_no_unheard_time(group: ServiceGroup, engine: Engine) -> None:
    """A control plane that was away just before the clock leapt accuses nothing afterwards."""
    group.report([])
    before = now_of(engine) - YEAR  # by the clock that leapt, all that was stored is a year old
    add_unheard(engine, before - timedelta(seconds=100), before - timedelta(seconds=10))
    marked = listening.update().values(marked_at=before)
    write(engine, lambda connection: connection.execute(marked))
    group.report([])
    newest, older = unheard_in(engine)
    assert older.end < newest.start == before


def test_failures_later_than_now_are_no_flapping(group: ServiceGroup, engine: Engine) -> None:
    """Else one more failure would be flapping until a year from now."""
    uuid = group.join("h1", "nova-compute").uuid
    now = now_of(engine)

    def failed(at: datetime) -> Event:
        return Event(
            at=at, kind=EventKind.DOWN, uuid=uuid, before="up", after="down", reason=Reason.SILENT
        )

    lately = now - timedelta(minutes=1)
    happened = [failed(now + YEAR), failed(now + YEAR), failed(lately)]
    write(engine, lambda connection: append(connection, happened))
    found = write(engine, lambda connection: failures(connection, [uuid], timedelta(hours=1)))
    assert found == {uuid: [lately]}


@pytest.mark.parametrize("kind", [EventKind.DOWN, EventKind.DISABLE])
def test_events_later_than_now_hide_no_old_ones(
    group: ServiceGroup, engine: Engine, kind: EventKind
) -> None:
    """A whole batch of them does not end the purge, of services or of operators."""
    group.report([])
    now = now_of(engine)
    ahead = [Event(at=now + YEAR, kind=kind) for _ in range(1_000)]
    old = [Event(at=now - 2 * YEAR, kind=kind) for _ in range(3)]
    passed = [Event(at=now - 2 * YEAR, kind=EventKind.DOWN)]
    write(engine, lambda connection: append(connection, ahead + old + passed))
    assert purge(engine) == len(ahead) + len(old) + len(passed)


def test_a_token_of_a_clock_that_was_ahead_lasts_no_longer(
    group: ServiceGroup, engine: Engine
) -> None:
    for name, lifetime in (("short", timedelta(hours=1)), ("endless", None)):
        tokens.create(engine, name, "reader", None, lifetime)
    later = now_of(engine) + YEAR
    for name, end in (("short", later + timedelta(hours=1)), ("endless", None)):
        made = token_table.update().where(token_table.c.name == name)
        change = made.values(created_at=later, expires_at=end)
        write(engine, lambda connection, change=change: connection.execute(change))  # type: ignore[misc]
    before = tokens.revision(engine)
    observer = Observer(group)
    observer.keep_lease()
    observer.look()
    endless, short = tokens.issued(engine)
    assert endless.expires_at is None
    assert short.remaining is not None
    assert 3_500 < short.remaining <= 3_600
    assert tokens.revision(engine) != before, "so that control planes read them again"


def test_unheard_times_with_less_than_a_marks_interval_between_are_one(
    group: ServiceGroup, engine: Engine
) -> None:
    """F-57: else a second of listening may hold a thousand of them."""
    now = now_of(engine)
    group.report([])
    for apart, expected in ((0.9, 1), (1.1, 2)):
        end = now - timedelta(seconds=20 + apart)
        write(engine, lambda connection: connection.execute(listening_gaps.delete()))
        add_unheard(engine, end - timedelta(seconds=10), end)
        marked = listening.update().values(marked_at=now - timedelta(seconds=20))
        write(engine, lambda connection, marked=marked: connection.execute(marked))  # type: ignore[misc]
        group.report([])
        assert len(unheard_in(engine)) == expected


def test_evictions_of_another_driver_outlive_a_leap(group: ServiceGroup, engine: Engine) -> None:
    member = {"topic": "compute", "host": "h", "incarnation": 1, "created_at": utcnow()}
    row = outbox.insert().values(driver="elsewhere", **member)
    write(engine, lambda connection: connection.execute(row))
    now = now_of(engine)
    made = outbox.update().values(created_at=now - timedelta(hours=2))
    write(engine, lambda connection: connection.execute(made))
    add_unheard(
        engine, now - timedelta(hours=2), now
    )  # as a clock leaves that leapt at this moment
    assert forget(engine, "elsewhere", timedelta(hours=1)) == 0, "until an hour after it"
    write(engine, lambda connection: connection.execute(listening_gaps.delete()))
    assert forget(engine, "elsewhere", timedelta(hours=1)) == 1


@pytest.mark.parametrize("grace", [0, 60])
def test_a_secret_that_was_replaced_under_a_clock_that_was_ahead_ends_all_the_same(
    group: ServiceGroup, engine: Engine, grace: int
) -> None:
    tokens.create(engine, "lost", "reader", None, timedelta(days=2 * 365))
    tokens.rotate(engine, "lost", timedelta(seconds=grace))
    first, second = token_table.c.number == 1, token_table.c.number == 2
    ahead = now_of(engine) + YEAR
    with engine.begin() as connection:
        ends = {"expires_at": ahead + timedelta(seconds=grace)}
        connection.execute(token_table.update().where(first).values(ends))
        made = {"created_at": ahead, "expires_at": ahead + timedelta(days=2 * 365)}
        connection.execute(token_table.update().where(second).values(made))
    observer = Observer(group)
    observer.keep_lease()
    observer.look()
    *old, new = (token.remaining for token in tokens.issued(engine))
    assert new == pytest.approx(2 * 365 * 86_400, abs=30)
    assert old == ([pytest.approx(grace, abs=30)] if grace else [])


def test_who_is_down_stays_as_silent_as_it_was(group: ServiceGroup, engine: Engine) -> None:
    """By the time somebody listened, before now as before the moment at which it was found."""
    reported, never = (group.join(host, "nova-compute") for host in ("h1", "h2"))
    group.report([Report(reported.uuid, 1)])
    now = now_of(engine)
    add_unheard(engine, now - timedelta(seconds=50), now - timedelta(seconds=20))
    stamp, found = now + YEAR - timedelta(seconds=70), now + YEAR
    down = {"observed_state": "down", "observed_since": found, "created_at": stamp}
    for uuid, changed in ((reported.uuid, {**down, "last_seen_up": stamp}), (never.uuid, down)):
        with engine.begin() as connection:
            connection.execute(services.update().where(services.c.uuid == uuid).values(changed))
    observer = Observer(group)
    observer.keep_lease()
    observer.look()
    for uuid in (reported.uuid, never.uuid):
        evidence = group.get(uuid).judged.evidence
        assert evidence.silence == pytest.approx(70, abs=5)
        assert evidence.report_age == pytest.approx(100, abs=5)
        assert not group.get(uuid).is_up


def test_who_reports_after_a_step_back_is_up_at_once(group: ServiceGroup, engine: Engine) -> None:
    """It was found down by a clock that was ahead, and nobody has looked since."""
    uuid = group.join("h1", "nova-compute").uuid
    group.report([Report(uuid, 1)])
    found = now_of(engine) + timedelta(hours=1)
    with engine.begin() as connection:
        down = {"observed_state": "down", "observed_since": found}
        connection.execute(services.update().values(down))
    assert not group.get(uuid).is_up
    group.report([Report(uuid, 1)])
    assert group.get(uuid).is_up
    observer = Observer(group)
    observer.keep_lease()
    observer.look()
    assert group.get(uuid).is_up


def test_the_observer_dates_back_every_table(group: ServiceGroup, engine: Engine) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    group.report([Report(uuid, 1)])
    group.delete(group.join("h2", "nova-compute").uuid)
    observer = Observer(group)
    observer.keep_lease()
    observer.look()
    later = now_of(engine) + YEAR
    living, gone = services.c.deleted == 0, services.c.deleted != 0
    stamped = (
        services.update()
        .where(living)
        .values(registered_at=later, last_seen_up=later, flapping_until=later)
    )
    suspect = {"topic": "compute", "zone": "nova", "signal": "reports", "members": 3, "peak": 3}
    pending = {"driver": "old", "topic": "compute", "host": "h9", "incarnation": 1}
    for change in (
        stamped,
        services.update().where(gone).values(deleted_at=later),
        protections.insert().values(since=later, **suspect),
        outbox.insert().values(created_at=later, **pending),
    ):
        write(engine, lambda connection, change=change: connection.execute(change))  # type: ignore[misc]
    observer.look()  # sees that something is ahead, although the clock did not step since
    observer.look()
    now = now_of(engine)
    with reading(engine) as connection:
        facts = (services.c.registered_at, services.c.last_seen_up, services.c.flapping_until)
        *stamps, until = connection.execute(select(*facts).where(living)).one()
        stamps.append(connection.execute(select(services.c.deleted_at).where(gone)).scalar_one())
        created = connection.execute(select(outbox.c.created_at)).scalar_one()
    assert all(stamp <= now for stamp in (*stamps, created))
    assert until <= now + timedelta(hours=1)


@pytest.mark.parametrize("listed", [ServiceGroup.services, ServiceGroup.states])
def test_a_control_plane_that_only_lists_forgets_whoever_is_gone(
    group: ServiceGroup, engine: Engine, listed: Callable[[ServiceGroup], Iterable[object]]
) -> None:
    """One stamp ahead of the clock, of a service that was deleted, made each list slow for good."""
    gone, living = group.join("gone", "web"), group.join("living", "web")
    backdate(engine, -5)
    assert list(listed(group))
    assert not group.judge.goes_by_stamps
    group.delete(gone.uuid)
    backdate(engine, 5, uuid=living.uuid)
    for _ in range(2):
        assert list(listed(group))
    assert group.judge.goes_by_stamps
