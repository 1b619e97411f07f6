"""``watch()`` beside a real control plane that is killed, frozen, restarted and replaced."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import servicegroup
from servicegroup.agent import client
from servicegroup.agent import watch as watching
from servicegroup.driver import load
from servicegroup.errors import Forbidden, InvalidInput
from servicegroup.events import Event, EventFilter, EventKind, Page
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits
from servicegroup.store import retention
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from support.control_plane import ControlPlane

pytestmark = pytest.mark.long

NOBODY = "http://127.0.0.1:1"


@contextmanager
def layer(plane: ControlPlane) -> Iterator[ServiceGroup]:
    """Give the layer on the register of a control plane, which may be away."""
    engine = connect(plane.connection)
    yield ServiceGroup(Store(engine), load("db"), Limits())
    engine.dispose()


@pytest.fixture
def group(control_plane: ControlPlane) -> Iterator[ServiceGroup]:
    """Give the layer on the register of the control plane."""
    with layer(control_plane) as group:
        yield group


def toggle(group: ServiceGroup, times: int = 1) -> int:
    """Let so many things happen, and return the id of the last one."""
    service = group.services()[0]
    for _ in range(times):
        service = group.update(service.uuid, disabled=not service.disabled)
    return group.event_log().last


def up_to(events: Iterator[Event], last: int) -> list[Event]:
    """Return what is told up to the event with this id."""
    found = [next(events)]
    while found[-1].id < last:
        found.append(next(events))
    return found


def test_each_event_once_and_in_order_whatever_becomes_of_the_control_plane(
    control_plane: ControlPlane,
    group: ServiceGroup,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = servicegroup.watch(f"{NOBODY},{control_plane.url}", after=0)
    seen = up_to(events, toggle(group, 250))  # more than a page
    for end in (control_plane.kill, control_plane.stop):
        end()
        last = toggle(group)
        control_plane.start_only()
        seen += up_to(events, last)
    assert [event.id for event in seen] == list(range(1, seen[-1].id + 1))
    told = [m.partition(":")[0] for m in caplog.messages if m.startswith("The watch")]
    said = [re.sub(r"\d+\.\d s", "… s", line) for line in told]
    assert said == ["The watch lost its events", "The watch recovered its events after … s."] * 2

    up = next(servicegroup.watch(control_plane.url, after=0, kind=EventKind.UP))
    assert up.evidence is not None
    assert servicegroup.judge(up.evidence).reason is up.reason
    monkeypatch.setenv("SERVICEGROUP_URL", control_plane.url)
    other = servicegroup.watch(after=0, uuid=up.uuid, kind=EventKind.ENABLE)
    assert {next(other).kind for _ in range(3)} == {EventKind.ENABLE}

    def ask(wanted: EventFilter, seconds: float) -> Page:
        page = group.events(wanted, 100)
        toggle(group, 2)
        return page

    last = group.event_log().last
    assert next(watching.follow(ask, EventFilter())).id == last + 1, (
        "what came after the first answer"
    )


def test_a_wait_is_no_outage_however_long_nothing_happens(
    control_plane: ControlPlane,
    group: ServiceGroup,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "DEFAULT_TIMEOUT", 2.0)
    events = servicegroup.watch(control_plane.url, after=group.event_log().last, group="late")
    late = threading.Timer(2.5, group.join, ("h", "late"))
    late.start()
    assert next(events).kind is EventKind.JOIN
    late.join()
    assert not [m for m in caplog.messages if m.startswith("The watch")]


def test_what_is_not_kept_is_a_gap_and_so_is_another_register(
    control_plane: ControlPlane,
    group: ServiceGroup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for most in ("MAX_EVENTS", "MAX_OF_OPERATORS"):
        monkeypatch.setattr(retention, most, 0)
    events = servicegroup.watch(control_plane.url, after=toggle(group, 30) - 10, group="nobody's")
    last = toggle(group)
    assert retention.purge(group._store.engine) == last
    toggle(group)
    gap = next(events)
    assert (gap.kind, gap.id) == (EventKind.GAP, last), "told whatever else is left out"

    control_plane.kill()
    control_plane.connection = f"sqlite:///{tmp_path / 'other.sqlite'}"
    control_plane.configure()
    control_plane.start()
    gap = next(events)
    assert gap.kind is EventKind.GAP
    assert gap.detail is not None
    assert "another register" in gap.detail
    with layer(control_plane) as other:
        assert gap.id <= other.event_log().last < last
        other.join("h", "w", group="nobody's")
    assert next(events).kind is EventKind.JOIN


def test_one_of_several_control_planes_is_enough(
    control_plane: ControlPlane,
    group: ServiceGroup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hang costs one question its time, and nobody is told of an outage that is none."""
    monkeypatch.setattr(watching, "WAIT", 1.0)
    second = ControlPlane(control_plane.connection, tmp_path)
    second.start()
    try:
        last = group.event_log().last
        events = servicegroup.watch(f"{control_plane.url},{second.url}", after=last)
        toggle(group)
        seen = [next(events)]
        control_plane.freeze()
        seen += up_to(events, toggle(group))
        control_plane.thaw()
        second.kill()
        seen += up_to(events, toggle(group))
        assert [event.id for event in seen] == list(range(last + 1, seen[-1].id + 1))
        assert not [m for m in caplog.messages if m.startswith("The watch")]
    finally:
        second.stop()


def test_mistakes_are_told_and_not_repeated(
    control_plane: ControlPlane, group: ServiceGroup
) -> None:
    with pytest.raises(InvalidInput, match="is not http://HOST:PORT"):
        servicegroup.watch("control")
    with pytest.raises(InvalidInput, match="kind 'explode' is not known"):
        next(servicegroup.watch(control_plane.url, after=0, kind="explode"))  # type: ignore[arg-type]
    events = servicegroup.watch(control_plane.url, after=0)
    next(events)
    control_plane.kill()
    control_plane.configure(f"[api]\nauth_strategy = token\ntoken = admin:{'0' * 64}\n")
    control_plane.start()
    with pytest.raises(Forbidden):
        up_to(events, toggle(group))


def test_a_place_that_is_refused_again_and_again_is_asked_for_after_growing_pauses() -> None:
    """One address before two registers: each refuses the place that the other one gave."""
    asked: list[int | None] = []
    pauses: list[float] = []

    def ask(wanted: EventFilter, seconds: float) -> Page:
        asked.append(wanted.after)
        if wanted.after == 100:
            raise InvalidInput("Event 100 was never given.")
        return Page([], 100, 100)

    gaps = watching.follow(ask, EventFilter(after=100), pauses.append)
    assert [next(gaps).kind for _ in range(6)] == [EventKind.GAP] * 6
    assert len(pauses) == 5, "the first one is told at once"
    assert pauses[0] < pauses[2] < pauses[4] <= 5
    assert asked == [100, None] * 6
