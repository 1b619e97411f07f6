"""A fleet whose time is the test's: a real register and a real backend under one virtual clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import event

from drivers.reference import Directory, Reference, ReferenceOptions
from servicegroup.errors import DriverUnavailable
from servicegroup.events import Event, EventKind, Wanted
from servicegroup.group import ServiceGroup
from servicegroup.model import Leave, Limits, Member, Report, Service
from servicegroup.observer import Observer
from servicegroup.protection import Thresholds
from servicegroup.store import migrate
from servicegroup.store.database import connect
from servicegroup.store.store import Store

LIMITS = Limits()
NOON = datetime(2030, 1, 1, 12)
EVER_AGO = datetime(2000, 1, 1)


class Clock:
    """The only clock: what the database says, and what everybody measures with."""

    def __init__(self) -> None:
        self.now = NOON

    def monotonic(self) -> float:
        return (self.now - EVER_AGO).total_seconds()

    def strftime(self, form: str, when: str) -> str:
        """Stand in for SQLite's function, asked for the time that it is now."""
        assert (form, when) == ("%Y-%m-%d %H:%M:%f000", "now")
        return self.now.strftime("%Y-%m-%d %H:%M:%S.%f")


class Process(msgspec.Struct):
    """One life of a service, and which of its two signals it sends."""

    host: str
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


class World:
    """Processes, observers and a reader of one register; nothing happens but by ``pass_time``."""

    def __init__(self, directory: Path, limits: Limits = LIMITS) -> None:
        self.clock = Clock()
        self.limits = limits
        self.directory = directory
        self.backend = Directory(directory)
        self.engine = connect(f"sqlite:///{directory / 'register.sqlite'}")
        event.listen(self.engine, "connect", self._connected)
        migrate.upgrade(self.engine)
        self.reader = self.layer()
        self.processes: list[Process] = []
        self.observers: list[Observer] = []
        self.seen: dict[str, list[str]] = defaultdict(list)

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
        life = self.reader.join(host, group or "nova-compute", zone=zone)
        topic = group or "compute"
        process = Process(host, topic, life.uuid, life.incarnation, self.clock.now, beats=beats)
        self.processes = [p for p in self.processes if p.uuid != life.uuid]
        self.processes.append(process)
        self.reader.report([Report(life.uuid, life.incarnation)])
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
            process.beats, process.beaten_at = False, EVER_AGO
            with suppress(DriverUnavailable):
                self.reader.driver.leave(process.member, process.incarnation)

    def crash(self, processes: Iterable[Process]) -> None:
        """End processes; the backend forgets them in its own time."""
        for process in processes:
            process.reports = process.beats = False

    def stop(self, processes: Iterable[Process]) -> None:
        """Stop processes in order."""
        for process in processes:
            self.reader.depart([Leave(process.uuid, process.incarnation)])
            self.vanish([process])
            process.reports = False

    def rejoin(self, processes: Iterable[Process]) -> None:
        """Let processes reach their backend again."""
        for process in processes:
            process.beats = True
        self._beat()

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
        reporting = [p for p in self.processes if p.reports and p.reported_at <= due]
        self.reader.report([Report(p.uuid, p.incarnation) for p in reporting])
        for process in reporting:
            process.reported_at = self.clock.now
        self._beat()

    def _beat(self) -> None:
        due = self.clock.now - timedelta(seconds=self.limits.heartbeat_interval)
        for process in self.processes:
            if process.beats and process.beaten_at <= due:
                process.beaten_at = self.clock.now
                with suppress(DriverUnavailable):
                    self.reader.driver.heartbeat(
                        process.member, process.incarnation, self.limits.membership_ttl
                    )

    def look(self) -> None:
        """Have every observer keep its lease and look, and the reader ask before and after."""
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
        return self.reader.events(Wanted(after=after), 100_000).events


def transitions(events: Iterable[Event]) -> list[tuple[str | None, str | None]]:
    """Return the transitions among events, each as host and state."""
    kinds = (EventKind.UP, EventKind.DOWN)
    return [(event.host, event.after) for event in events if event.kind in kinds]


def protections(events: Iterable[Event]) -> list[tuple[EventKind, str | None]]:
    """Return the events of protection, each with its detail."""
    return [(event.kind, event.detail) for event in events if event.uuid is None]
