"""The observer: turns verdicts into transitions, and keeps what no reader can know by itself.

One control plane at a time observes, under a lease (``recording``). A look asks the backend once
and SQL a few times, however many services there are. It compares those that lost a signal with the
others (``holds``), and records each change of state, with its evidence, exactly once. What it
keeps in the record, since when a member is known absent or held, makes every reader judge alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from servicegroup.answers import answers_for, rpcs_for
from servicegroup.controlplane.holds import Holds, Observed, Place, age
from servicegroup.events import Event, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.judging import Judge
from servicegroup.liveness import Listening, has_life
from servicegroup.model import (
    Member,
    OnUnknown,
    Presence,
    PresenceState,
    Service,
    Verdict,
)
from servicegroup.protection import WINDOW, Thresholds
from servicegroup.recording import (
    Finding,
    LeaseLost,
    Overview,
    Snapshot,
    Summary,
    holder_for,
)
from servicegroup.sessions import Session, is_open, presence_of, rpc_of

KEPT_BY_LOOK = 1.25
"""Seconds for which a look keeps the lease; the next one has mostly been made by then."""


class Observer:
    """Decides what is held, and records; ``keep_lease`` and ``look`` are called again and again."""

    def __init__(
        self,
        group: ServiceGroup,
        thresholds: Thresholds | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Observe the services of ``group``; holds no lease yet."""
        self._group = group
        self._recorder = group.recorder()
        self._holds = Holds(thresholds or Thresholds(), group.limits, monotonic)
        self._holder = holder_for(group.driver.name)
        self._fencing_token: int | None = None
        self._blind = False
        self._looked_under: int | None = None
        self.kept_until = -math.inf
        self._monotonic = monotonic
        self._looked_at: datetime | None = None
        self._is_ahead = False
        self._present: dict[Place, set[int]] = {}

    @property
    def observes(self) -> bool:
        """Whether this process held the lease when it last knew."""
        return self._fencing_token is not None

    # -- the lease ---------------------------------------------------------------------------

    def keep_lease(self) -> bool:
        """Renew the lease, or take one that is free; return whether this process observes.

        Before ``kept_until`` it needs nothing. A blind holder keeps it until somebody takes it
        who sees. Raises StoreUnavailable.
        """
        try:
            if self._fencing_token is not None and self._monotonic() >= self.kept_until:
                self._recorder.renew_lease(self._fencing_token, blind=self._blind)
            elif self._fencing_token is None:
                self._fencing_token = self._take()
        except LeaseLost:
            self._fencing_token = None
        return self.observes

    def _take(self) -> int | None:
        seen = self._recorder.lease()
        if seen is None or seen.is_free or (seen.blind and self._sees()):
            return self._recorder.take_lease(self._holder, seen)
        return None

    def _sees(self) -> bool:
        """Whether the own driver can tell of anybody whether they are present."""
        return not _is_blind(self._group.judge.asking.ask(self._recorder.lives()))

    def release(self) -> None:
        """Let another process observe at once. Raises StoreUnavailable."""
        if self._fencing_token is not None:
            self._recorder.release_lease(self._fencing_token)
            self._fencing_token = None

    # -- a look ------------------------------------------------------------------------------

    def look(self, members: Collection[Member] | None = None) -> list[Event]:
        """Look at every service, or at ``members`` and whoever is suspect; record what changed.

        Returns the events of it; does nothing without the lease. Raises StoreUnavailable.
        """
        # The lease is kept in another thread: what was seen under one fencing token is not written
        # under the next, and what was remembered may not hold once another process has observed.
        fencing_token = self._fencing_token
        if fencing_token is None:
            return []
        try:
            return self._look(fencing_token, members)
        except LeaseLost:
            if self._fencing_token == fencing_token:
                self._fencing_token = None
            return []

    def _look(self, fencing_token: int, members: Collection[Member] | None) -> list[Event]:
        if fencing_token != self._looked_under:
            self._looked_at = None
            self._holds.forget()
            members = None
        inherits = False
        if members is None:
            overview = self._overview(fencing_token)
            before = overview.protections
            inherits = not overview.listening.is_about(self._group.driver.name)
            observations, now = self._look_at_all(overview.listening, overview.summaries)
        else:
            before = self._recorder.protections()
            observations, now = self._look_at(members)
        # What another driver's answers accused ends; this one's decide anew (F-52).
        known = {} if inherits else {((p.group, p.zone), p.signal): p for p in before}
        after = [
            protection
            for place, local in _by_place(observations).items()
            for protection in self._holds.decide(
                place, local, len(self._present.get(place, ())), known, now
            )
        ]
        findings = [found for s in observations if (found := _finding(s, now)) is not None]
        # Held services first: until that is stored, readers take their absence for a failure.
        findings.sort(key=lambda finding: finding.held_since is None)
        happened = self._recorder.record(fencing_token, findings)
        if members is None or before != after:
            by, began = self._holder if inherits else None, self._monotonic()
            happened += self._recorder.conclude(
                fencing_token, before, after, now, blind=self._blind, by=by
            )
            self.kept_until = began + KEPT_BY_LOOK
        self._looked_under = fencing_token
        return happened

    def _overview(self, fencing_token: int) -> Overview:
        """Return what a look begins with, once nothing is later than the latest mark.

        What is, when the database's clock may have stepped back, is dated back: all that judge
        then count from here, whoever begins to only later (SQL-5). A step there and back between
        two looks shows by the stamps that it left ahead (F-50). While the latest mark lies ahead
        itself, until an intake marks by the clock that is back, it is done at each look.
        """
        overview = self._read_overview()
        now = overview.listening.now
        if self._looked_at is None or now < self._looked_at or self._is_ahead:
            self._recorder.clamp_future_stamps(fencing_token)
            overview = self._read_overview()
        now, mark = overview.listening.now, overview.listening.marked_at
        self._looked_at = None if mark is not None and mark > now else now
        return overview

    def _read_overview(self) -> Overview:
        capabilities = self._group.judge.driver.capabilities
        # What is in the record, or nowhere, is missing of nobody whom the record does not show.
        return self._recorder.overview(
            self._group.limits,
            changed_only=not capabilities.is_asked,
            with_sessions=capabilities.recorded,
        )

    def _look_at_all(
        self, listening: Listening, everybody: list[Summary]
    ) -> tuple[list[Observed], datetime]:
        """Observe what may have changed by its summary or its backend; count what is present."""
        judge = self._group.judge
        capabilities = judge.driver.capabilities
        self._is_ahead = any(entry.is_ahead for entry in everybody)
        present: dict[Place, set[int]] = {}
        if capabilities.recorded:
            living, present = self._recorder.open_sessions(listening.now)
            judge.forget_others(living)
        elif capabilities.is_asked:
            judge.forget_others({entry.id for entry in everybody})
        self._present = present  # all at once: a look that fails before leaves the former
        presences = self._presences(everybody, listening)
        # What is recorded looks the same to everybody: another observer would see no more.
        self._blind = capabilities.is_asked and _is_blind(presences)
        wanted = []
        for entry in everybody:
            session = entry.session if capabilities.recorded else None
            if session is not None and is_open(session, listening.now):
                if entry.may_have_changed or _is_taken_down(entry, session, judge, listening):
                    wanted.append(entry.id)
                continue
            presence = presences.get(Member(entry.group, entry.host))
            if presence is not None and has_life(presence, entry.incarnation):
                self._present.setdefault((entry.group, entry.zone), set()).add(entry.id)
                judge.saw_present([(entry.id, entry.incarnation)])
            if self._needs_judging(entry, presence):
                wanted.append(entry.id)
        # Mostly there is nobody, and then nothing to read.
        found = self._recorder.by_ids(wanted) if wanted else Snapshot(listening, [])
        return self._see(found, presences)

    def _presences(
        self, everybody: Collection[Summary], listening: Listening
    ) -> Mapping[Member, Presence]:
        judge = self._group.judge
        if judge.driver.capabilities.recorded:
            return _Recorded(everybody, listening, judge.limits.membership_ttl)
        return judge.asking.ask(
            {
                Member(entry.group, entry.host): entry.incarnation
                for entry in everybody
                if not entry.is_mirrored
            }
        )

    def _needs_judging(self, entry: Summary, presence: Presence | None) -> bool:
        """Tell whether the verdict of a service may be another one than what is recorded."""
        if entry.may_have_changed:
            return True
        if presence is None or not entry.was_up or has_life(presence, entry.incarnation):
            return False
        # UNKNOWN takes nobody down, unless on_unknown says so.
        strict = self._group.limits.on_unknown is OnUnknown.DOWN
        return strict or presence.state is not PresenceState.UNKNOWN

    def _look_at(self, members: Collection[Member]) -> tuple[list[Observed], datetime]:
        """See these members, and whoever is held or lost its presence lately."""
        snapshot = self._recorder.by_members_or_lacking(members, WINDOW)
        presences = answers_for(self._group.judge, snapshot)
        for service in snapshot.services:
            present = self._present.setdefault((service.topic, service.zone), set())
            presence = presences.get(service.member)
            if presence is not None and has_life(presence, service.incarnation):
                present.add(service.id)
            else:
                present.discard(service.id)
        return self._see(snapshot, presences)

    def _see(
        self, snapshot: Snapshot, presences: Mapping[Member, Presence]
    ) -> tuple[list[Observed], datetime]:
        # The observer confirms absences, so it judges without waiting for a confirmation.
        alone = msgspec.structs.replace(snapshot.listening, observed=False)
        verdicts = self._group.judge.verdicts(
            snapshot.services, alone, presences, rpcs_for(self._group.judge, snapshot)
        )
        own = alone.is_about(self._group.driver.name)
        observations = [
            Observed(service, verdict, service.absent_since, service.held_since, service.held_since)
            if own
            else Observed(service, verdict, None, None, None)
            for service, verdict in zip(snapshot.services, verdicts, strict=True)
        ]
        return observations, snapshot.listening.now


