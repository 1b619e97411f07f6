"""A cloud that is mirrored, a register, and the command that mirrors it.

The cloud is another control plane of this project: its API is Nova's, and openstacksdk cannot tell.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from servicegroup.model import Limits
from support.control_plane import ControlPlane, intervals
from support.waiting import until

QUICK = Limits(report_interval=1, service_down_time=6, heartbeat_interval=1, membership_ttl=4)

Clouds = Mapping[str, Mapping[str, Any]]


class MirrorProcess:
    """``servicegroup mirror`` in a process of its own, with a clouds.yaml of its own."""

    def __init__(self, directory: Path, register: ControlPlane, clouds: Clouds) -> None:
        self.directory = directory
        self.register = register
        self.log_file = directory / "mirror.log"
        (directory / "clouds.yaml").write_bytes(msgspec.json.encode({"clouds": clouds}))
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self, *arguments: str) -> list[str]:
        own = self.register.command("mirror", *arguments)
        at = own.index("mirror")
        return [*own[:at], "--url", self.register.url, *own[at:]]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self._command(*arguments),
            cwd=self.directory,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=90,
        )

    def start(self, *arguments: str) -> None:
        """Start it, and return once it has looked."""
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self._command("--interval", "1", *arguments),
                cwd=self.directory,
                env=self._environment(),
                stdout=log,
                stderr=log,
            )
        until(self._has_looked, 60, what="the first look")

    def _has_looked(self) -> bool:
        assert self.process.poll() is None, self.log()
        return "Dashboard:" in self.log()

    def log(self) -> str:
        """Return what it wrote."""
        return self.log_file.read_text()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def _environment(self) -> dict[str, str]:
        own = {n: v for n, v in os.environ.items() if not n.startswith(("OS_", "SERVICEGROUP_"))}
        return own | {"HOME": str(self.directory)}


def at(plane: ControlPlane) -> dict[str, Any]:
    """Return how clouds.yaml names a control plane as a cloud."""
    return {"auth_type": "none", "compute_endpoint_override": f"{plane.url}/v2.1"}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Callable[..., ControlPlane]]:
    """Give a maker of control planes, each with a register of its own, which end with the test."""
    planes: list[ControlPlane] = []

    def make(name: str, **options: Any) -> ControlPlane:
        path = tmp_path / name
        path.mkdir()
        made = ControlPlane(f"sqlite:///{path}/register.sqlite", path, **intervals(QUICK) | options)
        planes.append(made)
        made.start()
        return made

    yield make
    for each in planes:
        each.kill()


@pytest.fixture
def mirroring(tmp_path: Path) -> Iterator[Callable[..., MirrorProcess]]:
    """Give a maker of mirrors, which end with the test."""
    made: list[MirrorProcess] = []

    def make(register: ControlPlane, clouds: Clouds) -> MirrorProcess:
        path = tmp_path / f"mirror{len(made)}"
        path.mkdir()
        made.append(MirrorProcess(path, register, clouds))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def mirrored(register: ControlPlane) -> dict[str, dict[str, Any]]:
    """Return the services that a register mirrors, by host and binary."""
    status, _, body = register.request("GET", "/v1/services")
    assert status == 200, body
    return {f"{s['host']} {s['binary']}": s for s in body["services"] if s["mirror"]}


def reason(register: ControlPlane, name: str) -> str | None:
    """Return the reason of a mirrored service's verdict, None where there is no such service."""
    found = mirrored(register).get(name)
    return str(found["verdict"]["reason"]) if found else None


def trouble(register: ControlPlane, api: str = "nova") -> str:
    """Return what hinders the mirror of an API of `prod`, by its own service."""
    found = register.request("GET", f"/v1/services?binary=mirror-prod-{api}")[2]["services"]
    return str(found[0]["detail"]) if found else ""
