"""What a session in the record says of its life's presence; see ``servicegroup.sessions``."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from servicegroup.liveness import Listening, Unheard
from servicegroup.model import PresenceState
from servicegroup.sessions import Session, SessionEnd, presence_of

NOW = datetime(2026, 11, 1, 12)
TTL = 10.0


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def session(marked: float | None = 0.5, ended: float | None = None, cause: str = "") -> Session:
    return Session(
        opened_at=ago(100),
        ended_at=None if ended is None else ago(ended),
        cause=cause or None,
        plane="node9",
        marked_at=None if marked is None else ago(marked),
    )


def state(one: Session, *unheard: Unheard) -> PresenceState:
    return presence_of(one, 7, Listening(NOW, unheard), TTL).state


def test_who_holds_a_session_is_present_in_that_life() -> None:
    found = presence_of(session(), 7, Listening(NOW), TTL)
    assert found.state is PresenceState.PRESENT
    assert found.incarnations == {7}
    assert found.age == 0.5
    assert found.detail == "session on control plane node9 since 2026-11-01 11:58:20Z"


def test_a_session_that_ended_is_an_absence_with_its_cause() -> None:
    found = presence_of(session(ended=2, cause="silent"), 7, Listening(NOW), TTL)
    assert found.state is PresenceState.ABSENT
    assert found.incarnations == frozenset()
    assert found.age == 2
    assert found.detail == (
        "session on control plane node9 since 2026-11-01 11:58:20Z, ended at"
        " 2026-11-01 11:59:58Z: nothing came from it for membership_ttl"
    )


@pytest.mark.parametrize("end", SessionEnd)
def test_every_end_has_words(end: SessionEnd) -> None:
    assert end.words in presence_of(session(ended=1, cause=end), 1, Listening(NOW), TTL).detail


def test_a_newer_releases_end_is_shown_as_it_is() -> None:
    """F-53."""
    found = presence_of(session(ended=1, cause="evaporated"), 1, Listening(NOW), TTL)
    assert found.state is PresenceState.ABSENT
    assert "evaporated" in found.detail


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, PresenceState.PRESENT),
        (3.0, PresenceState.PRESENT),
        (3.1, PresenceState.UNKNOWN),
        (10.0, PresenceState.UNKNOWN),
        (10.1, PresenceState.ABSENT),
    ],
)
def test_a_plane_that_does_not_mark_accuses_nobody_before_the_time_to_live(
    seconds: float, expected: PresenceState
) -> None:
    assert state(session(marked=seconds)) is expected


def test_what_nobody_listened_to_is_no_time_to_go_elsewhere() -> None:
    """The database was away for a minute, and every plane with it."""
    away = Unheard(ago(61), ago(1))
    assert state(session(marked=61), away) is PresenceState.UNKNOWN
    assert state(session(marked=75), away) is PresenceState.ABSENT


def test_a_mark_from_the_future_vouches_for_nobody_and_accuses_nobody() -> None:
    """F-50: the clock stepped back, and this plane never marked again."""
    assert state(session(marked=-2)) is PresenceState.PRESENT
    assert state(session(marked=-3600)) is PresenceState.UNKNOWN


def test_an_end_counts_whatever_its_plane_does() -> None:
    assert state(session(marked=None, ended=1)) is PresenceState.ABSENT
    assert state(session(marked=60, ended=1)) is PresenceState.ABSENT


def test_a_session_on_a_plane_that_is_forgotten_is_none() -> None:
    assert state(session(marked=None)) is PresenceState.ABSENT
