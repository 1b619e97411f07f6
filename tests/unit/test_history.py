"""One service's history as figures: what is added up, and what is not known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.events import Event, EventKind
from servicegroup.history import EDITS, History, StateAt, history, is_failure, state_before
from servicegroup.model import Reason

NOON = datetime(2030, 1, 1, 12)
UP, DOWN = StateAt("up", False), StateAt("down", False)
UNKNOWN = StateAt(None, False)


def at(seconds: float) -> datetime:
    """Return the moment that many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def up(second: float, before: str | None = "down") -> Event:
    return Event(at=at(second), kind=EventKind.UP, before=before, after="up", reason=Reason.PRESENT)


def down(second: float, reason: Reason = Reason.ABSENT, before: str | None = "up") -> Event:
    return Event(at=at(second), kind=EventKind.DOWN, before=before, after="down", reason=reason)


def edit(second: float, kind: EventKind) -> Event:
    return Event(at=at(second), kind=kind)


def told(events: Sequence[Event], began: StateAt, seconds: float = 100) -> History:
    """Return the history of the seconds after noon."""
    return history("u", events, began, NOON, at(seconds))


def figures(found: History) -> tuple[float, float, float]:
    return found.up_seconds, found.down_seconds, found.maintenance_seconds


def spans(found: History) -> list[tuple[float, float, str | None, bool]]:
    """Return the spans, their ends in seconds after noon."""
    return [
        (
            (span.since - NOON).total_seconds(),
            (span.until - NOON).total_seconds(),
            span.state,
            span.disabled,
        )
        for span in found.spans
    ]


def test_availability_is_up_of_up_and_down() -> None:
    found = told([down(10), up(30), down(90)], UP)
    assert figures(found) == (70, 30, 0)
    assert found.availability == 0.7
    assert found.flaps == 2


def test_maintenance_counts_neither_way() -> None:
    events = [
        edit(10, EventKind.DISABLE), down(20), up(30), edit(40, EventKind.ENABLE), down(80),
    ]  # fmt: skip
    found = told(events, UP)
    assert figures(found) == (50, 20, 30)
    assert found.availability == pytest.approx(50 / 70)
    assert spans(found) == [
        (0, 10, "up", False),
        (10, 20, "up", True),
        (20, 30, "down", True),
        (30, 40, "up", True),
        (40, 80, "up", False),
        (80, 100, "down", False),
    ]


def test_who_was_disabled_all_the_time_has_no_availability() -> None:
    found = told([down(10)], StateAt("up", True))
    assert figures(found) == (0, 0, 100)
    assert found.availability is None


def test_time_of_which_nothing_is_known_is_not_counted() -> None:
    found = told([edit(5, EventKind.JOIN), up(20, before=None)], UNKNOWN)
    assert figures(found) == (80, 0, 0)
    assert found.availability == 1
    assert spans(found) == [(0, 20, None, False), (20, 100, "up", False)]
    assert told([], UNKNOWN).availability is None
    assert spans(told([], UNKNOWN)) == [(0, 100, None, False)]


def test_other_events_change_nothing() -> None:
    events = [edit(10, kind) for kind in (EventKind.JOIN, EventKind.RESTART, EventKind.FORCE_DOWN)]
    found = told(events, UP)
    assert figures(found) == (100, 0, 0)
    assert spans(found) == [(0, 100, "up", False)]


def test_what_lies_outside_the_period_is_cut_at_its_ends() -> None:
    found = history("u", [down(-5), up(3), down(200)], UP, NOON, at(10))
    assert figures(found) == (7, 3, 0)
    assert spans(found) == [(0, 3, "down", False), (3, 10, "up", False)]


def test_stamps_out_of_order_never_count_a_time_twice() -> None:
    """An observer stamps a transition by its look, which began before an edit committed."""
    found = told([edit(50, EventKind.DISABLE), down(49)], UP)
    assert figures(found) == (50, 0, 50)
    assert spans(found) == [(0, 50, "up", False), (50, 100, "down", True)]


def test_what_took_no_time_is_no_span() -> None:
    assert spans(told([down(10), up(10)], UP)) == [(0, 100, "up", False)]
    assert told([], UP, 0).spans == []


def test_an_older_control_plane_gives_no_spans() -> None:
    fields = msgspec.to_builtins(told([down(10)], UP))
    del fields["spans"]
    assert msgspec.convert(fields, History).spans == []


def test_a_newer_control_plane_may_give_more() -> None:
    fields = {**msgspec.to_builtins(told([down(10)], UP)), "later": 1}
    assert msgspec.convert(fields, History) == told([down(10)], UP)


