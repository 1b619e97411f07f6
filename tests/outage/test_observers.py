"""Three control planes observe one register: slow, frozen or killed, each transition is told once.

Silence is the signal here, so services need no processes: a thread reports for those that live.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from servers.postgresql import PostgreSQL
from servers.process import PATIENCE
from servicegroup.agent.client import HttpClient
from servicegroup.controlplane.observer_loop import LEASE_INTERVAL
from servicegroup.errors import ServiceGroupError
from servicegroup.events import EventFilter, EventKind
from servicegroup.liveness import LOOK_INTERVAL, OBSERVER_TOLERANCE
from servicegroup.messages import Report
from servicegroup.store import lease
from servicegroup.store.database import connect, reading
from servicegroup.store.events import read
from support.control_plane import ControlPlane
from support.waiting import until

pytestmark = pytest.mark.long

DOWN_TIME = 4.0
BUSY = 3.0
"""Seconds that a busy machine may add to a stated time."""

UP, DOWN = EventKind.UP, EventKind.DOWN


class Register:
    """A register with three control planes, and services that report to any of them."""

    def __init__(self, connection: str, directory: Path) -> None:
        self.engine: Engine = connect(connection)
        self.planes = [
            ControlPlane(connection, directory, report_interval=1, service_down_time=DOWN_TIME)
            for _ in range(3)
        ]
        self.dead: set[str] = set()
        self.lives: dict[str, Report] = {}
        self._client = HttpClient(",".join(plane.url for plane in self.planes))
        self._client.timeout = 1.5  # for all three
        self._stop = threading.Event()

    def join(self, count: int) -> None:
        """Register services, and report for them from now on."""
        for number in range(count):
            host = f"h{number}"
            life = self._client.register(host, "worker", "", "", 0)
            self.lives[host] = Report(life.uuid, life.incarnation)

    def report(self) -> None:
        """Report for all that live, again and again."""
        while not self._stop.wait(0.3):
            reports = [report for host, report in self.lives.items() if host not in self.dead]
            try:
                self._client.report(reports)
            except ServiceGroupError:
                continue  # all three were too slow; the next attempt is soon

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the control planes, the first one as the observer, and five services."""
        reporter = threading.Thread(target=self.report)
        try:
            self.planes[0].start()
            first, *others = self.planes
            until(lambda: self.observer(*others) is first, PATIENCE, what="an observer")
            for plane in others:
                plane.start_only()
            for plane in others:
                until(plane.is_ready, PATIENCE, what="a control plane")
            self.join(5)
            reporter.start()
            yield
        finally:
            self._stop.set()
            if reporter.ident is not None:
                reporter.join(30)
            for plane in self.planes:
                plane.stop()
            self._client.close()
            self.engine.dispose()

    # -- who observes ------------------------------------------------------------------------

    def observer(self, *without: ControlPlane) -> ControlPlane | None:
        """Return the control plane that says of itself that it observes, without some."""
        for plane in self.planes:
            if plane not in without:
                _, _, metrics = plane.request("GET", "/metrics")
                if b"\nservicegroup_observes 1.0\n" in metrics:
                    return plane
        return None

    def fencing_token(self) -> int:
        """Return which taking of the lease this is."""
        held = lease.current(self.engine)
        assert held is not None
        return held.fencing_token

    def freeze(self, plane: ControlPlane) -> None:
        """Hang a control plane, but not in a transaction: that ends by the server's timeout."""
        query = text("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")

        def is_frozen_outside() -> bool:
            plane.freeze()
            with reading(self.engine) as connection:
                if connection.scalar(query) == 0:
                    return True
            plane.thaw()
            return False

        until(is_frozen_outside, PATIENCE, what="frozen outside of a transaction")

    def replaced(self, gone: ControlPlane, fencing_token: int) -> ControlPlane:
        """Wait until another observes, in time, and return it."""
        since = time.monotonic()
        until(lambda: self.fencing_token() != fencing_token, PATIENCE, what="the lease taken over")
        assert time.monotonic() - since < OBSERVER_TOLERANCE + LEASE_INTERVAL + BUSY
        return until(lambda: self.observer(gone), PATIENCE, what="another observer")

    # -- what happened -----------------------------------------------------------------------

    def told(self, host: str) -> list[EventKind]:
        """Return the transitions of a service, in the order of their ids."""
        wanted = EventFilter(after=0, uuid=self.lives[host].uuid)
        events = read(self.engine, wanted, 10_000).events
        return [event.kind for event in events if event.kind in (UP, DOWN)]

    def becomes(self, host: str, kind: EventKind, within: float) -> None:
        """Wait until a transition is told."""
        since = time.monotonic()
        until(lambda: self.told(host)[-1:] == [kind], PATIENCE, what=f"{host} {kind}")
        assert time.monotonic() - since < within + BUSY, f"{host} {kind} was late"


@pytest.fixture
def register(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[Register]:
    """Give a register that runs."""
    register = Register(postgresql.database(), tmp_path)
    with register.running():
        for host in register.lives:
            register.becomes(host, UP, PATIENCE)
        yield register


def test_each_transition_is_told_once_whoever_observes(register: Register) -> None:
    """The lease passes from a slow one to a second and a third, while services die and return."""
    found = DOWN_TIME + LOOK_INTERVAL
    first = register.planes[0]

    # Slow: it stands still half of the time, too shortly to be replaced.
    fencing_token = register.fencing_token()
    register.dead = {"h0"}
    for _ in range(4):
        register.freeze(first)
        time.sleep(1)  # the pause is the subject
        first.thaw()
        time.sleep(1)
    register.becomes("h0", DOWN, found)
    assert register.fencing_token() == fencing_token
    register.dead = set()
    register.becomes("h0", UP, LOOK_INTERVAL)

    # Frozen while h1 dies: another tells it, and it tells nothing more once it goes on.
    register.freeze(first)
    register.dead = {"h1"}
    second = register.replaced(first, fencing_token)
    register.becomes("h1", DOWN, found)
    register.dead = set()
    register.becomes("h1", UP, LOOK_INTERVAL)
    first.thaw()
    until(lambda: register.observer() is second, PATIENCE, what="one observer")

    # Killed while h2 and h3 are about to be told, and h4 dies.
    fencing_token = register.fencing_token()
    register.dead = {"h2", "h3"}
    time.sleep(DOWN_TIME)  # they die shortly before the observer does
    second.kill()
    register.dead = {"h2", "h3", "h4"}
    register.planes.remove(second)
    register.replaced(second, fencing_token)
    fencing_token = register.fencing_token()
    for host in ("h2", "h3", "h4"):
        register.becomes(host, DOWN, found)
    register.dead = set()
    for host in ("h2", "h3", "h4"):
        register.becomes(host, UP, LOOK_INTERVAL)

    for host in register.lives:
        assert register.told(host) == [UP, DOWN, UP]
    events = read(register.engine, EventFilter(after=0), 10_000).events
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert register.fencing_token() == fencing_token, "nobody took it without need"
