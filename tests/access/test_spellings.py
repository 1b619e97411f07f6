"""However a uuid or a name is written, it is compared in one form, everywhere (F-54).

A credential that is bound to a host changes nothing of another one's service on any database, and
whoever may read or edit finds the same record by every spelling of its uuid.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from sqlalchemy import Engine, text

from servers.mariadb import MariaDB
from servicegroup.api.access.host_binding import Hosts
from servicegroup.cli.params import parsed
from servicegroup.driver import load
from servicegroup.errors import Forbidden, InvalidInput
from servicegroup.events import EventFilter
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Refusals, Report
from servicegroup.model import Limits
from servicegroup.store import migrate
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from spellings import OF_NAMES, OF_NO_UUID, OF_UUIDS

from .conftest import ADMIN, Guarded

pytestmark = pytest.mark.long

ALL = OF_UUIDS | OF_NO_UUID
LIFE = "0b1c2d3e-4f5a-4b6c-8d7e-9f0a1b2c3d4e"
_numbers = count()


class Pair(msgspec.Struct):
    """A token bound to one host, its service, and a service of another host."""

    guarded: Guarded
    token: str
    own: str
    other: str

    def record(self) -> Any:
        """Return the other one's record without what an observer makes of it."""
        shown = self.guarded.ask(ADMIN, "GET", f"/v1/services/{self.other}")[1]["service"]
        observed = {"verdict", "observed_state", "observed_since"}
        return {name: value for name, value in shown.items() if name not in observed}

    def events(self) -> list[Any]:
        """Return what its service and operators did to the other one, not what was observed."""
        path = f"/v1/events?after=0&limit=1000&uuid={self.other}"
        found: list[Any] = self.guarded.ask(ADMIN, "GET", path)[1]["events"]
        return [event for event in found if event["after"] is None]


@pytest.fixture
def pair(guarded_anywhere: Guarded) -> Pair:
    guarded, number = guarded_anywhere, next(_numbers)
    token = guarded.issue(f"bound{number}", host=f"own{number}")
    own = guarded.join(token, f"own{number}")
    return Pair(guarded, token, own, guarded.join(ADMIN, f"other{number}"))


def report(uuid: str, **more: object) -> dict[str, object]:
    return {"uuid": uuid, "incarnation": 1, **more}


@pytest.mark.parametrize("spelling", ALL)
def test_a_bound_token_changes_nothing_of_another_host(pair: Pair, spelling: str) -> None:
    written = ALL[spelling](pair.other)
    before, told = pair.record(), pair.events()
    own = report(pair.own)
    for path, body in (
        ("/v1/reports", {"reports": [report(written)]}),
        ("/v1/reports", {"reports": [report(written, failing="it is mine")]}),
        ("/v1/reports", {"reports": [own, report(written)]}),
        ("/v1/reports", {"reports": [report(written, failing="it is mine"), own]}),
        ("/v1/leave", {"leaves": [report(written, how="stopped")]}),
        ("/v1/leave", {"leaves": [own | {"incarnation": 9}, report(written, how="exited")]}),
    ):
        status, content = pair.guarded.ask(pair.token, "POST", path, body)
        if spelling in OF_UUIDS:
            assert status == 403, (path, content)
            assert pair.other in content["forbidden"]["message"]
        elif status == 200:
            assert written in content["unknown"], "nobody has that uuid"
        else:
            assert status == 400, "longer than any uuid"
        assert (pair.record(), pair.events()) == (before, told)


@pytest.mark.parametrize("spelling", OF_UUIDS)
def test_a_service_may_write_its_own_uuid_in_any_way(pair: Pair, spelling: str) -> None:
    """And the answer names it as the record does."""
    written = OF_UUIDS[spelling](pair.own)
    ask = pair.guarded.ask
    assert ask(pair.token, "POST", "/v1/reports", {"reports": [report(written)]})[0] == 200
    shown = ask(ADMIN, "GET", f"/v1/services/{pair.own}")[1]["service"]
    assert shown["report_count"] == 1
    _, left = ask(pair.token, "POST", "/v1/leave", {"leaves": [report(written)]})
    assert set(left) == {"deleted", "superseded", "left", "unknown", "invalid"}
    _, told = ask(pair.token, "POST", "/v1/reports", {"reports": [report(written)]})
    assert told["left"] == [pair.own]


