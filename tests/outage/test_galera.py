"""Control planes on the nodes of one Galera cluster: nothing is lost, told twice, or accused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from servers.galera import GaleraCluster, GaleraNode
from servers.process import PATIENCE
from support.control_plane import ControlPlane
from support.crowd import BINARY, crowd
from support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

JOINS = 160
"""Registrations at once."""

SAME = 20
"""Registrations of one service at once."""

MOST_LINES = 20
"""Lines of the log that the loss of a quorum may cost a control plane."""

AT_MOST = 2.0
"""Seconds until reports are committed again, once a server takes writes."""

SLACK = 3.0
"""What a busy machine may add."""

COUNT = 12


class Planes:
    """A control plane on each node."""

    def __init__(self, cluster: GaleraCluster, directory: Path, **options: Any) -> None:
        limits = {"report_interval": 1, "service_down_time": 10, **options}
        self.cluster = cluster
        self.all = [ControlPlane(url, directory, **limits) for url in cluster.database()]

    @contextmanager
    def running(self) -> Iterator[list[ControlPlane]]:
        try:
            self.all[0].start(wait=False)
            for plane in self.all[1:]:
                plane.start_only()
            for plane in self.all:
                until(plane.is_ready, PATIENCE, what="a control plane")
            yield self.all
        finally:
            for plane in self.all:
                plane.stop()


@pytest.fixture
def cluster(own_galera: Callable[..., GaleraCluster]) -> GaleraCluster:
    return own_galera()


@pytest.fixture
def planes(cluster: GaleraCluster, tmp_path: Path) -> Iterator[list[ControlPlane]]:
    with Planes(cluster, tmp_path).running() as planes:
        yield planes


def joined(plane: ControlPlane, host: str) -> tuple[int, Any]:
    """Register once, as an agent does, without a second try."""
    status, _, body = plane.request("POST", "/v1/services", {"host": host, "binary": "worker"})
    return status, body


def log_of(plane: ControlPlane) -> list[dict[str, Any]]:
    """Return all events, as this control plane tells them."""
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["id"] if found else 0
        status, _, page = plane.request("GET", f"/v1/events?after={after}&limit=1000")
        assert status == 200, page
        if not page["events"]:
            return found
        found += page["events"]


def test_many_registrations_at_once(planes: list[ControlPlane]) -> None:
    """Those of one row conflict at the commit; each is tried again until it is in (F-26)."""
    with ThreadPoolExecutor(JOINS) as threads:
        many = [threads.submit(joined, planes[n % 3], f"h{n}") for n in range(JOINS)]
        assert Counter(one.result()[0] for one in many) == {200: JOINS}
        same = [threads.submit(joined, planes[n % 3], "same") for n in range(SAME)]
        answers = [one.result() for one in same]
    assert {status for status, _ in answers} == {200}
    lives = [body["incarnation"] for _, body in answers]
    assert sorted(lives) == list(range(1, SAME + 1))
    assert len({body["uuid"] for _, body in answers}) == 1
    told = log_of(planes[1])
    assert [event["id"] for event in told] == list(range(1, len(told) + 1))
    begun = Counter(e["kind"] for e in told if e["binary"] == "worker")
    assert (begun["service-join"], begun["service-restart"]) == (JOINS + 1, SAME - 1)


def test_what_was_committed_is_seen_everywhere_at_once(planes: list[ControlPlane]) -> None:
    """Another node has it a moment later, unless a session waits for it (F-24)."""
    for number in range(60):
        one, other = planes[number % 3], planes[(number + 1) % 3]
        status, life = joined(one, "moving")
        assert (status, life["incarnation"]) == (200, number + 1)
        assert other.services("?host=moving")["moving", "worker"]["incarnation"] == number + 1
        report = {"uuid": life["uuid"], "incarnation": life["incarnation"]}
        _, _, answer = other.request("POST", "/v1/reports", {"reports": [report]})
        assert not any(answer.values()), answer
        _, _, page = one.request("GET", "/v1/events?limit=1")
        status, _, told = other.request("GET", f"/v1/events?after={page['next']}")
        assert status == 200, told


def test_a_node_that_dies_or_is_cut_off_takes_nobody_with_it(
    cluster: GaleraCluster, planes: list[ControlPlane]
) -> None:
    every = ",".join(plane.url for plane in planes)
    away, *others = planes
    with crowd(every, COUNT):
        until(lambda: len(reports(others[0])) == COUNT, PATIENCE, what="everybody")
        for end, heal in (
            (GaleraNode.kill, GaleraNode.start),
            (GaleraNode.cut_off, GaleraNode.heal),
        ):
            end(cluster.servers[0])
            until(lambda: not away.is_ready(), PATIENCE, what="/readyz says so")
            everybody_reports(others[0])
            heal(cluster.servers[0])
            back = time.monotonic()
            until(away.is_ready, PATIENCE, 0.05, "it commits again")
            assert time.monotonic() - back < AT_MOST + SLACK
        everybody_reports(away)
        told = [log_of(plane) for plane in planes]
    assert told[0] == told[1] == told[2]
    assert [event["id"] for event in told[0]] == list(range(1, len(told[0]) + 1))
    kinds = Counter(event["kind"] for event in told[0] if event["binary"] == BINARY)
    assert set(kinds) <= {"service-join", "service-up"}, kinds


def test_a_blocked_node_tells_no_past(cluster: GaleraCluster, planes: list[ControlPlane]) -> None:
    """A backup holds it for minutes; who asks it is told of the present, or of nothing (F-24)."""
    blocked, other, _ = planes
    assert joined(other, "old")[0] == 200
    with cluster.servers[0].blocked():
        assert joined(other, "new")[0] == 200
        began = time.monotonic()
        status, _, body = blocked.request("GET", "/v1/services")
        assert status == 503, body
        assert time.monotonic() - began < 10.0 + SLACK
        until(lambda: not blocked.is_ready(), PATIENCE, what="/readyz says so")
    until(blocked.is_ready, PATIENCE, what="it goes on")
    assert {host for host, _ in blocked.services("?binary=worker")} == {"old", "new"}


def test_a_lost_quorum_is_said_in_a_few_lines(
    cluster: GaleraCluster, planes: list[ControlPlane]
) -> None:
    """ROLLBACK is refused as well, and once was a traceback each time (F-28)."""
    every = ",".join(plane.url for plane in planes)
    last = planes[2]
    with crowd(every, COUNT):
        until(lambda: len(reports(last)) == COUNT, PATIENCE, what="everybody")
        before = [plane.log().count("\n") for plane in planes]
        cluster.servers[0].kill()
        cluster.servers[1].kill()
        until(lambda: not last.is_ready(), PATIENCE, what="/readyz says so")
        with ThreadPoolExecutor(8) as threads:  # whoever asks meanwhile
            asked = [threads.submit(last.request, "GET", "/v1/services") for _ in range(40)]
            assert {one.result()[0] for one in asked} <= {503, 200}
        cluster.servers[2].bootstrap()
        back = time.monotonic()
        until(last.is_ready, PATIENCE, 0.05, "it commits again")
        assert time.monotonic() - back < AT_MOST + SLACK
        everybody_reports(last)
        cluster.start()
        for plane in planes:
            until(plane.is_ready, PATIENCE, what="every control plane")
        for plane, lines in zip(planes, before, strict=True):
            said = plane.log().splitlines()[lines:]
            assert len(said) <= MOST_LINES, "\n".join(said)
            assert "Traceback" not in plane.log()
        told = log_of(last)
    assert [event["id"] for event in told] == list(range(1, len(told) + 1))
    kinds = Counter(event["kind"] for event in told if event["binary"] == BINARY)
    assert set(kinds) <= {"service-join", "service-up"}, kinds


def reports(plane: ControlPlane) -> dict[str, str]:
    """Return the last report of each member of the crowd."""
    found = plane.services(f"?binary={BINARY}")
    return {host: one["last_seen_up"] for (host, _), one in found.items() if one["last_seen_up"]}


def everybody_reports(plane: ControlPlane) -> None:
    """Return when every member of the crowd has reported anew."""
    before = reports(plane)
    until(
        lambda: all(stamp > before[host] for host, stamp in reports(plane).items()),
        PATIENCE,
        what="a report of everybody",
    )
