"""The layer for Nova without a Nova: records as dicts, a backend in a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.reference import Directory, Reference, ReferenceOptions
from servicegroup.model import Limits, Member, OnUnknown, PresenceState, Reason, Verdict
from servicegroup.nova.evictions import LONGEST, PendingEvictions
from servicegroup.nova.layer import Layer
from servicegroup.nova.lives import STARTED, life_of
from servicegroup.nova.membership import Membership
from servicegroup.nova.rpc.options import RpcSettings
from servicegroup.nova.rpc.results import Told
from support.waiting import until

NOW = datetime(2026, 1, 1, 12)
MEMBER = Member("compute", "node1")
RECORD = "35b740bb-2a9f-4229-a7d5-b6bd5746af19"
OTHER = "e81d66a4-ddd3-4aba-8a84-171d1cb4d339"
"""Records of one member in two cells."""
LIMITS = Limits(heartbeat_interval=0.05, membership_ttl=0.4)
NOBODY_ASKED = Told(RpcSettings(True, 5, 100, 600, "/nowhere/servicegroup-rpc.json"))


class Clock:
    """Nova's clock."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


@pytest.fixture
def driver(backend: Directory) -> Reference:
    return Reference(ReferenceOptions(directory=str(backend.directory)))


def layer_of(driver: Reference | None, clock: Clock, limits: Limits = LIMITS) -> Layer:
    return Layer(limits, driver, None, clock, rpc=NOBODY_ASKED)


def record(**changes: Any) -> dict[str, Any]:
    """Return Nova's record of a compute that has just reported."""
    return {
        "uuid": RECORD,
        "host": "node1",
        "topic": "compute",
        "created_at": datetime(2025, 1, 1, tzinfo=UTC),
        "last_seen_up": NOW.replace(tzinfo=UTC),
        "forced_down": False,
        **changes,
    }


def state(driver: Reference) -> PresenceState:
    return driver.presence([MEMBER])[MEMBER].state


def told(verdict: Verdict, state: PresenceState) -> Verdict | None:
    """Return the verdict if the driver said that."""
    presence = verdict.evidence.presence
    return verdict if presence is not None and presence.state is state else None


@pytest.mark.parametrize(
    ("present", "changes", "reason"),
    [
        (True, {}, Reason.PRESENT),
        (False, {}, Reason.ABSENT),
        (True, {"last_seen_up": datetime(2026, 1, 1, 11, 58)}, Reason.SILENT),
        (True, {"last_seen_up": None}, Reason.SILENT),
        (True, {"last_seen_up": None, "created_at": NOW}, Reason.PRESENT),
        (True, {"forced_down": True}, Reason.FORCED_DOWN),
        (False, {"topic": None}, Reason.REPORTING),
    ],
)
def test_either_down_wins(
    driver: Reference, clock: Clock, present: bool, changes: dict[str, Any], reason: Reason
) -> None:
    if present:
        driver.heartbeat(MEMBER, 1, 60.0)
    layer = layer_of(driver, clock)
    found = layer.verdict(record(**changes))
    assert found.reason is reason
    assert layer.is_up(record(**changes)) is reason.is_up
    assert found.evidence.limits.driver == "reference"


def test_any_living_incarnation_counts(driver: Reference, clock: Clock) -> None:
    driver.heartbeat(MEMBER, 4711, 60.0)
    assert layer_of(driver, clock).verdict(record()).reason is Reason.PRESENT


def test_a_backend_that_does_not_answer_downs_nobody(
    driver: Reference, backend: Directory, clock: Clock
) -> None:
    backend.freeze()
    assert layer_of(driver, clock).verdict(record()).reason is Reason.UNCONFIRMED
    strict = layer_of(driver, clock, Limits(on_unknown=OnUnknown.DOWN))
    assert strict.verdict(record()).reason is Reason.UNKNOWN


def test_not_knowing_does_not_raise_the_dead(
    driver: Reference, backend: Directory, clock: Clock
) -> None:
    passed = [0.0]
    layer = Layer(LIMITS, driver, None, clock, lambda: passed[0], rpc=NOBODY_ASKED)
    assert layer.verdict(record()).reason is Reason.ABSENT
    backend.freeze()
    unknown = until(lambda: told(layer.verdict(record()), PresenceState.UNKNOWN))
    assert unknown.reason is Reason.ABSENT
    clock.now += timedelta(seconds=5)
    passed[0] += 5
    assert layer.verdict(record(last_seen_up=clock.now)).reason is Reason.UNCONFIRMED


