"""``servicegroup db``: the schema appears, says its version, and old tombstones go."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from servicegroup.group import ServiceGroup
from servicegroup.store import migrate
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.tables import services

from .conftest import Desk


def test_upgrade_makes_the_register_and_its_directory_and_may_be_repeated(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.database = tmp_path / "deep" / "down" / "register.sqlite"
    desk.connection = f"sqlite:///{desk.database}"
    desk.configure()
    for _ in range(2):
        result = desk.run("db", "upgrade")
        assert result.returncode == 0, result.stderr
        assert result.stdout.endswith(f" is at version {migrate.head()}.\n")
    assert desk.run("service", "list").returncode == 0


def test_version_says_whether_an_upgrade_is_needed(desk: Desk, group: ServiceGroup) -> None:
    result = desk.type("db", "version")
    assert result.exit_code == 0
    assert result.stdout == f"database: {migrate.head()}\nrelease: {migrate.head()}\n"

    def forget(connection: object) -> None:
        connection.exec_driver_sql(f"DELETE FROM {migrate.VERSION_TABLE}")  # type: ignore[attr-defined]

    write(group._store.engine, forget)
    result = desk.type("db", "version")
    assert result.exit_code == 1
    assert result.stdout.startswith("database: none\n")
    result = desk.type("service", "list")
    assert result.exit_code == 2
    assert "run servicegroup db upgrade" in result.stderr


def test_asking_for_the_version_creates_nothing(bare_desk: Desk) -> None:
    result = bare_desk.type("db", "version")
    assert result.exit_code == 2
    assert "There is no register at" in result.stderr
    assert not bare_desk.database.exists()


@pytest.mark.usefixtures("fleet")
def test_purge_removes_old_tombstones_only(desk: Desk, group: ServiceGroup) -> None:
    group.delete(1)
    group.delete(2)
    with reading(group._store.engine) as connection:
        now = connection.scalar(select(utcnow()))
    assert now is not None
    old = update(services).where(services.c.id == 1).values(deleted_at=now - timedelta(days=40))
    write(group._store.engine, lambda connection: connection.execute(old))

    assert desk.type("db", "purge", "--older-than", "50").stdout.startswith("0 services")
    assert desk.type("db", "purge").stdout.startswith("1 services")
    with reading(group._store.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(services)) == 2


@pytest.mark.parametrize("days", ["29", "0", "-1", "x"])
def test_purge_keeps_tombstones_for_30_days_at_least(desk: Desk, days: str) -> None:
    result = desk.type("db", "purge", "--older-than", days)
    assert result.exit_code == 2
    assert result.stderr


def test_a_directory_that_cannot_be_made_is_named(bare_desk: Desk) -> None:
    bare_desk.connection = "sqlite:////proc/nowhere/register.sqlite"
    bare_desk.configure()
    result = bare_desk.type("db", "upgrade")
    assert result.exit_code == 2
    assert "/proc/nowhere" in result.stderr
    assert "set STATE_DIRECTORY, or [database] connection" in result.stderr


def test_a_register_that_is_no_database_is_one_sentence(bare_desk: Desk) -> None:
    bare_desk.database.write_text("This is no database, and long enough to be told from one." * 9)
    bare_desk.database.chmod(stat.S_IRUSR | stat.S_IWUSR)
    for words in (("db", "upgrade"), ("db", "version"), ("service", "list")):
        result = bare_desk.type(*words)
        assert result.exit_code == 4, result.stderr
        assert "file is not a database" in result.stderr


def test_the_password_of_a_database_is_not_shown(bare_desk: Desk) -> None:
    bare_desk.connection = "postgresql+psycopg://me:s3cret@127.0.0.1:1/register"
    bare_desk.configure()
    for words in (("db", "upgrade"), ("db", "version"), ("service", "list"), ("doctor",)):
        result = bare_desk.type(*words)
        assert result.exit_code in (1, 4)
        assert "127.0.0.1" in result.output
        assert "s3cret" not in result.output
