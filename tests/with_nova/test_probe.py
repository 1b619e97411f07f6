"""`servicegroup nova probe`: who is up and answers no RPC, by a real broker (F-40)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from servers.cloud import Cloud
from servers.nova import with_layer
from servers.openstack import Settings, merged, output
from servers.process import LOOPBACK
from servers.zookeeper import ZooKeeper
from support.waiting import until

from .conftest import QUICK, on_zookeeper

PATIENCE = 90
ALL = {"one": "answers", "two": "answers", "control": "answers"}
TWO_DEAF = {**ALL, "two": "deaf"}
NOBODY_ASKED = dict.fromkeys(ALL, "not asked")

SLOWLY: Settings = merged(
    with_layer("db"),
    QUICK,
    {"DEFAULT": {"service_down_time": 60}, "rpc": {"timeout": 2, "rate": 1}},
)
"""Nova's own driver, for which a compute that is away for some seconds is up."""


class Probed(NamedTuple):
    """How a probe ended, what it printed by host, and what it said besides."""

    code: int
    states: dict[str, str]
    details: dict[str, str]
    said: str


@pytest.fixture(autouse=True)
def _nothing_stays(a_cloud: Cloud) -> Iterator[None]:
    """Forget what a scenario found, which others would judge by, and let the broker go on."""
    yield
    if a_cloud.rabbitmq.running:
        a_cloud.rabbitmq.thaw()
    (a_cloud.api.directory / "servicegroup-rpc.json").unlink(missing_ok=True)


@pytest.fixture
def cloud(a_cloud: Cloud) -> Cloud:
    """Give a Nova with its own driver `db`, every service up."""
    if not a_cloud.rabbitmq.running:
        a_cloud.rabbitmq.start()
    a_cloud.run(SLOWLY)
    return a_cloud


def command(cloud: Cloud, *options: str) -> list[str | Path]:
    program = cloud.api.program("servicegroup")
    where = ("nova", "--nova-config-file", str(cloud.api.configuration))
    return [program, *where, "probe", *options, "-f", "json"]


def outcome(code: int, stdout: str, stderr: str) -> Probed:
    rows = msgspec.json.decode(stdout)
    states = {row["host"]: row["rpc"] for row in rows}
    return Probed(code, states, {row["host"]: row["detail"] for row in rows}, stderr)


def probe(cloud: Cloud, *options: str) -> Probed:
    done = subprocess.run(
        command(cloud, *options), capture_output=True, text=True, timeout=PATIENCE
    )
    return outcome(done.returncode, done.stdout, done.stderr)


def change(cloud: Cloud, what: str, queue: str) -> None:
    program = Path(__file__).with_name("queues.py")
    output(cloud.api.program("python"), program, cloud.rabbitmq.url, what, queue)


def waiting(cloud: Cloud) -> dict[str, int]:
    """Return how many messages wait, by queue, but for those that outlive who they are for.

    What Nova told all of a kind, and an answer to a process that was killed before it came, wait
    for half an hour. A question of a probe is put to one service alone, in a queue of its name.
    """
    queues = cloud.rabbitmq.queues()
    return {
        name: many
        for name, many in queues.items()
        if many and "_fanout_" not in name and not name.startswith("reply_")
    }


def doctored(cloud: Cloud) -> list[str]:
    names = ("-c", "result", "-c", "check", "-f", "value")
    return cloud.api.servicegroup("doctor", *names).splitlines()


def test_a_compute_whose_main_thread_ended_is_up_and_deaf_until_restarted(cloud: Cloud) -> None:
    assert probe(cloud)[:2] == (0, ALL)
    assert "OK rpc" in doctored(cloud)
    os.kill(cloud.computes["two"].pid, signal.SIGHUP)
    until(lambda: probe(cloud)[:2] == (1, TWO_DEAF), PATIENCE, what="two answers no RPC any more")

    assert cloud.computes["two"].running
    assert cloud.state("two") == "up"
    two = cloud.why("two")
    assert (two["state"], two["reason"], two["rpc"]) == ("up", "deaf", "deaf")
    assert "WARN rpc" in doctored(cloud)
    assert cloud.reason("one") == "reporting"
    assert waiting(cloud) == {}, "no question stays in a queue"

    cloud.computes["two"].kill()
    cloud.computes["two"].start()
    until(lambda: probe(cloud)[:2] == (0, ALL), PATIENCE, what="two answers again")
    assert cloud.reason("two") == "reporting"


@pytest.fixture
def green_cloud(cloud: Cloud) -> Iterator[Cloud]:
    """Give the same with a compute, two, whose threads are eventlet's."""
    two = cloud.computes["two"]
    two.kill()
    two.before = ("env", "OS_NOVA_DISABLE_EVENTLET_PATCHING=false")
    two.start()
    until(lambda: probe(cloud)[:2] == (0, ALL), PATIENCE, what="two answers in eventlet mode")
    yield cloud
    two.kill()
    two.before = ()
    two.start()


