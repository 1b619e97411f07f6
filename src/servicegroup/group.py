"""The layer: the only door to services, their liveness and their changes (spec S3).

The record says who exists, the driver says who is present, and ``judge`` says who is up. Only
this file knows both the store and the driver, and every question is asked in bulk: once to SQL
and at most once to the backend, however many services there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from servicegroup.driver import Driver
from servicegroup.errors import InvalidInput, NotFound
from servicegroup.liveness import Listening, judge
from servicegroup.model import (
    Departure,
    Evidence,
    Leave,
    Limits,
    Member,
    Presence,
    PresenceState,
    Refusals,
    Registration,
    Report,
    Service,
    VersionRange,
    topic_of,
    zone_of,
)
from servicegroup.store.reports import ReportWriter
from servicegroup.store.store import Filters, Snapshot, Store

_NAME_LENGTH = 255
_MAX_VERSION = 2**31 - 1
_EDITABLE = frozenset({"disabled", "disabled_reason", "forced_down"})


class ServiceGroup:
    """Services, each with its verdict; safe to share between threads."""

    def __init__(
        self,
        store: Store,
        driver: Driver,
        limits: Limits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Judge what ``store`` and ``driver`` say by ``limits``; ``monotonic`` ages stamps."""
        self.store = store
        self.driver = driver
        self.limits = limits
        self._reports = ReportWriter(store.engine)
        self._future_stamps = FutureStamps(monotonic)
        self._seen_present: dict[int, int] = {}

    # -- asking ----------------------------------------------------------------------------

    def services(
        self, filters: Filters | None = None, *, state: str | None = None
    ) -> list[Service]:
        """Return the living services that match, judged, ordered by id.

        ``state`` (``up`` or ``down``) is applied after judging, so a page may come out shorter
        than ``filters.limit``; ask on from the last marker. Raises NotFound for a marker that
        does not exist, StoreUnavailable.
        """
        if state not in (None, "up", "down"):
            raise InvalidInput(f"state {state!r} is not known; use up or down.")
        filters = filters or Filters()
        found: list[Service] = []
        while True:
            page = self._judged(self.store.snapshot(filters))
            found += [s for s in page if state is None or s.judged.state == state]
            limit = filters.limit
            if state is None or limit is None or len(page) < limit or len(found) >= limit:
                return found[:limit]
            filters = msgspec.structs.replace(filters, marker=page[-1].uuid)

    def get(self, service_id: int | str) -> Service:
        """Return one living service by uuid or integer id. Raises NotFound."""
        if isinstance(service_id, str):
            _check_uuid(service_id)
        found = self._judged(self.store.by_id(service_id))
        if not found:
            raise NotFound(f"Service {service_id} could not be found.")
        return found[0]

    def find(self, host: str, binary: str) -> Service:
        """Return one living service by host and binary. Raises NotFound."""
        found = self.services(Filters(host=host, binary=binary))
        if not found:
            raise NotFound(f"Could not find binary {binary} on host {host}.")
        return found[0]

    def service_is_up(self, service: Service | Member) -> bool:
        """Tell whether a service or the member of a group is up now; an unknown one is not."""
        members = [service if isinstance(service, Member) else service.member]
        pairs = [(member.group, member.host) for member in members]
        return any(found.is_up for found in self._judged(self.store.by_members(pairs)))

    def versions(self, binaries: Sequence[str] = ()) -> list[VersionRange]:
        """Return the version range of the given binaries, or of all that exist (spec S8)."""
        return self.store.versions(list(binaries) or self.store.binaries())

    def histogram(self, binary: str) -> dict[int, int]:
        """Return how many services of a binary run each version, counted as in ``versions``."""
        return self.store.version_histogram(binary)

    def drivers(self) -> list[tuple[Driver, bool]]:
        """Return the drivers a service is to join, each with whether it is a mere shadow."""
        return [(self.driver, False)]

    # -- changing --------------------------------------------------------------------------

    def join(
        self, host: str, binary: str, *, group: str = "", zone: str = "", version: int = 0
    ) -> Registration:
        """Register a service: a new incarnation of its record, created if it is new.

        Raises InvalidInput, Conflict when another binary holds this host in the group.
        """
        topic = group or topic_of(binary)
        zone = zone or zone_of(topic)
        for field, value in (("host", host), ("binary", binary), ("group", topic), ("zone", zone)):
            _check_name(field, value)
        if not 0 <= version <= _MAX_VERSION:
            raise InvalidInput(f"version {version} is not between 0 and {_MAX_VERSION}.")
        return self.store.register(host, binary, topic, zone, version)

    def report(self, reports: Sequence[Report], *, marking: bool = True) -> Refusals:
        """Commit a batch of reports and say which were refused; see ``ReportWriter.commit``."""
        return self._reports.commit(reports, marking=marking)

    def depart(self, leaves: Iterable[Leave]) -> Refusals:
        """Record that services left, and free what the backend holds of those incarnations."""
        return self._reports.leave(leaves)

    def leave(self, group_id: str, member: str) -> None:
        """Free everything the backend holds of a member (spec S4). Raises DriverUnavailable."""
        self.driver.leave(Member(group_id, member))

    def update(self, service_id: int | str, **changes: Any) -> Service:
        """Apply an operator's edit: ``disabled``, ``disabled_reason``, ``forced_down``.

        Never changes liveness other than by ``forced_down`` (SQL-1). Enabling clears the reason,
        disabling without one sets it to null, as in Nova. Raises NotFound, InvalidInput.
        """
        if unknown := set(changes) - _EDITABLE:
            raise InvalidInput(f"{', '.join(sorted(unknown))} cannot be changed.")
        if not changes:
            raise InvalidInput("No updates were requested; give disabled or forced_down.")
        if changes.get("disabled_reason") and not changes.get("disabled"):
            raise InvalidInput("disabled_reason goes with disabled=true; set both.")
        if "disabled" in changes:
            reason = changes.get("disabled_reason") if changes["disabled"] else None
            changes["disabled_reason"] = reason
            if reason is not None:
                _check_name("disabled_reason", reason)
        uuid = self.get(service_id).uuid
        self.store.update(uuid, changes)
        return self.get(uuid)

    def delete(self, service_id: int | str) -> Service:
        """Soft-delete a service and free what the backend holds of it. Raises NotFound."""
        service = self.get(service_id)
        self.store.delete(service.uuid)
        return service

    # -- judging ---------------------------------------------------------------------------

    def _judged(self, snapshot: Snapshot) -> list[Service]:
        """Give each service of a snapshot its verdict; asks the backend once."""
        presences = self._presences(snapshot.services)
        for service in snapshot.services:
            presence = presences.get(service.member) if presences else None
            evidence = self._evidence(service, presence, snapshot.listening)
            # The record becomes whole here, before anybody else has seen it.
            msgspec.structs.force_setattr(service, "verdict", judge(evidence))
        return snapshot.services

    def _presences(self, services: Sequence[Service]) -> dict[Member, Presence]:
        if not services or not self.driver.capabilities.separate_signal:
            return {}
        presences = self.driver.presence({service.member for service in services})
        for service in services:
            presence = presences[service.member]
            is_there = presence.state is PresenceState.PRESENT
            if is_there and service.incarnation in presence.incarnations:
                self._seen_present[service.id] = service.incarnation
        return presences

    def _evidence(
        self, service: Service, presence: Presence | None, listening: Listening
    ) -> Evidence:
        now = listening.now
        stamp = service.last_seen_up or service.created_at
        age = (now - stamp).total_seconds()
        ahead = max(0.0, -age)
        age = self._future_stamps.age(service.id, stamp.isoformat(), age)
        return Evidence(
            self.limits,
            age,
            listening.unheard_since(stamp) if listening.gaps else 0.0,
            service.last_seen_up is None,
            service.forced_down,
            Departure(service.departure) if service.departure else None,
            service.detail,
            service.incarnation,
            (now - service.registered_at).total_seconds(),
            presence,
            self._seen_present.get(service.id) == service.incarnation,
            (now - service.absent_since).total_seconds() if service.absent_since else None,
            ahead,
        )


