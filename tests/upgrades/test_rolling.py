"""A fleet goes on while its register is upgraded, its control planes are replaced, and back again.

A thousand services report to whichever control plane is there. Nobody is ever down, for any reader,
and no report that was acknowledged is lost, whichever release took it.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from servers.mariadb import MariaDB
from servers.postgresql import PostgreSQL
from servers.process import PATIENCE
from servicegroup.agent.client import HttpClient
from servicegroup.errors import ControlPlaneUnavailable
from servicegroup.messages import Report
from servicegroup.model import ServiceFilter
from servicegroup.store.store import Store
from support.control_plane import ControlPlane
from support.ledger import moment
from support.waiting import until
from support.watcher import Watcher
from upgrades import release
from upgrades.conftest import SERVICES
from upgrades.release import FirstControlPlane

pytestmark = pytest.mark.long

LIMITS: dict[str, Any] = {"report_interval": 2, "service_down_time": 20}

PAUSE = 0.2
"""Seconds between two reports of everybody."""


class Fleet:
    """Many services of the first release, which report together, to one control plane or the next.

    ``acknowledged`` and ``sent`` count their reports, and ``sent_at`` is when the last one was sent
    that was acknowledged.
    """

    def __init__(self, urls: list[str]) -> None:
        self._client = HttpClient(",".join(urls))
        self._reports = [Report(f"h-{n}", release.INCARNATION) for n in range(SERVICES)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._report)
        self.sent = self.acknowledged = 0
        self.sent_at = moment()
        self.refused: frozenset[str] = frozenset()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Report until the end of the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(PATIENCE)
            self._client.close()

    def goes_on(self) -> None:
        """Wait until a report that is sent from now on is acknowledged."""
        enough = self.acknowledged + 2
        until(lambda: self.acknowledged >= enough, PATIENCE, what="reports go on")

    def _report(self) -> None:
        while not self._stop.wait(PAUSE):
            sent_at = moment()
            self.sent += 2  # at the most: to one control plane, then to the other
            try:
                answer = self._client.report(self._reports)
            except ControlPlaneUnavailable:
                continue
            self.acknowledged += 1
            self.sent_at = sent_at
            self.refused |= answer.deleted | answer.superseded | answer.left | answer.unknown


@pytest.mark.timeout(240)
@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_a_rolling_upgrade_and_the_way_back(
    database: str, request: pytest.FixtureRequest, first_source: Path, tmp_path: Path
) -> None:
    server: PostgreSQL | MariaDB = request.getfixturevalue(database)
    url = server.database()
    engine = release.create(url)
    release.fill(engine, SERVICES)
    old = FirstControlPlane(first_source, url, tmp_path, **LIMITS)
    new = ControlPlane(url, tmp_path, **LIMITS)
    fleet = Fleet([old.url, new.url])
    with ExitStack() as stack:
        stack.callback(old.stop)
        stack.callback(new.stop)
        old.start()
        stack.enter_context(fleet.running())
        fleet.goes_on()
        witness = stack.enter_context(_watched(old))

        _run(new, "db", "upgrade")  # while the old one takes reports
        fleet.goes_on()
        new.start_only()
        until(new.is_ready, PATIENCE, what="the new control plane")
        other = stack.enter_context(_watched(new))
        fleet.goes_on()
        until(lambda: _observed(new), PATIENCE, what="the new one observes")
        old.stop()
        fleet.goes_on()

        _run(new, "db", "downgrade", "0001")  # while the new one takes reports
        old.start_only()
        until(old.is_ready, PATIENCE, what="the old control plane")
        new.stop()
        fleet.goes_on()
    assert witness.flips == other.flips == []
    assert witness.answers > 3
    assert other.answers > 3
    assert not fleet.refused
    services = Store(engine).snapshot(ServiceFilter(binary="nova-compute")).services
    engine.dispose()
    assert len(services) == SERVICES
    for service in services:
        assert service.last_seen_up is not None
        assert service.last_seen_up >= fleet.sent_at
        counted = service.report_count - release.REPORTS
        assert fleet.acknowledged <= counted <= fleet.sent


def _watched(plane: ControlPlane) -> Watcher:
    return Watcher(plane, "nova-compute&state=down", 0, pause=0.3)


def _observed(plane: ControlPlane) -> bool:
    _, _, metrics = plane.request("GET", "/metrics")
    return b"\nservicegroup_observes 1.0\n" in metrics


def _run(plane: ControlPlane, *arguments: str) -> None:
    subprocess.run(plane.command(*arguments), check=True, capture_output=True, timeout=60)
