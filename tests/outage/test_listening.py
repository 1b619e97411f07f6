"""Silence counts only while somebody listened: outages of our own side accuse nobody."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers.postgresql import PostgreSQL
from servers.process import PATIENCE
from servicegroup.driver import load
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from support.control_plane import ControlPlane
from support.fleet import Agent, fleet
from support.session import Talker
from support.waiting import until

pytestmark = pytest.mark.long

LIMITS: dict[str, Any] = {"report_interval": 1, "service_down_time": 4}
SILENCE = {**LIMITS, "servicegroup_driver": "db"}
"""Options of a control plane for which silence alone shows who is down."""

DOWN_TIME = 4.0
HOSTS = ["h1", "h2", "h3"]


def fleet_states(plane: ControlPlane) -> dict[str, str]:
    """Return the state of each agent's service by host; empty while nobody answers."""
    try:
        services = plane.services("?binary=nova-compute")
    except Exception:  # noqa: BLE001 - an outage is the subject
        return {}
    return {host: service["verdict"]["state"] for (host, _), service in services.items()}


def all_up(plane: ControlPlane) -> bool:
    return fleet_states(plane) == dict.fromkeys(HOSTS, "up")


def watch_nobody_down(plane: ControlPlane, seconds: float) -> None:
    """Ask again and again for a while; no answer may show anybody down."""
    deadline = time.monotonic() + seconds
    seen = 0
    while time.monotonic() < deadline:
        states = fleet_states(plane)
        assert "down" not in states.values(), plane.services("?state=down")
        seen += bool(states)
        time.sleep(0.02)
    assert seen > 10


def then_a_dead_agent_is_found(plane: ControlPlane, agent: Agent) -> None:
    agent.kill()
    killed = time.monotonic()
    until(lambda: fleet_states(plane).get(agent.host) == "down", PATIENCE, what="down")
    # One second each for the report before the kill, the marks' grain and the machine.
    assert time.monotonic() - killed < DOWN_TIME + 3
    verdict = plane.services()[agent.key]["verdict"]
    assert verdict["reason"] == "silent"
    others = {host: state for host, state in fleet_states(plane).items() if host != agent.host}
    assert set(others.values()) == {"up"}


def test_a_control_plane_that_was_away_accuses_nobody(tmp_path: Path) -> None:
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path, **SILENCE)
    plane.start()
    try:
        with fleet(plane.url, HOSTS, tmp_path) as agents:
            until(lambda: all_up(plane), PATIENCE, what="all up")
            plane.kill()
            time.sleep(2 * DOWN_TIME)  # the outage is the subject
            plane.start_only()
            watch_nobody_down(plane, 2 * DOWN_TIME)
            assert all_up(plane)
            then_a_dead_agent_is_found(plane, agents[0])
            assert agents[1].log().count("lost") == 1, agents[1].log()
            assert agents[1].log().count("recovered") == 1, agents[1].log()
    finally:
        plane.stop()


def test_a_control_plane_that_hung_accuses_nobody(tmp_path: Path) -> None:
    """Nor does another reader of the same record, asked meanwhile (SQL-6)."""
    url = f"sqlite:///{tmp_path / 'r.sqlite'}"
    plane = ControlPlane(url, tmp_path, **SILENCE)
    plane.start()
    try:
        with fleet(plane.url, HOSTS, tmp_path) as agents:
            until(lambda: all_up(plane), PATIENCE, what="all up")
            plane.freeze()
            time.sleep(2 * DOWN_TIME)  # the outage is the subject
            reader = ServiceGroup(Store(connect(url)), load("db"), Limits(**LIMITS))
            assert {service.is_up for service in reader.services()} == {True}
            plane.thaw()
            watch_nobody_down(plane, 2 * DOWN_TIME)
            then_a_dead_agent_is_found(plane, agents[0])
    finally:
        plane.stop()


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_database_that_was_away_accuses_nobody(
    how: str, own_postgresql: Callable[[], PostgreSQL], tmp_path: Path
) -> None:
    server = own_postgresql()
    plane = ControlPlane(server.database(), tmp_path, **SILENCE)
    plane.start()
    try:
        with fleet(plane.url, HOSTS, tmp_path) as agents:
            until(lambda: all_up(plane), PATIENCE, what="all up")
            server.kill() if how == "killed" else server.freeze()
            time.sleep(2 * DOWN_TIME)  # the outage is the subject
            server.start() if how == "killed" else server.thaw()
            until(lambda: bool(fleet_states(plane)), PATIENCE, what="an answer")
            watch_nobody_down(plane, 2 * DOWN_TIME)
            until(lambda: all_up(plane), PATIENCE, what="all up again")
            then_a_dead_agent_is_found(plane, agents[0])
    finally:
        plane.stop()


