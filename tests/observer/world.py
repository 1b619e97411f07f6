"""A fleet whose time is the test's: a real register and a real backend under one virtual clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import event

from drivers.reference import Directory, Reference, ReferenceOptions
from observer.notes import INSTANT, Edit, Notes
from promises.history import Settings
from servicegroup.controlplane.observer import Observer
from servicegroup.errors import DriverUnavailable
from servicegroup.events import Event, EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Refusals, Report
from servicegroup.model import Limits, Member, Service
from servicegroup.names import zone_of
from servicegroup.protection import Thresholds
from servicegroup.store import migrate
from servicegroup.store.database import connect
from servicegroup.store.store import Store

LIMITS = Limits()
NOON = datetime(2030, 1, 1, 12)
EVER_AGO = datetime(2000, 1, 1)


class Clock:
    """The only clock: what everybody measures with, and what the database says of it."""

    def __init__(self) -> None:
        self.now = NOON
        self.ahead = timedelta(0)

    def monotonic(self) -> float:
        return (self.now - EVER_AGO).total_seconds()

    def strftime(self, form: str, when: str) -> str:
        """Stand in for SQLite's function, asked for the time that it is now."""
        assert (form, when) == ("%Y-%m-%d %H:%M:%f000", "now")
        return (self.now + self.ahead).strftime("%Y-%m-%d %H:%M:%S.%f")


class Process(msgspec.Struct):
    """One life of a service, and which of its two signals it sends."""

    host: str
    binary: str
    group: str
    uuid: str
    incarnation: int
    reported_at: datetime
    beaten_at: datetime = EVER_AGO
    reports: bool = True
    beats: bool = True

    @property
    def member(self) -> Member:
        return Member(self.group, self.host)

    @property
    def life(self) -> dict[str, Any]:
        """Which life it is, as records of a history say."""
        named = ("host", "binary", "uuid", "incarnation")
        return {name: getattr(self, name) for name in named}


