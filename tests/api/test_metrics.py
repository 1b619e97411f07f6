"""Metrics say what the register and this process say, and what the rules and panels ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import msgspec
import pytest

from servers.memcached import Memcached
from servers.plugin import require
from servers.postgresql import PostgreSQL
from servers.process import PATIENCE, free_port
from servers.promtool import Promtool
from servicegroup.controlplane.clients import Clients
from servicegroup.controlplane.detection_times import Detections
from servicegroup.controlplane.feed import Feed
from servicegroup.controlplane.intake import NOBODY, Intake
from servicegroup.controlplane.metrics import collector as metrics_module
from servicegroup.controlplane.metrics.collector import Metrics
from servicegroup.controlplane.observer import Observer
from servicegroup.controlplane.observer_loop import ObserverLoop
from servicegroup.controlplane.sessions import Sessions
from servicegroup.driver import load
from servicegroup.events import Event, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.measuring import Distribution
from servicegroup.messages import Registration, Report
from servicegroup.model import Evidence, Limits, Reason
from servicegroup.store.database import connect, write
from servicegroup.store.migrate import upgrade
from servicegroup.store.store import Store
from servicegroup.store.tables import services
from support.aging import backdate
from support.control_plane import ControlPlane
from support.monitoring import DASHBOARD, RULES, Asked
from support.scrape import Scrape
from support.session import Talker
from support.waiting import until
from support.workers import Workers

COUNT = 6
LIMITS = {
    "report_interval": 2,
    "service_down_time": 30,
    "heartbeat_interval": 1,
    "membership_ttl": 5,
}


@pytest.fixture(scope="module")
def backend() -> Iterator[Memcached]:
    """Give a memcached that may be frozen."""
    require(Memcached)
    with Memcached() as server:
        yield server


@pytest.fixture(scope="module")
def workers(backend: Memcached, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Give workers that are present, in a control plane that believes it."""
    directory = tmp_path_factory.mktemp("metrics")
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory)
    section = f"[memcached]\nservers = {backend.address}\n"
    plane.configure(section, servicegroup_driver="memcached", **LIMITS)
    plane.start()
    driver = load("memcached", {"servers": backend.address})
    try:
        found = Workers(plane, driver, COUNT, LIMITS["membership_ttl"])
        found.until(COUNT, "services", group=found.group, state="up", reason="present")
        yield found
    finally:
        driver.close()
        plane.stop()


def test_the_intake_is_measured(workers: Workers) -> None:
    before = workers.beat()
    lines = _log_without_events(workers)
    workers.report(Registration("nobody", 1))
    after = workers.beat()
    assert _log_without_events(workers) == lines, "a line for each request is no log"
    assert after.total("intake_refused_reports_total", cause="unknown") == 1
    assert after.total("intake_refused_reports_total") == 1
    assert after.total("intake_reports_total") >= before.total("intake_reports_total") + COUNT + 1
    batches = after.total("intake_batch_reports_count")
    assert batches == after.total("intake_batch_reports_bucket", le="+Inf")
    assert batches == after.total("intake_commit_seconds_count") > 0
    assert after.total("intake_batch_reports_sum") == after.total("intake_reports_total")
    assert after.total("intake_failed_commits_total") == 0
    assert after.total("intake_last_commit_age_seconds") < PATIENCE
    assert after.total("report_age_seconds_bucket", group=workers.group, le="+Inf") == COUNT


def _log_without_events(workers: Workers) -> list[str]:
    """Return the control plane's log; what it observed is logged when it looks."""
    return [line for line in workers.plane.log().splitlines() if "event=" not in line]


def test_a_failure_is_an_event_with_its_time_to_detect(workers: Workers) -> None:
    name = "detection_seconds_count"
    before = workers.beat()
    workers.vanish(1)
    scrape = workers.until(before.total(name) + 1, name, reason="absent")
    assert scrape.total("services", group=workers.group, state="down", reason="absent") == 1
    name = "observer_events_total"
    assert scrape.total(name, kind="service-down") == before.total(name, kind="service-down") + 1
    assert scrape.total("late_detections_total") == 0
    line = (
        'kind=service-down host="w0" binary="worker" group="worker" zone="internal" reason="absent"'
    )
    assert f"{line}\n" in workers.plane.log()
    # memcached's whole seconds, the look, and a report interval
    assert scrape.total("detection_limit_seconds", reason="absent") == 7 + 1 + 2
    assert scrape.total("observes") == 1
    assert scrape.total("observer_lag_seconds") < PATIENCE
    assert scrape.total("observer_look_seconds_count") > 1
    assert scrape.total("observer_failures_total") == 0
    assert scrape.total("event_log_newest_id") > COUNT > scrape.total("event_log_purged_id") == 0
    workers.come_back()
    workers.until(COUNT, "services", group=workers.group, reason="present")


