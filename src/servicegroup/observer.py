"""The observer: turns verdicts into transitions, and keeps what no reader can know by itself.

One control plane at a time observes, under a lease (``store.lease``). A look asks SQL once and the
backend once, weighs those who lost a signal against the others (``protection``), and records each
change of state, with its evidence, exactly once. What it keeps in the record, since when a member
is known absent or held, makes every reader judge alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import uuid4

import msgspec

from servicegroup.events import Event, EventKind, Protection, Signal
from servicegroup.group import ServiceGroup
from servicegroup.liveness import PATIENCE, Listening, is_present, judge, reading, still_reports
from servicegroup.model import Evidence, Presence, PresenceState, Reason, Service, Verdict
from servicegroup.protection import (
    TOGETHER,
    WINDOW,
    Threshold,
    Thresholds,
    are_several,
    is_credible,
    is_crowd,
)
from servicegroup.store import lease, observing
from servicegroup.store.lease import LeaseLost
from servicegroup.store.observing import Finding

Place = tuple[str, str]
"""A group and a zone: those who share the paths of their signals."""

_INTENDED = frozenset({Reason.FORCED_DOWN, Reason.LEFT, Reason.EXITED})
"""Down for these reasons, a service neither accuses a signal nor needs to be held."""


class Sight(msgspec.Struct):
    """One service as this look sees it; the stamps are what the record will have."""

    service: Service
    verdict: Verdict
    absent_since: datetime | None
    held_since: datetime | None

    @property
    def evidence(self) -> Evidence:
        """What the verdict follows from."""
        return self.verdict.evidence

    def lacks(self, signal: Signal) -> bool:
        """Tell whether this one of the two signals is missing while the other goes on.

        Presence counts as missing when the member is known to be absent, or was and is held. A
        report is late long before the service is silent, so that a crowd is known before its
        first member is down.
        """
        evidence = self.evidence
        if self.verdict.reason in _INTENDED:
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
        evidence = msgspec.structs.replace(self.evidence, held_age=_age(now, since))
        self.verdict = judge(evidence)


class Observer:
    """Looks, weighs and records; ``keep_lease`` and ``look`` are called again and again."""

    def __init__(
        self,
        group: ServiceGroup,
        thresholds: Thresholds | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Observe the services of ``group``; holds no lease yet."""
        self._group = group
        self._engine = group.store.engine
        self._thresholds = thresholds or Thresholds()
        self._monotonic = monotonic
        self._holder = str(uuid4())
        self._number: int | None = None
        self._blind = False
        self._calm: dict[tuple[Place, Signal], tuple[frozenset[int], float]] = {}

    @property
    def observes(self) -> bool:
        """Whether this process held the lease when it last knew."""
        return self._number is not None

    # -- the lease ---------------------------------------------------------------------------

    def keep_lease(self) -> bool:
        """Renew the lease, or take one that is free; return whether this process observes.

        A blind holder keeps it until somebody takes it who sees. Raises StoreUnavailable.
        """
        try:
            if self._number is not None:
                lease.renew(self._engine, self._number, blind=self._blind)
            else:
                self._number = self._take()
        except LeaseLost:
            self._number = None
        return self.observes

    def _take(self) -> int | None:
        seen = lease.current(self._engine)
        if seen is None or seen.is_free or (seen.blind and self._sees()):
            return lease.take(self._engine, self._holder, seen)
        return None

    def _sees(self) -> bool:
        """Whether the own driver can tell of anybody whether they are present."""
        members = [service.member for service in self._group.store.snapshot().services]
        return not _is_blind(self._group.driver.presence(members).values())

    def release(self) -> None:
        """Let another process observe at once. Raises StoreUnavailable."""
        if self._number is not None:
            lease.release(self._engine, self._number)
            self._number = None

    # -- a look ------------------------------------------------------------------------------

    def look(self) -> list[Event]:
        """Look at every service and record what changed; return the events of it.

        Does nothing without the lease. Raises StoreUnavailable.
        """
        if self._number is None:
            return []
        snapshot = self._group.store.snapshot()
        now = snapshot.listening.now
        sights = self._see(snapshot.services, snapshot.listening)
        self._blind = _is_blind(s.evidence.presence for s in sights if s.evidence.presence)
        before = observing.suspects(self._engine)
        known = {((p.group, p.zone), p.signal): p for p in before}
        after = [
            protection
            for place, local in _by_place(sights).items()
            for protection in self._weigh(place, local, known, now)
        ]
        try:
            findings = [found for s in sights if (found := _finding(s, now)) is not None]
            happened = observing.record(self._engine, self._number, findings)
            return happened + observing.conclude(self._engine, self._number, before, after, now)
        except LeaseLost:
            self._number = None
            return []

    def _see(self, services: Sequence[Service], listening: Listening) -> list[Sight]:
        # Nobody has to wait for the observer's word less than the observer.
        alone = msgspec.structs.replace(listening, observed=False)
        verdicts = self._group.judge.verdicts(services, alone)
        return [
            Sight(service, verdict, service.absent_since, service.held_since)
            for service, verdict in zip(services, verdicts, strict=True)
        ]

    def _weigh(
        self,
        place: Place,
        sights: Sequence[Sight],
        before: Mapping[tuple[Place, Signal], Protection],
        now: datetime,
    ) -> list[Protection]:
        """Hold the crowds of a place, free who needs it no more; return what is suspect there."""
        threshold = self._thresholds.of(place[0])
        present = sum(is_present(s.evidence) for s in sights)
        found = []
        for signal in Signal:
            lacking = [s for s in sights if s.lacks(signal)]
            kept = present if signal is Signal.PRESENCE else present - len(lacking)
            for sight in _accusing(signal, lacking, kept, threshold, now):
                sight.hold(sight.held_since or now, now)
            held = [s for s in lacking if s.held_since is not None]
            suspect = self._suspicion(place, signal, held, kept, before.get((place, signal)))
            if suspect is not None:
                found.append(suspect)
            else:
                for sight in held:
                    sight.hold(None, now)
        for sight in sights:
            _settle(sight, now)
        return found

    def _suspicion(
        self,
        place: Place,
        signal: Signal,
        held: Sequence[Sight],
        kept: int,
        before: Protection | None,
    ) -> Protection | None:
        """Return the protection that goes on or begins, None for a signal that is believed.

        Remembers for how long nobody was lost or came back.
        """
        if not held:
            self._calm.pop((place, signal), None)
            return None
        now = self._monotonic()
        ids = frozenset(sight.service.id for sight in held)
        known, calm_since = self._calm.get((place, signal), (frozenset(), now))
        self._calm[place, signal] = (ids, calm_since if ids == known else now)
        calm = now - self._calm[place, signal][1]
        peak = max(len(held), before.peak if before else 0)
        limits = self._group.limits
        longer = (
            limits.membership_ttl
            if signal is Signal.PRESENCE
            else PATIENCE * limits.report_interval
        )
        patience = (min(limits.heartbeat_interval, longer), longer)
        if is_credible(len(held), kept, peak, calm, patience, self._thresholds.of(place[0])):
            return None
        since = before.since if before else min(s.held_since for s in held if s.held_since)
        return Protection(*place, signal, since, len(held), peak)


