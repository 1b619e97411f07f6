"""The rule: facts in, verdict out. Nothing else in the project computes liveness.

Pure functions: no I/O, no clock, no logging. The order of the checks is the rule (spec S2):
either signal's "down" wins, an operator's word comes first, and not knowing is not down.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from servicegroup.model import (
    Evidence,
    OnUnknown,
    Presence,
    PresenceState,
    Reason,
    Verdict,
)

PATIENCE = 2.0
"""Report intervals of silence up to which a service counts as still reporting."""

LOOK_INTERVAL = 1.0
"""Seconds between two looks of the observer; what no backend pushes is known that much later."""

OBSERVER_TOLERANCE = 3.0
"""Seconds since the observer's last look after which nobody is waiting for its word."""

MARK_INTERVAL = 1.0
"""Seconds between two marks of an intake that can commit reports."""

MARK_TOLERANCE = 3.0
"""Seconds without a mark from any intake after which the time counts as unheard."""

_REASONS_OF_DEPARTURES = {reason.value: reason for reason in (Reason.EXITED, Reason.TOLD_DOWN)}
"""Why whoever is gone is down; of a departure that only a newer release knows no more is known than
that it left (F-53)."""


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict that follows, with its reason; who is deaf is down where that decides."""
    reason, rpc = _reason(evidence), evidence.rpc
    if rpc is None or not (rpc.is_deaf and reason.is_up):
        return Verdict(reason.state, reason, reason.sentence, evidence)
    state = "down" if rpc.decides else Reason.DEAF.state
    return Verdict(state, Reason.DEAF, Reason.DEAF.sentence, evidence)


def _reason(evidence: Evidence) -> Reason:
    if evidence.forced_down:
        return Reason.FORCED_DOWN
    if evidence.departure is not None:
        return _REASONS_OF_DEPARTURES.get(evidence.departure, Reason.LEFT)
    if evidence.report_age - evidence.unheard > evidence.limits.service_down_time:
        return Reason.HELD if _reports_are_suspect(evidence) else Reason.SILENT
    if evidence.presence is None:
        return Reason.REPORTING
    return _presence_reason(evidence)


def _presence_reason(evidence: Evidence) -> Reason:
    state = reading(evidence)
    if state is PresenceState.PRESENT:
        return Reason.PRESENT
    if state is PresenceState.ABSENT:
        return Reason.ABSENT
    if evidence.limits.on_unknown is OnUnknown.DOWN:
        return Reason.UNKNOWN
    if _presence_is_suspect(evidence):
        return Reason.HELD
    return Reason.JOINING if _joining(evidence) else Reason.UNCONFIRMED


def reading(evidence: Evidence) -> PresenceState:
    """Return what the backend's answer means for the record's own incarnation.

    Presence counts only for that incarnation (LC-4). ABSENT reads UNKNOWN while the service is
    joining, while the driver is suspect (AND-2), and until the observer, where one is at work, has
    decided whether it is one of a crowd. UNKNOWN does not raise the dead: a member last known
    absent stays absent until a report newer than that absence. An answer in a newer release's word
    is UNKNOWN (F-53).
    """
    if evidence.presence is None:
        return PresenceState.UNKNOWN
    if is_present(evidence):
        return PresenceState.PRESENT
    gone = _is_told(evidence.presence) and not (
        _joining(evidence)
        or _presence_is_suspect(evidence)
        or (evidence.observed and evidence.absent_age is None)
    )
    return PresenceState.ABSENT if gone or _stays_absent(evidence) else PresenceState.UNKNOWN


def is_present(evidence: Evidence) -> bool:
    """Tell whether the backend holds the record's own incarnation."""
    return evidence.presence is not None and has_life(evidence.presence, evidence.incarnation)


def _is_told(presence: Presence) -> bool:
    """Tell whether the backend's answer is one of who is there and who is not."""
    state = presence.state
    return state is PresenceState.ABSENT or state is PresenceState.PRESENT


def has_life(presence: Presence, incarnation: int | None) -> bool:
    """Tell whether the backend holds this life of the member; any for None (LC-4)."""
    return presence.state is PresenceState.PRESENT and (
        incarnation is None or incarnation in presence.incarnations
    )


