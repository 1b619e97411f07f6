"""What a session in the record says of its life's presence; see ``servicegroup.sessions``."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest

from servicegroup.liveness import Listening, Unheard
from servicegroup.model import PresenceState
from servicegroup.rpc import RpcLimits, RpcState
from servicegroup.sessions import Session, SessionEnd, presence_of, rpc_of

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


ASKED = RpcLimits(interval=30, timeout=10, deaf_is_down=True)


def asked(
    deaf: float | None = None,
    life: int | None = 7,
    *,
    together: bool = False,
    marked: float = 0.5,
    ended: float | None = None,
) -> Session:
    return msgspec.structs.replace(
        session(marked, ended),
        asked_incarnation=life,
        deaf_since=None if deaf is None else ago(deaf),
        deaf_together=together,
    )


def test_who_answers_in_its_session_is_known_to_while_somebody_asks() -> None:
    found = rpc_of(asked(), 7, Listening(NOW), ASKED)
    assert found is not None
    assert (found.state, found.deaf_for, found.decides) == (RpcState.ANSWERS, None, False)
    assert found.detail == "it is asked every 30 s in its session"
    assert rpc_of(asked(marked=3.1), 7, Listening(NOW), ASKED) is None
    assert rpc_of(asked(ended=1), 7, Listening(NOW), ASKED) is None


@pytest.mark.parametrize("life", [None, 6])
def test_of_a_life_that_was_not_asked_nothing_is_known(life: int | None) -> None:
    assert rpc_of(asked(life=life), 7, Listening(NOW), ASKED) is None
    assert rpc_of(asked(100, life=life), 7, Listening(NOW), ASKED) is None


@pytest.mark.parametrize(
    ("deaf", "limits", "unheard", "decides"),
    [
        (39.9, ASKED, 0, False),  # one question was left unanswered
        (40, ASKED, 0, True),  # and now two
        (40, RpcLimits(interval=30, timeout=10), 0, False),
        (60, ASKED, 30, False),  # nobody listened for most of it
    ],
)
def test_who_is_deaf_is_down_after_two_questions_where_that_is_wanted(
    deaf: float, limits: RpcLimits, unheard: float, decides: bool
) -> None:
    times = (Unheard(ago(unheard + 1), ago(1)),) if unheard else ()
    found = rpc_of(asked(deaf), 7, Listening(NOW, times), limits)
    assert found is not None
    assert (found.state, found.deaf_for, found.decides) == (RpcState.DEAF, deaf, decides)


def test_many_that_are_deaf_together_are_not_down() -> None:
    """AND-2: what they have in common is suspect."""
    found = rpc_of(asked(100, together=True), 7, Listening(NOW), ASKED)
    assert found is not None
    assert found.is_deaf
    assert not found.decides
    assert "what they have in common is suspect" in found.detail


def test_who_is_deaf_stays_so_while_nobody_asks() -> None:
    found = rpc_of(asked(100, marked=3.1), 7, Listening(NOW), ASKED)
    assert found is not None
    assert found.is_deaf
