"""The migrations make exactly the tables that the code reads, on all three databases."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import Engine, inspect, text

from servicegroup.driver import load
from servicegroup.errors import ConfigError
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Limits
from servicegroup.store import migrate
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from servicegroup.store.tables import services

STAMPED_BY_A_REPORT = {"last_seen_up", "updated_at", "report_count", "detail"}


def test_the_tables_are_what_the_migrations_make(engine: Engine) -> None:
    command.check(migrate.config(engine))  # raises where they differ


def test_an_upgrade_is_needed_once(database_url: str) -> None:
    engine = connect(database_url)
    assert migrate.current(engine) is None
    with pytest.raises(ConfigError, match="run servicegroup db upgrade"):
        migrate.require_current(engine)
    migrate.upgrade(engine)
    assert migrate.current(engine) == migrate.head()
    migrate.upgrade(engine)
    migrate.require_current(engine)
    engine.dispose()


def test_no_index_names_a_column_that_a_report_changes(engine: Engine) -> None:
    """SQL-13: such an index takes PostgreSQL's HOT updates away."""
    found = inspect(engine)
    indexed = {
        column
        for index in found.get_indexes("services") + found.get_unique_constraints("services")
        for column in index["column_names"]
    }
    assert "uuid" in indexed
    assert not indexed & STAMPED_BY_A_REPORT


def test_reports_stay_hot(engine: Engine) -> None:
    """SQL-13, measured: nearly all updates of a batch find room on their page."""
    if engine.dialect.name != "postgresql":
        pytest.skip("only PostgreSQL has HOT updates")
    group = ServiceGroup(Store(engine), load("db"), Limits())
    lives = [group.join(f"h{n}", "nova-compute") for n in range(300)]
    for _ in range(20):
        group.report([Report(life.uuid, 1) for life in lives])
    engine.dispose()  # a session hands its statistics over when it ends
    query = text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = :name")
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        updates, hot = connection.execute(query, {"name": services.name}).one()
    assert updates >= 6000
    assert hot / updates > 0.8
