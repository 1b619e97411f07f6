"""Control planes on the nodes of one Galera cluster: nothing is lost, told twice, or accused."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from nemesis.clock import COMPILER, Clock
from servers.galera import GaleraCluster, GaleraNode
from servers.galera_proxy import CHECKER, GaleraProxy
from servers.haproxy import HAProxy
from servers.plugin import require
from servers.process import PATIENCE
from servicegroup.agent.client import DEFAULT_TIMEOUT
from servicegroup.store import migrate
from servicegroup.store.database import connect
from support.control_plane import ControlPlane
from support.crowd import BINARY, crowd
from support.waiting import until
from upgrades import release

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
        started = time.monotonic()
        many = [threads.submit(joined, planes[n % 3], f"h{n}") for n in range(JOINS)]
        statuses = Counter(one.result()[0] for one in many)
        # Who would have waited longer than an agent does is refused, if the machine is that busy.
        in_time = time.monotonic() - started < DEFAULT_TIMEOUT
        assert statuses[200] == JOINS or (not in_time and statuses[200] >= 0.9 * JOINS), statuses
        same = [threads.submit(joined, planes[n % 3], "same") for n in range(SAME)]
        answers = [one.result() for one in same]
    assert {status for status, _ in answers} == {200}
    lives = [body["incarnation"] for _, body in answers]
    assert sorted(lives) == list(range(1, SAME + 1))
    assert len({body["uuid"] for _, body in answers}) == 1
    told = log_of(planes[1])
    assert [event["id"] for event in told] == list(range(1, len(told) + 1))
    begun = Counter(e["kind"] for e in told if e["binary"] == "worker")
    assert (begun["service-join"], begun["service-restart"]) == (statuses[200] + 1, SAME - 1)


def test_what_was_committed_is_seen_everywhere_at_once(planes: list[ControlPlane]) -> None:
    """Another node has it a moment later, unless a session waits for it (F-24)."""
    for number in range(60):
        one, other = planes[number % 3], planes[(number + 1) % 3]
        status, life = joined(one, "moving")
        assert (status, life["incarnation"]) == (200, number + 1)
        assert other.services("?host=moving")["moving", "worker"]["incarnation"] == number + 1
        report = {"uuid": life["uuid"], "incarnation": life["incarnation"]}
        _, _, answer = other.request("POST", "/v1/reports", {"reports": [report]})
        assert not any(answer[kind] for kind in ("deleted", "superseded", "left", "unknown"))
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
        known = len(log_of(others[0]))  # who was answered too late at the start began twice
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
    kinds = Counter(event["kind"] for event in told[0][known:] if event["binary"] == BINARY)
    assert set(kinds) <= {"service-join", "service-up"}, kinds


def test_a_blocked_node_tells_no_past(cluster: GaleraCluster, planes: list[ControlPlane]) -> None:
    """A backup holds it for minutes; who asks it is told of the present, or of nothing (F-24)."""
    blocked, other, _ = planes
    assert joined(other, "old")[0] == 200
    with cluster.servers[0].blocked():
        assert joined(other, "new")[0] == 200
        began = time.monotonic()
        answer = blocked.http.request("GET", f"{blocked.url}/v1/services", timeout=PATIENCE)
        assert answer.status == 503, answer.data
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
        until(lambda: begun(planes) == COUNT, PATIENCE, what="the log has who began")
        known = len(log_of(last))  # who was answered too late at the start began twice
        before = [plane.log().count("\n") for plane in planes]
        cluster.servers[0].kill()
        cluster.servers[1].kill()
        until(lambda: not last.is_ready(), PATIENCE, what="/readyz says so")
        with ThreadPoolExecutor(8) as threads:  # whoever asks meanwhile
            asked = [threads.submit(last.request, "GET", "/v1/services") for _ in range(16)]
            assert {one.result()[0] for one in asked} <= {503, 200}
        cluster.servers[2].bootstrap()
        back = time.monotonic()
        until(last.is_ready, PATIENCE, 0.05, "it commits again")
        assert time.monotonic() - back < AT_MOST + SLACK
        everybody_reports(last)
        is_said_in_a_few_lines(last, before[2])
        for node, plane, lines in zip(cluster.servers[:2], planes[:2], before[:2], strict=True):
            node.start()  # alone: a node of which the next one copies all is away once more
            until(plane.is_ready, PATIENCE, what="every control plane")
            everybody_reports(plane)
            is_said_in_a_few_lines(plane, lines)
        cluster.wait_until_whole()
        assert not any("Traceback" in plane.log() for plane in planes)
        told = log_of(last)
    assert [event["id"] for event in told] == list(range(1, len(told) + 1))
    kinds = Counter(event["kind"] for event in told[known:] if event["binary"] == BINARY)
    assert set(kinds) <= {"service-join", "service-up"}, kinds


def is_said_in_a_few_lines(plane: ControlPlane, known: int) -> None:
    """Fail if a control plane said much after so many lines of its log."""
    said = plane.log().splitlines()[known:]
    assert len(said) <= MOST_LINES, "\n".join(said)


def begun(planes: list[ControlPlane]) -> int:
    """Return of how many of the crowd some control plane's log says that they came up."""
    line = re.compile(rf'kind=service-up host="\w+" binary="{BINARY}"')
    return sum(len(line.findall(plane.log())) for plane in planes)


def reports(plane: ControlPlane) -> dict[str, str]:
    """Return the last report of each member of the crowd."""
    found = plane.services(f"?binary={BINARY}")
    return {host: one["last_seen_up"] for (host, _), one in found.items() if one["last_seen_up"]}