def _finding(observed: Observed, now: datetime) -> Finding | None:
    """Return what is to be recorded of a service, or None where nothing changed."""
    service, verdict = observed.service, observed.verdict
    transition = None
    if verdict.state != service.observed_state:
        transition = _transition(service, verdict, now)
    stamps = (observed.absent_since, observed.held_since)
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
        seconds=age(now, service.observed_since),
        detail=service.detail,
        evidence=verdict.evidence,
    )


def _by_place(observations: Iterable[Observed]) -> dict[Place, list[Observed]]:
    places: dict[Place, list[Observed]] = {}
    for observed in observations:
        places.setdefault((observed.service.topic, observed.service.zone), []).append(observed)
    return places


def _is_taken_down(entry: Summary, session: Session, judge: Judge, listening: Listening) -> bool:
    """Tell whether a service was up, and is deaf where that is down."""
    if session.deaf_since is None or not entry.was_up:
        return False
    rpc = rpc_of(session, entry.incarnation, listening, judge.rpc)
    return rpc is not None and rpc.decides


class _Recorded(Mapping[Member, Presence]):
    """What the record says of the lives that ever held a session, made of each when asked for."""

    def __init__(self, everybody: Iterable[Summary], listening: Listening, ttl: float) -> None:
        self._lives = {
            (entry.group, entry.host): (entry.session, entry.incarnation)
            for entry in everybody
            if entry.session is not None
        }
        self._listening = listening
        self._ttl = ttl

    def __getitem__(self, member: Member) -> Presence:
        return presence_of(*self._lives[member.group, member.host], self._listening, self._ttl)

    def __iter__(self) -> Iterator[Member]:
        return (Member(*life) for life in self._lives)

    def __len__(self) -> int:
        return len(self._lives)


def _is_blind(presences: Mapping[Member, Presence]) -> bool:
    """Tell whether somebody was asked for, and nothing is known of anybody."""
    return bool(presences) and all(
        presence.state is PresenceState.UNKNOWN for presence in presences.values()
    )
