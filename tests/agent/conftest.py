"""A control plane that a module's tests share, each with a host of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from support.control_plane import ControlPlane

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a running control plane with driver db that no test harms."""
    directory = tmp_path_factory.mktemp("plane")
    shared = ControlPlane(
        f"sqlite:///{directory / 'register.sqlite'}",
        directory,
        servicegroup_driver="db",
        report_interval=1,
        service_down_time=4,
    )
    shared.start()
    yield shared
    shared.stop()


@pytest.fixture
def host() -> str:
    """Give a host name no other test uses."""
    return f"host{next(_numbers)}"
