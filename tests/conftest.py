"""What every test may ask for: real servers, a fresh register, a running control plane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane import ControlPlane

pytest_plugins = ["servers.plugin"]


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a running control plane on SQLite with driver db and short intervals."""
    plane = ControlPlane(
        f"sqlite:///{tmp_path / 'register.sqlite'}",
        tmp_path,
        report_interval=1,
        service_down_time=4,
    )
    plane.start()
    yield plane
    plane.stop()
