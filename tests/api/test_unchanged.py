"""Lists asked for again: 304 while no state, no edit and nobody's existence changed."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest

from servicegroup.api.access.strategies import EVERYBODY
from servicegroup.api.call import Answer, Call
from servicegroup.api.compute.routes import respond
from servicegroup.api.endpoint import headers_of
from servicegroup.api.v1 import routes as v1
from servicegroup.controlplane.observer import Observer
from servicegroup.group import ServiceGroup
from servicegroup.liveness import LOOK_INTERVAL, OBSERVER_TOLERANCE
from servicegroup.messages import Report
from servicegroup.store.database import write
from servicegroup.store.tables import observer as lease
from support.aging import backdate
from support.control_plane import ControlPlane
from support.statements import statements
from support.waiting import until

from .nova import made

OURS, NOVAS = "/v1/services", "/v2.1/os-services"


class Client:
    """Who asks for a list, of ours or of Nova's, and keeps the ETag of what it got."""

    def __init__(self, group: ServiceGroup, path: str, query: str = "") -> None:
        self._group = group
        self._path = path
        self._query = query
        self.etag: str | None = None

    def ask(self) -> Answer:
        headers = {"if-none-match": self.etag or '""'}
        call = Call(self._group, EVERYBODY, "GET", self._path, query=self._query, headers=headers)
        answer = made(v1.list_services(call) if self._path == OURS else respond(call))
        if answer.status == 200:
            self.etag = dict(answer.headers).get("ETag")
        return answer

    def is_told(self) -> bool:
        """Ask, and tell whether there is news: a body, and no 304."""
        answer = self.ask()
        assert (answer.status == 304) == (answer.body == b"")
        return answer.status == 200


@pytest.fixture
def observer(group: ServiceGroup) -> Observer:
    """Give an observer at work, that knows the services h0 to h2."""
    for number in range(3):
        life = group.join(f"h{number}", "web", group="web")
        group.report([Report(life.uuid, life.incarnation)])
    observer = Observer(group)
    observer.keep_lease()
    observer.look()
    return observer


@pytest.fixture(params=[OURS, NOVAS])
def client(group: ServiceGroup, observer: Observer, request: pytest.FixtureRequest) -> Client:
    """Give a client that has the list."""
    client = Client(group, request.param)
    answer = client.ask()
    assert answer.body.count(b'"binary"') == 3
    assert client.etag is not None
    assert client.etag.startswith('W/"'), "the stamps may differ: it is weak"
    return client


def test_what_has_not_changed_costs_one_question_and_no_row(
    group: ServiceGroup, observer: Observer, client: Client
) -> None:
    for service in group.services():
        group.report([Report(service.uuid, service.incarnation)])
    assert observer.look() == []
    with statements(group._store.engine) as asked:
        assert client.ask().status == 304
    assert len(asked) == 1, asked
    assert "services" not in asked[0]


def test_ours_has_one_for_everybody_and_may_not_be_guessed_at(
    group: ServiceGroup, observer: Observer
) -> None:
    headers = dict(made(v1.list_services(Call(group, EVERYBODY, "GET", OURS))).headers)
    assert headers["Cache-Control"] == "no-cache"
    assert "ETag" in headers


@pytest.mark.parametrize("query", ["", "host=h1", "binary=web"])
def test_novas_has_one_for_those_who_ask_for_it(
    group: ServiceGroup, observer: Observer, query: str
) -> None:
    """A client that knows Nova sends no If-None-Match, and is to pay for no revision."""
    sent = {"openstack-api-version": "compute 2.53"}
    for conditional in (False, True):
        headers = sent | ({"if-none-match": '""'} if conditional else {})
        call = Call(group, EVERYBODY, "GET", NOVAS, query=query, headers=headers)
        answer = made(respond(call))
        assert ("ETag" in dict(answer.headers)) == conditional
        headers["if-none-match"] = dict(answer.headers).get("ETag", "")
    another = headers | {"openstack-api-version": "compute 2.11"}  # which shows other ids
    call = Call(group, EVERYBODY, "GET", NOVAS, query=query, headers=another)
    assert made(respond(call)).status == 200
    call = Call(group, EVERYBODY, "GET", NOVAS, query=query, headers=headers)
    unchanged = respond(call)
    assert ("Cache-Control", "no-cache") in unchanged.headers
    assert (unchanged.status, unchanged.body, unchanged.later) == (304, b"", None)
    assert ("OpenStack-API-Version", "compute 2.53") in unchanged.headers


def test_every_change_is_told_until_it_is_recorded(
    group: ServiceGroup, observer: Observer, client: Client
) -> None:
    first, second, third = (service.uuid for service in group.services())

    def goes_down() -> None:
        backdate(group._store.engine, 61, uuid=third)
        assert third in {event.uuid for event in observer.look()}

    for change in (
        lambda: group.update(first, disabled=True),
        lambda: group.update(first, disabled=True, disabled_reason="why"),
        lambda: group.update(first, forced_down=True),
        goes_down,
        lambda: group.join("h0", "web", group="web"),
        lambda: group.join("new", "web", group="web"),
        lambda: group.delete(second),
    ):
        change()
        assert client.is_told()
        observer.look()
        client.ask()
        assert client.etag is not None
        assert not client.is_told()
    group.update(first, disabled=True, disabled_reason="why")
    assert not client.is_told(), "an edit that changes nothing is none"


