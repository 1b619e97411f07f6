"""A Nova with a register beside it: its services hold sessions there, and ask it who is up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from servers.cloud import Cloud
from servers.nova import with_layer
from servers.nova_wsgi import UWSGI
from servers.openstack import merged, output
from servers.process import family
from support.control_plane import ControlPlane
from support.waiting import lasting, until

from .conftest import HOSTS, QUICK, all_are_back, nobody_goes_down

LINGER = 1.0
"""Seconds that a broken session may be opened anew, by default."""

SLACK = 1.0
"""Seconds for the end to be written, found, told and asked for on a busy machine."""

DOWN_TIME = float(str(QUICK["DEFAULT"]["service_down_time"]))

TWO = ("nova-compute", "two")


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a register with its defaults: driver session, SQLite."""
    directory: Path = tmp_path_factory.mktemp("register")
    plane = ControlPlane(
        f"sqlite:///{directory / 'register.sqlite'}", directory, servicegroup_driver="session"
    )
    yield plane
    plane.stop()


@pytest.fixture
def cloud(a_cloud: Cloud, register: ControlPlane) -> Cloud:
    """Give a Nova with quick intervals, every service of it up and present."""
    if register._process is None:
        register.start()
    a_cloud.run(merged(with_layer("session", url=register.url), QUICK))
    until(lambda: joined(register) == a_cloud.everybody, 60, what="all are in the register")
    until(lambda: a_cloud.reason("two") == "present", 30, 0.5, "two is present")
    return a_cloud


def records(register: ControlPlane) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the register has of Nova's services, by binary and host."""
    return {
        (binary, host): record
        for (host, binary), record in register.services().items()
        if binary.startswith("nova-")
    }


def joined(register: ControlPlane) -> set[tuple[str, str]]:
    """Return which of Nova's services are up in the register."""
    return {name for name, one in records(register).items() if one["verdict"]["state"] == "up"}


def freed(cloud: Cloud, register: ControlPlane) -> bool:
    """Return whether neither has a record of two; an eventlet nova-api works while it is asked."""
    return TWO not in cloud.records() and TWO not in records(register)


def test_novas_services_are_in_the_register(cloud: Cloud, register: ControlPlane) -> None:
    assert cloud.down() == set()
    found = records(register)
    assert found.keys() == cloud.everybody
    assert {record["topic"] for record in found.values()} == {"compute", "conductor", "scheduler"}
    assert {record["verdict"]["reason"] for record in found.values()} == {"present"}
    assert all(record["version"] > 0 for record in found.values())
    checks = msgspec.json.decode(cloud.api.servicegroup("doctor", "-f", "json"))
    assert not {check["check"]: check["result"] for check in checks if check["result"] == "FAIL"}
    assert any("session finds a crash within" in check["finding"] for check in checks)
    presence = cloud.why("two")["evidence"]["presence"]
    assert presence["detail"].startswith("present in the register: session on control plane")