class World:
    """Processes, observers and a reader of one register; nothing happens but by ``pass_time``.

    Whatever is done and seen is in ``notes``. While the control planes are ``away`` nobody looks,
    asks or takes a report.
    """

    def __init__(self, directory: Path, limits: Limits = LIMITS) -> None:
        self.clock = Clock()
        self.limits = limits
        self.directory = directory
        self.backend = Directory(directory, self.clock.monotonic)
        self.engine = connect(f"sqlite:///{directory / 'register.sqlite'}")
        event.listen(self.engine, "connect", self._connected)
        migrate.upgrade(self.engine)
        self.reader = self.layer()
        self.processes: list[Process] = []
        self.observers: list[Observer] = []
        self.seen: dict[str, list[str]] = defaultdict(list)
        self.away = False
        self._left: set[tuple[str, int]] = set()
        detection = self.reader.detection_time(self.reader.driver)
        kept = limits.membership_ttl - INSTANT
        settings = Settings(limits=limits, detection=detection, kept=kept, slack=INSTANT)
        self.notes = Notes(settings, self.clock.monotonic)

    def _connected(self, connection: Any, _record: object) -> None:
        connection.create_function("strftime", 2, self.clock.strftime)
        connection.execute("PRAGMA synchronous=OFF").close()

    def close(self) -> None:
        self.engine.dispose()

    # -- who takes part ----------------------------------------------------------------------

    def layer(self) -> ServiceGroup:
        """Return the layer as another process has it, with a handle of its own."""
        driver = Reference(ReferenceOptions(directory=str(self.directory)))
        driver.monotonic = self.clock.monotonic
        return ServiceGroup(Store(self.engine), driver, self.limits, None, self.clock.monotonic)

    def observer(self, thresholds: Thresholds | None = None) -> Observer:
        """Return one more control plane's observer, which takes part from now on."""
        self.observers.append(Observer(self.layer(), thresholds, self.clock.monotonic))
        return self.observers[-1]

    def start(self, host: str, zone: str = "", group: str = "", *, beats: bool = True) -> Process:
        """Start a process of a service: it registers, reports and joins."""
        binary, topic = group or "nova-compute", group or "compute"
        life = self.reader.join(host, binary, zone=zone)
        process = Process(
            host, binary, topic, life.uuid, life.incarnation, reported_at=EVER_AGO, beats=beats
        )
        self.notes.joined(process.life, topic, zone or zone_of(topic))
        self.processes = [p for p in self.processes if p.uuid != life.uuid]
        self.processes.append(process)
        self._report([process])
        self._beat()
        return process

    def fleet(self, count: int, zone: str = "", group: str = "") -> list[Process]:
        """Start processes on hosts of their own."""
        first = len(self.processes)
        return [self.start(f"h{n}", zone, group) for n in range(first, first + count)]

    # -- what happens to them ----------------------------------------------------------------

    def vanish(self, processes: Iterable[Process]) -> None:
        """Cut processes off their backend, which forgets them at once."""
        for process in processes:
            process.beats = False
            self.evict(process)

    def evict(self, process: Process) -> None:
        """Take a process out of its backend, which it rejoins with its next heartbeat."""
        process.beaten_at = EVER_AGO
        with suppress(DriverUnavailable):
            self.reader.driver.leave(process.member, process.incarnation)
        self.notes.evicted(process.life)

    def crash(self, processes: Iterable[Process]) -> None:
        """End processes; the backend forgets them in its own time."""
        for process in processes:
            process.reports = process.beats = False

    def stop(self, processes: Iterable[Process]) -> None:
        """Stop processes in order; who has left already leaves no second time."""
        for process in processes:
            life = process.uuid, process.incarnation
            if self.reader.depart([Leave(*life)]) == Refusals() and life not in self._left:
                self._left.add(life)
                self.notes.left(process.life)
            self.vanish([process])
            process.reports = False

    def rejoin(self, processes: Iterable[Process]) -> None:
        """Let processes reach their backend again."""
        for process in processes:
            process.beats = True
        self._beat()

    def edit(self, process: Process, what: Edit) -> None:
        """Do what an operator does to a service, in a process that asks nothing else."""
        desk = self.layer()
        if what == "delete":
            desk.delete(process.uuid)
        elif what in ("enable", "disable"):
            desk.update(process.uuid, disabled=what == "disable")
        else:
            desk.update(process.uuid, forced_down=what == "force_down")
        self.notes.edited(process.life, what)

    def step_the_clock(self, seconds: float) -> None:
        """Set the database's clock forward, or back."""
        self.clock.ahead += timedelta(seconds=seconds)

    def blind(self, observer: Observer) -> None:
        """Cut one observer off the backend."""
        driver = observer._group.driver
        assert isinstance(driver, Reference)
        driver.directory = self.directory / "elsewhere"

    def give_sight(self, observer: Observer) -> None:
        driver = observer._group.driver
        assert isinstance(driver, Reference)
        driver.directory = self.directory

    # -- time --------------------------------------------------------------------------------

    def pass_time(self, seconds: float = 1, step: float = 1) -> list[Event]:
        """Let time pass, with a look of every observer after each step; return what is new.

        The reader is asked before each look and after it, and must judge as it was recorded.
        """
        last = self.reader.event_log().last
        for _ in range(round(seconds / step)):
            self.pass_unseen(step)
            self.look()
        return self.events(last)

    def pass_unseen(self, seconds: float) -> None:
        """Let time pass without a look; the signals that are due by then are sent at its end."""
        self.clock.now += timedelta(seconds=seconds)
        due = self.clock.now - timedelta(seconds=self.limits.report_interval)
        self._report([p for p in self.processes if p.reports and p.reported_at <= due])
        self._beat()

    def _report(self, processes: Sequence[Process]) -> None:
        """Report for processes; whoever is deleted stops, as its agent would."""
        refused = Refusals()
        if not self.away:
            refused = self.reader.report([Report(p.uuid, p.incarnation) for p in processes])
        for process in processes:
            if not self.away:
                process.reported_at = self.clock.now
            if process.uuid in refused.deleted:
                process.reports = process.beats = False
            counts = not self.away and process.uuid not in refused.left | refused.deleted
            self.notes.proved(process.life, "report", acknowledged=counts)

    def _beat(self) -> None:
        due = self.clock.now - timedelta(seconds=self.limits.heartbeat_interval)
        for process in self.processes:
            if process.beats and process.beaten_at <= due:
                process.beaten_at = self.clock.now
                counts, ttl = True, self.limits.membership_ttl
                try:
                    self.reader.driver.heartbeat(process.member, process.incarnation, ttl)
                except DriverUnavailable:
                    counts = False
                self.notes.proved(process.life, "heartbeat", acknowledged=counts)

    def look(self) -> None:
        """Have every observer keep its lease and look, and the reader ask before and after."""
        if self.away:
            return
        self.ask()
        for observer in self.observers:
            observer.keep_lease()
            observer.look()
        services = self.ask()
        if self.is_observed():
            recorded = {s.host: s.observed_state for s in services}
            assert recorded == {s.host: s.judged.state for s in services}

    def ask(self) -> list[Service]:
        """Ask the reader, and remember in ``seen`` which states it told, one after another."""
        services = self.reader.services()
        self.notes.saw(services, "reader")
        for service in services:
            if self.seen[service.host][-1:] != [service.judged.state]:
                self.seen[service.host].append(service.judged.state)
        return services

    def is_observed(self) -> bool:
        """Tell whether somebody observes who sees."""
        return any(observer.observes and not observer._blind for observer in self.observers)

    # -- what is known -----------------------------------------------------------------------

    def get(self, process: Process) -> Service:
        """Return a process's service, as the reader judges it."""
        return self.reader.get(process.uuid)

    def down(self) -> set[str]:
        """Return the hosts that the reader shows down."""
        return {s.host for s in self.reader.services() if not s.is_up}

    def events(self, after: int = 0) -> list[Event]:
        """Return the events after one."""
        return self.reader.events(EventFilter(after=after), 100_000).events


def transitions(events: Iterable[Event]) -> list[tuple[str | None, str | None]]:
    """Return the transitions among events, each as host and state."""
    kinds = (EventKind.UP, EventKind.DOWN)
    return [(event.host, event.after) for event in events if event.kind in kinds]


def protections(events: Iterable[Event]) -> list[tuple[EventKind, str | None]]:
    """Return the events of protection, each with its detail."""
    return [(event.kind, event.detail) for event in events if event.uuid is None]
