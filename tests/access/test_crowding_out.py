"""What the credential of one host makes does not crowd out what others need (F-59)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import count
from uuid import uuid4

import pytest

from servicegroup.api.access import host_binding as binding
from servicegroup.controlplane.metrics.collector import MOST_GROUPS
from servicegroup.errors import Conflict
from servicegroup.events import EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.store import retention
from servicegroup.store.events import read
from servicegroup.store.retention import purge
from support.waiting import until

from .conftest import ADMIN, Guarded

_numbers = count()


def register(guarded: Guarded, token: str, host: str, number: int) -> tuple[int, str]:
    """Register one more service on a host; return the status and what a refusal says."""
    body = {"host": host, "binary": f"worker{number}"}
    status, content = guarded.ask(token, "POST", "/v1/services", body)
    return status, "" if status == 200 else next(iter(content.values()))["message"]


def test_a_bound_token_registers_so_many_services_and_no_more(guarded: Guarded) -> None:
    """Each is in a group of its own, so that it is the bound of groups too."""
    most = binding.MOST_SERVICES
    token = guarded.issue("greedy", host="greedy")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: register(guarded, token, "greedy", n), range(most + 40)))
    assert [status for status, _ in answers].count(200) == most
    refused = (
        f"Host greedy has {most} services, the most that a credential for one host may register;"
        " delete those that are gone, or register with a token without a host."
    )
    assert {answer for answer in answers if answer[0] != 200} == {(409, refused)}
    found = guarded.ask(ADMIN, "GET", "/v1/services?host=greedy")[1]["services"]
    assert len(found) == len({service["topic"] for service in found}) == most

    one, other = found[0], found[1]
    again = int(one["binary"].removeprefix("worker"))
    assert register(guarded, token, "greedy", again)[0] == 200, "a restart is no new one"
    events = guarded.ask(ADMIN, "GET", "/v1/events?after=0&limit=1000&kind=service-join")[1]
    joined = [event for event in events["events"] if event["host"] == "greedy"]
    assert len(joined) == most, "who is refused leaves no event"
    guarded.ask(ADMIN, "DELETE", f"/v1/services/{other['uuid']}")
    assert register(guarded, token, "greedy", most + 100)[0] == 200, "in place of a deleted one"
    assert register(guarded, token, "greedy", most + 101)[0] == 409
    assert register(guarded, guarded.issue("relay-of-greedy"), "greedy", most + 102)[0] == 200


def test_the_bound_holds_on_every_database(group: ServiceGroup) -> None:
    def join(number: int) -> bool:
        with suppress(Conflict):
            return bool(group.join("h", f"b{number}", most=5))
        return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(join, range(30))) == 5
    assert len(group.services()) == 5
    assert group.event_log().last == 5, "who is refused leaves neither a record nor an event"
    for service in group.services():
        assert group.join("h", service.binary, most=5).incarnation == 2
    with pytest.raises(Conflict, match=r"^Host h has 5 services, the most .* without a host\.$"):
        group.join("h", "one-more", most=5)
    group.join("other", "b", most=5)
    group.join("h", "by-an-administrator")


@pytest.mark.long
def test_restarts_purge_nothing_that_an_operator_did(
    guarded_anywhere: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that restarts its service over and over, and a log that is full of it."""
    guarded, host = guarded_anywhere, f"loud{next(_numbers)}"
    victim = guarded.join(ADMIN, f"victim{next(_numbers)}")
    edit = {"disabled": True, "disabled_reason": "disks"}
    assert guarded.ask(ADMIN, "PATCH", f"/v1/services/{victim}", edit)[0] == 200
    token = guarded.issue(host, host=host)
    for _ in range(30):
        assert register(guarded, token, host, 1)[0] == 200
    monkeypatch.setattr(retention, "MAX_EVENTS", 10)
    assert purge(guarded.engine, timedelta(days=30)) >= 15
    path = f"/v1/events?uuid={victim}"
    kept = guarded.ask(ADMIN, "GET", path)[1]["events"]
    assert [(event["kind"], event["actor"], event["detail"]) for event in kept] == [
        ("service-disable", "root", "disks")
    ]
    told = guarded.ask(ADMIN, "GET", f"{path}&after=0")[1]["events"]
    assert "gap" in {event["kind"] for event in told}
    tokens = guarded.ask(ADMIN, "GET", "/v1/events?kind=token-create")[1]["events"]
    assert any(host in event["detail"] for event in tokens)
    _follow(guarded)