def test_a_clock_that_steps_back_keeps_no_reporting_service_absent(
    driver: Reference, backend: Directory, clock: Clock
) -> None:
    """SQL-5: how long ago it was absent is no matter of Nova's clock."""
    passed = [0.0]
    layer = Layer(LIMITS, driver, None, clock, lambda: passed[0], rpc=NOBODY_ASKED)
    assert layer.verdict(record()).reason is Reason.ABSENT
    backend.freeze()
    until(lambda: told(layer.verdict(record()), PresenceState.UNKNOWN))
    clock.now -= timedelta(hours=1)
    passed[0] += 5
    assert layer.verdict(record(last_seen_up=clock.now)).reason is Reason.UNCONFIRMED


def test_without_a_driver_the_record_decides(clock: Clock) -> None:
    assert layer_of(None, clock).verdict(record()).reason is Reason.REPORTING


def test_a_stamp_from_the_future_does_not_keep_the_dead_up(clock: Clock) -> None:
    layer = layer_of(None, clock, Limits(report_interval=0.01, service_down_time=0.05))
    ahead = record(last_seen_up=NOW + timedelta(hours=1))
    assert layer.is_up(ahead)
    assert layer.verdict(ahead).evidence.stamped_ahead == 3600
    assert until(lambda: not layer.is_up(ahead))


@pytest.mark.parametrize("broken", [{}, {"host": "node1"}, record(created_at=1, last_seen_up=None)])
def test_what_cannot_be_judged_is_down_and_raises_nothing(
    driver: Reference, clock: Clock, broken: dict[str, Any]
) -> None:
    assert not layer_of(driver, clock).is_up(broken)


def beating() -> bool:
    """Tell whether a membership still has something to say to the backend."""
    return any(thread.name == "servicegroup-reference" for thread in threading.enumerate())


@contextmanager
def joined(driver: Reference, clock: Clock) -> Iterator[Membership]:
    membership = layer_of(driver, clock).join("compute", "node1", RECORD)
    try:
        until(lambda: state(driver) is PresenceState.PRESENT)
        yield membership
    finally:
        membership.end()
        until(lambda: not beating())


def test_a_member_joins_and_leaves_when_its_record_is_gone(driver: Reference, clock: Clock) -> None:
    with joined(driver, clock) as membership:
        assert driver.presence([MEMBER])[MEMBER].incarnations == {life_of(RECORD)}
        membership.end()
        until(lambda: not beating())
        assert state(driver) is PresenceState.ABSENT