def _accusing(
    signal: Signal, lacking: Sequence[Sight], kept: int, threshold: Threshold, now: datetime
) -> list[Sight]:
    """Return those who are to be held: a crowd, or what may become one; often nobody.

    Who is late has long to go until it is down, so reports are suspect only for a whole crowd.
    """
    if signal is Signal.REPORTS:
        return list(lacking) if is_crowd(len(lacking), kept, threshold) else []
    together = [s for s in lacking if _lost_for(s, now) <= TOGETHER]
    lately = sum(_lost_for(s, now) <= WINDOW for s in lacking)
    if are_several(len(together), threshold) or is_crowd(lately, kept, threshold):
        return together
    return []


def _lost_for(sight: Sight, now: datetime) -> float:
    """Return for how many seconds the presence has been lost, as the stamps say; 0 for just now."""
    return _age(now, sight.held_since or sight.absent_since) or 0.0


def _settle(sight: Sight, now: datetime) -> None:
    """Note what is known of a member by now: absent since when, and whether it is still held."""
    if sight.held_since is not None and not any(sight.lacks(signal) for signal in Signal):
        sight.hold(None, now)
    if is_present(sight.evidence):
        sight.absent_since = None
    elif sight.absent_since is None and reading(sight.evidence) is PresenceState.ABSENT:
        sight.absent_since = now


def _finding(sight: Sight, now: datetime) -> Finding | None:
    """Return what is to be recorded of a service, or None where nothing changed."""
    service, verdict = sight.service, sight.verdict
    transition = None
    if verdict.state != service.observed_state:
        transition = _transition(service, verdict, now)
    stamps = (sight.absent_since, sight.held_since)
    if transition is None and stamps == (service.absent_since, service.held_since):
        return None
    return Finding(service, *stamps, transition)


def _transition(service: Service, verdict: Verdict, now: datetime) -> Event:
    return Event(
        at=now,
        kind=EventKind.UP if verdict.is_up else EventKind.DOWN,
        uuid=service.uuid,
        host=service.host,
        binary=service.binary,
        group=service.topic,
        zone=service.zone,
        incarnation=service.incarnation,
        before=service.observed_state,
        after=verdict.state,
        reason=verdict.reason,
        seconds=_age(now, service.observed_since),
        detail=service.detail,
        evidence=verdict.evidence,
    )


def _by_place(sights: Iterable[Sight]) -> dict[Place, list[Sight]]:
    places: dict[Place, list[Sight]] = {}
    for sight in sights:
        places.setdefault((sight.service.topic, sight.service.zone), []).append(sight)
    return places


def _is_blind(presences: Iterable[Presence]) -> bool:
    """Tell whether somebody was asked for, and nothing is known of anybody."""
    states = {presence.state for presence in presences}
    return states == {PresenceState.UNKNOWN}


def _age(now: datetime, since: datetime | None) -> float | None:
    return None if since is None else (now - since).total_seconds()
