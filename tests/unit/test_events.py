"""Events that another version tells are understood as far as they go."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from servicegroup.errors import ControlPlaneUnavailable
from servicegroup.events import Event, EventKind, Page, RawPage
from servicegroup.model import Reason

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
        {"evidence": {"limits": {"on_unknown": "ask"}, "report_age": 1}},
    ],
)
def test_a_newer_word_costs_the_words_and_not_the_watch(newer: dict[str, object]) -> None:
    """LC-9: a follower that cannot read one event must not ask for it for ever."""
    plain = msgspec.to_builtins(KNOWN)
    page = told(plain | newer, plain)
    kind = str(newer.get("kind", "service-down"))
    assert page.events == [
        Event(id=7, at=KNOWN.at, kind=EventKind.OTHER, host="h1", detail=kind),
        KNOWN,
    ]


@pytest.mark.parametrize("nonsense", [{}, {"id": "seven"}, {"id": 7, "at": "yesterday"}])
def test_what_is_no_event_is_not_taken_for_one(nonsense: dict[str, object]) -> None:
    with pytest.raises(ControlPlaneUnavailable, match="no event"):
        told(nonsense)
