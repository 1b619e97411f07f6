"""Several observers of one register: one at a time, whoever sees, and nothing twice."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path

import pytest

from observer.world import EVER_AGO, World, protections, transitions
from servicegroup.controlplane.observer import Observer
from servicegroup.driver import load
from servicegroup.events import EventKind
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Member, Presence
from servicegroup.store import lease
from servicegroup.store.reports import ReportWriter
from servicegroup.store.store import Store


def holder(world: World) -> Observer:
    """Return who observes."""
    (found,) = (observer for observer in world.observers if observer.observes)
    return found


def token(world: World) -> int:
    """Return the token under which the lease was taken last."""
    held = lease.current(world.engine)
    assert held is not None
    return held.fencing_token


def test_one_observes_and_the_next_takes_over_when_it_falls_silent(world: World) -> None:
    first, second, third = (world.observer() for _ in range(3))
    fleet = world.fleet(4)
    assert len(transitions(world.pass_time(11))) == 4
    assert holder(world) is first
    world.observers.remove(first)
    world.vanish(fleet[:1])
    assert world.pass_time(3) == []
    assert not second.observes
    assert transitions(world.pass_time(1)) == [("h0", "down")]
    assert holder(world) is second
    second.release()
    assert not second.observes
    world.observers.remove(second)
    world.vanish(fleet[1:2])
    assert transitions(world.pass_time(1)) == [("h1", "down")], "a lease released is free at once"
    assert holder(world) is third
    assert first.look() == []
    assert not first.observes, "it learns by its first write that it was replaced"


def test_a_blind_one_hands_over_to_one_that_sees(world: World) -> None:
    first, second = world.observer(), world.observer()
    fleet = world.fleet(4)
    world.pass_time(2)
    taken = token(world)
    world.blind(first)
    world.blind(second)
    world.vanish(fleet[:1])
    assert world.pass_time(10) == []
    assert holder(world) is first
    assert token(world) == taken, "the other is blind too"
    world.give_sight(second)
    assert transitions(world.pass_time(2)) == [("h0", "down")]
    assert holder(world) is second
    world.give_sight(first)
    world.pass_time(2)
    assert holder(world) is second


def test_a_blind_one_that_sees_again_keeps_the_lease(world: World) -> None:
    first, second = world.observer(), world.observer()
    world.fleet(4)
    world.pass_time(2)
    taken = token(world)
    world.blind(first)
    world.blind(second)
    world.pass_time(3)
    world.give_sight(first)
    world.pass_time(3)
    world.give_sight(second)
    world.pass_time(3)
    assert holder(world) is first
    assert token(world) == taken


def test_a_look_is_not_recorded_under_a_lease_that_was_taken_after_it_began(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hung in the backend; another observed meanwhile, and then it got the lease again."""
    first, second = world.observer(), world.observer()
    fleet = world.fleet(4)
    world.pass_time(2)
    driver = first._group.driver
    ask = driver.presence

    def hang(members: Collection[Member]) -> dict[Member, Presence]:
        found = ask(members)
        monkeypatch.undo()
        world.rejoin(fleet[:1])
        world.observers = [second]
        world.pass_time(5)
        world.observers = [first]
        world.pass_unseen(4)
        assert not first.keep_lease(), "replaced"
        assert first.keep_lease()
        return found

    fleet[0].reports = False  # a report would make the look too old anyway
    world.vanish(fleet[:1])
    world.pass_unseen(1)
    monkeypatch.setattr(driver, "presence", hang)
    last = world.reader.event_log().last
    assert first.look() == []
    assert world.events(last) == []
    assert world.get(fleet[0]).absent_since is None
    assert first.observes
    assert world.pass_time(1) == []


def test_what_was_calm_is_not_remembered_from_an_earlier_lease(world: World) -> None:
    """Others observed since, and who was held may have come and gone."""
    first, second = world.observer(), world.observer()
    fleet = world.fleet(20)
    world.pass_time(11)
    world.vanish(fleet[:3])
    world.pass_time(1)
    world.observers = [second]
    world.pass_time(5)
    assert second.observes
    world.observers = [first]
    world.pass_unseen(4)
    first.keep_lease()
    first.keep_lease()
    assert first.look() == []
    happened = world.pass_time(5)
    assert len(transitions(happened)) == 3
    assert [kind for kind, _ in protections(happened)] == [EventKind.PROTECTION_OFF]