FAILURES = [
    (down(0), True),
    (down(0, Reason.SILENT), True),
    (down(0, Reason.EXITED), True),
    (down(0, Reason.LEFT), False),
    (down(0, Reason.FORCED_DOWN), False),
    (down(0, before=None), False),  # found down: nobody knows that it ever was up
    (up(0), False),
    (edit(0, EventKind.EXIT), False),  # the transition that follows is the failure
]


@pytest.mark.parametrize(("event", "failed"), FAILURES)
def test_what_is_a_failure(event: Event, failed: bool) -> None:
    assert is_failure(event) is failed


disable, enable = edit(5, EventKind.DISABLE), edit(5, EventKind.ENABLE)
STANDINGS = [
    # events, earlier ones, as it is now, as it was
    ([], [], DOWN, DOWN),  # nothing has changed since
    ([down(5)], [], DOWN, UP),
    ([up(5, before=None), down(6)], [], DOWN, UNKNOWN),
    ([down(5), up(6)], [], UP, UP),
    ([], [down(-9)], UP, DOWN),  # what came before it is nearer than now
    ([disable], [], StateAt("up", True), UP),
    ([enable], [], UP, StateAt("up", True)),
    ([enable, disable], [], StateAt("up", True), StateAt("up", True)),
    ([up(5)], [disable], UP, StateAt("down", True)),
    ([edit(5, EventKind.JOIN)], [], UNKNOWN, UNKNOWN),
]


@pytest.mark.parametrize(("events", "earlier", "now", "was"), STANDINGS)
def test_how_it_stood_before(
    events: list[Event], earlier: list[Event], now: StateAt, was: StateAt
) -> None:
    assert state_before(events, earlier, now) == was


moments = st.floats(-50, 150)
anything = st.one_of(
    st.builds(down, moments, st.sampled_from([Reason.ABSENT, Reason.LEFT])),
    st.builds(up, moments),
    st.builds(edit, moments, st.sampled_from([*EDITS, EventKind.JOIN])),
)
standings = st.builds(StateAt, st.sampled_from(["up", "down"]), st.booleans())


@given(st.lists(anything, max_size=12), standings)
def test_the_seconds_add_up_to_the_period(events: list[Event], began: StateAt) -> None:
    found = told(events, began)
    assert all(part >= 0 for part in figures(found))
    assert sum(figures(found)) == pytest.approx(100)
    assert found.availability is None or 0 <= found.availability <= 1


@given(
    st.lists(anything, max_size=12),
    st.builds(StateAt, st.sampled_from(["up", "down", None]), st.booleans()),
)
def test_the_spans_cover_the_period_and_add_up_to_the_seconds(
    events: list[Event], began: StateAt
) -> None:
    found = told(events, began)
    assert [span.since for span in found.spans] == [
        NOON, *(span.until for span in found.spans[:-1])
    ]  # fmt: skip
    assert found.spans[-1].until == at(100)
    assert all(span.since < span.until for span in found.spans)
    for one, other in itertools.pairwise(found.spans):
        assert (one.state, one.disabled) != (other.state, other.disabled)
    assert figures(found) == pytest.approx(
        (
            sum(s.seconds for s in found.spans if s.state == "up" and not s.disabled),
            sum(s.seconds for s in found.spans if s.state == "down" and not s.disabled),
            sum(s.seconds for s in found.spans if s.disabled),
        )
    )


@given(st.lists(anything, max_size=12), st.booleans())
def test_they_add_up_to_less_where_nothing_is_known(events: list[Event], disabled: bool) -> None:
    assert sum(figures(told(events, StateAt(None, disabled)))) <= 100 + 1e-6


@given(st.lists(anything, max_size=12), standings, st.floats(0, 100))
def test_a_period_is_the_sum_of_its_halves(
    events: list[Event], began: StateAt, middle: float
) -> None:
    events = sorted(events, key=lambda event: event.at)
    first, second = (
        [event for event in events if (event.at < at(middle)) is early] for early in (True, False)
    )
    between = state_before([], _latest(first), began)
    halves = (
        history("u", first, began, NOON, at(middle)),
        history("u", second, between, at(middle), at(100)),
    )
    parts = [sum(pair) for pair in zip(*map(figures, halves), strict=True)]
    assert parts == pytest.approx(figures(told(events, began)))
    assert halves[0].flaps + halves[1].flaps == told(events, began).flaps


def _latest(events: Sequence[Event]) -> list[Event]:
    """Return the latest transition and the latest edit."""
    states = [event for event in events if event.after is not None]
    edits = [event for event in events if event.kind in EDITS]
    return [*states[-1:], *edits[-1:]]
