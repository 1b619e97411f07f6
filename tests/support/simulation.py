"""Ten thousand simulated services; what the control plane and memcached get of them is real.

They report over HTTP, as through a relay, heartbeat with the driver, and register again over HTTP.
Simulated are the processes: a few threads do the work of all, and who is killed is not worked for
any more. And at first all are registered by one insert: one by one takes a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import Connection, select

from servers.process import PATIENCE
from servicegroup.agent.client import HttpClient
from servicegroup.driver import load
from servicegroup.events import Event, EventKind
from servicegroup.messages import Registration, Report
from servicegroup.model import Limits, Member
from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect, write
from servicegroup.store.events import append
from servicegroup.store.tables import services

COUNT = 10_000
ZONES = 10
BINARY, GROUP = "nova-compute", "compute"

LIMITS = Limits(report_interval=8, service_down_time=24, heartbeat_interval=3, membership_ttl=10)

BATCH = 500
HANDS = 4
TOO_SLOW = "this machine is too slow to play so many"


def zone(host: str) -> str:
    return f"z{int(host[1:]) % ZONES}"


class Fleet:
    """The services by host, and what is done for those that live."""

    def __init__(self, url: str, servers: str) -> None:
        self.hosts = [f"h{number}" for number in range(COUNT)]
        self.killed_at: dict[str, datetime] = {}
        self.driver = load("memcached", {"servers": servers})
        self._client = HttpClient(url)
        self._client.timeout = PATIENCE
        self._living: dict[str, Registration] = {}
        self._stop = threading.Event()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Heartbeat and report meanwhile. Raises what went wrong there."""
        with ThreadPoolExecutor(HANDS + 1) as hands:
            works = [hands.submit(self._heartbeats, number) for number in range(HANDS)]
            works.append(hands.submit(self._reports))
            try:
                yield
            finally:
                self._stop.set()
                for work in works:
                    work.result()
                self._client.close()
                self.driver.close()

    def join(self, connection: str) -> None:
        """Start all of them, as registered for the first time."""
        uuids = {host: str(uuid4()) for host in self.hosts}
        same = {"binary": BINARY, "topic": GROUP, "version": 1}
        rows = [{"uuid": uuids[h], "host": h, "zone": zone(h), **same} for h in self.hosts]
        insert = services.insert().values(created_at=utcnow(), registered_at=utcnow())

        def work(connection: Connection) -> None:
            connection.execute(insert, rows)
            now = connection.execute(select(utcnow())).scalar_one()
            append(connection, [Event(at=now, kind=EventKind.JOIN, host=h) for h in self.hosts])

        engine = connect(connection)
        write(engine, work)
        engine.dispose()
        self._living = {host: Registration(uuid, 1) for host, uuid in uuids.items()}

    def begin(self, hosts: Sequence[str]) -> None:
        """Start them again, each as a new incarnation that heartbeats and reports at once."""
        with ThreadPoolExecutor(HANDS) as hands:
            list(hands.map(self._begin, hosts))

    def _begin(self, host: str) -> None:
        joined = self._client.register(host, BINARY, GROUP, zone(host), 1)
        life = Registration(joined.uuid, joined.incarnation)
        self._heartbeat(host, life)
        self._report([life])
        self._living[host] = life

    def kill(self, hosts: Iterable[str]) -> None:
        """Let both signals of them stop."""
        for host in hosts:
            self.killed_at[host] = datetime.now(UTC).replace(tzinfo=None)
            del self._living[host]

    def _heartbeat(self, host: str, life: Registration) -> None:
        self.driver.heartbeat(Member(GROUP, host), life.incarnation, LIMITS.membership_ttl)

    def _report(self, lives: Sequence[Registration]) -> None:
        answer = self._client.report([Report(life.uuid, life.incarnation) for life in lives])
        assert not answer.deleted | answer.left | answer.unknown

    def _heartbeats(self, hand: int) -> None:
        mine = self.hosts[hand::HANDS]
        while not self._stop.is_set():
            begun = time.monotonic()
            for host in mine:
                if (life := self._living.get(host)) is not None:
                    self._heartbeat(host, life)
            taken = time.monotonic() - begun
            assert taken < LIMITS.membership_ttl, TOO_SLOW
            self._stop.wait(LIMITS.heartbeat_interval - taken)

    def _reports(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            for start in range(0, COUNT, BATCH):
                lives = map(self._living.get, self.hosts[start : start + BATCH])
                self._report([life for life in lives if life is not None])
                due = begun + LIMITS.report_interval * (start + BATCH) / COUNT
                self._stop.wait(due - time.monotonic())
            assert time.monotonic() - begun < 2 * LIMITS.report_interval, TOO_SLOW
