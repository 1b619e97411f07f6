"""What every test may ask for: real servers, a fresh register, a running control plane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from servicegroup.driver import load
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits
from servicegroup.store import migrate
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from support.control_plane import ControlPlane

pytest_plugins = ["servers.plugin"]


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a running control plane on SQLite with driver db and short intervals."""
    plane = ControlPlane(
        f"sqlite:///{tmp_path / 'register.sqlite'}",
        tmp_path,
        servicegroup_driver="db",
        report_interval=1,
        service_down_time=4,
    )
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database: whoever asks for it runs on each of the three."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'register.sqlite'}"
    url: str = request.getfixturevalue(request.param).database()
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give an engine on a database with the current schema."""
    engine = connect(database_url)
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    """Give the store on it."""
    return Store(engine)


@pytest.fixture
def group(store: Store) -> ServiceGroup:
    """Give the layer on it, with driver db and Nova's default limits."""
    return ServiceGroup(store, load("db"), Limits())
