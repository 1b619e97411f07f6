"""A crowd accuses the backend (AND-2): who is held, for how long, and who never is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from drivers.reference import Reference
from observer.world import EVER_AGO, Process, World, protections, transitions
from servicegroup.events import EventKind, Signal
from servicegroup.model import Reason
from servicegroup.protection import Threshold, Thresholds

ON, OFF = EventKind.PROTECTION_ON, EventKind.PROTECTION_OFF


@pytest.fixture
def fleet(world: World) -> list[Process]:
    """Give twenty-one services, observed and up for a while."""
    world.observer()
    fleet = world.fleet(21)
    world.pass_time(11)
    assert world.down() == set()
    return fleet


def never_down(world: World, processes: list[Process]) -> bool:
    """Tell whether no reader ever saw one of them down."""
    return all(world.seen[process.host] == ["up"] for process in processes)


def reasons(world: World, processes: list[Process]) -> set[Reason]:
    return {world.get(process).judged.reason for process in processes}


def test_a_crowd_is_held_until_it_is_back(world: World, fleet: list[Process]) -> None:
    first, second = fleet[:5], fleet[5:8]
    world.vanish(first)
    happened = world.pass_time(1)
    assert protections(happened) == [(ON, "presence of 5 members")]
    assert reasons(world, first) == {Reason.HELD}
    world.vanish(second)
    assert world.pass_time(30) == []
    (suspect,) = world.reader.protections()
    assert (suspect.group, suspect.zone, suspect.signal) == ("compute", "nova", Signal.PRESENCE)
    assert (suspect.members, suspect.peak) == (8, 8)
    world.rejoin(first)
    world.pass_time(3)
    (suspect,) = world.reader.protections()
    assert (suspect.members, suspect.peak) == (3, 8)
    world.rejoin(second)
    *_, off = happened = world.pass_time(12)
    assert protections(happened) == [(OFF, "presence of 8 members")]
    assert off.seconds == 34
    assert world.reader.protections() == []
    assert {world.get(process).held_since for process in fleet} == {None}
    assert never_down(world, fleet)


def test_one_that_dies_in_a_flush_is_found_and_nobody_else(
    world: World, fleet: list[Process]
) -> None:
    """One is dead by its reports, another is cut off for good and goes on reporting."""
    dead, cut, *others = fleet
    world.vanish(fleet)
    dead.reports = False
    world.pass_time(1)
    assert reasons(world, fleet) == {Reason.HELD}
    world.rejoin(others)
    happened = world.pass_time(9)
    assert transitions(happened) == [], "membership_ttl is the time that others have to come back"
    happened += world.pass_time(30)
    assert sorted(transitions(happened)) == [("h0", "down"), ("h1", "down")]
    assert protections(happened) == [(OFF, "presence of 21 members")]
    assert reasons(world, [dead, cut]) == {Reason.ABSENT}
    by_host = {event.host: event for event in happened if event.host}
    assert by_host["h0"].reason is Reason.ABSENT
    assert by_host["h0"].evidence is not None
    assert by_host["h0"].evidence.silence <= 2 * world.limits.report_interval + 1
    assert never_down(world, others)


def test_a_sudden_few_are_down_as_soon_as_they_stay_few(world: World, fleet: list[Process]) -> None:
    """Three of twenty-one, less than a fifth: the first of a crowd, or just three."""
    few, others = fleet[:3], fleet[3:]
    world.vanish(few)
    happened = world.pass_time(3)
    assert protections(happened) == [(ON, "presence of 3 members")]
    assert never_down(world, fleet)
    happened = world.pass_time(1)
    assert sorted(transitions(happened)) == [("h0", "down"), ("h1", "down"), ("h2", "down")]
    assert [kind for kind, _ in protections(happened)] == [OFF]
    vanished = world.clock.now - timedelta(seconds=3)
    assert {world.get(process).absent_since for process in few} == {vanished}
    assert world.pass_time(30) == []
    assert never_down(world, others)


def test_who_was_found_absent_comes_back_with_a_crowd_only(
    world: World, fleet: list[Process]
) -> None:
    """Another single loss soon after a few were let go does not raise them."""
    few, fourth = fleet[:3], fleet[3]
    world.vanish(few)
    world.pass_time(4)
    assert world.down() == {"h0", "h1", "h2"}
    world.vanish([fourth])
    for process in few:
        process.reported_at = EVER_AGO  # they report at once
    world.pass_time(1)
    assert world.down() == {"h0", "h1", "h2"}
    happened = world.pass_time(30)
    assert transitions(happened) == [("h3", "down")]


def test_a_crowd_that_begins_with_one_brings_it_back(world: World, fleet: list[Process]) -> None:
    """Sessions end one by one: the first is down at once, and its report raises it again."""
    first, others = fleet[0], fleet[1:]
    world.vanish([first])
    assert transitions(world.pass_time(1)) == [("h0", "down")]
    world.vanish(others)
    assert transitions(world.pass_time(15)) == [("h0", "up")]
    assert reasons(world, fleet) == {Reason.HELD}
    assert never_down(world, others)


def test_who_dies_while_held_is_not_raised_by_a_backend_that_goes_away(
    world: World, fleet: list[Process]
) -> None:
    """It was known absent, reported, was held for it, and died: absent is the newest word."""
    first, others = fleet[0], fleet[1:]
    world.vanish([first])
    world.pass_time(1)
    world.vanish(others)
    world.pass_time(15)
    assert reasons(world, [first]) == {Reason.HELD}
    first.reports = False
    assert transitions(world.pass_time(25)) == [("h0", "down")]
    (observer,) = world.observers
    for layer in (world.reader, observer._group):
        assert isinstance(layer.driver, Reference)
        layer.driver.directory = world.directory / "elsewhere"
    assert world.pass_time(10) == []
    assert reasons(world, [first]) == {Reason.ABSENT}


def test_one_alone_is_never_held(world: World, fleet: list[Process]) -> None:
    """Not even beside others that it did not vanish with."""
    for process in fleet[:4]:
        world.vanish([process])
        assert transitions(world.pass_time(1)) == [(process.host, "down")]
        assert world.pass_time(12) == []
    assert world.reader.protections() == []


def test_who_was_meant_to_go_accuses_nobody(world: World, fleet: list[Process]) -> None:
    stopped, forced, lost = fleet[:6], fleet[6:12], fleet[12:14]
    for process in forced:
        world.reader.update(process.uuid, forced_down=True)
    world.stop(stopped)
    world.vanish(forced + lost)
    happened = world.pass_time(2)
    assert len(transitions(happened)) == 14
    assert protections(happened) == []
    assert reasons(world, lost) == {Reason.ABSENT}


def test_half_of_a_fleet_that_really_dies_is_down_once_it_is_silent(
    world: World, fleet: list[Process]
) -> None:
    """Held only while a report may still have been on its way: two report intervals."""
    dead, alive = fleet[:10], fleet[10:]
    world.crash(dead)
    happened = world.pass_time(25)
    assert sorted(transitions(happened)) == sorted((process.host, "down") for process in dead)
    assert [kind for kind, _ in protections(happened)] == [ON, OFF]
    assert world.pass_time(40) == []
    assert never_down(world, alive)


def test_reports_that_stop_for_all_are_held_before_anybody_is_silent(
    world: World, fleet: list[Process]
) -> None:
    """Suspect is the intake, as long as they are present; who is not is down (LC-9)."""
    for process in fleet:
        process.reports = False
    happened = world.pass_time(40, step=2)
    assert protections(happened) == [(ON, "reports of 21 members")]
    assert world.pass_time(40, step=2) == []
    assert reasons(world, fleet) == {Reason.HELD}
    gone, others = fleet[0], fleet[1:]
    world.vanish([gone])
    assert transitions(world.pass_time(5)) == [("h0", "down")]
    for process in others:
        process.reports = True
    happened = world.pass_time(30)
    assert protections(happened) == [(OFF, "reports of 21 members")]
    assert never_down(world, others)


def test_zones_and_groups_are_weighed_apart(world: World) -> None:
    """Two losses in each of four places are no crowd anywhere."""
    world.observer()
    places = [
        world.fleet(4, zone, group)
        for zone in ("z1", "z2")
        for group in ("compute", "scheduler")
    ]  # fmt: skip
    world.pass_time(15)
    lost = [process for place in places for process in place[:2]]
    world.vanish(lost)
    happened = world.pass_time(1)
    assert sorted(transitions(happened)) == sorted((process.host, "down") for process in lost)
    assert protections(happened) == []


def test_a_group_has_the_threshold_that_it_is_given(world: World) -> None:
    world.observer(Thresholds(own={"scheduler": Threshold(minimum=2, share=0)}))
    fleet = world.fleet(20, group="scheduler")
    world.pass_time(15)
    world.vanish(fleet[:2])
    world.pass_time(30, step=2)
    (suspect,) = world.reader.protections()
    assert suspect.group == "scheduler"
    assert never_down(world, fleet)
