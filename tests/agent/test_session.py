"""Agents that hold sessions: real processes, killed and frozen, and control planes likewise."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import servicegroup
from servers.postgresql import PostgreSQL
from servers.process import freeze
from servers.proxy import Mode, Proxy
from support.control_plane import ControlPlane
from support.fleet import fleet
from support.scrape import Scrape
from support.waiting import until

SHORT: dict[str, Any] = {
    "servicegroup_driver": "session",
    "report_interval": 2,
    "service_down_time": 20,
    "heartbeat_interval": 0.5,
    "membership_ttl": 3,
}
Planes = Callable[..., ControlPlane]


@pytest.fixture
def planes(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[Planes]:
    """Start control planes on one register, driver session."""
    url = postgresql.database()
    with ExitStack() as stack:

        def started(**options: Any) -> ControlPlane:
            plane = ControlPlane(url, tmp_path, **{**SHORT, **options})
            stack.callback(plane.stop)
            plane.start()
            return plane

        yield started


def verdict(plane: ControlPlane, host: str, binary: str = "nova-compute") -> dict[str, Any]:
    service = plane.services(f"?host={host}").get((host, binary))
    found: dict[str, Any] = service["verdict"] if service else {"state": "", "reason": ""}
    return found


def judged(plane: ControlPlane, host: str, reason: str) -> bool:
    return bool(verdict(plane, host)["reason"] == reason)


def present(plane: ControlPlane, *hosts: str) -> bool:
    return all(verdict(plane, host)["reason"] == "present" for host in hosts)


def presence_detail(plane: ControlPlane, host: str) -> str:
    """Return what evidence says of the session of a host."""
    detail: str = verdict(plane, host)["evidence"]["presence"]["detail"]
    return detail


def where(plane: ControlPlane, host: str) -> str:
    """Return on which control plane the session of a host is, as evidence says."""
    return presence_detail(plane, host).split()[4]


def raised(plane: ControlPlane, after: int) -> set[str]:
    """Return the hosts that events tell up, of those since one."""
    events = plane.request("GET", f"/v1/events?limit=1000&after={after}")[2]["events"]
    return {event["host"] for event in events if event["kind"] == "service-up"}


def spread(plane: ControlPlane, many: int) -> list[str]:
    """Register so many hosts, in a group each; a half of them begins at each of two control planes.

    Where a service begins follows from its uuid, so a few of them may begin at the same one.
    """
    halves: tuple[list[str], list[str]] = ([], [])
    for host in (f"h{number}" for number in itertools.count()):
        asked = {"host": host, "binary": "nova-compute", "group": host}
        status, _, body = plane.request("POST", "/v1/services", asked)
        assert status in (200, 201), body
        half = halves[zlib.crc32(body["uuid"].encode()) % 2]
        if len(half) < many // 2:
            half.append(host)
        else:
            plane.request("DELETE", f"/v1/services/{body['uuid']}")
        if sum(map(len, halves)) == many:
            return halves[0] + halves[1]
    raise AssertionError


def test_a_crash_is_down_in_about_a_second(planes: Planes, tmp_path: Path) -> None:
    plane = planes(heartbeat_interval=2, membership_ttl=15)
    with fleet(plane.url, ["h1", "h2"], tmp_path, apart=True) as (first, _):
        until(lambda: present(plane, "h1", "h2"), 20)
        first.kill()
        killed = time.monotonic()
        until(lambda: verdict(plane, "h1")["state"] == "down", 15, interval=0.02)
        # 1.2 s where nobody else uses the machine; a process that hangs would take 15 s.
        assert time.monotonic() - killed < 10
        found = verdict(plane, "h1")
        assert found["reason"] == "absent"
        assert "its connection broke" in found["evidence"]["presence"]["detail"]
        assert present(plane, "h2")


def test_a_hang_is_down_after_the_time_to_live(planes: Planes, tmp_path: Path) -> None:
    plane = planes()
    with fleet(plane.url, ["h1"], tmp_path) as (agent,):
        until(lambda: present(plane, "h1"), 20)
        freeze(agent.process.pid)
        until(lambda: verdict(plane, "h1")["reason"] == "absent", 10)
        assert "membership_ttl" in verdict(plane, "h1")["evidence"]["presence"]["detail"]
        agent.process.send_signal(signal.SIGCONT)
        until(lambda: present(plane, "h1"), 20)


def test_a_stop_is_a_leave(planes: Planes, tmp_path: Path) -> None:
    plane = planes()
    with fleet(plane.url, ["h1"], tmp_path) as (agent,):
        until(lambda: present(plane, "h1"), 20)
        assert agent.stop() == 0
        assert verdict(plane, "h1")["reason"] == "left"


def test_reports_go_over_the_session(planes: Planes, tmp_path: Path) -> None:
    plane = planes(report_interval=0.5)
    with fleet(plane.url, ["h1"], tmp_path):
        until(lambda: present(plane, "h1"), 20)
        service = plane.services("?host=h1")["h1", "nova-compute"]
        count = service["report_count"]
        until(lambda: plane.services("?host=h1")["h1", "nova-compute"]["report_count"] > count + 3)
        assert verdict(plane, "h1")["state"] == "up"


@pytest.mark.long
@pytest.mark.parametrize("how", ["kill", "freeze", "stop"])
def test_a_control_plane_that_ends_takes_nobody_with_it(
    how: str, planes: Planes, tmp_path: Path
) -> None:
    """Those that it held are on the other one in seconds, and no verdict flips."""
    patient = {"heartbeat_interval": 2, "membership_ttl": 10}
    first, second = planes(**patient), planes(**patient)
    hosts = spread(first, 6)
    with fleet(f"{first.url},{second.url}", hosts, tmp_path, apart=True):
        until(lambda: present(second, *hosts), 30)
        names = {where(second, host) for host in hosts}
        assert len(names) == 2, "they spread"
        own = next(name for name in names if str(second.port) in name)
        getattr(first, how)()
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            verdicts = [verdict(second, host) for host in hosts]
            assert [found for found in verdicts if found["state"] != "up"] == []
            if {where(second, host) for host in hosts} == {own}:
                break
        assert {where(second, host) for host in hosts} == {own}
        if how == "freeze":
            until(lambda: time.monotonic() > deadline + 15, 60)
            first.thaw()
        until(lambda: present(second, *hosts), 20)
        events = second.request("GET", "/v1/events?limit=1000&after=0&kind=service-down")[2]
        assert [e for e in events["events"] if e["binary"] == "nova-compute"] == []


@pytest.mark.long
def test_who_died_while_its_control_plane_stood_still_is_not_raised_when_it_goes_on(
    planes: Planes, tmp_path: Path
) -> None:
    """Its session is still open in the record then, and the control plane marks again."""
    first, second = planes(), planes()
    with fleet(first.url, ["h1", "h2"], tmp_path, apart=True) as (agent, _):
        until(lambda: present(second, "h1", "h2"), 30)
        # Or the first one may stand still half-way of telling this, and tells it when it goes on.
        until(lambda: raised(second, after=0) >= {"h1", "h2"}, 30)
        first.freeze()
        agent.kill()
        until(lambda: verdict(second, "h1")["reason"] == "absent", 30)
        newest = second.request("GET", "/v1/events?limit=1")[2]["last"]
        first.thaw()
        until(lambda: "its connection broke" in presence_detail(second, "h1"), 30)
        until(lambda: present(second, "h2"), 30)
        assert "h1" not in raised(second, after=newest)


@pytest.mark.long
def test_the_only_control_plane_is_restarted(planes: Planes, tmp_path: Path) -> None:
    plane = planes()
    with fleet(plane.url, ["h1", "h2"], tmp_path, apart=True) as agents:
        until(lambda: present(plane, "h1", "h2"), 20)
        for end in (plane.stop, plane.kill):
            end()
            plane.start()
            until(lambda: present(plane, "h1", "h2"), 20)
        events = plane.request("GET", "/v1/events?limit=1000&after=0&kind=service-down")[2]
        assert [e for e in events["events"] if e["binary"] == "nova-compute"] == []
        assert all(agent.process.poll() is None for agent in agents)


def test_a_deleted_service_is_told_at_once(planes: Planes, tmp_path: Path) -> None:
    plane = planes(report_interval=60, service_down_time=300)
    with fleet(plane.url, ["h1"], tmp_path) as (agent,):
        until(lambda: present(plane, "h1"), 20)
        until(lambda: Scrape.of(plane).total("followers"), 20)  # the session is told of events
        uuid = plane.services("?host=h1")["h1", "nova-compute"]["uuid"]
        plane.request("DELETE", f"/v1/services/{uuid}")
        until(lambda: "was deleted" in agent.log(), 20)


def test_who_does_not_work_gives_its_session_up(planes: Planes) -> None:
    plane = planes()
    answers = [True]
    joined = servicegroup.join(
        "worker", host="h1", url=plane.url, healthy=lambda: answers[0] or "disk full"
    )
    with joined:
        until(lambda: verdict(plane, "h1", "worker")["reason"] == "present", 20)
        answers[0] = False
        until(lambda: verdict(plane, "h1", "worker")["reason"] == "absent", 15)
        detail = verdict(plane, "h1", "worker")["evidence"]["presence"]["detail"]
        assert "gave it up" in detail
        answers[0] = True
        until(lambda: verdict(plane, "h1", "worker")["reason"] == "present", 15)


def test_a_forked_child_does_not_live_on_in_the_session(planes: Planes, tmp_path: Path) -> None:
    plane = planes()
    parent = os.fork()
    if parent == 0:
        servicegroup.join("worker", host="h1", url=plane.url)
        until(lambda: (tmp_path / "go").exists(), 30)
        child = os.fork()
        if child == 0:
            time.sleep(60)
        (tmp_path / "child").write_text(str(child))
        time.sleep(60)
        os._exit(0)
    child = 0
    try:
        until(lambda: verdict(plane, "h1", "worker")["reason"] == "present", 20)
        (tmp_path / "go").touch()
        until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), 20)
        until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), 20)
        child = int((tmp_path / "child").read_text())
        os.kill(parent, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: verdict(plane, "h1", "worker")["state"] == "down", 10, interval=0.02)
        assert time.monotonic() - killed < SHORT["membership_ttl"]
    finally:
        for one in (parent, child):
            if one:
                os.kill(one, signal.SIGKILL)
        os.waitpid(parent, 0)


class NoTunnels:
    """A proxy that lets requests through, one connection each, and no upgrade.

    Of those who ask for one it leaves the first ``silent`` without an answer.
    """

    def __init__(self, port: int, silent: int = 0) -> None:
        self._to = port
        self._silent = silent
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            threading.Thread(target=self._bring_back, args=(server, client), daemon=True).start()
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    if self._silent and b"upgrade:" in data.lower():
                        self._silent -= 1
                        break
                    kept = [
                        line
                        for line in data.split(b"\r\n")
                        if not line.lower().startswith((b"upgrade:", b"connection:"))
                    ]
                    server.sendall(b"\r\n".join(kept))
            for end in (client, server):  # a close alone does not end the other thread's waiting
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _bring_back(server: socket.socket, client: socket.socket) -> None:
        """Give the client whatever comes: an answer may have several pieces."""
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("silent", [0, 1], ids=["from the first", "after no answer"])
def test_behind_a_proxy_without_tunnels_reports_go_by_post(
    silent: int, planes: Planes, tmp_path: Path
) -> None:
    plane = planes(report_interval=0.5)
    proxy = NoTunnels(plane.port, silent)
    with fleet(proxy.url, ["h1"], tmp_path) as (agent,):
        until(lambda: verdict(plane, "h1")["reason"] == "reporting", 20)
        until(lambda: "lets no session through" in agent.log(), 20)
        count = plane.services("?host=h1")["h1", "nova-compute"]["report_count"]
        until(lambda: plane.services("?host=h1")["h1", "nova-compute"]["report_count"] > count + 5)
        assert agent.log().count("lets no session through") == 1
        assert verdict(plane, "h1")["state"] == "up"
    proxy.close()


def test_a_control_plane_that_answers_late_is_waited_for(planes: Planes, tmp_path: Path) -> None:
    """A fleet comes to it at once: who gave up after a heartbeat each time would only add to it."""
    plane = planes()
    with Proxy(plane.port) as way:
        url = f"http://{way.address}"
        with fleet(url, ["h1"], tmp_path) as (agent,):
            until(lambda: present(plane, "h1"), 20)
            way.be(Mode.DELAY, 0.7)  # so that an answer takes longer than the shortest attempt
            agent.process.send_signal(signal.SIGSTOP)
            until(lambda: judged(plane, "h1", "absent"), 20)
            agent.process.send_signal(signal.SIGCONT)
            until(lambda: present(plane, "h1"), 30)


def test_who_only_reports_is_judged_by_reports_alone(planes: Planes) -> None:
    plane = planes(report_interval=0.5, service_down_time=2, on_unknown="down")
    body = {"host": "h1", "binary": "foreign"}
    joined = plane.request("POST", "/v1/services", body)[2]
    report = {"reports": [{"uuid": joined["uuid"], "incarnation": 1}]}
    plane.request("POST", "/v1/reports", report)
    assert verdict(plane, "h1", "foreign")["reason"] == "reporting"
    until(lambda: verdict(plane, "h1", "foreign")["reason"] == "silent", 10)
    plane.request("POST", "/v1/reports", report)
    assert verdict(plane, "h1", "foreign")["reason"] == "reporting"


def test_an_agent_with_a_former_terms_takes_the_session_up(planes: Planes, tmp_path: Path) -> None:
    """A fleet changes from db to session, and back, without a restart of its agents."""
    plane = planes(servicegroup_driver="db", report_interval=1)
    with fleet(plane.url, ["h1"], tmp_path) as (agent,):
        until(lambda: verdict(plane, "h1")["reason"] == "reporting", 20)
        for driver, reason in (("session", "present"), ("db", "reporting")):
            plane.stop()
            plane.configure(**{**SHORT, "servicegroup_driver": driver, "report_interval": 1})
            plane.start()
            until(partial(judged, plane, "h1", reason), 20)
        assert agent.process.poll() is None