def still_reports(evidence: Evidence) -> bool:
    """Tell whether the reports go on: at most one was missed, and none is needed to be lost.

    ``service_down_time`` is too long a look: a host that lost its power has fresh reports by it.
    """
    return evidence.silence <= PATIENCE * evidence.limits.report_interval


def _presence_is_suspect(evidence: Evidence) -> bool:
    """Held, and reporting: a suspect driver never hides a service whose reports stopped."""
    return evidence.held_age is not None and still_reports(evidence)


def _reports_are_suspect(evidence: Evidence) -> bool:
    """Held, and present: a suspect intake never hides a service that is gone from the backend."""
    return evidence.held_age is not None and is_present(evidence)


def _joining(evidence: Evidence) -> bool:
    """Not yet seen present, and registered less than one report interval ago.

    Where somebody observes, only its word ends it early, an absence noted in this life: whoever
    asks then judges alike, whatever it has seen itself.
    """
    presence, age = evidence.presence, evidence.registered_age
    absent = evidence.absent_age
    return (
        presence is not None
        and _is_told(presence)
        and (evidence.observed or not evidence.seen_present)
        and age is not None
        and age <= evidence.limits.report_interval
        and (absent is None or absent > age)
    )


def _stays_absent(evidence: Evidence) -> bool:
    return evidence.absent_age is not None and evidence.report_age >= evidence.absent_age


class Unheard(msgspec.Struct, frozen=True, order=True):
    """A time in which no intake could commit a report, on the database's clock."""

    start: datetime
    end: datetime


_EVER = datetime(1, 1, 1)


class Listening(msgspec.Struct, frozen=True):
    """When somebody listened, as of ``now``: the latest mark, and the unheard times before it.

    Silence counts only while somebody listened, so a control plane or a database that was away
    accuses nobody, and whoever died before that is still found. ``observed`` says whether an
    observer was at work, and ``driver`` whose answers its word is about, where that is known.
    ``marked_at`` is the latest mark; later than now if the clock stepped back since. ``mirrors``
    are the same for what is mirrored from an API, by its name: who listened is the mirror.
    """

    now: datetime
    unheard: tuple[Unheard, ...] = ()
    observed: bool = False
    driver: str | None = None
    marked_at: datetime | None = None
    mirrors: dict[str, Listening] = {}

    @classmethod
    def of(
        cls,
        now: datetime,
        marked_at: datetime | None,
        unheard: Iterable[Unheard],
        observed_at: datetime | None = None,
        driver: str | None = None,
    ) -> Listening:
        """Merge these times with the one that is open since ``marked_at`` (None: never marked)."""
        everything = list(unheard)
        if marked_at is None:
            everything.append(Unheard(_EVER, now))
        elif now - marked_at > timedelta(seconds=MARK_TOLERANCE):
            everything.append(Unheard(marked_at, now))
        tolerance = timedelta(seconds=OBSERVER_TOLERANCE)
        observed = observed_at is not None and abs(now - observed_at) <= tolerance
        return cls(now, _merged(everything), observed, driver, marked_at)

    def unmarked_for(self, seconds: float) -> Listening:
        """Return the same with no mark in the last ``seconds``, by another clock than this one."""
        if seconds <= MARK_TOLERANCE:
            return self
        still_open = Unheard(self.now - timedelta(seconds=seconds), self.now)
        mirrors = {name: one.unmarked_for(seconds) for name, one in self.mirrors.items()}
        unheard = _merged([*self.unheard, still_open])
        return msgspec.structs.replace(self, unheard=unheard, mirrors=mirrors)

    def is_about(self, driver: str) -> bool:
        """Tell whether the observer's word counts beside this driver's answers (F-52)."""
        # The record has room for the first characters of a name only.
        return self.driver is None or driver.startswith(self.driver)

    def unheard_since(self, stamp: datetime) -> float:
        """Return the seconds between ``stamp`` and now in which nobody listened."""
        total = 0.0
        for one in reversed(self.unheard):
            if one.end <= stamp:
                break
            start, end = max(one.start, stamp), min(one.end, self.now)
            total += max(0.0, (end - start).total_seconds())
        return total


def _merged(unheard: list[Unheard]) -> tuple[Unheard, ...]:
    merged: list[Unheard] = []
    for one in sorted(unheard):
        if merged and one.start <= merged[-1].end:
            merged[-1] = Unheard(merged[-1].start, max(merged[-1].end, one.end))
        else:
            merged.append(one)
    return tuple(merged)