def test_a_suspect_signal_is_a_number_of_members_until_it_is_believed(workers: Workers) -> None:
    """AND-2."""
    place = {"group": workers.group, "zone": "internal", "signal": "presence"}
    workers.vanish(COUNT - 1)
    scrape = workers.until(COUNT - 1, "protection_members", **place)
    assert scrape.total("services", group=workers.group, reason="held") == COUNT - 1
    assert scrape.total("observer_events_total", kind="protection-on") == 1
    exposed = {**scrape.labels(), "up": set[str]()}
    for asked in (*RULES.asked(), *DASHBOARD.asked()):
        assert_exposed(asked, exposed)
    workers.come_back()
    scrape = workers.until(0, "protection_members")
    assert scrape.values("protection_members") == []
    workers.until(1, "observer_events_total", kind="protection-off")


def assert_exposed(asked: Asked, exposed: dict[str, set[str]]) -> None:
    """Every metric that is asked for exists, and has the labels it is asked for by."""
    assert asked.metrics, f"{asked.where}: asks for nothing of ours"
    for name, labels in asked.metrics.items():
        assert name in exposed, f"{asked.where}: there is no {name}"
        unknown = labels - exposed[name] - {"instance", "job"}
        assert not unknown, f"{asked.where}: {name} has no {unknown}"
    everything = set().union(*(exposed[name] for name in asked.metrics), {"instance", "job"})
    assert asked.labels <= everything, f"{asked.where}: none has {asked.labels - everything}"


def test_names_and_units_are_as_prometheus_wants_them(workers: Workers) -> None:
    require(Promtool)
    _, _, text = workers.plane.request("GET", "/metrics")
    Promtool().accepts("check", "metrics", stdin=text)


def test_whoever_follows_is_counted(workers: Workers) -> None:
    url = f"{workers.plane.url}/v1/events/stream"
    stream = workers.plane.http.request("GET", url, preload_content=False)
    workers.until(1, "followers")
    stream.close()
    workers.until(0, "followers")


def test_a_backend_that_does_not_answer_is_measured(workers: Workers, backend: Memcached) -> None:
    before = Scrape.of(workers.plane)
    assert before.total("backend_question_seconds_count", driver="memcached") > 0
    backend.freeze()
    try:
        after = until(
            lambda: (
                found
                if (found := Scrape.of(workers.plane)).total("backend_unanswered_questions_total")
                > before.total("backend_unanswered_questions_total")
                else None
            ),
            PATIENCE,
        )
    finally:
        backend.thaw()
    name = "backend_unknown_answers_total"
    assert after.total(name, driver="memcached") >= before.total(name) + COUNT


def test_sessions_are_counted_with_how_they_end(workers: Workers) -> None:
    plane = workers.plane
    before = Scrape.of(plane)
    assert before.values("sessions") == [0]
    with Talker(plane.url) as talker:
        for host in ("first", "second"):
            talker.say({"register": {"host": host, "binary": "session", "group": "of-sessions"}})
        held = Scrape.of(plane)
        assert held.values("sessions") == [2]
        assert held.values("sessions_opened_total") == [2]
        talker.line.ping()
        talker.break_off()
    after = workers.until(2, "sessions_ended_total", cause="broken")
    assert after.total("sessions_ended_total") == 2
    assert after.values("sessions") == [0]
    workers.until(0, "sessions_unwritten_ends")
    assert after.values("sessions_failed_commits_total") == [0]


# -- what needs no server -----------------------------------------------------------------------


def metrics_of(group: ServiceGroup) -> Metrics:
    """Return the metrics of a control plane on this layer that has done nothing yet."""
    intake = Intake(lambda reports, marking, deadline: NOBODY, 10)
    observer_loop = ObserverLoop(group, Observer(group), lambda: None, timedelta(days=1))
    sessions = Sessions(group.recorder().sessions("node1"), 10, 1, lambda members: None)
    return Metrics(group, intake, observer_loop, Feed(group), Clients(), sessions)


async def rendered(metrics: Metrics) -> Scrape:
    return Scrape((await metrics.render()).decode())