def test_an_eventlet_compute_that_stands_still_is_deaf_until_it_goes_on(green_cloud: Cloud) -> None:
    two = green_cloud.computes["two"]
    two.freeze()
    assert probe(green_cloud)[:2] == (1, TWO_DEAF)
    assert green_cloud.reason("two") == "deaf"
    two.thaw()
    until(lambda: probe(green_cloud)[:2] == (0, ALL), PATIENCE, what="two answers again")
    assert green_cloud.reason("two") == "reporting"


def test_an_eventlet_compute_that_reloads_answers_afterwards(green_cloud: Cloud) -> None:
    """It has no other thread that could go on without its main one, as native threads do (F-40)."""
    two = green_cloud.computes["two"]
    os.kill(two.pid, signal.SIGHUP)
    until(lambda: probe(green_cloud)[:2] == (0, ALL), PATIENCE, what="two answers after its reload")
    assert two.running
    assert green_cloud.reason("two") == "reporting"


def test_a_queue_that_nobody_takes_from_does_not_grow_by_questions(cloud: Cloud) -> None:
    before = set(cloud.rabbitmq.queues())
    cloud.computes["two"].kill()
    change(cloud, "fill", "compute.two")
    for _ in range(3):
        found = probe(cloud)
        assert found[:2] == (1, TWO_DEAF)
        assert found.details["two"] == "nobody takes messages from its queue, where 1 wait"
    assert waiting(cloud) == {"compute.two": 1}
    until(lambda: set(cloud.rabbitmq.queues()) <= before, PATIENCE, 2, "no queue for answers stays")


@pytest.mark.parametrize("trouble", ["freeze", "kill"])
def test_without_a_broker_nobody_is_deaf(cloud: Cloud, trouble: str) -> None:
    getattr(cloud.rabbitmq, trouble)()
    found = probe(cloud)
    assert found[:2] == (4, NOBODY_ASKED)
    assert all("RabbitMQ of cell cell1 does not answer" in why for why in found.details.values())
    assert "Traceback" not in found.said
    assert "guest" not in found.said
    if trouble == "freeze":
        cloud.rabbitmq.thaw()


@pytest.mark.parametrize("trouble", ["freeze", "kill"])
def test_a_broker_that_goes_during_a_probe_accuses_nobody(cloud: Cloud, trouble: str) -> None:
    change(cloud, "unbind", "compute.two")  # so that somebody has to be asked again
    running = subprocess.Popen(
        command(cloud), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: is_connected(running.pid, cloud.rabbitmq.port), PATIENCE, 0.01, "it asks")
    getattr(cloud.rabbitmq, trouble)()
    stdout, stderr = running.communicate(timeout=PATIENCE)
    found = outcome(running.returncode, stdout, stderr)
    assert found.code == 4
    assert "deaf" not in found.states.values()
    assert "Traceback" not in found.said
    if trouble == "freeze":
        cloud.rabbitmq.thaw()
        change(cloud, "bind", "compute.two")


def is_connected(pid: int, port: int) -> bool:
    """Say whether a process has a connection to a loopback port."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            own.add(str(link.readlink()))
    address = f"{int.from_bytes(socket.inet_aton(LOOPBACK), 'little'):08X}:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[2] == address and f"socket:[{row[9]}]" in own for row in rows)


@pytest.fixture
def strict_cloud(a_cloud: Cloud, zookeeper: ZooKeeper) -> Cloud:
    """Give a Nova with ZooKeeper for which deaf is down, while a probe goes on."""
    for server in (zookeeper, a_cloud.rabbitmq):
        if not server.running:
            server.start()
    strict: Settings = {"rpc": {"timeout": 2, "deaf": "down"}}
    a_cloud.run(merged(on_zookeeper(zookeeper), QUICK, strict))
    return a_cloud


def test_where_deaf_is_down_a_deaf_compute_gets_no_work(strict_cloud: Cloud) -> None:
    cloud = strict_cloud
    until(lambda: cloud.destinations() == {"one", "two"}, PATIENCE, what="both take instances")
    until(lambda: cloud.reason("two") == "present", PATIENCE, what="two is present")
    running = subprocess.Popen(
        command(cloud, "--every", "5"), stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert running.stdout is not None
        change(cloud, "unbind", "compute.two")
        first = json.loads(running.stdout.readline())
        assert (first["host"], first["rpc"]) == ("two", "deaf")
        assert first["detail"] == "RabbitMQ has no way to its queue"
        until(lambda: cloud.state("two") == "down", PATIENCE, what="two is down")
        assert cloud.state("one") == "up"
        assert cloud.destinations() == {"one"}
        two = cloud.why("two")
        assert (two["state"], two["reason"]) == ("down", "deaf")

        change(cloud, "bind", "compute.two")
        second = json.loads(running.stdout.readline())
        assert (second["host"], second["rpc"]) == ("two", "answers")
        until(lambda: cloud.state("two") == "up", PATIENCE, what="two is up again")
        assert cloud.destinations() == {"one", "two"}
    finally:
        running.kill()
        running.communicate()
