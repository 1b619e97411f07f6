"""A register of the first release on each of the databases, and its own source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from upgrades import release

SERVICES = 1_000


@pytest.fixture
def first(database_url: str) -> Iterator[Engine]:
    """Give a register as the first release left it, with many services."""
    engine = release.create(database_url)
    release.fill(engine, SERVICES)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def first_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the source of the first release."""
    return release.source(tmp_path_factory.mktemp("first-release"))