def test_a_killed_compute_is_down_in_a_second_and_refused(
    cloud: Cloud, register: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    until(lambda: cloud.destinations() == set(HOSTS), 60, what="both hosts take instances")
    before = cloud.service_list()
    cloud.computes["two"].kill()
    killed = time.monotonic()
    until(lambda: cloud.state("two") == "down", DOWN_TIME, 0.02, "two is down")
    took = time.monotonic() - killed
    after = cloud.service_list()
    with capsys.disabled():
        print("", before, "$ kill -9 the nova-compute of two", after, sep="\n")
        print(f"Down {took:.2f} s after kill -9, of which {LINGER:g} s are the session's linger.")
    assert took <= LINGER + SLACK
    assert cloud.state("one") == "up"
    assert cloud.destinations() == {"one"}
    why = cloud.why("two")
    assert why["evidence"]["presence"]["state"] == "absent"
    assert "its connection broke" in why["evidence"]["presence"]["detail"]
    assert records(register)[TWO]["verdict"]["reason"] == "absent"

    cloud.computes["two"].start()
    until(lambda: cloud.state("two") == "up", 60, what="two is up again")
    until(lambda: cloud.destinations() == set(HOSTS), 60, what="both take instances again")


def test_a_worker_that_dies_takes_nobody_down(cloud: Cloud, register: ControlPlane) -> None:
    name = cloud.conductor.identity
    before = records(register)[name]["incarnation"]
    for worker in family(cloud.conductor.pid)[1:]:
        os.kill(worker, signal.SIGKILL)
        nobody_goes_down(cloud, 3 * LINGER)
    assert records(register)[name]["incarnation"] > before
    assert joined(register) == cloud.everybody


def test_while_the_register_is_away_reports_decide_and_then_all_are_back(
    cloud: Cloud, register: ControlPlane
) -> None:
    register.kill()
    nobody_goes_down(cloud, DOWN_TIME)
    assert cloud.reason("two") == "unconfirmed"
    cloud.computes["two"].kill()
    until(lambda: cloud.down() == {TWO}, 2 * DOWN_TIME, what="two is down by its reports")
    assert cloud.reason("two") == "silent"
    cloud.computes["two"].start()
    until(lambda: cloud.down() == set(), 60, what="two is up by its reports")

    register.start()
    all_are_back(cloud, 60)
    until(lambda: joined(register) == cloud.everybody, 60, what="all hold sessions again")


def test_a_deleted_compute_is_freed_and_stays_away_until_restarted(
    cloud: Cloud, register: ControlPlane
) -> None:
    cloud.delete("two")
    until(lambda: freed(cloud, register), 5, what="the register has no record of it")
    nobody_goes_down(cloud, 5.0)
    assert TWO not in records(register)
    assert TWO not in cloud.states()
    cloud.computes["two"].kill()
    cloud.computes["two"].start()
    until(lambda: cloud.states().get(TWO) == "up", 60, what="it has a new record")
    until(lambda: joined(register) == cloud.everybody, 30, what="it joined anew")


def test_a_dead_compute_that_is_deleted_is_freed(cloud: Cloud, register: ControlPlane) -> None:
    cloud.computes["two"].kill()
    until(lambda: records(register)[TWO]["verdict"]["state"] == "down", 10, what="two is down")
    cloud.delete("two")
    until(lambda: freed(cloud, register), 10, what="the register has no record of it")


def test_an_eventlet_api_under_uwsgi_learns_what_happens_while_nobody_asks(
    cloud: Cloud, register: ControlPlane
) -> None:
    """F-45: between two requests none of eventlet's threads gets a turn there."""
    with UWSGI(cloud.api, preloaded=False, eventlet=True) as api:
        assert all(answer.up == cloud.everybody for answer in api.ask_everybody())
        cloud.computes["two"].kill()
        until(lambda: cloud.state("two") == "down", LINGER + SLACK, what="two is down")
        until(
            lambda: all(answer.up == cloud.everybody - {TWO} for answer in api.ask_everybody()),
            DOWN_TIME / 2,
            what="two is down in every process, before its reports are too old",
        )
        cloud.computes["two"].start()
        is_up = lasting(lambda: cloud.state("two") == "up", 2 * SLACK)
        until(is_up, 60, what="two is up again, for longer than an answer may be old")
        assert all(answer.up == cloud.everybody for answer in api.ask_everybody())

        cloud.computes["two"].kill()
        api.delete(cloud.records()[TWO]["id"])
        until(lambda: TWO not in records(register), 5, what="the register has no record of it")


def test_green_threads_hold_a_session_and_ask_like_any_other(
    a_cloud: Cloud, register: ControlPlane
) -> None:
    if register._process is None:
        register.start()
    program = Path(__file__).with_name("green_session.py")
    said, longest = output(a_cloud.api.program("python"), program, register.url).splitlines()[-2:]
    assert said.startswith("present in the register: session on control plane")
    assert float(longest) < 1.0  # the thread that waits for the register keeps nobody waiting