def test_holds_survive_their_observer(world: World) -> None:
    """A crowd stays held whoever observes; who was let go stays let go."""
    first, second = world.observer(), world.observer()
    crowd, few = world.fleet(20), world.fleet(20, group="scheduler")
    world.pass_time(11)
    world.vanish(crowd[:10])
    world.vanish(few[:3])
    happened = world.pass_time(4)
    assert len(transitions(happened)) == 3
    world.observers = [second]
    for process in few:
        process.reported_at = EVER_AGO  # they report at once
    assert world.pass_time(20) == []
    assert second.observes
    assert len(world.reader.protections()) == 1
    assert first.look() == []


def test_a_holder_that_cannot_be_told_of_is_found_free(world: World) -> None:
    """It died between taking the lease and its first look."""
    world.observer().keep_lease()
    world.observers.clear()
    world.observer()
    world.fleet(1)
    world.pass_time(3)
    assert lease.observer_status(world.engine) is None
    assert transitions(world.pass_time(1)) == [("h0", "up")]


def test_a_clock_that_steps_back_does_not_keep_the_lease_for_the_dead(world: World) -> None:
    """SQL-5: its word is from the future, and would hold until that time has come again."""
    first, second = world.observer(), world.observer()
    fleet = world.fleet(4)
    world.pass_time(30)
    world.observers.remove(first)
    world.step_the_clock(-3600)
    world.pass_time(1)
    assert holder(world) is second
    world.pass_time(world.limits.report_interval)
    world.vanish(fleet[:1])
    assert transitions(world.pass_time(1)) == [("h0", "down")]


def test_who_judges_only_after_the_clock_stepped_back_judges_alike(world: World) -> None:
    """SQL-5: a stamp from the future ages from when the observer first saw it, for everybody."""
    first, second = world.observer(), world.observer()
    fleet = world.fleet(4)
    world.pass_time(2)
    world.step_the_clock(-3600)
    world.crash(fleet)
    world.pass_time(61)
    assert world.down() == {"h0", "h1", "h2", "h3"}
    assert {service.is_up for service in world.layer().services()} == {False}
    world.observers.remove(first)
    assert transitions(world.pass_time(10)) == [], "its successor tells of nobody's return"
    assert holder(world) is second


@pytest.mark.parametrize("back", [20, 80, 3600])
def test_a_mark_from_the_future_lets_nobody_count_as_silent(world: World, back: int) -> None:
    """F-50: the clock stepped back while all intakes hang, and another process goes on asking."""
    world.observer()
    fleet = world.fleet(3)
    world.pass_time(11)
    world.away = True
    world.step_the_clock(-back)
    another = world.layer()
    for _ in range(200):
        assert {service.is_up for service in another.services()} == {True}
        world.pass_time(1)
    world.away = False
    world.crash(fleet[:1])
    world.pass_time(90)
    assert world.down() == {"h0"}
    assert [service.host for service in another.services() if not service.is_up] == ["h0"]


@pytest.mark.parametrize("driver", ["db", "reference"])
@pytest.mark.parametrize("step", [4, 20, 3600, 365 * 86_400])
@pytest.mark.parametrize("outage", [0, 24])
@pytest.mark.long
def test_a_clock_that_steps_back_raises_no_dead(
    tmp_path: Path, outage: int, step: int, driver: str
) -> None:
    """F-50: what is recorded as down stays so, also where an outage lies in the time stepped to."""
    with closing(OfRecordAlone(tmp_path) if driver == "db" else World(tmp_path)) as world:
        world.observer()
        fleet = world.fleet(4)
        world.pass_time(11)
        world.away = True
        world.pass_time(outage)
        world.away = False
        world.pass_time(11)
        world.crash(fleet[:1])
        world.pass_time(world.limits.service_down_time + 2)
        assert world.down() == {"h0"}
        world.step_the_clock(-step)
        for _ in range(int(world.limits.service_down_time) + 2):
            assert {s.host for s in world.layer().services() if not s.is_up} == {"h0"}
            world.pass_time(1)
            assert world.down() == {"h0"}
        world.start("h0")
        world.pass_time(2)
        assert world.down() == set()


class OfRecordAlone(World):
    """A world whose driver has no signal of its own."""

    def layer(self) -> ServiceGroup:
        return ServiceGroup(Store(self.engine), load("db"), self.limits, None, self.clock.monotonic)


@pytest.mark.parametrize("wrong", [-80, 80])
def test_reports_of_a_wrong_clock_between_two_marks_accuse_nobody(world: World, wrong: int) -> None:
    """F-50: an intake marks once a second, and the clock may be wrong for less than that."""
    world.observer()
    fleet = world.fleet(3)
    world.pass_time(11)
    world.step_the_clock(wrong)
    reports = [Report(process.uuid, process.incarnation) for process in fleet]
    ReportWriter(world.engine).commit(reports, marking=False)
    world.step_the_clock(-wrong)
    assert world.down() == set()
    assert {service.is_up for service in world.layer().services()} == {True}
