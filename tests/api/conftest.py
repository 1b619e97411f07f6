"""A register on SQLite, and Nova's API over it as different callers meet it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servicegroup.api.call import Caller, Role
from servicegroup.driver import load
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits
from servicegroup.store.database import connect, write
from servicegroup.store.store import Store
from servicegroup.store.tables import event_log, metadata

from .nova import Nova


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ServiceGroup]:
    """Give an empty register, driver ``db``."""
    engine = connect(f"sqlite:///{tmp_path / 'register.sqlite'}")
    metadata.create_all(engine)
    write(engine, lambda c: c.execute(event_log.insert().values(id=1, last=0, purged=0)))
    yield ServiceGroup(Store(engine), load("db"), Limits())
    engine.dispose()


@pytest.fixture
def nova(group: ServiceGroup) -> Nova:
    """Give the API to a caller who may do everything."""
    return Nova(group)


def as_role(group: ServiceGroup, role: Role, project_id: str | None = None) -> Nova:
    """Give the API to a caller with one role, in a project if one is named."""
    return Nova(group, Caller("somebody", frozenset({role}), project_id))
