"""One service's history as figures: how long it was up, down or disabled, and how often it failed.

A pure function of events. Time in which an operator had disabled the service is maintenance, and
counts neither for it nor against it; time of which nothing is known is not counted at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

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


class History(msgspec.Struct, frozen=True):
    """What happened to a service from ``since`` to ``until``, and what it adds up to.

    Seconds in each state; ``availability`` (0 to 1) is up of up and down, None where both are
    zero. ``flaps`` are failures, without orderly stops and what an operator forced. ``complete``
    is False where older events of this time are not kept, or are too many to be told.
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
    for event in earlier:
        if event.kind in TRANSITIONS:
            state = event.after
        elif event.kind in EDITS:
            disabled = event.kind is EventKind.DISABLE
    return StateAt(state, disabled)


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
    seconds = {"up": 0.0, "down": 0.0, "maintenance": 0.0}
    state, disabled, moment = began.state, began.disabled, since
    for event in events:
        if event.kind not in TRANSITIONS and event.kind not in EDITS:
            continue
        at = min(max(event.at, moment), until)
        _count(seconds, state, disabled, (at - moment).total_seconds())
        moment = at
        if event.kind in TRANSITIONS:
            state = event.after
        else:
            disabled = event.kind is EventKind.DISABLE
    _count(seconds, state, disabled, (until - moment).total_seconds())
    judged = seconds["up"] + seconds["down"]
    return History(
        uuid,
        since,
        until,
        seconds["up"] / judged if judged > 0 else None,
        seconds["up"],
        seconds["down"],
        seconds["maintenance"],
        sum(map(is_failure, events)),
        complete,
        list(events),
    )


def _count(seconds: dict[str, float], state: str | None, disabled: bool, span: float) -> None:
    if disabled:
        seconds["maintenance"] += span
    elif state in seconds:  # of a state that only a newer release knows nothing is known (F-53)
        seconds[state] += span
