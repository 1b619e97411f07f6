"""``GET /v1/session``: what is said in a session, and what of it reaches the record."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select

from servicegroup.agent.websocket import Rejected
from servicegroup.api.call import MAX_BODY
from servicegroup.liveness import MARK_INTERVAL, MARK_TOLERANCE
from servicegroup.store.database import connect
from servicegroup.store.marks import register_now
from servicegroup.store.tables import planes, services, sessions
from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.session import PATIENCE, Talker, masked
from support.waiting import until

NOBODY: dict[str, list[str]] = {
    "deleted": [],
    "superseded": [],
    "left": [],
    "unknown": [],
    "invalid": [],
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane that all tests share that do not end it; each has hosts of its own."""
    directory = tmp_path_factory.mktemp("session")
    plane = ControlPlane(f"sqlite:///{directory / 'register.sqlite'}", directory)
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture(scope="module")
def record(plane: ControlPlane) -> Iterator[Engine]:
    """Give the record below it."""
    engine = connect(plane.connection)
    yield engine
    engine.dispose()


@pytest.fixture
def host() -> str:
    """Give a host's name that nothing else has."""
    return f"node-{uuid4()}"


def row(record: Engine, uuid: str) -> Any:
    """Return the latest session of a service."""
    own = select(sessions).join(services, services.c.id == sessions.c.service_id)
    with record.connect() as connection:
        return connection.execute(own.where(services.c.uuid == uuid)).one()


def ended(record: Engine, uuid: str) -> Any:
    """Return the latest session of a service, once it has ended."""

    def found() -> Any:
        session = row(record, uuid)
        return session if session.ended_at is not None else None

    return until(found, 20, interval=0.02)


def is_held(record: Engine, uuid: str) -> bool:
    """Tell whether a service has a session that has not ended."""
    own = select(sessions.c.ended_at).join(services, services.c.id == sessions.c.service_id)
    with record.connect() as connection:
        found = connection.execute(own.where(services.c.uuid == uuid)).all()
    return found == [(None,)]


def written_by_another(record: Engine) -> sqlite3.Connection:
    """Return a connection that can keep everybody else from writing."""
    file = str(record.url.database)
    return sqlite3.connect(file, isolation_level=None, timeout=PATIENCE)


def register(plane: ControlPlane, host: str) -> str:
    _, _, joined = plane.request("POST", "/v1/services", {"host": host, "binary": "worker"})
    uuid: str = joined["uuid"]
    return uuid


def test_a_session_begins_with_the_terms(plane: ControlPlane) -> None:
    _, _, terms = plane.request("GET", "/v1/terms")
    with Talker(plane.url) as talker:
        assert talker.told("terms") == terms


def test_a_life_is_held_reports_and_leaves(plane: ControlPlane, record: Engine, host: str) -> None:
    with Talker(plane.url) as talker:
        joined = talker.say({"register": {"host": host, "binary": "worker"}})["registered"]
        uuid = joined["uuid"]
        life = {"uuid": uuid, "incarnation": 1}
        assert row(record, uuid).ended_at is None
        answer = talker.say({"reports": [life]})["reported"]
        assert answer == {**NOBODY, "terms": joined["fingerprint"]}
        assert plane.services(f"?host={host}")[host, "worker"]["report_count"] == 1
        assert talker.say({"leaves": [life]})["left"] == NOBODY
        verdict = plane.services(f"?host={host}")[host, "worker"]["verdict"]
        assert verdict["reason"] == "left"
        assert ended(record, uuid).cause == "left"


def test_a_later_session_of_a_life_is_held_by_its_number(
    plane: ControlPlane, record: Engine, host: str
) -> None:
    uuid = register(plane, host)
    with Talker(plane.url) as first, Talker(plane.url) as second:
        assert first.hold(uuid)["outdated"] == {}
        assert second.hold(uuid, number=2)["outdated"] == {}
        assert first.hold(uuid, number=1)["outdated"] == {uuid: 2}
        newest = row(record, uuid)
        assert (newest.number, newest.ended_at) == (2, None)


@pytest.mark.parametrize(
    ("how", "cause"),
    [(Talker.break_off, "broken"), (lambda talker: talker.line.close(), "closed")],
    ids=["broken", "closed"],
)
def test_the_end_of_a_connection_is_written_after_a_while(
    how: Any, cause: str, plane: ControlPlane, record: Engine, host: str
) -> None:
    uuid = register(plane, host)
    talker = Talker(plane.url)
    talker.hold(uuid)
    began = time.monotonic()
    how(talker)
    assert ended(record, uuid).cause == cause
    assert time.monotonic() - began > 0.9, "it had no time to come back"


