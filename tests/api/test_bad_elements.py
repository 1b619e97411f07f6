"""F-2: one bad element of a relay's request is refused by name, and the others are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from servers.mariadb import MariaDB
from servicegroup.agent.client import HttpClient
from servicegroup.agent.membership import Membership
from servicegroup.errors import InvalidInput
from servicegroup.messages import Leave, Refusals, Report
from servicegroup.store.database import connect
from support.control_plane import ControlPlane
from support.waiting import until

NOT_LATIN = "the disk is \N{BLACK CIRCLE} full"
UNKNOWN = "00000000-0000-0000-0000-00000000000"

BAD: list[tuple[dict[str, Any], str]] = [
    ({"uuid": UNKNOWN + "1", "incarnation": 0}, UNKNOWN + "1"),
    ({"uuid": UNKNOWN + "2", "incarnation": 2**31}, UNKNOWN + "2"),
    ({"uuid": UNKNOWN + "3", "incarnation": "1"}, UNKNOWN + "3"),
    ({"uuid": UNKNOWN + "4"}, UNKNOWN + "4"),
    ({"uuid": (UNKNOWN + "a").upper(), "incarnation": 10**30}, UNKNOWN + "a"),
    ({"uuid": "a\0b", "incarnation": 1}, "a\0b"),
    ({"uuid": "x" * 100, "incarnation": 1}, "{list}[1]"),
    ({"uuid": 7, "incarnation": 1}, "{list}[1]"),
    ({"incarnation": 1}, "{list}[1]"),
    ({}, "{list}[1]"),
    ([], "{list}[1]"),  # type: ignore[list-item]
    (None, "{list}[1]"),  # type: ignore[list-item]
]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    directory: Path = tmp_path_factory.mktemp("elements")
    plane = ControlPlane(f"sqlite:///{directory / 'register.sqlite'}", directory)
    plane.start()
    yield plane
    plane.stop()


def _joined(plane: ControlPlane, host: str) -> dict[str, Any]:
    body = {"host": host, "binary": "nova-compute"}
    joined: dict[str, Any] = plane.request("POST", "/v1/services", body)[2]
    return {"uuid": joined["uuid"], "incarnation": joined["incarnation"]}


REPORT_TEXT = ({"uuid": UNKNOWN + "5", "incarnation": 1, "failing": "a\0b"}, UNKNOWN + "5")
LEAVE_TEXT = ({"uuid": UNKNOWN + "5", "incarnation": 1, "detail": "a\0b"}, UNKNOWN + "5")


@pytest.mark.parametrize(("element", "name"), [*BAD, REPORT_TEXT])
def test_a_bad_report_is_refused_and_the_others_are_committed(
    plane: ControlPlane, element: dict[str, Any], name: str
) -> None:
    lives = [_joined(plane, "h1"), _joined(plane, "h2")]
    body = {"reports": [lives[0], element, lives[1]]}
    status, _, answer = plane.request("POST", "/v1/reports", body)
    assert (status, answer["invalid"]) == (200, [name.format(list="reports")])
    assert not any(answer[kind] for kind in ("deleted", "superseded", "left", "unknown"))
    for life in lives:
        shown = plane.request("GET", f"/v1/services/{life['uuid']}")[2]["service"]
        assert shown["last_seen_up"] is not None
    assert plane.request("GET", "/readyz")[0] == 200


@pytest.mark.parametrize(("element", "name"), [*BAD, LEAVE_TEXT])
def test_a_bad_departure_is_refused_and_the_others_are_recorded(
    plane: ControlPlane, element: dict[str, Any], name: str
) -> None:
    lives = [_joined(plane, "h1"), _joined(plane, "h2")]
    body = {"leaves": [lives[0], element, lives[1]]}
    status, _, answer = plane.request("POST", "/v1/leave", body)
    assert (status, answer["invalid"]) == (200, [name.format(list="leaves")])
    for life in lives:
        shown = plane.request("GET", f"/v1/services/{life['uuid']}")[2]["service"]
        assert shown["departure"] == "stopped"


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b"{}",
        b'{"reports": {}}',
        b'{"reports": [{}]}',
        b'{"reports": [{"uuid": "a", "incarnation": 1}], "more": 1}',
        b'{"reports": [{"uuid": "a", "incarnation": 1}, nonsense]}',
        b'{"reports": [{"uuid": "a", "incarnation": 1}, {}',
    ],
)
def test_what_holds_nothing_that_can_be_taken_is_malformed(
    plane: ControlPlane, body: bytes
) -> None:
    status, _, answer = plane.request("POST", "/v1/reports", body)
    assert status == 400
    assert answer["badRequest"]["message"]


def test_a_request_is_no_longer_for_what_is_refused_of_it(plane: ControlPlane) -> None:
    status, _, answer = plane.request("POST", "/v1/reports", {"reports": [{}] * 5001})
    assert (status, "5001 entries" in answer["badRequest"]["message"]) == (400, True)


def test_what_is_refused_is_counted(plane: ControlPlane) -> None:
    life = _joined(plane, "h1")
    counter = 'servicegroup_intake_refused_reports_total{cause="invalid"} '

    def counted() -> float:
        with plane.http.request("GET", f"{plane.url}/metrics", preload_content=False) as answer:
            text = answer.read().decode()
        return float(
            next(line for line in text.splitlines() if line.startswith(counter)).split()[1]
        )

    before = counted()
    plane.request("POST", "/v1/reports", {"reports": [life, {}, {}]})
    assert counted() == before + 2


@pytest.fixture
def latin(mariadb: MariaDB, tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane whose services have details of 191 printable characters."""
    plane = ControlPlane(mariadb.database(), tmp_path, report_interval=1)
    plane.start()
    engine = connect(plane.connection)
    with engine.begin() as connection:
        narrower = "ALTER TABLE services MODIFY detail VARCHAR(255) CHARACTER SET latin1"
        connection.execute(text(narrower))
    engine.dispose()
    yield plane
    plane.stop()


def test_what_the_database_cannot_store_leaves_the_intake_ready(latin: ControlPlane) -> None:
    bad, good = _joined(latin, "h1"), _joined(latin, "h2")
    for _ in range(3):
        body = {"reports": [{**bad, "failing": NOT_LATIN}, good]}
        status, _, answer = latin.request("POST", "/v1/reports", body)
        assert status == 200, answer
        assert answer["invalid"] == [bad["uuid"]]
        assert latin.request("GET", "/readyz")[0] == 200
    shown = latin.request("GET", f"/v1/services/{good['uuid']}")[2]["service"]
    assert shown["report_count"] == 3


def test_a_reason_with_gaps_is_better_than_none(latin: ControlPlane) -> None:
    client = HttpClient(latin.url)
    with Membership("worker", host="h1", client=client, healthy=lambda: NOT_LATIN) as membership:
        membership.start()
        until(lambda: latin.services("?host=h1"), what="it is registered")
        detail = "the disk is ? full"
        until(lambda: latin.services("?host=h1")["h1", "worker"]["detail"] == detail)
    client.close()


def test_an_agent_understands_it(plane: ControlPlane) -> None:
    life = _joined(plane, "h1")
    client = HttpClient(plane.url)
    good = Report(**life)
    bad = Report(UNKNOWN + "6", 1, "a\0b")
    assert client.report([good, bad]).invalid == {bad.uuid}
    assert client.leave([Leave(bad.uuid, 1, detail="a\0b"), Leave(**life)]) == Refusals(
        invalid=frozenset({bad.uuid})
    )

    with pytest.raises(InvalidInput, match="failing"):
        client.report([bad])
    client.close()
