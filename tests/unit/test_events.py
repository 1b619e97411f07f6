"""Events that another version tells are understood as far as they go."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from servicegroup.enumeration import OpenEnum
from servicegroup.errors import ControlPlaneUnavailable
from servicegroup.events import Event, EventKind, Page, RawPage, Signal
from servicegroup.model import OnUnknown, PresenceState, Reason

KNOWN = Event(id=7, at=datetime(2026, 1, 2), kind=EventKind.DOWN, host="h1", reason=Reason.SILENT)


def told(*events: dict[str, object]) -> Page:
    """Return what is understood of a page with these events."""
    page = {"events": events, "next": 8, "last": 9}
    return msgspec.json.decode(msgspec.json.encode(page), type=RawPage).decode()


def test_a_page_of_the_own_version_is_the_page() -> None:
    assert told(msgspec.to_builtins(KNOWN)) == Page([KNOWN], 8, 9)


@pytest.mark.parametrize(
    "newer",
    [
        {"kind": "service-quarantined"},
        {"reason": "quarantined"},
        {"before": "slow", "after": "lost"},
        {"evidence": {"limits": {"on_unknown": "ask"}, "report_age": 1.0}},
        {"evidence": {"report_age": 1.0, "limits": {}, "departure": "migrated"}},
        {"evidence": {"report_age": 1.0, "limits": {}, "presence": {"state": "sulking"}}},
    ],
)
def test_a_newer_word_is_told_on_as_it_is(newer: dict[str, object]) -> None:
    """LC-9, F-53: a follower that cannot read one event must not ask for it for ever."""
    plain = msgspec.to_builtins(KNOWN)
    first, second = told(plain | newer, plain).events
    assert covers(msgspec.to_builtins(first), plain | newer)
    assert second == KNOWN


def covers(new: Any, old: Any) -> bool:
    """Tell whether everything that was told is there, whatever was added."""
    if isinstance(old, dict):
        return all(covers(new[name], value) for name, value in old.items())
    return bool(new == old)


def test_evidence_of_other_parts_is_left_out() -> None:
    plain = msgspec.to_builtins(KNOWN)
    assert told(plain | {"evidence": {"report_age": "long"}}).events == [KNOWN]


@pytest.mark.parametrize("words", [EventKind, Reason, Signal, PresenceState, OnUnknown])
def test_a_word_that_is_not_known_equals_itself_alone(words: type[OpenEnum]) -> None:
    newer = words("newer")
    assert newer == words("newer") == "newer"
    assert newer not in set(words)
    assert {newer: 1}[words("newer")] == 1
    assert msgspec.json.encode(newer) == b'"newer"'
    with pytest.raises(ValueError, match="3 is not a valid"):
        words(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("nonsense", [{}, {"id": "seven"}, {"id": 7, "at": "yesterday"}])
def test_what_is_no_event_is_not_taken_for_one(nonsense: dict[str, object]) -> None:
    with pytest.raises(ControlPlaneUnavailable, match="no event"):
        told(nonsense)
