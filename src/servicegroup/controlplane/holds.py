"""Holds members that lost a signal together with many others, and releases them (AND-2).

What a crowd is and when a signal is credible again are pure functions of numbers (``protection``);
here the numbers are counted, in one group and zone, from services as a look sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from servicegroup.events import Protection, Signal
from servicegroup.liveness import PATIENCE, is_present, judge, reading, still_reports
from servicegroup.model import Evidence, Limits, PresenceState, Reason, Service, Verdict
from servicegroup.protection import (
    TOGETHER,
    WINDOW,
    Patience,
    Threshold,
    Thresholds,
    are_several,
    is_credible,
    is_crowd,
)

Place = tuple[str, str]
"""A group and a zone: those who share the paths of their signals."""

_INTENDED = frozenset({Reason.FORCED_DOWN, Reason.LEFT, Reason.EXITED, Reason.TOLD_DOWN})
"""Down for these reasons, a service neither accuses a signal nor needs to be held."""


class Observed(msgspec.Struct):
    """One service as this look sees it; the stamps are what the record will have.

    ``held_before`` is since when the look before held it, None where that obeyed another driver.
    """

    service: Service
    verdict: Verdict
    absent_since: datetime | None
    held_since: datetime | None
    held_before: datetime | None

    @property
    def evidence(self) -> Evidence:
        """What the verdict follows from."""
        return self.verdict.evidence

    def lacks(self, signal: Signal) -> bool:
        """Tell whether this one of the two signals is missing while the other goes on.

        Without a driver's answer there is one signal alone, and nothing that could accuse it
        (F-52). Presence counts as missing when the member is known to be absent, or was and is
        held. A report is late long before the service is silent, so that a crowd is known before
        its first member is down.
        """
        evidence = self.evidence
        if evidence.presence is None or self.verdict.reason in _INTENDED:
            return False
        if signal is Signal.REPORTS:
            return is_present(evidence) and not still_reports(evidence)
        return still_reports(evidence) and (
            reading(evidence) is PresenceState.ABSENT
            or (self.held_since is not None and not is_present(evidence))
        )

    def hold(self, since: datetime | None, now: datetime) -> None:
        """Suspect the missing signal since then, or believe it again for None; judge anew."""
        self.held_since = since
        evidence = msgspec.structs.replace(self.evidence, held_age=age(now, since))
        self.verdict = judge(evidence)


class Holds:
    """Decides place after place, look after look; remembers for how long each has been calm."""

    def __init__(
        self, thresholds: Thresholds, limits: Limits, monotonic: Callable[[], float]
    ) -> None:
        """Decide by ``thresholds``; ``monotonic`` measures calm, in seconds."""
        self._thresholds = thresholds
        self._limits = limits
        self._monotonic = monotonic
        self._calm: dict[tuple[Place, Signal], tuple[frozenset[int], float]] = {}

    def forget(self) -> None:
        """Remember nothing any more: another process decided meanwhile."""
        self._calm.clear()

    def decide(
        self,
        place: Place,
        observations: Sequence[Observed],
        present: int,
        before: Mapping[tuple[Place, Signal], Protection],
        now: datetime,
    ) -> list[Protection]:
        """Hold the crowds of a place, free who needs it no more; return what is suspect there.

        ``observations`` hold everybody who lacks a signal, and ``present`` is how many are present.
        """
        threshold = self._thresholds.of(place[0])
        found = []
        for signal in Signal:
            lacking = [s for s in observations if s.lacks(signal)]
            kept = present if signal is Signal.PRESENCE else present - len(lacking)
            for observed in _accusing(signal, lacking, kept, threshold, now):
                observed.hold(observed.held_since or now, now)
            held = [s for s in lacking if s.held_since is not None]
            suspect = self._suspicion(place, signal, held, kept, before.get((place, signal)))
            if suspect is not None:
                found.append(suspect)
            else:
                for observed in held:
                    observed.hold(None, now)
        for observed in observations:
            _note_absence(observed, now)
        return found

    def _suspicion(
        self,
        place: Place,
        signal: Signal,
        held: Sequence[Observed],
        kept: int,
        before: Protection | None,
    ) -> Protection | None:
        """Return the protection that goes on or begins, None for a signal that is believed."""
        calm = self._calm_for(place, signal, held)
        peak = max(len(held), before.peak if before else 0)
        if is_credible(
            held=len(held),
            kept=kept,
            peak=peak,
            calm=calm,
            patience=self._patience(signal),
            threshold=self._thresholds.of(place[0]),
        ):
            return None
        since = before.since if before else min(s.held_since for s in held if s.held_since)
        return Protection(*place, signal, since, members=len(held), peak=peak)

    def _calm_for(self, place: Place, signal: Signal, held: Sequence[Observed]) -> float:
        """Return for how many seconds the same members have been held; remembers them."""
        if not held:
            self._calm.pop((place, signal), None)
            return 0.0
        now = self._monotonic()
        ids = frozenset(observed.service.id for observed in held)
        known, since = self._calm.get((place, signal), (frozenset(), now))
        if ids != known:
            since = now
        self._calm[place, signal] = (ids, since)
        return now - since

    def _patience(self, signal: Signal) -> Patience:
        """Return for how long a signal has to be calm: all that live come back by then."""
        limits = self._limits
        crowd = limits.membership_ttl
        if signal is Signal.REPORTS:
            crowd = PATIENCE * limits.report_interval
        return Patience(few=min(limits.heartbeat_interval, crowd), crowd=crowd)


def _accusing(
    signal: Signal, lacking: Sequence[Observed], kept: int, threshold: Threshold, now: datetime
) -> list[Observed]:
    """Return those who are to be held: a crowd, or what may become one; often nobody.

    Who is late has long to go until it is down, so reports are suspect only for a whole crowd. And
    only a crowd brings back who was known absent before.
    """
    if signal is Signal.REPORTS:
        return list(lacking) if is_crowd(len(lacking), kept, threshold) else []
    together = [s for s in lacking if _lost_for(s, now) <= TOGETHER]
    lately = sum(_lost_for(s, now) <= WINDOW for s in lacking)
    if is_crowd(lately, kept, threshold):
        return together
    if are_several(len(together), threshold):
        return [s for s in together if s.absent_since is None]
    return []


def _lost_for(observed: Observed, now: datetime) -> float:
    """Return for how many seconds the presence has been lost, as the stamps say; 0 for just now."""
    return age(now, observed.absent_since or observed.held_since) or 0.0


def _note_absence(observed: Observed, now: datetime) -> None:
    """Note since when a member is known to be absent, and end a hold that it does not need."""
    if observed.held_since is not None and not any(observed.lacks(signal) for signal in Signal):
        observed.hold(None, now)
    if is_present(observed.evidence):
        observed.absent_since = None
    elif reading(observed.evidence) is PresenceState.ABSENT:
        observed.absent_since = _absent_since(observed, now)


def _absent_since(observed: Observed, now: datetime) -> datetime:
    """Return since when an absent member is absent.

    A held member is absent since its hold began, or since it was known to be absent before that;
    but never since before its last report, which would read as its return (``liveness.reading``).
    """
    record, known = observed.service, observed.absent_since
    if known is not None and (record.held_since is None or observed.held_since is not None):
        return known
    began = known or record.held_since
    return now if began is None else max(began, record.last_seen_up or began)


def age(now: datetime, since: datetime | None) -> float | None:
    """Return the seconds from a stamp until now; None for no stamp."""
    return None if since is None else (now - since).total_seconds()
