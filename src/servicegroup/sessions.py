"""Sessions as the record has them: who holds one, on which control plane, and how one ended.

A service is present while it holds a session with a control plane that marks. Pure: no I/O, no
clock. What a session means is said here once, for readers, for the observer and for drivers that
are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Self

import msgspec

from servicegroup.enumeration import OpenEnum
from servicegroup.liveness import MARK_TOLERANCE, Listening
from servicegroup.model import Member, Presence, PresenceState, Service
from servicegroup.rpc import Rpc, RpcLimits, RpcState


class SessionEnd(OpenEnum):
    """How a session ended, with words for people."""

    words: str

    def __new__(cls, value: str, words: str = "") -> Self:
        """Make a member: its name on the wire and in the record, and its words."""
        end = str.__new__(cls, value)
        end._value_ = value
        end.words = words
        return end

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        end = super()._missing_(value)
        if end is not None:
            end.words = f"{value}, for which only a newer release has words"
        return end

    # fmt: off
    CLOSED = "closed", "its client closed it"
    BROKEN = "broken", "its connection broke, as when a process dies"
    UNANSWERED = "unanswered", "its host did not answer any more"
    SILENT = "silent", "nothing came from it for membership_ttl"
    REFUSED = "refused", "its credential was not accepted any more, or it broke the rules"
    RELEASED = "released", "its service does not work, and gave it up"
    LEFT = "left", "its service left"
    # fmt: on


class Session(msgspec.Struct, frozen=True, gc=False):
    """The latest session of one life of a service; stamps are by the register's clock.

    ``plane`` is the name of the control plane that holds or held it and ``marked_at`` its latest
    mark; both are None for one that is forgotten. ``asked_incarnation`` is the life of which it is
    known whether it answers, and ``deaf_since`` when the first question was asked that it left
    unanswered, ``deaf_together`` with so many others that it proves nothing.
    """

    opened_at: datetime
    ended_at: datetime | None
    cause: str | None
    plane: str | None
    marked_at: datetime | None
    asked_incarnation: int | None = None
    deaf_since: datetime | None = None
    deaf_together: bool | None = None


def presences_of(
    services: list[Service], sessions: Mapping[int, Session], listening: Listening, ttl: float
) -> dict[Member, Presence]:
    """Return what the record says of each service whose life ever held a session.

    Of all others nothing is said: whoever never held a session cannot lose one.
    """
    return {
        service.member: presence_of(session, service.incarnation, listening, ttl)
        for service in services
        if (session := sessions.get(service.id)) is not None
    }


def is_open(session: Session, now: datetime) -> bool:
    """Tell whether a session has not ended, on a control plane that marks."""
    return (
        session.ended_at is None and session.marked_at is not None and marks(session.marked_at, now)
    )


def marks(marked_at: datetime, now: datetime) -> bool:
    """Tell whether a control plane whose latest mark this is still marks.

    One from the future is of a clock that stepped back; the next one corrects it (F-50).
    """
    return abs((now - marked_at).total_seconds()) <= MARK_TOLERANCE


def presence_of(session: Session, incarnation: int, listening: Listening, ttl: float) -> Presence:
    """Return what the latest session of a life says of its presence.

    ``ttl`` is ``membership_ttl`` in seconds. A control plane that does not mark may be dead,
    frozen or without its database: that accuses nobody, until its services had the time to open a
    session elsewhere. Time in which nobody listened is no such time.
    """
    told = f"session on control plane {session.plane or 'unknown'} since {session.opened_at}Z"
    if session.ended_at is not None:
        age = (listening.now - session.ended_at).total_seconds()
        how = SessionEnd(session.cause or "").words
        detail = f"{told}, ended at {session.ended_at}Z: {how}"
        return Presence(PresenceState.ABSENT, age=max(0.0, age), detail=detail)
    if session.marked_at is None:
        detail = f"{told}, which is forgotten"
        return Presence(PresenceState.ABSENT, detail=detail)
    age = (listening.now - session.marked_at).total_seconds()
    if is_open(session, listening.now):
        return Presence(PresenceState.PRESENT, frozenset({incarnation}), max(0.0, age), told)
    lapsed = age - listening.unheard_since(session.marked_at) > ttl
    state = PresenceState.ABSENT if lapsed else PresenceState.UNKNOWN
    return Presence(
        state, age=max(0.0, age), detail=f"{told}, which has not marked for {age:.1f} s"
    )


def rpcs_of(
    services: list[Service],
    sessions: Mapping[int, Session],
    listening: Listening,
    limits: RpcLimits,
) -> dict[int, Rpc]:
    """Return by id what is known of the answers of services; see ``rpc_of``."""
    return {
        service.id: rpc
        for service in services
        if (session := sessions.get(service.id)) is not None
        and (rpc := rpc_of(session, service.incarnation, listening, limits)) is not None
    }


def rpc_of(
    session: Session, incarnation: int, listening: Listening, limits: RpcLimits
) -> Rpc | None:
    """Return what is known of a life's answers in its sessions, None where that is nothing.

    Who is deaf stays so until it answers, in whichever session of its life. Whether it answers is
    known only while a control plane asks. Time in which nobody listened is no silence.
    """
    if session.asked_incarnation != incarnation:
        return None
    detail = f"it is asked every {limits.interval:g} s in its session"
    if session.deaf_since is None:
        return Rpc(RpcState.ANSWERS, detail=detail) if is_open(session, listening.now) else None
    deaf_for = max(0.0, (listening.now - session.deaf_since).total_seconds())
    silence = deaf_for - listening.unheard_since(session.deaf_since)
    if session.deaf_together:
        detail += "; so many are deaf at once that what they have in common is suspect"
    is_long = silence >= limits.patience
    decides = limits.deaf_is_down and is_long and not session.deaf_together
    return Rpc(RpcState.DEAF, deaf_for=deaf_for, detail=detail, decides=decides)