@pytest.mark.parametrize("driver", ["db", "session"])
def test_a_report_from_before_a_pause_does_not_stamp_who_died_in_it(
    driver: str, tmp_path: Path
) -> None:
    """SQL-7: it lay in a socket of the control plane while its sender died."""
    options = {**LIMITS, "servicegroup_driver": driver}
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path, **options)
    plane.start()
    try:
        with fleet(plane.url, ["h1"], tmp_path) as (agent,):
            until(lambda: _stamp(plane, agent), PATIENCE, what="a report")
            stamp = _stamp(plane, agent)
            until(lambda: _stamp(plane, agent) != stamp, PATIENCE, 0.01, "a report just committed")
            plane.freeze()
            stamp = _stored_stamp(tmp_path)
            time.sleep(DOWN_TIME)  # the pause is the subject
            until(lambda: "lost" in agent.log(), PATIENCE, what="the agent reports into it")
            agent.kill()
            plane.thaw()
            until(lambda: fleet_states(plane).get("h1") == "down", PATIENCE, what="h1 down")
            assert _stored_stamp(tmp_path) == stamp
    finally:
        plane.stop()


def test_a_frame_from_before_a_pause_does_not_stamp_who_died_in_it(tmp_path: Path) -> None:
    """SQL-7: the report lies in the session's socket, and behind it that its sender has gone."""
    options = {**LIMITS, "servicegroup_driver": "session"}
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path, **options)
    plane.start()
    try:
        with Talker(plane.url) as talker:
            who = {"host": "h1", "binary": "nova-compute"}
            life = talker.say({"register": who})["registered"]
            reports = {"reports": [{name: life[name] for name in ("uuid", "incarnation")}]}
            assert not talker.say(reports)["reported"]["unknown"]
            plane.freeze()
            stamp = _stored_stamp(tmp_path)
            time.sleep(3)  # the pause is the subject: longer than what the control plane tolerates
            talker.send(reports)
        plane.thaw()
        until(lambda: fleet_states(plane).get("h1") == "down", PATIENCE, what="h1 down")
        assert _stored_stamp(tmp_path) == stamp
    finally:
        plane.stop()


def test_a_registration_from_before_a_pause_begins_no_life(tmp_path: Path) -> None:
    """LC-4: its sender has gone, and would be told that nobody's life superseded its own."""
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path, **SILENCE)
    plane.start()
    try:
        assert _register(plane, "h1") == 1
        plane.freeze()
        body = b'{"host":"h1","binary":"worker"}'
        head = f"POST /v1/services HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", plane.port)) as sender:
            sender.sendall(head.encode() + body)
        time.sleep(3)  # the pause is the subject: longer than what the control plane tolerates
        plane.thaw()
        for host in ("h2", "h3"):  # each is answered later than what came before it
            assert _register(plane, host) == 1
        assert _register(plane, "h1") == 2
    finally:
        plane.stop()


def _register(plane: ControlPlane, host: str) -> int:
    """Register a worker on a host and return which life of it this is."""
    status, _, joined = plane.request("POST", "/v1/services", {"host": host, "binary": "worker"})
    assert status == 200, joined
    return int(joined["incarnation"])


def _stamp(plane: ControlPlane, agent: Agent) -> str | None:
    """Return when the agent's service was last seen, as far as is known."""
    seen: str | None = plane.services().get(agent.key, {}).get("last_seen_up")
    return seen


def _stored_stamp(directory: Path) -> str:
    with sqlite3.connect(directory / "r.sqlite") as connection:
        query = "SELECT last_seen_up FROM services WHERE host = 'h1'"
        (stamp,) = connection.execute(query).fetchone()
    connection.close()
    return str(stamp)


def test_who_died_while_nobody_listened_is_found_afterwards(tmp_path: Path) -> None:
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path, **SILENCE)
    plane.start()
    try:
        with fleet(plane.url, HOSTS, tmp_path) as agents:
            until(lambda: all_up(plane), PATIENCE, what="all up")
            plane.kill()
            agents[2].kill()
            time.sleep(DOWN_TIME)  # the outage is the subject
            plane.start_only()
            until(lambda: fleet_states(plane).get("h3") == "down", PATIENCE, what="h3 down")
            assert fleet_states(plane) == {"h1": "up", "h2": "up", "h3": "down"}
    finally:
        plane.stop()
