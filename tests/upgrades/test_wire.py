"""Agents and control planes of the first release and of this one understand each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from servers.process import PATIENCE
from servicegroup.agent.client import Joined
from servicegroup.messages import Refusals, Reported
from support.control_plane import ControlPlane
from support.fleet import fleet
from support.waiting import until
from upgrades.exchange import Exchange, covers
from upgrades.release import RECORDED, FirstControlPlane

pytestmark = pytest.mark.long

HOSTS = ["h1", "h2"]
BINARY = "nova-compute"

ANSWERS = {"/v1/services": Joined, "/v1/reports": Reported, "/v1/leave": Refusals}


def recorded() -> list[Exchange]:
    """Return what an agent of the first release asked, and was answered, in order."""
    return msgspec.json.decode((RECORDED / "agent.json").read_bytes(), type=list[Exchange])


def test_what_an_old_agent_asks_is_answered_as_it_was(control_plane: ControlPlane) -> None:
    """Every request that was recorded, with this register's uuids; nothing lacks in the answers."""
    uuids: dict[str, str] = {}

    def of_here(text: str) -> str:
        for there, here in uuids.items():
            text = text.replace(there, here)
        return text

    for old in recorded():
        body = of_here(msgspec.json.encode(old.body).decode()).encode() if old.body else None
        status, _, answer = control_plane.request(old.method, of_here(old.path), body)
        assert status == old.status, answer
        if old.path == "/v1/services":
            uuids[old.answer["uuid"]] = answer["uuid"]
        expected = msgspec.json.decode(of_here(msgspec.json.encode(old.answer).decode()))
        assert covers(answer or None, expected), (old.method, old.path, answer)
    told = {list_ for old in recorded() if "/reports" in old.path for list_ in _refused(old)}
    assert told == {"deleted"}, "the recording has what it should"


def _refused(old: Exchange) -> list[str]:
    return [name for name in Refusals.__struct_fields__ if old.answer.get(name)]


def test_what_an_old_control_plane_answers_is_understood() -> None:
    for old in recorded():
        if old.path in ANSWERS:
            answer = msgspec.json.encode(old.answer)
            understood = msgspec.json.decode(answer, type=ANSWERS[old.path])
            assert covers(msgspec.json.decode(msgspec.json.encode(understood)), old.answer)


@contextmanager
def running(plane: ControlPlane) -> Iterator[None]:
    plane.start()
    try:
        yield
    finally:
        plane.stop()


def states(plane: ControlPlane) -> dict[str, str]:
    found = plane.services(f"?binary={BINARY}")
    return {host: service["verdict"]["reason"] for (host, _), service in found.items()}


def lives_and_dies(plane: ControlPlane, directory: Path) -> None:
    """Two agents join and report; one is deleted and told, the other is stopped and leaves."""
    with fleet(plane.url, HOSTS, directory, binary=BINARY) as (deleted, stopped):
        up = dict.fromkeys(HOSTS, "reporting")
        until(lambda: states(plane) == up, PATIENCE, what="both up")
        counts = {key: s["report_count"] for key, s in plane.services().items()}
        until(
            lambda: plane.services()[stopped.key]["report_count"] > counts[stopped.key] + 2,
            PATIENCE,
            what="more reports",
        )
        uuid = plane.services()[deleted.key]["uuid"]
        assert plane.request("DELETE", f"/v1/services/{uuid}")[0] == 204
        until(lambda: "was deleted" in deleted.log(), PATIENCE, what="told of its delete")
        stopped.stop()
        assert states(plane) == {stopped.host: "left"}


def test_an_old_agent_with_a_new_control_plane(
    first_source: Path,
    control_plane: ControlPlane,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(first_source))  # of the agents only
    lives_and_dies(control_plane, tmp_path)


def test_an_old_agent_is_judged_by_its_reports_where_others_hold_sessions(
    first_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never held a session, so it cannot lose one; a new agent beside it holds one."""
    plane = ControlPlane(
        f"sqlite:///{tmp_path / 'r.sqlite'}",
        tmp_path,
        servicegroup_driver="session",
        report_interval=1,
        service_down_time=20,
    )
    with running(plane), fleet(plane.url, ["new"], tmp_path, binary="nova-conductor") as (new,):
        monkeypatch.setenv("PYTHONPATH", str(first_source))
        lives_and_dies(plane, tmp_path)
        until(
            lambda: plane.services()[new.key]["verdict"]["reason"] == "present",
            PATIENCE,
            what="the new one present",
        )


def test_a_new_agent_with_an_old_control_plane(first_source: Path, tmp_path: Path) -> None:
    plane = FirstControlPlane(
        first_source,
        f"sqlite:///{tmp_path / 'r.sqlite'}",
        tmp_path,
        report_interval=1,
        service_down_time=4,
    )
    with running(plane):
        lives_and_dies(plane, tmp_path)
