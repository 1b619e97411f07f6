"""The layer: the only door to services, their liveness and their changes (spec S3).

The record says who exists, the driver says who is present, and ``judge`` says who is up. Only
this file knows both the store and the driver, and every question is asked in bulk. The backend is
asked at most once, and with no connection to the database in hand: it may not answer (F-18).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from servicegroup import edits
from servicegroup.agreement import Agreement
from servicegroup.answers import answers_for
from servicegroup.batches import Batches, Stated
from servicegroup.comparison import Compared, Comparison
from servicegroup.driver import Driver
from servicegroup.driver_state import DriverState
from servicegroup.errors import InvalidInput, NotFound
from servicegroup.events import EventFilter, Log, Page, Protection
from servicegroup.evictions import PendingEvictions, run_all
from servicegroup.history import History
from servicegroup.judging import Judge
from servicegroup.liveness import LOOK_INTERVAL
from servicegroup.messages import Leave, Refusals, Registration, Report
from servicegroup.model import BinaryVersions, Limits, Member, Service, ServiceFilter, VersionRange
from servicegroup.names import check_name, check_text, topic_of, zone_of
from servicegroup.recording import Recorder
from servicegroup.rpc import RpcLimits
from servicegroup.store import events, versions
from servicegroup.store.findings import current_protections
from servicegroup.store.history import read_history
from servicegroup.store.lease import ObserverStatus, obeys, observer_status
from servicegroup.store.reports import ReportWriter
from servicegroup.store.retention import purge
from servicegroup.store.store import Store
from servicegroup.uuids import uuid_of

_MAX_VERSION = 2**31 - 1


class ServiceGroup:
    """Services, each with its verdict; safe to share between threads."""

    def __init__(
        self,
        store: Store,
        driver: Driver,
        limits: Limits,
        shadow: Driver | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        reserved: Store | None = None,
        rpc: RpcLimits | None = None,
    ) -> None:
        """Judge what ``store`` and ``driver`` say by ``limits``; ``monotonic`` ages stamps.

        A ``shadow`` driver is written and asked but not obeyed, while a fleet changes drivers.
        ``reserved`` is the same record by other connections, for reports and the observer (F-18).
        ``rpc`` is what answers in sessions are measured against.
        """
        self._store = store
        self._reserved = reserved or store
        self.driver = driver
        self.limits = limits
        self.shadow = shadow
        self._reports = ReportWriter(self._reserved.engine)
        self._departures = ReportWriter(store.engine)
        self._evictions = [
            PendingEvictions(store.engine, d, limits.report_interval) for d, _ in self.drivers()
        ]
        self.judge = Judge(driver, limits, monotonic, rpc=rpc)
        self._batches = Batches(store, self.judge)
        self.keeps_rows = store.keeps_rows  # so that ``states`` has the same objects each time
        self._comparison = (
            Comparison(Judge(shadow, limits, monotonic, obeyed=False)) if shadow else None
        )

    # -- asking ----------------------------------------------------------------------------

    def services(
        self, filters: ServiceFilter | None = None, *, state: str | None = None
    ) -> list[Service]:
        """Return the living services that match, judged, ordered by id.

        ``state`` is ``up`` or ``down``; ``filters.limit`` counts services of that state. However
        few match, it costs no more than the whole list (F-51). Raises NotFound for a marker that
        does not exist, StoreUnavailable.
        """
        return [service for batch in self.batches(filters, state=state) for service in batch]

    def batches(
        self, filters: ServiceFilter | None = None, *, state: str | None = None
    ) -> Iterator[list[Service]]:
        """Yield the same in batches, all as of one moment, so that memory holds some at a time.

        Read them without a pause: the database waits. Raises as ``services``, between batches too.
        """
        return self._batches.services(filters or ServiceFilter(), state)

    def states(self, filters: ServiceFilter | None = None) -> Iterator[Stated]:
        """Yield the same without verdicts: of each service what is known without evidence.

        It costs much less, since evidence is made of a few only. Raises as ``batches``.
        """
        return self._batches.states(filters or ServiceFilter())

    def lists(self, agreement: Agreement | None = None) -> Batches:
        """Return what reads lists, and tells an ``agreement`` of whoever is judged in one."""
        return Batches(self._store, self.judge, agreement) if agreement else self._batches

    def get(self, service_id: int | str) -> Service:
        """Return one living service by uuid or integer id. Raises NotFound."""
        if isinstance(service_id, str):
            service_id = uuid_of(service_id)
        found = self._batches.judged(self._store.by_id(service_id))
        if not found:
            raise NotFound(f"Service {service_id} could not be found.")
        return found[0]

    def find(self, host: str, binary: str) -> Service:
        """Return one living service by host and binary. Raises NotFound."""
        found = self.services(ServiceFilter(host=host, binary=binary))
        if not found:
            raise NotFound(f"Could not find binary {binary} on host {host}.")
        return found[0]

    def service_is_up(self, service: Service | Member) -> bool:
        """Tell whether a service or the member of a group is up now; an unknown one is not."""
        members = [service if isinstance(service, Member) else service.member]
        pairs = [(member.group, member.host) for member in members]
        return any(found.is_up for found in self._batches.judged(self._store.by_members(pairs)))

    def versions(self, binaries: Sequence[str] = ()) -> list[VersionRange]:
        """Return the version range of the given binaries, or of all that exist (spec S8)."""
        for binary in binaries:
            check_text("binary", binary)
        return versions.ranges(self._store.engine, binaries)

    def zones(self) -> list[tuple[str, bool]]:
        """Return each zone with whether an enabled service exists in it, sorted by name."""
        return self._store.zones()

    def hosts_of(self, uuids: Collection[str]) -> dict[str, str]:
        """Return the host of each of these services that the record has, deleted ones too."""
        return self._reserved.hosts(uuids)

    def version_counts(self, binaries: Sequence[str] = ()) -> list[BinaryVersions]:
        """Return the same, each with how many services of the binary run each version."""
        ranges = self.versions(binaries)
        counts = versions.counts(self._store.engine, [one.binary for one in ranges])
        return [
            BinaryVersions(one.binary, one.minimum, one.maximum, counts.get(one.binary, {}))
            for one in ranges
        ]

    def drivers(self) -> list[tuple[Driver, bool]]:
        """Return the drivers in use, each with whether it is a mere shadow."""
        return [(self.driver, False)] + ([(self.shadow, True)] if self.shadow else [])

    def judges(self) -> list[Judge]:
        """Return who asks the drivers in use, the obeyed one first."""
        return [self.judge] + ([self._comparison.judge] if self._comparison else [])

    def driver_states(self) -> list[DriverState]:
        """Return the drivers in use, and how fast a crash is found."""
        return [
            DriverState(
                driver.name,
                shadow,
                driver.capabilities.separate_signal,
                driver.capabilities.pushes,
                self.detection_time(driver),
                self.limits.service_down_time,
            )
            for driver, shadow in self.drivers()
        ]

    def detection_time(self, driver: Driver) -> float | None:
        """Return the most seconds from a crash to ``absent``; None for a driver without a signal.

        What the backend does not push is found by the observer's next look.
        """
        if not driver.capabilities.separate_signal:
            return None
        pause = 0.0 if driver.capabilities.pushes else LOOK_INTERVAL
        return driver.detection_time(self.limits.membership_ttl) + pause

    # -- what happened -----------------------------------------------------------------------

    def events(self, wanted: EventFilter, limit: int) -> Page:
        """Return events that match, oldest first; see ``store.events.read``."""
        for field, value in (("uuid", wanted.uuid), ("group", wanted.group)):
            if value is not None:
                check_text(field, value)
        return events.read(self._store.engine, wanted, limit)

    def event_log(self) -> Log:
        """Return where the log of events stands. Raises StoreUnavailable."""
        return events.log(self._store.engine)

    def history(
        self, service_id: int | str, since: datetime | None = None, until: datetime | None = None
    ) -> History:
        """Return what happened to a living service and what it adds up to; a day by default.

        Raises NotFound, InvalidInput for a time that ends before it begins.
        """
        return read_history(self._store.engine, self.get(service_id), since, until)

    def recorder(self) -> Recorder:
        """Return what an observer of this register reads and writes with."""
        return Recorder(self._reserved)

    def observer_status(self) -> ObserverStatus | None:
        """Return what the observer said last, None where nobody ever observed."""
        return observer_status(self._store.engine)

    def purge_events(self, keep: timedelta, keep_of_operators: timedelta) -> int:
        """Remove old events and return how many; see ``store.retention.purge``."""
        return purge(self._store.engine, keep, keep_of_operators)

    def protections(self) -> list[Protection]:
        """Return which signals are suspect now, and where. Raises StoreUnavailable."""
        return current_protections(self._store.engine)

    def revision(self) -> str | None:
        """Return a text that changes whenever a state, an edit or who exists does.

        One question, however many services there are; None while no observer of this driver is at
        work, for then states change unrecorded.
        """
        seen = self.observer_status()
        if seen is None or not seen.is_current or not obeys(seen.holder, self.driver.name):
            return None
        return seen.revision

    def compare(self) -> Compared:
        """Return the services whose verdict would change if the shadow driver were obeyed.

        Raises InvalidInput where no shadow driver is configured.
        """
        if self._comparison is None:
            raise InvalidInput("There is nothing to compare: set servicegroup_shadow_driver.")
        snapshot = self._store.snapshot()
        judged = self._batches.judged(snapshot)
        shadows = answers_for(self._comparison.judge, snapshot)
        return self._comparison.of(self.driver.name, judged, snapshot.listening, shadows)

    # -- changing --------------------------------------------------------------------------

    def join(
        self,
        host: str,
        binary: str,
        *,
        group: str = "",
        zone: str = "",
        version: int = 0,
        most: int | None = None,
        deadline: float = math.inf,
    ) -> Registration:
        """Register a service: a new incarnation of its record, created if it is new.

        Raises InvalidInput, Conflict when another binary holds this host in the group or a new
        service would be one more than the ``most`` of its host, and Unavailable after the
        ``deadline`` of ``write``: a late registration would supersede a newer incarnation.
        """
        topic = group or topic_of(binary)
        zone = zone or zone_of(topic)
        for field, value in (("host", host), ("binary", binary), ("group", topic), ("zone", zone)):
            check_name(field, value)
        if not 0 <= version <= _MAX_VERSION:
            raise InvalidInput(f"version {version} is not between 0 and {_MAX_VERSION}.")
        return self._store.register(host, binary, topic, zone, version, deadline, most)

    def report(
        self, reports: Sequence[Report], *, marking: bool = True, deadline: float = math.inf
    ) -> Refusals:
        """Commit a batch of reports and say which were refused; see ``ReportWriter.commit``."""
        return self._reports.commit(reports, marking=marking, deadline=deadline)

    def depart(self, leaves: Iterable[Leave]) -> Refusals:
        """Record that services left and return who was refused; each leaves its backend itself."""
        return self._departures.leave(leaves)

    def leave(self, group_id: str, member: str) -> None:
        """Free everything the backend holds of a member (spec S4). Raises DriverUnavailable."""
        self.driver.leave(Member(group_id, member))

    def update(self, service_id: int | str, *, by: str | None = None, **changes: Any) -> Service:
        """Apply an operator's edit: ``disabled``, ``disabled_reason``, ``forced_down``.

        Never changes liveness other than by ``forced_down`` (SQL-1); see ``edits.checked``. ``by``
        is who did it, for the events. Raises NotFound, InvalidInput, Conflict.
        """
        columns = edits.checked(changes)
        uuid = edits.own(self.get(service_id)).uuid
        self._store.update(uuid, columns, by)
        return self.get(uuid)

    def delete(self, service_id: int | str, *, by: str | None = None) -> Service:
        """Soft-delete a service, as the operator ``by`` wants (spec S4). Raises NotFound, Conflict.

        The record goes at once, and with it an eviction for each driver: whoever deletes does not
        wait for a backend (P12), which ``free_deleted`` of any control plane frees in a second.
        """
        service = edits.own(self.get(service_id))
        drivers = [d.name for d, _ in self.drivers() if d.capabilities.is_asked]
        self._store.delete(service.uuid, drivers, by)
        return service

    def free_deleted(self) -> int:
        """Make the backends forget deleted services and return how many evictions are left.

        Each driver has its own; see ``PendingEvictions.run``. Raises StoreUnavailable.
        """
        return run_all(self._store.engine, self._evictions)

    def close(self) -> None:
        """Close the connections to the backends and the database."""
        for judge in self.judges():
            judge.asking.close()
            judge.driver.close()
        for store in (self._store, self._reserved):
            store.engine.dispose()
