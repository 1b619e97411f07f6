"""One register on each of the three databases; every store test runs on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from servicegroup.driver import load
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits
from servicegroup.store import migrate
from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from servicegroup.store.tables import listening, services


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database."""
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


def backdate(engine: Engine, seconds: float, **where: str) -> None:
    """Move the stamps of services into the past, or into the future for negative seconds."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        now = connection.scalar(select(utcnow()))
        then = now - timedelta(seconds=seconds)
        matching = [services.c[name] == value for name, value in where.items()]
        change = update(services).where(*matching, services.c.last_seen_up.is_not(None))
        connection.execute(change.values(last_seen_up=then))
        old = update(services).where(*matching)
        connection.execute(old.values(created_at=then, registered_at=then))


def backdate_mark(engine: Engine, seconds: float) -> None:
    """Make the latest mark that many seconds old, as if no intake had committed since."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        now = connection.scalar(select(utcnow()))
        connection.execute(listening.update().values(marked_at=now - timedelta(seconds=seconds)))
