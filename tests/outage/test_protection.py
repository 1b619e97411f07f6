"""A crowd accuses the backend, not itself; and hides nobody who really died (AND-2).

The fleet joins for real, in processes that can be killed: half of it in one, half in another, and
some alone. Whatever is done to the servers and to the ways to them, two witnesses must agree that
nobody else was down: one asks for the fleet all the time, the other is the log of events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from servers.memcached import Memcached
from servers.process import PATIENCE, ask
from servers.proxy import Proxy
from servers.zookeeper import ZooKeeper
from servicegroup import liveness
from servicegroup.liveness import LOOK_INTERVAL
from servicegroup.model import Limits
from servicegroup.protection import Threshold
from support.control_plane import ControlPlane, intervals
from support.crowd import BINARY, Crowd, crowd
from support.waiting import until
from support.watcher import Watcher

pytestmark = pytest.mark.long

HALF = 6
ALONE = 3

BUSY = 1.5
"""Seconds that a busy machine may add to a stated time."""


class Fleet:
    """Two halves and a few that are alone, before one control plane, under a watcher."""

    def __init__(self, plane: ControlPlane, crowds: list[Crowd]) -> None:
        self.plane = plane
        self.half, self.other, *self.alone = crowds
        self.watcher = Watcher(plane, BINARY, 2 * HALF + ALONE)
        self.excused: list[str] = []
        self._begun = 0

    def begin(self) -> None:
        """Begin with a fleet that is up; who was slow to join on a busy machine is no matter."""
        self.all_because("present")
        self.suspects_nobody()
        _, _, body = self.plane.request("GET", "/v1/events")
        self._begun = body["last"]

    def living(self) -> dict[str, str]:
        """Return the reason of everybody's verdict who was not killed, by host."""
        found = {host: s["verdict"]["reason"] for (host, _), s in self.services().items()}
        return {host: reason for host, reason in found.items() if host not in self.watcher.dead}

    def services(self) -> dict[tuple[str, str], dict[str, Any]]:
        return self.plane.services(f"?binary={BINARY}")

    def all_because(self, reason: str) -> None:
        """Wait until all that live are up for this reason."""
        count = 2 * HALF + ALONE - len(self.watcher.dead)
        until(lambda: list(self.living().values()) == [reason] * count, PATIENCE, what=reason)

    def dies(self, killed: Crowd, within: float) -> set[str]:
        """Kill some, wait until they are down, in so many seconds; return the reasons."""
        self.watcher.dead |= killed.hosts
        killed.kill()
        at = time.monotonic()

        def verdicts() -> list[dict[str, Any]]:
            found = self.plane.services(f"?binary={BINARY}&state=down").values()
            return [s["verdict"] for s in found if s["host"] in killed.hosts]

        until(lambda: len(verdicts()) == len(killed.hosts), PATIENCE, what=f"{killed.hosts} down")
        assert time.monotonic() - at < within + BUSY
        return {verdict["reason"] for verdict in verdicts()}

    def suspects_everybody(self, signal: str) -> None:
        """Wait until this signal, and no other, is suspect for all that live."""
        count = len(self.living())
        until(lambda: self._suspects() == {signal: count}, PATIENCE, what=f"{signal} suspect")

    def excuse_the_first(self) -> None:
        """Let those pass who were down for a moment, before it showed that they were a crowd.

        Each may be so twice: with the first few, if the others follow later than few are held.
        """
        down = [event["host"] for event in self.events("service-down")]
        self.excused = [host for host in down if host not in self.watcher.dead]
        assert len(set(self.excused)) < Threshold().minimum
        assert {host for _, down in self.watcher.flips for host in down} <= set(self.excused)
        self.watcher.flips.clear()

    def suspects_nobody(self) -> None:
        """Wait until protection has ended by itself."""
        until(lambda: not self._suspects(), PATIENCE, what="protection ends")

    def _suspects(self) -> dict[str, int]:
        """Return how many members are held by now, by the signal that is suspect."""
        _, _, body = self.plane.request("GET", "/v1/protection")
        assert {(p["group"], p["zone"]) for p in body["protections"]} <= {(BINARY, "internal")}
        return {p["signal"]: p["members"] for p in body["protections"]}

    def protections(self) -> list[str]:
        """Return what the log says of protection: a sign for on or off, and the signal."""
        signs = {"protection-on": "+", "protection-off": "-"}
        return [signs[event["kind"]] + event["detail"].split()[0] for event in self.events(*signs)]

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Return what the log has of the fleet and of these kinds since it began, in order."""
        query = f"?after={self._begun}&group={BINARY}"
        _, _, body = self.plane.request("GET", f"/v1/events{query}")
        assert body["next"] == body["last"], "the log fits on a page"
        return [event for event in body["events"] if event["kind"] in kinds]


def until_reports_count_as_stopped(limits: Limits) -> float:
    """Return the seconds for which the dead can be held at the most, after their last report."""
    return liveness.PATIENCE * limits.report_interval + LOOK_INTERVAL


@contextmanager
def watched(
    plane: ControlPlane, url: str, driver: str, section: str, limits: Limits, **own: str
) -> Iterator[Fleet]:
    """Give a fleet that reports to ``url``; in the end, whoever was not killed was never down."""
    plane.configure(section, servicegroup_driver=driver, **intervals(limits))
    plane.start()
    with ExitStack() as stack:
        stack.callback(plane.stop)
        sizes = {"a": HALF, "b": HALF} | {f"alone{number}-": 1 for number in range(ALONE)}
        crowds = [stack.enter_context(crowd(url, n, name, **own)) for name, n in sizes.items()]
        fleet = Fleet(plane, crowds)
        fleet.begin()
        with fleet.watcher:
            yield fleet
        assert fleet.watcher.flips == []
        assert fleet.watcher.answers > 100
        downs = [event["host"] for event in fleet.events("service-down")]
        expected = [*fleet.watcher.dead, *fleet.excused]
        log = fleet.events("service-down", "service-up", "protection-on", "protection-off")
        assert sorted(downs) == sorted(expected), f"and the dead were down once: {log}"


def test_memcached_forgets_and_the_way_to_the_intake_is_cut(
    own_memcached: Callable[[], Memcached], tmp_path: Path
) -> None:
    server = own_memcached()
    limits = Limits(
        report_interval=2, service_down_time=7, heartbeat_interval=0.5, membership_ttl=2
    )
    crash_to_absent = 3 + LOOK_INTERVAL  # memcached keeps a key a second longer
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path)
    section = f"[memcached]\nservers = {server.address}\n"
    with (
        Proxy(plane.port) as way,
        watched(plane, f"http://{way.address}", "memcached", section, limits) as fleet,
    ):
        assert ask(server.port, b"flush_all\r\n", b"\r\n") == b"OK\r\n"
        fleet.dies(fleet.alone[0], limits.service_down_time)
        server.restart()
        fleet.all_because("present")

        way.cut()
        fleet.suspects_everybody("reports")
        fleet.all_because("held")
        fleet.dies(fleet.alone[1], crash_to_absent)
        way.heal()
        fleet.suspects_nobody()
        fleet.all_because("present")

        assert fleet.dies(fleet.alone[2], crash_to_absent) == {"absent"}
        fleet.dies(fleet.half, until_reports_count_as_stopped(limits))
        fleet.suspects_nobody()
        assert fleet.protections()[:2] == ["+reports", "-reports"]


def test_zookeeper_is_out_of_reach_and_restarted(
    own_zookeeper: Callable[[], ZooKeeper], tmp_path: Path
) -> None:
    """ZK-4: what the control plane sees is no error, but the sessions of all members end.

    They end one by one, and one alone is believed at once: of the crowd, a few may be down before
    it is one, and are up with their next report.
    """
    server = own_zookeeper()
    limits = Limits(
        report_interval=1, service_down_time=6, heartbeat_interval=0.5, membership_ttl=2
    )
    crash_to_absent = 2 + 0.5 + 0.3  # the session's timeout, a tick, and the way of the event
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path)
    section = f"[zookeeper]\naddress = {server.address}\nsession_timeout = 2\ntick_time = 0.5\n"
    with (
        Proxy(server.port) as way,
        watched(
            plane, plane.url, "zookeeper", section, limits, OS_ZOOKEEPER__ADDRESS=way.address
        ) as fleet,
    ):
        assert fleet.dies(fleet.alone[0], crash_to_absent) == {"absent"}

        way.cut()
        fleet.suspects_everybody("presence")
        fleet.all_because("held")
        fleet.excuse_the_first()
        fleet.dies(fleet.alone[1], until_reports_count_as_stopped(limits))
        way.heal()
        fleet.suspects_nobody()
        fleet.all_because("present")

        fleet.dies(fleet.half, until_reports_count_as_stopped(limits))
        server.restart()
        fleet.dies(fleet.alone[2], limits.service_down_time)
        fleet.all_because("present")
        fleet.suspects_nobody()
        assert fleet.protections()[:2] == ["+presence", "-presence"]
