"""`servicegroup mirror` of a real Nova and a real Cinder, by their own APIs and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import pytest

from mirror.conftest import MirrorProcess, mirrored, reason
from servers.cinder import HOST, TOKEN, CinderAPI, CinderScheduler
from servers.cloud import Cloud
from support.control_plane import ControlPlane
from support.waiting import until

SCHEDULER = f"{HOST} cinder-scheduler"


@pytest.fixture(scope="module")
def cinder(a_cloud: Cloud) -> Iterator[tuple[CinderAPI, CinderScheduler]]:
    """Give a Cinder that uses Nova's broker."""
    with CinderAPI(a_cloud.rabbitmq.url) as api, CinderScheduler(api) as scheduler:
        yield api, scheduler


@pytest.fixture
def register(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give an empty register on the embedded default."""
    plane = ControlPlane(f"sqlite:///{tmp_path}/register.sqlite", tmp_path)
    plane.start()
    yield plane
    plane.stop()


def change(cinder: CinderAPI, path: str, body: dict[str, Any]) -> None:
    """Change a service through Cinder's API."""
    headers = {"X-Auth-Token": TOKEN, "Content-Type": "application/json"}
    url = f"{cinder.url}/{path}"
    request = Request(url, msgspec.json.encode(body), headers, method="PUT")
    with urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def test_a_nova_and_a_cinder_on_the_dashboard(
    zookeeper_cloud: Cloud,
    cinder: tuple[CinderAPI, CinderScheduler],
    register: ControlPlane,
    tmp_path: Path,
) -> None:
    cloud, (api, scheduler) = zookeeper_cloud, cinder
    clouds = {
        "prod": {
            "auth_type": "admin_token",
            "auth": {"endpoint": cloud.api.url, "token": TOKEN},
            "compute_endpoint_override": cloud.api.url,
            "block_storage_endpoint_override": api.url,
        }
    }
    mirror = MirrorProcess(tmp_path, register, clouds)
    begun = time.monotonic()
    mirror.start("--os-cloud", "prod")
    try:
        everybody = {f"{host} {binary}" for binary, host in cloud.everybody}
        assert set(mirrored(register)) == {*everybody, SCHEDULER}
        print(f"first look {time.monotonic() - begun:.1f} s after the command")
        until(
            lambda: {s["verdict"]["reason"] for s in mirrored(register).values()} == {"reporting"},
            60,
        )

        # The layer in that Nova finds a crash in seconds, and so does whoever mirrors it.
        killed = time.monotonic()
        cloud.computes["two"].kill()
        until(lambda: reason(register, "two nova-compute") == "told_down", 60)
        print(f"down here {time.monotonic() - killed:.1f} s after kill -9 there")
        assert mirrored(register)["two nova-compute"]["mirror"] == "prod/nova"

        change(
            api,
            "os-services/disable-log-reason",
            {"host": HOST, "binary": "cinder-scheduler", "disabled_reason": "a new disk"},
        )
        until(lambda: mirrored(register)[SCHEDULER]["disabled_reason"] == "a new disk", 60)
        scheduler.kill()
        until(lambda: reason(register, SCHEDULER) == "told_down", 90)

        cloud.delete("two")
        until(lambda: "two nova-compute" not in mirrored(register), 60)
        api.manage("service", "remove", "cinder-scheduler", HOST)
        api.kill()
        # The API is away, so nobody knows that its last service was deleted.
        before = mirrored(register)["one nova-compute"]["report_count"]
        until(lambda: mirrored(register)["one nova-compute"]["report_count"] > before + 1, 60)
        assert SCHEDULER in mirrored(register)
    finally:
        mirror.kill()
        print(mirror.log())