def test_a_heartbeat_that_was_under_way_when_the_record_went_is_taken_back(
    driver: Reference, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LC-1: as one that had waited for a backend which was away; not for a whole interval."""
    heartbeat = driver.heartbeat
    layer = layer_of(driver, clock, msgspec.structs.replace(LIMITS, heartbeat_interval=3600.0))
    begun, may_go_on = threading.Event(), threading.Event()

    def waits(member: Member, incarnation: int, ttl: float) -> None:
        begun.set()
        assert may_go_on.wait(10)
        heartbeat(member, incarnation, 3600.0)

    monkeypatch.setattr(driver, "heartbeat", waits)
    membership = layer.join("compute", "node1", RECORD)
    assert begun.wait(10)
    membership.end()
    may_go_on.set()
    until(lambda: not beating())
    assert state(driver) is PresenceState.ABSENT


def test_a_member_that_cannot_leave_now_does_it_later(
    driver: Reference, backend: Directory, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with joined(driver, clock) as membership:
        backend.freeze()
        membership.end()
        until(lambda: "compute on node1 lost driver reference" in caplog.text)
        assert beating()
        backend.thaw()


def test_a_member_outlives_its_backend(driver: Reference, backend: Directory, clock: Clock) -> None:
    with joined(driver, clock):
        backend.empty()
        until(lambda: state(driver) is PresenceState.PRESENT)


def test_a_delete_frees_all_lives_once_the_backend_answers(
    driver: Reference, backend: Directory, clock: Clock
) -> None:
    layer = layer_of(driver, clock)
    for ago in (2, 1):
        driver.heartbeat(MEMBER, life_of(RECORD, STARTED - ago), 3600.0)
    backend.freeze()
    layer.leave("compute", "node1", RECORD)
    layer.leave("compute", "node2", OTHER)
    backend.thaw()
    until(lambda: state(driver) is not PresenceState.PRESENT)
    driver.heartbeat(MEMBER, life_of(RECORD), 3600.0)
    layer.leave("compute", "node1", RECORD)
    until(lambda: state(driver) is not PresenceState.PRESENT)


def test_a_delete_while_the_one_before_is_under_way_is_not_lost(
    driver: Reference, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = layer_of(driver, clock)
    leave = driver.leave
    lives = iter([life_of(OTHER)])

    def leaves_and_comes_back(member: Member, incarnation: int | None = None) -> None:
        leave(member, incarnation)
        for life in lives:
            driver.heartbeat(member, life, 3600.0)
            layer.leave(member.group, member.host, OTHER)

    monkeypatch.setattr(driver, "leave", leaves_and_comes_back)
    driver.heartbeat(MEMBER, life_of(RECORD), 3600.0)
    layer.leave("compute", "node1", RECORD)
    until(is_nothing_owed)
    assert state(driver) is PresenceState.ABSENT


def is_nothing_owed() -> bool:
    """Tell whether all backends have forgotten who was deleted."""
    return not any(one.name == "servicegroup-evictions" for one in threading.enumerate())


def test_a_delete_in_one_cell_ends_nobody_of_the_same_name_in_another(
    driver: Reference, clock: Clock
) -> None:
    """F-44: two conductors of one host name are one member, and two records."""
    layer = layer_of(driver, clock)
    for record_of in (RECORD, OTHER):
        driver.heartbeat(MEMBER, life_of(record_of), 3600.0)
    layer.leave("compute", "node1", RECORD)
    until(is_nothing_owed)
    assert driver.presence([MEMBER])[MEMBER].incarnations == {life_of(OTHER)}


def test_a_delete_ends_lives_that_the_first_release_began(driver: Reference, clock: Clock) -> None:
    driver.heartbeat(MEMBER, STARTED, 3600.0)
    layer_of(driver, clock).leave("compute", "node1", RECORD)
    until(is_nothing_owed)
    assert state(driver) is PresenceState.ABSENT


def test_whoever_cannot_be_told_of_keeps_no_other_waiting(
    driver: Reference, backend: Directory
) -> None:
    now = 0.0
    evictions = PendingEvictions(driver, LIMITS, lambda: now)
    driver.heartbeat(MEMBER, life_of(RECORD), 3600.0)
    backend.freeze()
    evictions.leave(Member("compute", "node2"), OTHER)
    evictions.leave(MEMBER, RECORD)
    backend.thaw()  # it has forgotten nothing, and does not know of node2 for a time to live
    until(lambda: state(driver) is PresenceState.UNKNOWN)
    assert not is_nothing_owed()
    now = LONGEST * LIMITS.membership_ttl + 1
    until(is_nothing_owed)


def test_a_crowd_that_vanishes_is_held_for_as_long_as_it_reports(
    driver: Reference, clock: Clock
) -> None:
    hosts = [f"node{number}" for number in range(5)]
    for host in hosts:
        driver.heartbeat(Member("compute", host), 1, 60.0)
    layer = layer_of(driver, clock)

    def reasons(**changes: Any) -> list[Reason]:
        return [layer.verdict(record(host=host, **changes)).reason for host in hosts]

    assert reasons() == [Reason.PRESENT] * 5
    for host in hosts:
        driver.leave(Member("compute", host))
    until(lambda: state(driver) is PresenceState.ABSENT)
    until(lambda: Reason.PRESENT not in reasons())
    assert reasons() == [Reason.HELD] * 5
    silent = NOW.replace(tzinfo=UTC) - timedelta(seconds=2.5 * LIMITS.report_interval)
    assert reasons(last_seen_up=silent) == [Reason.ABSENT] * 5