def test_who_comes_back_in_time_was_never_away(
    plane: ControlPlane, record: Engine, host: str
) -> None:
    uuid, other = register(plane, host), register(plane, f"{host}-2")
    lost, gone = Talker(plane.url), Talker(plane.url)
    lost.hold(uuid)
    gone.hold(other)
    lost.break_off()
    with Talker(plane.url) as talker:
        talker.hold(uuid, number=2)
        gone.break_off()
        ended(record, other)  # which is written after the end of the first would have been
        newest = row(record, uuid)
        assert (newest.number, newest.ended_at) == (2, None)


@pytest.mark.parametrize(
    "how", [Talker.break_off, lambda talker: talker.line.close()], ids=["broken", "closed"]
)
@pytest.mark.parametrize("give_up", ["before", "after"])
def test_who_gave_up_before_the_answer_has_its_time_to_live(
    how: Callable[[Talker], None], give_up: str, plane: ControlPlane, record: Engine, host: str
) -> None:
    """LC-8: it is alive, knows of no session, and comes again after a pause above linger."""
    uuid, other = register(plane, host), register(plane, f"{host}-2")
    with Talker(plane.url) as gone:
        gone.hold(other)
        if give_up == "before":
            hold_and_give_up(plane, record, uuid, how, gone)
        else:
            impatient = Talker(plane.url)
            impatient.send({"hold": [{"uuid": uuid, "incarnation": 1, "number": 1}]})
            until(lambda: is_held(record, uuid), PATIENCE)
            how(impatient)
        gone.break_off()
        ended(record, other)  # which is written after an end by linger would have been
        assert is_held(record, uuid)
        with Talker(plane.url) as again:
            assert again.hold(uuid, number=9)["outdated"] == {}
            assert row(record, uuid).number == 9


def hold_and_give_up(
    plane: ControlPlane,
    record: Engine,
    uuid: str,
    how: Callable[[Talker], None],
    beside: Talker,
) -> None:
    """End a connection while its session is being committed: its number is not told by then."""
    for number, pause in enumerate((0.3, 1.0, 3.0, 5.0), start=1):
        with closing(written_by_another(record)) as another:
            another.execute("BEGIN IMMEDIATE")
            impatient = Talker(plane.url)
            impatient.send({"hold": [{"uuid": uuid, "incarnation": 1, "number": number}]})
            beside.ping_on(pause)  # meanwhile its commit begins, and
            how(impatient)
            beside.ping_on(pause)  # its end is noticed
            another.execute("COMMIT")
        beside.hold(register(plane, f"{uuid}-{number}"))  # which is committed after it
        if is_held(record, uuid):
            return
    raise AssertionError("no commit had begun in time")


def test_a_life_that_is_released_is_held_no_longer(
    plane: ControlPlane, record: Engine, host: str
) -> None:
    uuid = register(plane, host)
    with Talker(plane.url) as talker:
        talker.hold(uuid)
        assert talker.say({"release": [{"uuid": uuid, "incarnation": 1}]}) == {"released": {}}
        assert ended(record, uuid).cause == "released"


def test_what_cannot_be_held_is_told_by_name(plane: ControlPlane, host: str) -> None:
    uuid = register(plane, host)
    with Talker(plane.url) as talker:
        assert talker.hold("00000000-0000-4000-8000-000000000000")["unknown"]
        register(plane, host)
        assert talker.hold(uuid)["superseded"] == [uuid]
        good = {"uuid": uuid, "incarnation": 2, "number": 1}
        bad = good | {"uuid": "x", "number": 0}
        assert talker.say({"hold": [bad, good]})["held"]["invalid"] == ["x"]


def test_who_was_deleted_or_superseded_is_told_unasked(plane: ControlPlane, host: str) -> None:
    gone, old = register(plane, host), register(plane, f"{host}-2")
    with Talker(plane.url) as talker:
        talker.hold(gone)
        talker.hold(old)
        # The events are followed from a moment on that shows in no other way.
        until(lambda: followers(plane) > 0)
        plane.request("DELETE", f"/v1/services/{gone}")
        assert talker.told("deleted") == [gone]
        register(plane, f"{host}-2")
        assert talker.told("superseded") == [old]


def followers(plane: ControlPlane) -> float:
    return Scrape.of(plane).total("followers")


@pytest.mark.parametrize(
    "frame",
    [b"", b"[]", b"{}", b'{"hold":[],"release":[]}', b'{"dance":1}', b"\xff", b'{"hold":7}',
     b'{"reports":[{}]}', b'{"register":{}}', b'{"reports":' + b"[" * 5000],
)  # fmt: skip
def test_a_frame_that_cannot_be_taken_is_answered_and_the_session_goes_on(
    frame: bytes, plane: ControlPlane, host: str
) -> None:
    with Talker(plane.url) as talker:
        talker.line.send(frame)
        assert talker.hear()["error"]["code"] == 400
        assert talker.hold(register(plane, host))["unknown"] == []