@pytest.mark.parametrize("spelling", OF_UUIDS)
def test_every_route_finds_the_record_by_every_spelling(pair: Pair, spelling: str) -> None:
    ask, uuid = pair.guarded.ask, pair.other
    written = quote(OF_UUIDS[spelling](uuid), safe="")
    path = f"/v1/services/{written}"
    assert ask(ADMIN, "GET", path)[1]["service"]["uuid"] == uuid
    edited = ask(ADMIN, "PATCH", path, {"disabled": True, "disabled_reason": "disks"})
    assert (edited[0], edited[1]["service"]["uuid"]) == (200, uuid)
    history = ask(ADMIN, "GET", f"{path}/history")[1]
    assert history["uuid"] == uuid
    assert [e["kind"] for e in history["events"] if e["actor"]] == ["service-disable"]
    events = ask(ADMIN, "GET", f"/v1/events?after=0&uuid={written}")[1]["events"]
    assert {event["uuid"] for event in events} == {uuid}
    assert [event["kind"] for event in events if event["actor"]] == ["service-disable"]
    pages = [ask(ADMIN, "GET", f"/v1/services?limit=9&marker={m}") for m in (uuid, written)]
    assert pages[0][0] == pages[1][0] == 200
    marked = [[service["uuid"] for service in page["services"]] for _, page in pages]
    assert marked[0] == marked[1]
    assert ask(ADMIN, "DELETE", path)[0] == 204
    assert ask(ADMIN, "GET", f"/v1/services/{uuid}")[0] == 404


@pytest.mark.parametrize("spelling", OF_UUIDS)
def test_novas_api_finds_it_too(guarded_anywhere: Guarded, spelling: str) -> None:
    ask, host = guarded_anywhere.plane.request, f"compute{next(_numbers)}"
    body = {"host": host, "binary": "nova-compute"}
    uuid = guarded_anywhere.ask(ADMIN, "POST", "/v1/services", body)[1]["uuid"]
    written = quote(OF_UUIDS[spelling](uuid), safe="")
    path = f"/v2.1/os-services/{written}"
    head = {"X_Auth_Token": ADMIN, "OpenStack_API_Version": "compute 2.53"}
    status, _, content = ask("PUT", path, {"forced_down": True}, **head)
    assert (status, content["service"]["id"], content["service"]["forced_down"]) == (
        200,
        uuid,
        True,
    )
    assert ask("DELETE", path, None, **head)[0] == 204
    assert ask("DELETE", path, None, **head)[0] == 404


@pytest.mark.parametrize("spelling", OF_NO_UUID)
def test_what_is_no_uuid_is_refused_where_one_is_named(pair: Pair, spelling: str) -> None:
    ask, written = pair.guarded.ask, quote(OF_NO_UUID[spelling](pair.other), safe="")
    before = pair.record()
    head = {"X_Auth_Token": ADMIN, "OpenStack_API_Version": "compute 2.53"}
    nova = f"/v2.1/os-services/{written}"
    for status in (
        ask(ADMIN, "GET", f"/v1/services/{written}")[0],
        ask(ADMIN, "PATCH", f"/v1/services/{written}", {"forced_down": True})[0],
        ask(ADMIN, "DELETE", f"/v1/services/{written}")[0],
        ask(ADMIN, "GET", f"/v1/services/{written}/history")[0],
        ask(ADMIN, "GET", f"/v1/services?marker={written}&limit=1")[0],
        pair.guarded.plane.request("PUT", nova, {"status": "disabled"}, **head)[0],
        pair.guarded.plane.request("DELETE", nova, None, **head)[0],
    ):
        assert status in (400, 404)
    assert ask(ADMIN, "GET", f"/v1/events?after=0&uuid={written}")[0] == 400
    assert ask(ADMIN, "GET", f"/v1/events/stream?uuid={written}")[0] == 400
    assert pair.record() == before


