"""Events over HTTP, asked for, waited for and followed, from a real control plane."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from servicegroup.events import Event, EventKind
from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect, write
from servicegroup.store.events import append
from servicegroup.store.retention import purge
from servicegroup.store.tables import events
from support.control_plane import ControlPlane
from support.waiting import until

from .following import Follower


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane in which nothing happens but what a test does."""
    directory = tmp_path_factory.mktemp("plane")
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory, service_down_time=3600)
    plane.start()
    yield plane
    plane.stop()


def get(plane: ControlPlane, path: str) -> Any:
    status, _, body = plane.request("GET", path)
    assert status == 200, body
    return body


def told(plane: ControlPlane, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(plane, f"/v1/events?{query}")["events"]
    return found


@pytest.fixture(scope="module")
def settled(plane: ControlPlane) -> list[str]:
    """Give services of group web, enough for every test, that have joined and are up."""
    lives = [
        plane.request("POST", "/v1/services", {"host": f"host{number}", "binary": "web"})[2]
        for number in range(20)
    ]
    until(lambda: len(told(plane, "group=web&kind=service-up")) == len(lives), what="all are up")
    return [life["uuid"] for life in lives]


@pytest.fixture
def uuid(settled: list[str]) -> str:
    """Give a service that is no other test's; that it joined and is up has been told."""
    return settled.pop()


def edit(plane: ControlPlane, uuid: str, **changes: Any) -> None:
    status, _, body = plane.request("PATCH", f"/v1/services/{uuid}", changes)
    assert status == 200, body


def test_what_happened_to_a_service_is_told_in_order(plane: ControlPlane, uuid: str) -> None:
    edit(plane, uuid, disabled=True, disabled_reason="new disks")
    edit(plane, uuid, disabled=False)
    page = get(plane, f"/v1/events?uuid={uuid}")
    found = page["events"]
    assert [event["kind"] for event in found] == [
        "service-join", "service-up", "service-disable", "service-enable",
    ]  # fmt: skip
    ids = [event["id"] for event in found]
    assert ids == sorted(set(ids))
    assert page["next"] == page["last"] >= ids[-1]
    _, up, disabled, _ = found
    assert (up["before"], up["after"], up["reason"]) == (None, "up", "reporting")
    assert up["evidence"]["limits"]["service_down_time"] == 3600
    assert (disabled["actor"], disabled["detail"]) == ("anonymous", "new disks")
    assert {event["group"] for event in found} == {"web"}


def test_pages_are_the_whole_and_the_newest_come_without_asking(
    plane: ControlPlane, uuid: str
) -> None:
    for number in range(5):
        edit(plane, uuid, disabled=number % 2 == 0)
    whole = told(plane, f"uuid={uuid}&after=0")
    assert len(whole) == 7
    assert told(plane, f"uuid={uuid}&limit=3") == whole[-3:], "the newest, oldest first"
    paged, place, last = [], 0, 1
    while place < last:
        page = get(plane, f"/v1/events?uuid={uuid}&limit=2&after={place}")
        paged += page["events"]
        place, last = page["next"], page["last"]
    assert paged == whole


def test_filters(plane: ControlPlane, uuid: str) -> None:
    edit(plane, uuid, forced_down=True)
    until(lambda: told(plane, f"uuid={uuid}&kind=service-down"), what="no event is on its way")
    *_, up, forced = told(plane, f"uuid={uuid}&after=0&limit=3")
    assert told(plane, f"uuid={uuid}&kind=service-force-down") == [forced]
    assert told(plane, f"uuid={uuid}&group=elsewhere") == []
    assert forced in told(plane, "group=web&kind=service-force-down")
    assert told(plane, f"uuid={uuid}&until={forced['at']}")[-1] == up, "until is exclusive"
    since = told(plane, f"uuid={uuid}&since={forced['at']}")
    assert since[0] == forced, "since is inclusive"
    zoned = datetime.fromisoformat(forced["at"]).replace(tzinfo=UTC)
    elsewhere = zoned.astimezone().isoformat().replace("+", "%2B")
    assert told(plane, f"uuid={uuid}&since={elsewhere}") == since
    until(lambda: told(plane, f"uuid={uuid}&kind=service-down"))  # no other test's surprise


def test_waiting_ends_with_the_event_and_without_one_in_time(
    plane: ControlPlane, uuid: str
) -> None:
    last = get(plane, "/v1/events")["last"]
    answers: list[tuple[float, Any]] = []

    def wait(query: str) -> None:
        began = time.monotonic()
        page = get(plane, f"/v1/events?uuid={uuid}&after={last}&{query}")
        answers.append((time.monotonic() - began, page))

    patient = threading.Thread(target=wait, args=("wait=9&kind=service-force-down",))
    patient.start()
    wait("wait=1&kind=service-force-down")  # nothing happens meanwhile
    edit(plane, uuid, disabled=True)
    edit(plane, uuid, forced_down=True)
    changed = time.monotonic()
    patient.join(20)
    assert time.monotonic() - changed < 5, "it waits no longer than it must"
    (short, nothing), (_, page) = answers
    assert short >= 1
    assert nothing["events"] == []
    assert [event["uuid"] for event in page["events"]] == [uuid]
    (event,) = page["events"]
    assert event["id"] > last + 1, "what does not match is passed"
    # The observer may have recorded by now that the service is down, and that is passed too.
    assert page["next"] in [later["id"] for later in told(plane, f"after={event['id'] - 1}")]
    wait("wait=9")
    took, page = answers[-1]
    assert took < 5, "what has happened already is not waited for"
    assert [event["kind"] for event in page["events"][:2]] == [
        "service-disable", "service-force-down",
    ]  # fmt: skip
    until(lambda: told(plane, f"uuid={uuid}&kind=service-down"))  # no other test's surprise


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=0", "limit '0' is not a number from 1 to 1000"),
        ("limit=1001", "limit '1001'"),
        ("after=-1", "after '-1'"),
        ("after=one", "after 'one'"),
        (f"after={2**63}", "after"),
        ("after=0&wait=61", "wait '61' is not a number from 0 to 60"),
        ("wait=1", "wait goes with after"),
        ("kind=service-explode", "use service-up, service-down"),
        ("since=yesterday", "since 'yesterday' is not a time"),
        ("until=2026-13-01", "until"),
        ("host=web", "host is not known; use after, uuid"),
        ("after=999999999", "Event 999999999 was never given"),
        ("after=999999999&wait=9", "Event 999999999 was never given"),
        ("uuid=%00", "uuid"),
    ],
)
def test_what_cannot_be_asked_is_refused(plane: ControlPlane, query: str, sentence: str) -> None:
    status, _, body = plane.request("GET", f"/v1/events?{query}")
    assert status == 400
    assert sentence in body["badRequest"]["message"]