def test_a_message_may_come_in_pieces(plane: ControlPlane) -> None:
    with Talker(plane.url) as talker:
        whole = masked(0x1, b'{"rele', fin=False) + masked(0x9, b"ping") + masked(0x0, b'ase":[]}')
        for place in range(len(whole)):
            talker.socket.sendall(whole[place : place + 1])
        assert talker.hear() == {"released": {}}


def test_a_message_may_have_a_megabyte(plane: ControlPlane) -> None:
    with Talker(plane.url) as talker:
        talker.line.send(b'{"release":[]}'.ljust(MAX_BODY))
        assert talker.hear() == {"released": {}}


@pytest.mark.long
def test_who_never_reads_is_cut_off_and_fills_no_memory(
    plane: ControlPlane, record: Engine, host: str
) -> None:
    uuid = register(plane, host)
    with Talker(plane.url) as talker:
        talker.hold(uuid)
        questions, sent = masked(0x1, b'{"x":1}') * 10_000, 0
        with suppress(OSError):  # it is cut off
            while sent < 64 * MAX_BODY:
                sent += talker.socket.send(questions)
    assert sent < 16 * MAX_BODY, "what is not answered is not taken"
    assert ended(record, uuid).cause in ("unanswered", "silent", "refused")
    assert plane.is_ready()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (masked(0x1, b"x" * (1024 * 1024 + 1)), "1009"),
        (masked(0x1, b"x" * (600 * 1024), fin=False) + masked(0x0, b"x" * (600 * 1024)), "1009"),
        (b"\xff" * 64, "1002"),
        (b"\x81\x01x", "1002"),
        (b"GET / HTTP/1.1\r\n\r\n", "1002"),
        (masked(0x1, b"x" * (10 * 1024 * 1024)), ""),
    ],
    ids=["large", "large in pieces", "garbage", "unmasked", "http", "ten megabytes"],
)
def test_what_is_no_frame_ends_the_session(
    sent: bytes, code: str, plane: ControlPlane, record: Engine, host: str
) -> None:
    uuid = register(plane, host)
    with Talker(plane.url) as talker:
        talker.hold(uuid)
        with suppress(OSError):  # it is cut off while it sends
            talker.socket.sendall(sent)
        assert code in talker.ended()
    assert ended(record, uuid).cause == "refused"
    assert plane.is_ready()


def test_answers_come_in_the_order_of_the_questions(plane: ControlPlane, host: str) -> None:
    with Talker(plane.url) as talker:
        for n in range(200):
            new = {"register": {"host": f"{host}-{n}", "binary": "w"}}
            talker.send({"x": 1} if n % 20 else new)
        kinds = [next(iter(talker.hear())) for _ in range(200)]
    assert kinds == ["error" if n % 20 else "registered" for n in range(200)]


UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Upgrade": "websocket"},
        {"Upgrade": "h2c", "Connection": "Upgrade"},
        UPGRADE | {"Sec_WebSocket_Version": "8", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="},
        UPGRADE | {"Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "short"},
    ],
)
def test_what_asks_for_no_websocket_is_told_so(
    headers: dict[str, str], plane: ControlPlane
) -> None:
    status, answered, body = plane.request("GET", "/v1/session", **headers)
    assert status == 426
    assert answered["Sec-WebSocket-Version"] == "13"
    assert "POST /v1/reports" in body["computeFault"]["message"]
    assert "Unsupported upgrade" not in plane.log()


def test_no_page_of_a_browser_holds_a_session(plane: ControlPlane) -> None:
    with pytest.raises(Rejected) as refused:
        Talker(plane.url, Origin="http://evil.example")
    assert refused.value.status == 403


