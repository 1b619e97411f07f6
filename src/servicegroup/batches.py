"""Services in batches, judged on the way; evidence is made for those who ask for it.

Who wants to know only who is up gets the states. Most of them show at a glance (``glance``), and
the rule is asked about the rest.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from datetime import timedelta

import msgspec

from servicegroup.answers import answers_for, rpcs_for
from servicegroup.glance import reason_at_a_glance, reason_if_fresh
from servicegroup.judging import NOT_ASKED, Judge, Presences
from servicegroup.model import OnUnknown, Reason, Service, ServiceFilter
from servicegroup.names import check_state, check_text
from servicegroup.sessions import is_open
from servicegroup.store.snapshots import Snapshot, is_bounded
from servicegroup.store.store import Store

Stated = tuple[Service, str]
"""A service that carries no verdict, and the state that its verdict would have."""


class Batches:
    """Reads one store and judges by one driver; safe to share between threads."""

    def __init__(self, store: Store, judge: Judge) -> None:
        """Read ``store``, and let ``judge`` say who is up."""
        self._store = store
        self._judge = judge

    def services(self, filters: ServiceFilter, state: str | None) -> Iterator[list[Service]]:
        """Yield the services that match with their verdicts; see ``ServiceGroup.batches``."""
        check_state(state)
        room = filters.limit
        if state is not None:  # SQL cannot count what is judged here
            filters = msgspec.structs.replace(filters, limit=None)
        with closing(self._read(filters)) as snapshots:
            for snapshot, presences in snapshots:
                wanted = snapshot
                if state == "down":  # whoever is up at a glance needs no evidence
                    wanted = _left_of(snapshot, self._glances(snapshot, presences))
                found = self.judged(wanted, presences)
                if state is not None:
                    found = [s for s in found if s.judged.state == state][:room]
                yield found
                room = None if room is None else room - len(found)
                if room == 0:
                    return

    def states(self, filters: ServiceFilter) -> Iterator[list[Stated]]:
        """Yield the services that match with their states; see ``ServiceGroup.states``."""
        with closing(self._read(filters)) as snapshots:
            for snapshot, presences in snapshots:
                yield self.stated(snapshot, presences)

    def stated(self, snapshot: Snapshot, presences: Presences | None) -> list[Stated]:
        """Give each service its state; ``presences`` are the backend's answers if one is asked."""
        glances = self._glances(snapshot, presences)
        judged = {s.id: s.judged for s in self.judged(_left_of(snapshot, glances), presences)}
        return [
            (service, judged[service.id].state if reason is None else reason.state)
            for service, reason in zip(snapshot.services, glances, strict=True)
            if reason is not None or service.id in judged
        ]

    def judged(self, snapshot: Snapshot, presences: Presences | None = None) -> list[Service]:
        """Give each service its verdict; asks the backend once unless ``presences`` are given."""
        answers = answers_for(self._judge, snapshot) if presences is None else presences
        verdicts = self._judge.verdicts(
            snapshot.services, snapshot.listening, answers, rpcs_for(self._judge, snapshot)
        )
        now = snapshot.listening.now
        for service, verdict in zip(snapshot.services, verdicts, strict=True):
            # The record becomes whole here, before anybody else has seen it.
            msgspec.structs.force_setattr(service, "verdict", verdict)
            if service.flapping_until is not None and service.flapping_until <= now:
                msgspec.structs.force_setattr(service, "flapping_until", None)
        if presences is None:
            return snapshot.services
        # Who registered after the backend was asked about a whole list is of the next one.
        return [s for s in snapshot.services if s.judged.evidence.presence is not NOT_ASKED]

    def _read(self, filters: ServiceFilter) -> Generator[tuple[Snapshot, Presences | None]]:
        """Yield what matches with the backend's answers, None where no backend is asked.

        A reading in batches holds a connection to its end, so the backend is asked before (F-18).
        """
        for field, value in msgspec.structs.asdict(filters).items():
            if isinstance(value, str):
                check_text(field, value)
        is_asked = self._judge.driver.capabilities.is_asked
        presences: Presences | None = None
        if is_asked and not is_bounded(filters):
            presences = self._judge.asking.ask(self._store.lives(filters))
        with closing(self._store.batches(filters)) as snapshots:
            for snapshot in snapshots:
                if is_asked and presences is None:
                    yield snapshot, self._judge.ask(snapshot.services)
                else:
                    yield snapshot, presences

    def _glances(self, snapshot: Snapshot, presences: Presences | None) -> list[Reason | None]:
        """Return the reason of each service that is up at a glance, None of the others."""
        judge, now = self._judge, snapshot.listening.now
        if not judge.goes_by_stamps:
            return [None] * len(snapshot.services)
        oldest = now - timedelta(seconds=judge.limits.service_down_time)
        if not judge.driver.capabilities.separate_signal:
            reporting = Reason.REPORTING
            return [reason_at_a_glance(s, reporting, now, oldest) for s in snapshot.services]
        by_signal = _if_fresh(snapshot, presences, judge.limits.on_unknown)
        signals = list(zip(snapshot.services, by_signal, strict=True))
        judge.saw_present((s.id, s.incarnation) for s, one in signals if one is Reason.PRESENT)
        return [reason_at_a_glance(service, one, now, oldest) for service, one in signals]


def _if_fresh(
    snapshot: Snapshot, presences: Presences | None, on_unknown: OnUnknown
) -> Iterable[Reason | None]:
    """Tell of each service what it is if its reports are fresh, None where the rule has to look."""
    if presences is None:  # what is recorded has been read with the services
        return _by_sessions(snapshot)
    return (
        Reason.REPORTING if s.mirror else reason_if_fresh(s, presences.get(s.member), on_unknown)
        for s in snapshot.services
    )


def _by_sessions(snapshot: Snapshot) -> Iterator[Reason | None]:
    now = snapshot.listening.now
    for service in snapshot.services:
        session = snapshot.sessions.get(service.id)
        if session is None:  # there is no such signal
            yield Reason.REPORTING
        else:
            is_fine = session.deaf_since is None and is_open(session, now)
            yield Reason.PRESENT if is_fine else None


def _left_of(snapshot: Snapshot, glances: list[Reason | None]) -> Snapshot:
    """Return what the rule has to look at."""
    pairs = zip(snapshot.services, glances, strict=True)
    left = [service for service, reason in pairs if reason is None]
    return msgspec.structs.replace(snapshot, services=left)