class FutureStamps:
    """Ages stamps from the future by the judge's own clock, from the moment each was seen.

    After the database's clock stepped back, a stamp may lie ahead of ``now``. Taking the
    distance without its sign would keep a dead service up (SQL-5); such a stamp ages from when
    it was first seen, for as long as it stays the record's stamp.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Age by the given monotonic clock, in seconds."""
        self._monotonic = monotonic
        self._first_seen: dict[int, tuple[str, float]] = {}

    def age(self, service_id: int, stamp: str, age: float) -> float:
        """Return the age to judge by of a stamp whose plain age, maybe negative, is given."""
        known = self._first_seen.get(service_id)
        if age >= 0 and known is None:
            return age
        now = self._monotonic()
        if known is None or known[0] != stamp:
            if age >= 0:
                del self._first_seen[service_id]
                return age
            known = self._first_seen[service_id] = (stamp, now)
        return max(age, now - known[1])


def _check_name(field: str, value: str) -> None:
    if not value or len(value) > _NAME_LENGTH:
        raise InvalidInput(f"{field} must have 1 to {_NAME_LENGTH} characters, not {len(value)}.")
    if not value.isprintable():
        raise InvalidInput(f"{field} {value!r} holds a character that cannot be printed.")


def _check_uuid(value: str) -> None:
    try:
        UUID(value)
    except ValueError:
        raise InvalidInput(f"Invalid uuid {value}") from None