def test_who_stops_asks_its_sessions_to_go_and_accuses_nobody(
    control_plane: ControlPlane, host: str
) -> None:
    uuid = register(control_plane, host)
    with Talker(control_plane.url) as talker, Talker(control_plane.url) as idle:
        talker.hold(uuid)
        control_plane.process.terminate()
        assert talker.told("drain") == "stopping"
        talker.line.close()
        assert "stopping" in idle.ended(), "who does not go is sent away"
    control_plane.process.wait(20)
    record = connect(control_plane.connection)
    assert row(record, uuid).ended_at is None
    record.dispose()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane that asks for tokens."""
    plane = ControlPlane(
        f"sqlite:///{tmp_path / 'guarded.sqlite'}",
        tmp_path,
        "auth_strategy = token",
        report_interval=1,
        service_down_time=4,
    )
    plane.start()
    yield plane
    plane.stop()


def token(plane: ControlPlane, name: str, *options: str) -> str:
    command = plane.command("token", "create", name, *options, "-f", "value")
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return made.stdout.split()[-1]


def test_a_session_is_behind_the_same_tokens(guarded: ControlPlane) -> None:
    with pytest.raises(Rejected) as refused:
        Talker(guarded.url)
    assert refused.value.status == 401
    with pytest.raises(Rejected) as refused:
        Talker(guarded.url, X_Auth_Token=token(guarded, "r", "--role", "reader"))
    assert refused.value.status == 403
    bound = token(guarded, "h", "--role", "reporter", "--host", "node1")
    admin = token(guarded, "a", "--role", "admin")
    with Talker(guarded.url, X_Auth_Token=bound) as talker:
        own = talker.say({"register": {"host": "node1", "binary": "w"}})["registered"]
        assert talker.say({"register": {"host": "node2", "binary": "w"}})["error"]["code"] == 403
        _, _, other = guarded.request(
            "POST", "/v1/services", {"host": "node2", "binary": "w"}, X_Auth_Token=admin
        )
        foreign = {"uuid": other["uuid"], "incarnation": 1}
        assert talker.say({"hold": [foreign | {"number": 1}]})["error"]["code"] == 403
        for _ in ("asked for", "remembered"):
            assert talker.say({"reports": [foreign]})["error"]["code"] == 403
        assert talker.say({"leaves": [foreign]})["error"]["code"] == 403
        assert talker.hold(own["uuid"], number=2)["outdated"] == {}


@pytest.mark.long
def test_a_token_that_is_revoked_ends_its_session(guarded: ControlPlane) -> None:
    bound = token(guarded, "h", "--role", "reporter", "--host", "node1")
    with Talker(guarded.url, X_Auth_Token=bound) as talker:
        uuid = talker.say({"register": {"host": "node1", "binary": "w"}})["registered"]["uuid"]
        subprocess.run(guarded.command("token", "revoke", "h"), check=True, timeout=60)
        with pytest.raises(OSError, match="credential"):
            talker.ping_on(30)
    record = connect(guarded.connection)
    assert ended(record, uuid).cause == "refused"
    record.dispose()


@pytest.mark.long
def test_who_can_vouch_for_nobody_asks_to_go_elsewhere_in_time(
    plane: ControlPlane, record: Engine, host: str
) -> None:
    """A commit that hangs is no error yet: marks are missed from its beginning on."""
    uuid = register(plane, host)
    with Talker(plane.url) as talker:
        talker.hold(uuid)
        with closing(written_by_another(record)) as other:
            other.execute("BEGIN IMMEDIATE")
            begun = time.monotonic()
            assert talker.told("drain") == "database"
            assert time.monotonic() - begun < MARK_TOLERANCE + 1.5  # it hangs for longer
        until(lambda: is_marked(record), PATIENCE)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [2, 14], ids=["it hangs", "it fails"])
def test_who_came_back_while_the_database_was_away_was_never_away(
    seconds: float, plane: ControlPlane, record: Engine, host: str
) -> None:
    """An end that waited is not written before the opening that waited, too."""
    uuid, neighbour = register(plane, host), register(plane, f"{host}-2")
    with Talker(plane.url) as first, Talker(plane.url) as second, Talker(plane.url) as third:
        first.hold(uuid)
        with closing(written_by_another(record)) as other:
            other.executescript(_ENDS_ARE_NOTED)
            other.execute("BEGIN IMMEDIATE")
            third.send({"hold": [{"uuid": neighbour, "incarnation": 1, "number": 1}]})
            second.ping_on(0.5)  # the next one waits behind this one's commit
            first.break_off()
            number = 2
            second.send({"hold": [{"uuid": uuid, "incarnation": 1, "number": number}]})
            second.ping_on(seconds)
            other.execute("COMMIT")
            while "held" not in second.hear():
                number += 1
                second.send({"hold": [{"uuid": uuid, "incarnation": 1, "number": number}]})
            until(lambda: Scrape.of(plane).total("sessions_unwritten_ends") == 0, PATIENCE)
            assert row(record, uuid).ended_at is None
            ended_ids = {one for (one,) in other.execute("SELECT service_id FROM ended")}
        assert row(record, uuid).service_id not in ended_ids


_ENDS_ARE_NOTED = """
CREATE TABLE IF NOT EXISTS ended (service_id);
CREATE TRIGGER IF NOT EXISTS note_end AFTER UPDATE OF ended_at ON sessions
WHEN NEW.ended_at IS NOT NULL BEGIN INSERT INTO ended VALUES (NEW.service_id); END;
"""


def is_marked(record: Engine) -> bool:
    """Tell whether a control plane has marked just now."""
    with record.connect() as connection:
        now = register_now(connection)
        latest = connection.execute(select(planes.c.marked_at)).scalars()
        return any(abs((now - at).total_seconds()) < 2 * MARK_INTERVAL for at in latest)