@pytest.mark.parametrize("query", ["after=999999999", "after=x", "limit=1", "kind=x"])
def test_a_stream_that_cannot_be_is_refused_at_once(plane: ControlPlane, query: str) -> None:
    assert plane.request("GET", f"/v1/events/stream?{query}")[0] == 400
    assert plane.request("GET", "/v1/events/stream", Last_Event_ID="999999999")[0] == 400


def test_a_stream_begins_with_a_bookmark_and_has_what_happens_next(
    plane: ControlPlane, uuid: str
) -> None:
    with Follower(plane) as follower:
        assert follower.response.getheader("Content-Type") == "text/event-stream; charset=utf-8"
        assert follower.response.getheader("Cache-Control") == "no-store"
        newest = get(plane, "/v1/events")
        last = newest["last"]
        assert follower.frame() == ["retry: 1000"]
        assert follower.frame() == [": alive", f"id: {newest['cursor']}"]
        edit(plane, uuid, disabled=True)
        assert follower.event() == told(plane, f"after={last}")[0]


def test_a_cursor_is_taken_wherever_an_id_is(plane: ControlPlane, uuid: str) -> None:
    """And an event that is another one here, as after a failover, is told as a gap (F-27)."""
    begun = get(plane, "/v1/events?limit=1")
    edit(plane, uuid, disabled=True)
    edit(plane, uuid, disabled=False)
    whole = told(plane, f"uuid={uuid}&after={begun['last']}")
    assert told(plane, f"uuid={uuid}&after={begun['cursor']}") == whole
    with Follower(plane, f"?uuid={uuid}", Last_Event_ID=begun["cursor"]) as follower:
        assert [follower.event(), follower.event()] == whole
    another = f"{begun['last']}-00000000"
    for query in (f"after={another}", f"after={another}&wait=60"):
        (gap,) = told(plane, query)
        assert gap["kind"] == "gap"
        assert f"event {begun['last']} is another one here" in gap["detail"]
    with Follower(plane, Last_Event_ID=another) as follower:
        assert follower.event()["kind"] == "gap"
    assert plane.request("GET", "/v1/events?after=1-x")[0] == 400


def test_a_stream_resumes_where_it_was_and_filters(plane: ControlPlane, uuid: str) -> None:
    edit(plane, uuid, disabled=True)
    whole = told(plane, f"uuid={uuid}&after=0")
    first, last = whole[0]["id"], whole[-1]["id"]
    with Follower(plane, f"?uuid={uuid}&after=0", Last_Event_ID=str(first)) as follower:
        assert [follower.event(), follower.event()] == whole[1:], "newer than after, and wins"
    with Follower(plane, f"?uuid={uuid}&kind=service-enable&after={last}") as follower:
        edit(plane, uuid, forced_down=True)
        edit(plane, uuid, disabled=False)
        assert follower.event()["kind"] == "service-enable"
    until(lambda: told(plane, f"uuid={uuid}&kind=service-down"))  # no other test's surprise


