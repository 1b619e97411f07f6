"""The nodes of a database may have clocks that differ a little: the register has one (F-25)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.store import marks, register_clock
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.register_clock import MOST_APART, by_register
from servicegroup.store.tables import listening
from support.aging import backdate

APART = timedelta(seconds=10)


def times(engine: Engine) -> tuple[datetime, datetime]:
    """Return the clock of this node, and the latest mark."""
    with reading(engine) as connection:
        now, marked_at = connection.execute(select(utcnow(), marks.latest_mark())).one()
        return now, marked_at


def other_node_marks(engine: Engine, ahead: timedelta) -> datetime:
    """Leave what the intake leaves that is on a node whose clock is ahead."""
    marked_at = times(engine)[0] + ahead
    change = listening.update().values(marked_at=marked_at)
    write(engine, lambda connection: connection.execute(change))
    return marked_at


@pytest.fixture
def group(group: ServiceGroup) -> ServiceGroup:
    """Give one whose intake has marked a moment ago."""
    group.report([])
    group.report([])
    return group


def unheard(engine: Engine) -> list[object]:
    with reading(engine) as connection:
        return list(marks.newest_unheard(connection))


@pytest.mark.parametrize("ahead", [APART, -APART])
def test_a_mark_by_another_clock_is_no_time_unheard(
    group: ServiceGroup, engine: Engine, ahead: timedelta
) -> None:
    for _ in range(3):
        marked_at = other_node_marks(engine, ahead)
        group.report([])
        now, latest = times(engine)
        assert unheard(engine) == []
        assert latest == max(marked_at, latest)
        assert (latest > now) == (ahead > timedelta())


def test_a_mark_that_nobody_goes_on_with_is_given_up(group: ServiceGroup, engine: Engine) -> None:
    """The node that is ahead has gone, or its clock was set right."""
    other_node_marks(engine, APART)
    group.report([])
    assert times(engine)[1] > times(engine)[0]
    group.report([])
    assert times(engine)[1] <= times(engine)[0]


def test_what_a_clock_that_is_ahead_stamped_is_judged_by_that_clock(
    group: ServiceGroup, engine: Engine
) -> None:
    life = group.join("h1", "worker")
    group.report([Report(life.uuid, 1)])
    other_node_marks(engine, APART)
    group.report([Report(life.uuid, 1)])
    found = group.get(life.uuid)
    assert found.judged.evidence.report_age < APART.total_seconds() / 2
    backdate(engine, 60, host="h1")
    assert group.get(life.uuid).judged.evidence.report_age > 60 + APART.total_seconds() / 2


def test_clocks_that_are_far_apart_are_said_once(
    group: ServiceGroup, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        other_node_marks(engine, APART)
        group.report([])
    said = [one for one in caplog.records if one.name == register_clock.LOG.name]
    assert len(said) == 1
    assert "10.0 s ahead" in said[0].getMessage()


def test_a_mark_further_ahead_is_of_a_clock_that_was_wrong() -> None:
    now = datetime(2030, 1, 1, 12)
    assert by_register(now, None) == now
    assert by_register(now, now - APART) == now
    assert by_register(now, now + APART) == now + APART
    assert by_register(now, now + 2 * MOST_APART) == now