def everybody_reports(plane: ControlPlane, *dead: str) -> None:
    """Return when every member of the crowd that is not dead has reported anew."""
    before = {**reports(plane), **dict.fromkeys(dead, "")}
    until(
        lambda: all(stamp > before[host] for host, stamp in reports(plane).items()),
        PATIENCE,
        what="a report of everybody",
    )


def test_upgrades_at_once_on_different_nodes(cluster: GaleraCluster, tmp_path: Path) -> None:
    """GET_LOCK and row locks are each node's own; a committed row is not (F-30)."""
    for make in (connect, release.create):
        urls = cluster.database()
        make(urls[0]).dispose()
        planes = [ControlPlane(url, tmp_path) for url in urls]
        commands = [plane.command("db", "upgrade") for plane in planes]
        with ThreadPoolExecutor(len(commands)) as threads:
            ended = list(threads.map(_ran, commands))
        for one in ended:
            assert one.returncode == 0, one.stderr
            assert one.stderr == "" or one.stderr.startswith("Another process upgrades")
            assert f"is at version {migrate.head()}" in one.stdout


def _ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_an_upgrade_under_load(cluster: GaleraCluster, tmp_path: Path) -> None:
    """A change of the schema ends transactions of other nodes with 1213 at any statement."""
    altered = "ALTER TABLE services MODIFY departure VARCHAR({}), ALGORITHM=COPY"
    own = Planes(cluster, tmp_path)
    with own.running() as planes, crowd(",".join(p.url for p in planes), COUNT):
        until(lambda: len(reports(planes[0])) == COUNT, PATIENCE, what="everybody")
        database = make_url(planes[0].connection).database
        for number in range(6):
            node = cluster.servers[number % 3]
            statement = altered.format(20 + number).replace("TABLE ", f"TABLE {database}.")
            node.ask(statement, timeout=PATIENCE)
        everybody_reports(planes[1])
        told = log_of(planes[2])
        for plane in planes:
            assert "Traceback" not in plane.log()
    kinds = Counter(event["kind"] for event in told if event["binary"] == BINARY)
    assert set(kinds) <= {"service-join", "service-up"}, kinds


@pytest.mark.parametrize("seconds", [2, 10])
def test_clocks_that_differ(tmp_path: Path, seconds: int) -> None:
    """Each node's mark looked like an outage to the others: nobody went down any more (F-25)."""
    require(GaleraNode)
    if COMPILER is None:
        pytest.skip("SKIPPED: a clock of its own takes a compiler; apt-get install gcc")
    cluster = GaleraCluster()
    clock = Clock(cluster.servers[1].directory / "clock")
    clock.step(seconds)
    cluster.servers[1].before = clock.words
    with cluster, Planes(cluster, tmp_path, service_down_time=6).running() as planes:
        every = ",".join(plane.url for plane in planes)
        with crowd(every, COUNT), crowd(every, 1, "dying") as dying:
            until(lambda: len(reports(planes[0])) == COUNT + 1, PATIENCE, what="everybody")
            dying.kill()
            for plane in planes:
                until(lambda p=plane: down(p) == {"dying0"}, 40, what="the dead is found")  # type: ignore[misc]
            everybody_reports(planes[0], "dying0")
            assert [down(plane) for plane in planes] == [{"dying0"}] * 3
            told = log_of(planes[0])
        said = [plane for plane in planes if "clocks of the database's servers" in plane.log()]
        assert bool(said) == (seconds > 2)
    kinds = Counter((e["kind"], e["host"]) for e in told if e["binary"] == BINARY)
    assert {host for kind, host in kinds if kind == "service-down"} == {"dying0"}
    assert kinds["service-down", "dying0"] == 1


def down(plane: ControlPlane) -> set[str]:
    """Return who of the crowd is down, as this control plane says."""
    found = plane.services(f"?binary={BINARY}")
    return {host for (host, _), one in found.items() if one["verdict"]["state"] != "up"}


def test_all_behind_one_address(cluster: GaleraCluster, tmp_path: Path) -> None:
    """The documented lines of HAProxy lead to the next node when one dies (F-3)."""
    require(HAProxy)
    for node in cluster.servers[:1]:
        node.ask(f"CREATE USER {CHECKER}@'127.0.0.1'")
    name = str(make_url(cluster.database()[0]).database)
    with GaleraProxy(cluster.servers) as proxy:
        url = cluster.url_at(proxy.address, name)
        planes = [ControlPlane(url, tmp_path, report_interval=1, service_down_time=10)]
        planes[0].start()
        try:
            with crowd(planes[0].url, COUNT):
                until(lambda: len(reports(planes[0])) == COUNT, PATIENCE, what="everybody")
                cluster.servers[0].kill()
                until(lambda: not planes[0].is_ready(), PATIENCE, 0.01, "/readyz says so")
                until(planes[0].is_ready, PATIENCE, what="it goes on")
                everybody_reports(planes[0])
                told = log_of(planes[0])
            examined = _ran(planes[0].command("doctor"))
        finally:
            planes[0].stop()
    kinds = Counter(event["kind"] for event in told if event["binary"] == BINARY)
    assert set(kinds) <= {"service-join", "service-up"}, kinds
    assert re.search(
        r"OK +cluster +Node node\d+ is Synced, one of 2, Primary; \d+", examined.stdout
    )
    assert re.search(r"WARN +cluster wait +.*30 s.*causal_read_timeout=PT3S", examined.stdout)