@pytest.mark.parametrize("spelling", OF_NAMES)
def test_a_name_that_is_nearly_its_own_is_another_hosts(
    guarded_anywhere: Guarded, spelling: str
) -> None:
    """Its token may not register there, and what is registered there is not its own."""
    guarded, own = guarded_anywhere, f"strasse{next(_numbers)}"
    near = OF_NAMES[spelling](own)
    token = guarded.issue(own, host=own)
    uuid = guarded.join(token, own)
    body = {"host": near, "binary": "worker"}
    assert guarded.ask(token, "POST", "/v1/services", body)[0] == 403
    other = guarded.join(ADMIN, near)
    assert other != uuid
    for path, name in (("/v1/reports", "reports"), ("/v1/leave", "leaves")):
        assert guarded.ask(token, "POST", path, {name: [report(other)]})[0] == 403
    for host, expected in ((own, uuid), (near, other)):
        found = guarded.ask(ADMIN, "GET", f"/v1/services?host={quote(host)}")[1]["services"]
        assert [(s["uuid"], s["incarnation"], s["report_count"]) for s in found] == [
            (expected, 1, 0)
        ]
    relay = guarded.issue(f"{own}-again", host=near)
    assert guarded.ask(relay, "POST", "/v1/reports", {"reports": [report(uuid)]})[0] == 403


@pytest.mark.parametrize("spelling", ALL)
def test_the_database_takes_no_other_spelling_for_the_record(
    group: ServiceGroup, spelling: str
) -> None:
    """Behind the edge, which brings every spelling to one form, statements compare exactly."""
    uuid = group.join("victim", "worker").uuid
    before = group.get(uuid)
    written = ALL[spelling](uuid)
    as_written = Refusals(unknown=frozenset({written}))
    for more in ({}, {"failing": "it is mine"}):
        assert group.report([_forced(Report(uuid, 1, **more), written)]) == as_written
        both = [_forced(Report(uuid, 1, **more), written), Report(uuid, 9)]
        group.report(both)
    assert group.depart([_forced(Leave(uuid, 1), written)]) == as_written
    assert group._store.hosts([written]) == {}
    assert group._store.by_id(written).services == []
    after = group.get(uuid)
    assert (after.last_seen_up, after.detail, after.left_at, after.report_count) == (
        before.last_seen_up, None, None, 0,
    )  # fmt: skip


def _forced(said: Any, written: str) -> Any:
    msgspec.structs.force_setattr(said, "uuid", written)
    return said


async def _check(group: ServiceGroup, host: str, uuid: str) -> None:
    await Hosts(group).check(host, {uuid})


@pytest.fixture
def mariadb_engine(mariadb: MariaDB) -> Iterator[Engine]:
    engine = connect(mariadb.database())
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("spelling", ["capitals", "one-capital", "trailing-blank"])
def test_the_binding_is_checked_by_what_the_database_matched(
    mariadb_engine: Engine, spelling: str
) -> None:
    """Also where its statements take another spelling for the same, as before the migration."""
    with mariadb_engine.begin() as connection:
        loose = "VARCHAR(36) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL"
        connection.execute(text(f"ALTER TABLE services MODIFY uuid {loose}"))
    group = ServiceGroup(Store(mariadb_engine), load("db"), Limits())
    uuid = group.join("victim", "worker").uuid
    written = ALL[spelling](uuid)
    assert group.hosts_of([written]) == {uuid: "victim"}
    with pytest.raises(Forbidden, match=uuid):
        asyncio.run(_check(group, "attacker", written))


@pytest.mark.parametrize("spelling", OF_UUIDS)
def test_what_holds_a_uuid_from_outside_holds_its_one_form(spelling: str) -> None:
    written = OF_UUIDS[spelling](LIFE)
    assert EventFilter(uuid=written).uuid == LIFE
    assert parsed([written]) == LIFE
    body = json.dumps(report(written))
    assert msgspec.json.decode(body, type=Report) == Report(LIFE, 1) == Report(written, 1)
    assert msgspec.json.decode(body, type=Leave) == Leave(LIFE, 1)


def test_a_report_for_what_no_uuid_can_be_is_refused() -> None:
    with pytest.raises(InvalidInput, match="uuid 'a\\\\x00b' holds a character that no uuid has"):
        Report("a\0b", 1)
