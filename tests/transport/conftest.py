"""What tests of the way to a control plane share: an authority, and planes that trust it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import urllib3

from servers.certificates import Authority, Pair
from support.control_plane import ControlPlane

Serve = Callable[..., ControlPlane]


def lines(**options: object) -> str:
    """Return these options as lines of a section."""
    return "\n".join(f"{name} = {value}" for name, value in options.items())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory for the files of all tests of a module."""
    return tmp_path_factory.mktemp("transport")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    """Give an authority."""
    return Authority(directory)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give an authority that no control plane trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def serve(directory: Path, authority: Authority) -> Iterator[Serve]:
    """Start control planes, each on a register of its own, with these options of [api]."""
    with ExitStack() as stack:

        def started(pair: Pair | None = None, **api: object) -> ControlPlane:
            secure = {"certfile": pair.cert, "keyfile": pair.key} if pair else {}
            plane = ControlPlane(
                "sqlite:///" + str(directory / f"{len(list(directory.iterdir()))}.sqlite"),
                directory,
                lines(**secure, **api),
                report_interval=1,
                service_down_time=4,
            )
            if pair:
                plane.url = plane.url.replace("http://", "https://")
                plane.http = urllib3.PoolManager(
                    retries=False, timeout=urllib3.Timeout(10), ca_certs=str(authority.file)
                )
            stack.callback(plane.stop)
            plane.start()
            return plane

        yield started
