"""What a database that is away leaves behind: nothing, however long it lasts."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from servers.process import LOOPBACK, free_port
from servicegroup.errors import StoreUnavailable
from servicegroup.store import database


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


def left_over() -> dict[str, int]:
    kinds = (DBAPIError, ssl.SSLContext)
    found = gc.get_objects()
    return {kind.__name__: sum(isinstance(one, kind) for one in found) for kind in kinds}
