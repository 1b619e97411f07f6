"""The schema of the first release becomes ours, whatever interrupts it, and can step back."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, text

from servicegroup.driver import load
from servicegroup.errors import ConfigError, StoreUnavailable
from servicegroup.events import EventFilter
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits
from servicegroup.store import migrate
from servicegroup.store.database import STATEMENT_TIMEOUT, connect, write
from servicegroup.store.store import Store
from upgrades import interrupted, record, release
from upgrades.conftest import SERVICES

pytestmark = pytest.mark.long


def rows(engine: Engine) -> list[dict[str, Any]]:
    """Return the columns of the first release of every service."""
    columns = (
        "id, uuid, host, topic, zone, version, incarnation, report_count, created_at, updated_at,"
        " last_seen_up, registered_at, left_at, departure, detail, absent_since, deleted"
    )
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT {columns} FROM services ORDER BY id"))
        return [dict(row) for row in found.mappings()]


def down(engine: Engine) -> set[str]:
    """Return who is not up for a reader of this release."""
    layer = ServiceGroup(Store(engine), load("db"), Limits())
    return {service.host for service in layer.services() if not service.is_up}


@pytest.mark.parametrize("dialect", record.DIALECTS)
def test_the_first_migration_still_does_what_was_released(dialect: str) -> None:
    """So a register that it makes is one of the first release."""
    recorded = (release.RECORDED / f"{dialect}.sql").read_text()
    assert record.first_migration(dialect).replace("IF NOT EXISTS ", "") == recorded


def test_a_register_is_upgraded_steps_back_and_is_upgraded_again(first: Engine) -> None:
    """What the first release wrote stays, and it can write on whatever later ones added."""
    before = rows(first)
    assert len(before) == SERVICES
    migrate.upgrade(first)
    assert rows(first) == before
    assert down(first) == set()
    migrate.downgrade(first, "0001")
    assert migrate.current(first) == "0001"
    release.fill(first, 10, "later")
    migrate.upgrade(first)
    assert rows(first)[:SERVICES] == before
    assert len(rows(first)) == SERVICES + 10
    assert down(first) == set()
    command.check(migrate.config(first))  # raises where tables and code differ
    layer = ServiceGroup(Store(first), load("db"), Limits())
    layer.join("h0", "nova-compute")
    assert [event.incarnation for event in layer.events(EventFilter(after=0), 9).events] == [4]


def test_an_upgrade_that_is_killed_is_run_again(first: Engine, database_url: str) -> None:
    """kill -9 after each change in turn; MariaDB keeps what was done, the others nothing."""
    before = rows(first)
    first.dispose()
    killing = [sys.executable, interrupted.__file__, database_url]
    done = subprocess.run(killing, check=True, capture_output=True, text=True, timeout=100)
    assert int(done.stdout) > (8 if first.dialect.name == "mysql" else 1), "it was killed"
    assert rows(first) == before
    migrate.require_current(first)
    command.check(migrate.config(first))
    ServiceGroup(Store(first), load("db"), Limits()).join("h0", "nova-compute")


@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_an_upgrade_waits_for_a_lock_and_gives_up(
    database: str, request: pytest.FixtureRequest
) -> None:
    """A long transaction of somebody else stops the upgrade, which stops reports, for 5 s."""
    engine = release.create(request.getfixturevalue(database).database())
    with engine.connect() as somebody:
        somebody.execute(text("SELECT count(*) FROM services"))
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"(?i)lock"):
            migrate.upgrade(engine)
        assert time.monotonic() - begun < 2 * STATEMENT_TIMEOUT  # on a busy machine
        assert migrate.current(engine) == "0001"
    migrate.upgrade(engine)
    migrate.require_current(engine)
    engine.dispose()


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'r.sqlite'}")
    migrate.upgrade(engine)
    newer = f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'"
    write(engine, lambda connection: connection.execute(text(newer)))
    sentence = f"is at version 9999, and this release knows none above {migrate.head()}; use the"
    for attempt in (migrate.upgrade, migrate.require_current):
        with pytest.raises(ConfigError, match=sentence):
            attempt(engine)
    with pytest.raises(ConfigError, match=sentence):
        migrate.downgrade(engine, "0001")
    assert migrate.current(engine) == "9999"
    engine.dispose()


@pytest.mark.parametrize("version", ["0000", "", "head", "9999"])
def test_only_an_older_version_can_be_stepped_back_to(version: str, tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'r.sqlite'}")
    with pytest.raises(ConfigError, match="is at version none"):
        migrate.downgrade(engine, "0001")
    migrate.upgrade(engine)
    with pytest.raises(ConfigError, match="older versions are: 0001, 0002"):
        migrate.downgrade(engine, version)
    engine.dispose()