def test_a_follower_that_reads_nothing_holds_nobody_up(plane: ControlPlane, uuid: str) -> None:
    """More than the sockets on the way can hold, so that the control plane has to wait for it."""
    engine = connect(plane.connection)
    before = get(plane, "/v1/events")["last"]
    at = datetime(2026, 1, 1)
    many = [Event(at=at, kind=EventKind.ENABLE, uuid="x", detail="z" * 250) for _ in range(20_000)]
    write(engine, lambda connection: append(connection, many))
    engine.dispose()
    with Follower(plane, f"?after={before}") as stuck, Follower(plane, f"?uuid={uuid}") as other:
        edit(plane, uuid, disabled=True)
        assert other.event()["kind"] == "service-disable"
        ids = [stuck.event()["id"] for _ in range(20_001)]
    assert ids == list(range(before + 1, before + 20_002)), "it comes late, and misses nothing"


def test_the_history_adds_up(plane: ControlPlane, uuid: str) -> None:
    edit(plane, uuid, forced_down=True)
    until(lambda: told(plane, f"uuid={uuid}&kind=service-down"))
    edit(plane, uuid, disabled=True)
    found = get(plane, f"/v1/services/{uuid}/history")
    assert found["events"] == told(plane, f"uuid={uuid}&after=0")
    assert (found["complete"], found["flaps"]) == (True, 0), "what an operator forced is no flap"
    lived = datetime.fromisoformat(found["until"]) - datetime.fromisoformat(found["since"])
    parts = [found[f"{name}_seconds"] for name in ("up", "down", "maintenance")]
    assert all(part > 0 for part in parts)
    assert sum(parts) <= lived.total_seconds() + 1e-6
    assert 0 < found["availability"] < 1
    assert (found["spans"][0]["since"], found["spans"][-1]["until"]) == (
        found["since"],
        found["until"],
    )
    known = [(span["state"], span["disabled"]) for span in found["spans"] if span["state"]]
    assert known == [("up", False), ("down", False), ("down", True)]
    alone = found["events"][-1]["at"]
    found = get(plane, f"/v1/services/{uuid}/history?since={alone}&until={alone}")
    assert (found["events"], found["spans"], found["availability"]) == ([], [], None)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("0b0e6b6e-0000-4000-8000-000000000000/history", 404),
        ("x/history", 400),
        ("{uuid}/history?since=soon", 400),
        ("{uuid}/history?since=2999-01-01", 400),
        ("{uuid}/history?since=2026-01-02&until=2026-01-01", 400),
        ("{uuid}/history?limit=1", 400),
    ],
)
def test_a_history_that_there_is_not(
    plane: ControlPlane, uuid: str, path: str, status: int
) -> None:
    assert plane.request("GET", f"/v1/services/{path.format(uuid=uuid)}")[0] == status


def test_nothing_is_suspect_where_nothing_happens(plane: ControlPlane) -> None:
    assert get(plane, "/v1/protection") == {"protections": []}


def test_what_is_not_kept_is_told_as_a_gap(plane: ControlPlane, uuid: str) -> None:
    """Runs last: it removes what the others may still want to read."""
    edit(plane, uuid, disabled=True)
    last = get(plane, "/v1/events")["last"]
    engine = connect(plane.connection)
    long_ago = select(utcnow()).scalar_subquery()

    def age(connection: Any) -> None:
        now = connection.scalar(select(long_ago))
        old = update(events).where(events.c.id <= last)
        connection.execute(old.values(at=now - timedelta(days=31)))

    write(engine, age)
    assert purge(engine, timedelta(days=30)) > 0
    engine.dispose()
    body = {"host": "later", "binary": "nova-compute"}
    later = plane.request("POST", "/v1/services", body)[2]["uuid"]
    (gap, *rest) = told(plane, "after=3&kind=service-join")
    assert (gap["kind"], gap["id"], gap["detail"]) == (
        "gap", last, f"events 4 to {last} are not kept",
    )  # fmt: skip
    assert [event["uuid"] for event in rest] == [later]
    disabled = told(plane, "after=3&kind=service-disable")
    assert {event["kind"] for event in disabled} == {"gap", "service-disable"}
    assert [e["kind"] for e in disabled].count("gap") == 1, "what operators did is kept for longer"
    for query in (f"after={last}", "", f"uuid={uuid}"):
        assert "gap" not in {event["kind"] for event in told(plane, query)}
    # Whoever followed all the time has missed nothing: a control plane keeps the newest in memory.
    plane.stop()
    plane.start()
    with Follower(plane, "?kind=service-join", Last_Event_ID="3") as follower:
        assert [follower.event()["kind"] for _ in range(2)] == ["gap", "service-join"]
    found = get(plane, f"/v1/services/{uuid}/history")
    assert not found["complete"], "its beginning is not kept"
