"""The nodes of a database may have clocks that differ a little: the register has one (F-25)."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, select

from servicegroup.group import ServiceGroup
from servicegroup.liveness import Unheard
from servicegroup.messages import Report
from servicegroup.store import marks, register_clock
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.register_clock import MOST_APART, Marker, by_register
from servicegroup.store.reports import ReportWriter
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


def test_a_mark_by_another_clock_is_no_time_unheard(group: ServiceGroup, engine: Engine) -> None:
    for _ in range(3):
        marked_at = other_node_marks(engine, APART)
        group.report([])
        assert unheard(engine) == []
        assert times(engine)[1] == marked_at


def test_a_mark_by_another_clock_lasts_from_one_of_its_marks_to_the_next(
    group: ServiceGroup, engine: Engine
) -> None:
    """What an intake stamped in between would be old by that clock, and its services silent."""
    life = group.join("h1", "worker")
    marked_at = other_node_marks(engine, APART)
    for _ in range(3):
        group.report([Report(life.uuid, 1)])
        assert times(engine)[1] == marked_at
    assert group.get(life.uuid).last_seen_up == marked_at


def test_an_intake_that_begins_sets_no_mark_back(group: ServiceGroup, engine: Engine) -> None:
    marked_at = other_node_marks(engine, APART)
    ReportWriter(engine).commit([], marking=True)
    assert times(engine)[1] == marked_at
    other_node_marks(engine, 2 * MOST_APART)
    ReportWriter(engine).commit([], marking=True)
    assert times(engine)[1] <= times(engine)[0]


def test_who_registers_by_a_clock_that_is_behind_is_not_old(
    group: ServiceGroup, engine: Engine
) -> None:
    """By the clock that is ahead it would be silent before its first report."""
    marked_at = other_node_marks(engine, APART)
    uuid = group.join("h1", "worker").uuid
    found = group.get(uuid)
    assert (found.created_at, found.registered_at) == (marked_at, marked_at)


def test_what_a_clock_leaps_over_is_a_time_unheard(group: ServiceGroup, engine: Engine) -> None:
    """The node that is ahead marks again, once the register has gone by the others' clocks."""
    marked_at = other_node_marks(engine, -APART)
    group.report([])
    (leap,) = unheard(engine)
    assert leap == Unheard(marked_at, times(engine)[1])


class Clocks:
    """A node's clock and the monotonic one, which a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = datetime(2030, 1, 1, 12)
        self._monotonic = 0.0
        clock = SimpleNamespace(monotonic=lambda: self._monotonic)
        monkeypatch.setattr(register_clock, "time", clock)

    def passes(self, seconds: float, *, by_the_node: float | None = None) -> None:
        self._monotonic += seconds
        self.now += timedelta(seconds=seconds if by_the_node is None else by_the_node)

    def marks(self, marker: Marker, marked_at: datetime) -> None:
        marker.read(self.now, marked_at)
        marker.committed()


def test_a_mark_that_nobody_goes_on_with_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node that is ahead has gone."""
    clocks, marker = Clocks(monkeypatch), Marker()
    marked_at = clocks.now + APART
    for _ in range(3):
        clocks.passes(1)
        assert marker.goes_by(marked_at, clocks.now)
        clocks.marks(marker, marked_at)
    clocks.passes(0.9)
    assert marker.goes_by(marked_at + timedelta(seconds=1), clocks.now)
    clocks.passes(1.2)
    assert not marker.goes_by(marked_at, clocks.now)


def test_a_clock_that_is_seen_to_step_back_is_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks, marker = Clocks(monkeypatch), Marker()
    marked_at = clocks.now
    clocks.marks(marker, marked_at)
    clocks.passes(1, by_the_node=-4)
    assert not marker.goes_by(marked_at, clocks.now)


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
