"""Rows that a newer release wrote are shown as they are, and stop nothing (F-53).

A rolling upgrade, and a step back, leave them in the database: of every enumeration that is read
from it, one value that this release has no word for.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, Engine, select, update

from api.following import Follower
from servers.process import PATIENCE
from servicegroup.controlplane.observer import Observer
from servicegroup.driver import load
from servicegroup.events import Event, EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Limits, Reason
from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect, write
from servicegroup.store.events import append
from servicegroup.store.store import Store
from servicegroup.store.tables import events, outbox, protections, services
from support.control_plane import ControlPlane
from support.waiting import until

pytestmark = pytest.mark.long

KIND, REASON, BEFORE, AFTER = "service-quarantine", "quarantined", "slow", "lost"
DEPARTURE, SIGNAL, DRIVER = "migrated", "pings", "quorum"


def plant(engine: Engine) -> None:
    """Write what a newer release may have written; the services are h1, which left, and h2."""

    def work(connection: Connection) -> None:
        now = connection.scalar(select(utcnow()))
        left = services.update().where(services.c.host == "h1")
        connection.execute(left.values(departure=DEPARTURE, left_at=now))
        strange = services.update().where(services.c.host == "h2")
        connection.execute(strange.values(observed_state=BEFORE, observed_since=now))
        place = {"topic": "compute", "zone": "nova", "signal": SIGNAL, "since": now}
        connection.execute(protections.insert().values(**place, members=3, peak=4))
        member = {"topic": "compute", "host": "h9", "incarnation": 1, "created_at": now}
        connection.execute(outbox.insert().values(driver=DRIVER, **member))
        uuid = connection.scalar(select(services.c.uuid).where(services.c.host == "h2"))
        (event,) = append(connection, [Event(at=now, kind=EventKind.DOWN, uuid=uuid, host="h2")])
        newer = {
            "kind": KIND, "reason": REASON, "before": BEFORE, "after": AFTER,
            "evidence": '{"limits": {"on_unknown": "ask"}, "report_age": "long"}',
        }  # fmt: skip
        connection.execute(update(events).where(events.c.id == event.id).values(newer))

    write(engine, work)


def fill(group: ServiceGroup) -> dict[str, str]:
    """Register h1 and h2, which report; return their uuids."""
    lives = {host: group.join(host, "nova-compute") for host in ("h1", "h2")}
    group.report([Report(life.uuid, life.incarnation) for life in lives.values()])
    return {host: life.uuid for host, life in lives.items()}


def test_the_layer_shows_them_and_the_observer_goes_on(group: ServiceGroup) -> None:
    uuids = fill(group)
    observer = Observer(group)
    assert observer.keep_lease()
    observer.look()
    last = group.event_log().last
    plant(group._store.engine)

    (event,) = group.events(EventFilter(after=last), 9).events
    assert (event.kind, event.reason, event.before, event.after) == (KIND, REASON, BEFORE, AFTER)
    assert event.evidence is None
    assert [p.signal for p in group.protections()] == [SIGNAL]
    states = {s.host: s.judged.reason for s in group.services()}
    assert states == {"h1": Reason.LEFT, "h2": Reason.REPORTING}, "whoever left is not up"
    assert group.get(uuids["h1"]).departure == DEPARTURE
    history = group.history(uuids["h2"])
    assert history.events[-1].kind == KIND
    assert history.down_seconds == 0
    group.free_deleted()

    happened = {(e.kind, e.host, e.before, e.after) for e in observer.look()}
    assert happened == {
        (EventKind.DOWN, "h1", "up", "down"),
        (EventKind.UP, "h2", BEFORE, "up"),
        (EventKind.PROTECTION_OFF, None, None, None),  # nobody here could ever end it
    }
    assert group.protections() == []
    assert observer.look() == []


class Planted(msgspec.Struct):
    plane: ControlPlane
    group: ServiceGroup
    uuids: dict[str, str]

    def get(self, path: str) -> Any:
        status, _, body = self.plane.request("GET", path)
        assert status == 200, body
        return body

    def told(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"/v1/events?{query}")["events"]
        return found

    def quiet(self) -> int:
        """Wait until all that happens has happened; return the newest event's id."""
        until(lambda: len(self.told("kind=service-up")) == 3, PATIENCE)
        return self.group.event_log().last


@pytest.fixture
def planted(database_url: str, tmp_path: Path) -> Iterator[Planted]:
    """Give a control plane with two services, on each of the databases."""
    plane = ControlPlane(database_url, tmp_path, service_down_time=3600)
    plane.start()
    engine = connect(database_url)
    group = ServiceGroup(Store(engine), load("db"), Limits())
    try:
        yield Planted(plane, group, fill(group))
    finally:
        engine.dispose()
        plane.stop()


def test_every_way_tells_of_them(planted: Planted) -> None:
    plane = planted.plane
    last = planted.quiet()
    with Follower(plane, f"?after={last}") as follower:
        plant(planted.group._store.engine)
        assert follower.event()["kind"] == KIND, "the stream"
    waited = planted.told(f"after={last}&wait=5&limit=1")
    assert [event["kind"] for event in waited] == [KIND], "the long poll"
    newer = {"kind": KIND, "reason": REASON, "before": BEFORE, "after": AFTER, "evidence": None}
    assert newer.items() <= planted.told(f"after={last}")[0].items()

    until(lambda: planted.told(f"after={last}&kind=protection-off"), PATIENCE, what="it observes")
    assert planted.get("/v1/protection") == {"protections": []}
    history = planted.get(f"/v1/services/{planted.uuids['h2']}/history")
    assert KIND in {event["kind"] for event in history["events"]}
    shown = planted.get(f"/v1/services/{planted.uuids['h1']}")["service"]
    assert (shown["departure"], shown["verdict"]["state"]) == (DEPARTURE, "down")
    assert planted.get("/v1/services")["services"]
    assert b"servicegroup_store_up 1.0" in planted.get("/metrics")
    assert planted.get("/v2.1/os-services")["services"]
    status, _, _ = plane.request("GET", f"/v1/events?kind={KIND}")
    assert status == 400, "what is asked for has to be known"

    for door in ((), ("--url", plane.url)):
        for words, said in (
            (("events", "--after", str(last)), KIND),
            (("service", "history", planted.uuids["h2"]), KIND),
            (("service", "history", planted.uuids["h2"], "-f", "json"), "availability"),
            (("service", "show", planted.uuids["h1"]), "left"),
            (("service", "list", "--why"), "h2"),
        ):
            command = plane.command(*door, *words)
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, (door, words, done.stderr)
            assert said in done.stdout, (door, words)