def test_services_near_silence_and_flapping_ones_are_counted(group: ServiceGroup) -> None:
    lives = {host: group.join(host, "worker") for host in ("fresh", "late", "dead", "flapping")}
    group.report([Report(life.uuid, life.incarnation) for life in lives.values()])
    down_time = group.limits.service_down_time
    backdate(group._store.engine, 0.8 * down_time, host="late")
    backdate(group._store.engine, 2 * down_time, host="dead")
    often = services.update().where(services.c.host == "flapping")
    write(
        group._store.engine,
        lambda c: c.execute(often.values(flapping_until=datetime(9999, 1, 1))),
    )
    found = asyncio.run(rendered(metrics_of(group)))
    assert found.values("near_silent_services", group="worker") == [1]
    assert found.values("flapping_services", group="worker") == [1]
    assert found.values("services", reason="silent", state="down", status="enabled") == [1]
    at_most = [found.total("report_age_seconds_bucket", le=le) for le in ("30.0", "60.0", "+Inf")]
    assert at_most == [2, 3, 3], "the silent one is no longer up"
    assert not found.values("report_age_seconds_count"), "what goes down has no count"
    assert found.values("observer_lag_seconds") == [float("inf")]
    assert not found.values("backend_question_seconds_count"), "db is never asked"


def test_a_database_that_is_away_leaves_what_the_process_knows() -> None:
    engine = connect(f"postgresql+psycopg://127.0.0.1:{free_port()}/register")
    group = ServiceGroup(Store(engine), load("db"), Limits())
    found = asyncio.run(rendered(metrics_of(group)))
    assert found.values("store_up") == [0]
    assert not found.values("services")
    assert found.values("intake_waiting") == [0]
    assert found.values("detection_limit_seconds", reason="silent") == [61]
    engine.dispose()


def test_a_database_that_hangs_costs_a_scrape_its_patience_and_one_question(
    own_postgresql: Callable[[], PostgreSQL], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQL-10."""
    monkeypatch.setattr(metrics_module, "PATIENCE", 0.5)
    server = own_postgresql()
    engine = connect(server.database())
    upgrade(engine)
    group = ServiceGroup(Store(engine), load("db"), Limits())

    async def scenario() -> None:
        metrics = metrics_of(group)
        while not (await rendered(metrics)).total("store_up"):
            continue  # half a second is short for a busy machine
        server.freeze()
        try:
            hung = await asyncio.gather(*(rendered(metrics) for _ in range(20)))
            taken = engine.pool.status()
        finally:
            server.thaw()
        assert {found.total("store_up") for found in hung} == {0}
        assert "Current Checked out connections: 1" in taken
        while not (await rendered(metrics)).total("store_up"):
            continue

    asyncio.run(scenario())
    engine.dispose()


# -- the parts ----------------------------------------------------------------------------------


def down(reason: Reason, report_age: float, unheard: float = 0.0, before: str = "up") -> Event:
    return Event(
        at=datetime(2026, 1, 1),
        kind=EventKind.DOWN,
        before=before,
        after="down",
        reason=reason,
        evidence=Evidence(Limits(), report_age, unheard),
    )


def test_time_to_detect_is_from_the_last_report_to_the_end_of_the_look(
    group: ServiceGroup,
) -> None:
    detections = Detections(group)
    seen = detections.seconds[Reason.SILENT]
    detections.saw([down(Reason.SILENT, 60.5)], taken=0.25)
    assert (seen.count, seen.sum) == (1, 60.75)
    detections.saw([down(Reason.SILENT, 3600, unheard=3539)], taken=0)
    assert (seen.count, seen.sum, detections.late[Reason.SILENT]) == (2, 121.75, 0)
    detections.saw([down(Reason.SILENT, 61.5)], taken=1)
    assert detections.late == {Reason.SILENT: 1, Reason.ABSENT: 0, Reason.EXITED: 0}
    detections.saw([down(Reason.EXITED, 13)], taken=0)
    assert detections.late[Reason.EXITED] == 1


def test_what_is_no_failure_is_not_a_detection(group: ServiceGroup) -> None:
    detections = Detections(group)
    new = down(Reason.SILENT, 9999)
    detections.saw(
        [
            down(Reason.LEFT, 9),
            down(Reason.FORCED_DOWN, 9),
            down(Reason.UNKNOWN, 9),
            down(Reason.SILENT, 9999, before=""),  # it was down before anybody observed
            msgspec.structs.replace(new, kind=EventKind.UP),
            msgspec.structs.replace(new, evidence=None),
        ],
        taken=0,
    )
    assert not any(seen.count for seen in detections.seconds.values())


def test_a_value_counts_at_every_edge_that_it_does_not_exceed() -> None:
    distribution = Distribution((1, 2))
    for value in (0, 1, 1.5, 2, 3):
        distribution.add(value)
    assert distribution.cumulated() == [(1, 2), (2, 4), (float("inf"), 5)]
    assert (distribution.count, distribution.sum) == (5, 7.5)