def _follow(guarded: Guarded) -> None:
    """Read the log from its beginning: what is missing is told as a gap, where it is missing."""
    place = gaps = edits = 0
    while page := read(guarded.engine, EventFilter(after=place), 5).events:
        for event in page:
            assert event.kind is EventKind.GAP or event.id == place + 1
            assert event.id > place, "nothing twice"
            gaps += event.kind is EventKind.GAP
            edits += event.kind is EventKind.DISABLE
            place = event.id
    assert gaps >= 2
    assert edits >= 1


def test_metrics_have_a_ceiling_of_groups(guarded: Guarded) -> None:
    """The largest groups keep their series, however many small ones there are."""
    for number in range(3):
        guarded.join(ADMIN, f"big{number}")
    for host in ("many1", "many2"):
        token = guarded.issue(host, host=host)
        for number in range(MOST_GROUPS // 2 + 30):
            body = {"host": host, "binary": f"{host}-{number}"}
            assert guarded.ask(token, "POST", "/v1/services", body)[0] == 200
    everybody = guarded.ask(ADMIN, "GET", "/v1/services")[1]["services"]
    sizes = [
        group["up"] + group["down"]
        for group in guarded.ask(ADMIN, "GET", "/v1/groups")[1]["groups"]
    ]
    text = guarded.plane.request("GET", "/metrics")[2].decode()
    series = [line for line in text.splitlines() if line.startswith("servicegroup_services{")]
    groups = {line.split('group="')[1].split('"')[0] for line in series}
    assert len(sizes) > MOST_GROUPS
    assert len(groups) == MOST_GROUPS + 1
    assert {"worker", "other"} <= groups
    assert sum(float(line.rsplit(" ", 1)[1]) for line in series) == len(everybody)
    others = sum(float(line.rsplit(" ", 1)[1]) for line in series if 'group="other"' in line)
    assert others == sum(sorted(sizes)[: len(sizes) - MOST_GROUPS])
    aged = [line for line in text.splitlines() if "report_age_seconds_bucket" in line]
    assert len(aged) < 40 * (MOST_GROUPS + 1)
    whole = [float(line.rsplit(" ", 1)[1]) for line in aged if 'le="+Inf"' in line]
    up = sum(float(line.rsplit(" ", 1)[1]) for line in series if 'state="up"' in line)
    assert sum(whole) == up


def test_a_bound_token_fills_its_share_of_what_waits_and_no_more(guarded: Guarded) -> None:
    """While nothing can be committed; there is room for the others, and the share comes back."""
    token = guarded.issue("hasty", host="hasty")
    lives = [{"uuid": str(uuid4()), "incarnation": 1} for _ in range(5000)]

    def report(_: int) -> tuple[int, str | None, str]:
        status, headers, content = guarded.plane.request(
            "POST", "/v1/reports", {"reports": lives}, X_Auth_Token=token
        )
        fault = content.get("serviceUnavailable", {})
        return status, headers.get("Retry-After"), fault.get("message", "")

    def refused() -> list[tuple[int, str | None, str]]:
        done = [future.result() for future in futures if future.done()]
        return [answer for answer in done if "of client hasty wait for their commit" in answer[2]]

    connection = guarded.engine.connect().execution_options(writes=True)
    with ThreadPoolExecutor(6) as pool, connection:
        with connection.begin():
            futures = [pool.submit(report, number) for number in range(6)]
            until(lambda: len(refused()) >= 3)
        assert {answer[:2] for answer in refused()} == {(503, "2")}
    until(lambda: report(0)[0] == 200, what="its share is free again")
