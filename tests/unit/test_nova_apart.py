"""A driver that works in a native thread, where eventlet's stop between two requests (F-45)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from drivers.reference import Directory, Reference, ReferenceOptions
from servicegroup.driver import Capabilities, GroupPresence
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Limits, Member, Presence, PresenceState
from servicegroup.nova import apart as module
from servicegroup.nova.apart import ApartDriver, Evictions, apart
from servicegroup.nova.lives import life_of
from support.waiting import until

MEMBER = Member("compute", "node1")
RECORD = "35b740bb-2a9f-4229-a7d5-b6bd5746af19"


class Pushing(Reference):
    """A driver that is told of changes, and remembers who called it."""

    capabilities = Capabilities(pushes=True)

    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        self.callers: list[str] = []

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        self.callers.append(threading.current_thread().name)
        super().heartbeat(member, incarnation, ttl)

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        self.callers.append(threading.current_thread().name)
        super().leave(member, incarnation)

    others = PresenceState.ABSENT

    def list_group(self, group: str) -> GroupPresence:
        return GroupPresence({MEMBER.host: Presence(PresenceState.PRESENT)}, Presence(self.others))

    def prove(self, member: Member) -> None:
        raise DriverUnavailable("It takes no writes.")


@pytest.fixture
def driver(tmp_path: Path) -> Pushing:
    return Pushing(ReferenceOptions(directory=str(Directory(tmp_path).directory)))


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have threads stop between two requests."""
    monkeypatch.setattr(module, "do_threads_stop_between_requests", lambda: True)


def test_a_driver_whose_threads_go_on_stays_as_it_is(driver: Pushing) -> None:
    assert apart(driver) is driver


@pytest.mark.usefixtures("stopping")
def test_a_driver_without_threads_stays_as_it_is(tmp_path: Path) -> None:
    asked = Reference(ReferenceOptions(directory=str(tmp_path)))
    assert apart(asked) is asked


@pytest.mark.usefixtures("stopping")
def test_it_works_in_another_thread_and_answers_as_ever(driver: Pushing) -> None:
    found = apart(driver)
    assert isinstance(found, ApartDriver)
    assert (found.name, found.options) == (driver.name, driver.options)
    assert not found.capabilities.pushes  # so that it is asked once a second
    found.heartbeat(MEMBER, 1, 10.0)
    assert driver.callers != [threading.current_thread().name]
    assert found.presence([MEMBER])[MEMBER].state is PresenceState.PRESENT
    assert found.list_group("compute") == driver.list_group("compute")
    assert found.detection_time(10.0) == driver.detection_time(10.0)
    assert found.warnings() == driver.warnings()
    with pytest.raises(DriverUnavailable, match="no writes"):
        found.prove(MEMBER)
    found.close()


@pytest.mark.usefixtures("stopping")
def test_a_list_that_does_not_tell_who_is_absent_is_none(driver: Pushing) -> None:
    """A register's list has only who is present, and says of nobody else that he is not."""
    driver.others = PresenceState.UNKNOWN
    assert apart(driver).list_group("compute") is None


@pytest.mark.usefixtures("stopping")
def test_one_call_that_waits_keeps_no_other_waiting(driver: Pushing) -> None:
    found = apart(driver)
    assert isinstance(found, ApartDriver)
    waiting, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        waiting.set()
        go_on.wait(10)

    thread = threading.Thread(target=found.do, args=(wait,))
    thread.start()
    assert waiting.wait(10)
    assert found.do(lambda: "at once") == "at once"
    go_on.set()
    thread.join(10)


@pytest.mark.usefixtures("stopping")
def test_what_a_delete_owes_is_paid_there(driver: Pushing) -> None:
    found = apart(driver)
    driver.heartbeat(MEMBER, life_of(RECORD), 60.0)
    evictions = Evictions(found, Limits(heartbeat_interval=0.05))
    evictions.leave(MEMBER, RECORD)
    until(lambda: driver.presence([MEMBER])[MEMBER].state is PresenceState.ABSENT, what="it left")
    assert driver.callers[-1] == "servicegroup-evictions"
