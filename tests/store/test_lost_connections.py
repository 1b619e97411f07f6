"""What a database that is away leaves behind: nothing, however long it lasts."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from servers.process import LOOPBACK, free_port
from servicegroup.driver import load
from servicegroup.errors import StoreUnavailable
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits, ServiceFilter
from servicegroup.store import database, migrate
from servicegroup.store.store import Store

if TYPE_CHECKING:
    from servers.postgresql import PostgreSQL


ALL_OTHERS_END = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Let the collector do nothing, as it does in a control plane for minutes."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "mysql+pymysql", "sqlite"])
def test_an_attempt_that_fails_leaves_nothing_for_the_collector(
    scheme: str, uncollected: None, tmp_path: Path
) -> None:
    """A control plane whose MariaDB was away grew by five megabytes a second."""
    places = {"sqlite": f"sqlite:///{tmp_path / 'missing' / 'r.sqlite'}"}
    url = places.get(scheme, f"{scheme}://nobody@{LOOPBACK}:{free_port()}/nothing")
    engine = database.connect(url)
    before = left_over()
    for _ in range(5):
        with pytest.raises(StoreUnavailable), database.reading(engine) as connection:
            connection.execute(text("SELECT 1"))
        with pytest.raises(StoreUnavailable):
            database.write(engine, lambda connection: connection.execute(text("SELECT 1")))
    assert left_over() == before


def test_a_server_that_is_lost_within_a_list_is_one_that_does_not_answer(
    postgresql: PostgreSQL,
) -> None:
    """Whoever is judged whole is read by whoever asks for it, in the middle of the list."""
    engine = database.connect(postgresql.database())
    migrate.upgrade(engine)
    group = ServiceGroup(Store(engine), load("db", {}), Limits())
    group.join("h", "web")
    group.services()
    with closing(Store(engine).stamped(ServiceFilter(), 60)) as batches:
        batch = next(batches)
        with engine.connect() as other:
            other.execute(text(ALL_OTHERS_END))
        with pytest.raises(StoreUnavailable, match="does not answer"):
            batch.whole(batch.ids)
    engine.dispose()


def left_over() -> dict[str, int]:
    kinds = (DBAPIError, ssl.SSLContext)
    found = gc.get_objects()
    return {kind.__name__: sum(isinstance(one, kind) for one in found) for kind in kinds}
