"""Another driver is obeyed from now on: what the former one said decides nothing more (F-52)."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.reference import Directory, Reference, ReferenceOptions
from observer.world import EVER_AGO, World, protections, transitions
from servicegroup.controlplane.observer import Observer
from servicegroup.driver import Driver, load
from servicegroup.events import EventKind
from servicegroup.group import ServiceGroup
from servicegroup.model import Reason
from servicegroup.store.store import Store

HANDOVER = 4
"""Seconds in which the lease of an observer that is gone is found free, and taken."""


class Other(Reference):
    """The same backend under another name."""

    name = "other"


def other(world: World, directory: Path) -> Other:
    """Return a driver whose backend nobody has joined yet."""
    directory.mkdir()
    Directory(directory, world.clock.monotonic)
    driver = Other(ReferenceOptions(directory=str(directory)))
    driver.monotonic = world.clock.monotonic
    return driver


def layer(world: World, driver: Driver) -> ServiceGroup:
    monotonic = world.clock.monotonic
    return ServiceGroup(Store(world.engine), driver, world.limits, None, monotonic)


def change(world: World, driver: Driver) -> None:
    """Replace every control plane by one that obeys this driver, which all processes join."""
    world.reader = layer(world, driver)
    world.observers = [Observer(layer(world, driver), None, world.clock.monotonic)]
    for process in world.processes:
        process.beaten_at = EVER_AGO
    world.rejoin([])


def stamps(world: World) -> set[object]:
    found = world.reader.services()
    return {s.held_since for s in found} | {s.absent_since for s in found}


def drivers(world: World, tmp_path: Path) -> dict[str, Driver]:
    return {"db": load("db"), "other": other(world, tmp_path / "other")}


@pytest.mark.parametrize("new", ["db", "other"])
def test_a_protection_ends_with_its_event_and_nobody_stays_held(
    world: World, tmp_path: Path, new: str
) -> None:
    world.observer()
    fleet = world.fleet(20)
    world.pass_time(11)
    world.vanish(fleet[:5])
    assert protections(world.pass_time(2)) == [(EventKind.PROTECTION_ON, "presence of 5 members")]
    for process in fleet:
        process.beats = True  # they join the next driver's backend, where it has one
    driver = drivers(world, tmp_path)[new]
    change(world, driver)
    events = world.pass_time(HANDOVER)
    assert protections(events) == [(EventKind.PROTECTION_OFF, "presence of 5 members")]
    assert transitions(events) == []
    assert world.reader.protections() == []
    assert stamps(world) == {None}
    assert world.pass_time(120) == []


@pytest.mark.parametrize("new", ["db", "other"])
def test_who_was_absent_is_judged_by_the_next_driver_alone(
    world: World, tmp_path: Path, new: str
) -> None:
    world.observer()
    fleet = world.fleet(20)
    world.pass_time(11)
    world.vanish(fleet[:1])
    assert transitions(world.pass_time(12)) == [("h0", "down")]
    fleet[0].beats = True
    change(world, drivers(world, tmp_path)[new])
    assert world.down() == set(), "as soon as somebody asks"
    assert transitions(world.pass_time(HANDOVER)) == [("h0", "up")]
    assert stamps(world) == {None}


def test_an_absence_of_the_former_driver_is_none_where_the_next_one_cannot_tell(
    world: World, tmp_path: Path
) -> None:
    """With the former one, not knowing does not raise the dead."""
    world.observer()
    fleet = world.fleet(4)
    world.pass_time(11)
    world.vanish(fleet[:1])
    fleet[0].reports = False
    assert transitions(world.pass_time(3)) == [("h0", "down")]
    world.observers.clear()
    driver = other(world, tmp_path / "other")
    change(world, driver)
    driver.directory = tmp_path / "nowhere"
    assert world.get(fleet[0]).judged.reason is Reason.UNCONFIRMED


def test_a_crowd_that_the_next_driver_lacks_too_is_another_protection(
    world: World, tmp_path: Path
) -> None:
    world.observer()
    fleet = world.fleet(20)
    world.pass_time(11)
    world.vanish(fleet[:5])
    world.pass_time(2)
    (before,) = world.reader.protections()
    change(world, other(world, tmp_path / "other"))
    detail = "presence of 5 members"
    events = world.pass_time(HANDOVER)
    assert protections(events) == [
        (EventKind.PROTECTION_OFF, detail), (EventKind.PROTECTION_ON, detail),
    ]  # fmt: skip
    assert transitions(events) == []
    (after,) = world.reader.protections()
    assert after.since > before.since


def test_while_another_drivers_observer_is_at_work_nobody_waits_for_its_word(
    world: World, tmp_path: Path
) -> None:
    """Control planes are changed one after the other."""
    world.observer()
    fleet = world.fleet(20)
    world.pass_time(11)
    assert world.reader.revision() is not None
    driver = other(world, tmp_path / "other")
    first = layer(world, driver)
    for process in fleet[1:]:
        driver.heartbeat(process.member, process.incarnation, 60)
    world.pass_unseen(world.limits.report_interval)
    world.look()
    assert {s.host for s in first.services() if not s.is_up} == {"h0"}
    assert first.revision() is None, "its verdicts change without an event"
    assert world.down() == set()