@pytest.mark.parametrize(
    ("path", "query"),
    [(OURS, ""), (OURS, "state=up"), (OURS, "state=down&limit=2"), (NOVAS, ""), (NOVAS, "host=h2")],
)
@pytest.mark.parametrize("recorded", ["up", "down"])
def test_what_was_so_for_less_than_a_look_is_not_kept_for_ever(
    group: ServiceGroup, observer: Observer, recorded: str, path: str, query: str
) -> None:
    """No event says that it is over: whoever asked meanwhile would get 304 until there is one."""
    one = group.services()[2]

    def becomes(state: str) -> None:
        if state == "down":
            backdate(group._store.engine, 61, uuid=one.uuid)
        else:
            group.report([Report(one.uuid, one.incarnation)])

    becomes(recorded)
    observer.look()
    becomes("down" if recorded == "up" else "up")
    client = Client(group, path, query)
    meanwhile = client.ask()
    becomes(recorded)
    assert observer.look() == []
    after = client.ask()
    assert after.status == 200
    assert states(meanwhile) != states(after) == states(Client(group, path, query).ask())
    assert client.ask().status == 304


def states(answer: Answer) -> dict[str, str]:
    """Return the state of each service of a list, by its host."""
    listed = json.loads(answer.body)["services"]
    return {s["host"]: s["verdict"]["state"] if "verdict" in s else s["state"] for s in listed}


def test_any_form_of_the_etag_counts(client: Client) -> None:
    assert client.etag is not None
    strong = client.etag.removeprefix("W/")
    for given in (strong, f'"other", {client.etag}', "*"):
        client.etag = given
        assert client.ask().status == 304
    client.etag = '"other"'
    assert client.ask().status == 200


@pytest.mark.parametrize(("status", "is_said"), [(200, True), (204, False), (304, False)])
def test_the_length_is_said_of_what_is_sent(status: int, is_said: bool) -> None:
    """RFC 9110, section 8.6: a cache that believed the length of a 304 would keep an empty list."""
    names = {name for name, _ in headers_of(Answer(status))}
    assert ({b"content-length", b"content-type"} <= names) == is_said
    assert (b"content-length" in names) == is_said


def test_without_an_observer_there_is_no_etag(
    group: ServiceGroup, observer: Observer, client: Client
) -> None:
    """Then states change and nobody says so."""
    observer.release()
    answer = client.ask()
    assert answer.status == 200
    assert "ETag" not in dict(answer.headers)


def test_another_observer_is_another_etag(
    group: ServiceGroup, observer: Observer, client: Client
) -> None:
    """Ids may begin anew with a register that was put back: its observer is another one."""
    observer.release()
    other = Observer(group)
    other.keep_lease()
    assert other.look() == []
    assert client.is_told()


def test_an_observer_that_stopped_looking_is_none(
    group: ServiceGroup, observer: Observer, client: Client
) -> None:
    def work(connection: Any) -> None:
        (at,) = connection.execute(lease.select().with_only_columns(lease.c.observed_at)).one()
        late = at - timedelta(seconds=OBSERVER_TOLERANCE)
        connection.execute(lease.update().values(observed_at=late))

    write(group._store.engine, work)
    assert client.ask().status == 200
    assert client.etag is None


def test_a_state_is_hidden_no_longer_than_the_observer_needs(control_plane: ControlPlane) -> None:
    """Whoever asks anew is told by the rule; whoever asks with an ETag learns it a look later."""
    plane = control_plane
    _, _, life = plane.request("POST", "/v1/services", {"host": "h", "binary": "web"})
    uuid = life["uuid"]
    until(lambda: "ETag" in plane.request("GET", "/v1/services")[1], what="an observer")
    etag, hidden_since, statuses = "", None, set()

    def is_down(service: dict[str, Any]) -> bool:
        return bool(service["verdict"]["state"] == "down")

    def shown() -> bool:
        nonlocal etag, hidden_since
        one = plane.request("GET", f"/v1/services/{uuid}")[2]["service"]
        if hidden_since is None and is_down(one):
            hidden_since = time.monotonic()
        status, headers, body = plane.request("GET", "/v1/services", If_None_Match=etag)
        statuses.add(status)
        etag = headers.get("ETag", "")
        return status == 200 and any(map(is_down, body["services"]))

    until(shown, timeout=20, interval=0.02, what="down, under an ETag")
    hidden = 0.0 if hidden_since is None else time.monotonic() - hidden_since
    assert hidden < OBSERVER_TOLERANCE + LOOK_INTERVAL
    assert statuses == {200, 304}
