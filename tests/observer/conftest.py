"""A world for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from observer.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a world without services and observers."""
    world = World(tmp_path)
    yield world
    world.close()
