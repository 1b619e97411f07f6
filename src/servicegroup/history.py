"""One service's history as figures: how long it was up, down or disabled, and how often it failed.

A pure function of events. Time in which an operator had disabled the service is maintenance, and
counts neither for it nor against it; time of which nothing is known is not counted at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import fsum

import msgspec

from servicegroup.events import Event, EventKind
from servicegroup.model import Reason

TRANSITIONS = frozenset({EventKind.UP, EventKind.DOWN})
EDITS = frozenset({EventKind.ENABLE, EventKind.DISABLE})

INTENDED = frozenset({Reason.LEFT, Reason.FORCED_DOWN})
"""Down for these reasons, a service did not fail: somebody wanted it so."""


class StateAt(msgspec.Struct, frozen=True):
    """How a service stood at a moment: its state, None where none was recorded, and its status."""

    state: str | None
    disabled: bool


class Span(msgspec.Struct, frozen=True, gc=False):
    """A time, not empty, in which a service stood the same; see ``StateAt``."""

    since: datetime
    until: datetime
    state: str | None
    disabled: bool

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.until - self.since).total_seconds()


class History(msgspec.Struct, frozen=True):
    """What happened to a service from ``since`` to ``until``, and what it adds up to.

    Seconds in each state; ``availability`` (0 to 1) is up of up and down, None where both are
    zero. ``flaps`` are failures, without orderly stops and what an operator forced. ``complete``
    is False where older events of this time are not kept, or are too many to be told. ``spans``
    cover all of the time, oldest first; neighbours differ, and the seconds are their sums. An
    older control plane gives none.
    """

    uuid: str
    since: datetime
    until: datetime
    availability: float | None
    up_seconds: float
    down_seconds: float
    maintenance_seconds: float
    flaps: int
    complete: bool
    events: list[Event]
    spans: list[Span] = []


def is_failure(event: Event) -> bool:
    """Tell whether a service failed: went down and nobody wanted it to."""
    was_up = event.kind is EventKind.DOWN and event.before == "up"
    return was_up and event.reason not in INTENDED


def state_before(events: Iterable[Event], earlier: Iterable[Event], now: StateAt) -> StateAt:
    """Return how the service stood before ``events`` began.

    ``earlier`` is the latest transition and the latest edit before them, where there are any; else
    the first event of each kind says what it ended, and without one nothing has changed since.
    """
    told = list(events)
    state, disabled = now.state, now.disabled
    for event in reversed(told):
        if event.kind in TRANSITIONS:
            state = event.before
        elif event.kind in EDITS:
            disabled = event.kind is EventKind.ENABLE
    stood = StateAt(state, disabled)
    for event in earlier:
        stood = _after(event, stood)
    return stood


def spans_of(
    events: Iterable[Event], began: StateAt, since: datetime, until: datetime
) -> list[Span]:
    """Cut the time from ``since`` to ``until`` where a service that stood so at first changed."""
    spans: list[Span] = []
    stood, moment = began, since
    for event in events:
        if event.kind in TRANSITIONS or event.kind in EDITS:
            # An observer stamps a transition by its look, which began before an edit committed:
            # stamps may go back, and then no time is counted twice.
            at = min(max(event.at, moment), until)
            _append(spans, moment, at, stood)
            stood, moment = _after(event, stood), at
    _append(spans, moment, until, stood)
    return spans


def _after(event: Event, stood: StateAt) -> StateAt:
    if event.kind in TRANSITIONS:
        return StateAt(event.after, stood.disabled)
    if event.kind in EDITS:
        return StateAt(stood.state, event.kind is EventKind.DISABLE)
    return stood


def _append(spans: list[Span], since: datetime, until: datetime, stood: StateAt) -> None:
    """Add a span, or what it adds to the one before that stood the same."""
    if since == until:
        return
    if spans and (spans[-1].state, spans[-1].disabled) == (stood.state, stood.disabled):
        since = spans.pop().since
    spans.append(Span(since, until, stood.state, stood.disabled))


def history(
    uuid: str,
    events: Sequence[Event],
    began: StateAt,
    since: datetime,
    until: datetime,
    *,
    complete: bool = True,
) -> History:
    """Add up the time from ``since`` to ``until`` of a service that stood so when it began."""
    spans = spans_of(events, began, since, until)
    judged = [span for span in spans if not span.disabled]
    up = fsum(span.seconds for span in judged if span.state == "up")
    down = fsum(span.seconds for span in judged if span.state == "down")
    return History(
        uuid=uuid,
        since=since,
        until=until,
        availability=up / (up + down) if up + down > 0 else None,
        up_seconds=up,
        down_seconds=down,
        maintenance_seconds=fsum(span.seconds for span in spans if span.disabled),
        flaps=sum(map(is_failure, events)),
        complete=complete,
        events=list(events),
        spans=spans,
    )
