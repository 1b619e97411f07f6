"""Several processes upgrade one database at once: one does, the others wait for it (F-30, F-61)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, insert, inspect, select

from servers.mariadb import MariaDB
from servers.process import free_port
from servicegroup.errors import StoreUnavailable
from servicegroup.store import migrate, upgrading
from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect, write
from upgrades import release

pytestmark = pytest.mark.long

MANY = 5
WAITS = "Another process upgrades the schema of "


def upgraded(url: str, directory: Path) -> list[subprocess.CompletedProcess[str]]:
    """Have many processes upgrade a database at the same time; return how they ended."""
    config = directory / "servicegroup.conf"
    config.write_text(f"[database]\nconnection = {url}\n")
    command = [sys.executable, "-m", "servicegroup", "--config-file", str(config), "db", "upgrade"]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    with ThreadPoolExecutor(MANY) as threads:
        return [one.result() for one in [threads.submit(run) for _ in range(MANY)]]


@pytest.mark.parametrize("make", [connect, release.create], ids=["empty", "first"])
def test_all_of_them_end_well(
    database_url: str, tmp_path: Path, make: Callable[[str], Engine]
) -> None:
    engine = make(database_url)
    for ended in upgraded(database_url, tmp_path):
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == "" or ended.stderr.startswith(WAITS)
        assert ended.stderr.count("\n") <= 1
        assert f"is at version {migrate.head()}" in ended.stdout
    migrate.require_current(engine)
    assert write(engine, lambda c: c.scalar(select(upgrading.claims.c.id))) is None
    engine.dispose()


def test_a_new_file_that_another_process_opens_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite refuses at once, whatever its timeout, to keep a log while somebody else writes."""
    path = tmp_path / "register.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            other.rollback()

        monkeypatch.setattr(time, "sleep", pause)
        engine = connect(f"sqlite:///{path}")
        with suppress(StoreUnavailable):
            migrate.upgrade(engine)
        assert pauses
        migrate.require_current(engine)
        engine.dispose()


def test_control_planes_that_start_at_once_share_the_embedded_database(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "servicegroup", "serve"]
    started = []
    for _ in range(MANY):
        own = {"STATE_DIRECTORY": str(tmp_path), "OS_DEFAULT__BIND": f"127.0.0.1:{free_port()}"}
        started.append(
            subprocess.Popen(
                command, env=os.environ | own, cwd=tmp_path, text=True, stderr=subprocess.PIPE
            )
        )
    try:
        for process in started:
            assert process.stderr is not None
            said = iter(process.stderr.readline, "")
            assert any(line.startswith("servicegroup listens on") for line in said)
    finally:
        for process in started:
            process.kill()
            process.communicate(timeout=30)


def test_who_waits_says_so_once_and_goes_on_when_the_other_has_fallen_silent(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrading, "EXPIRY", 1.0)
    engine = connect(database_url)
    upgrading._make_table(engine)
    row = {"id": 1, "holder": "gone", "renewed_at": utcnow()}
    write(engine, lambda c: c.execute(insert(upgrading.claims).values(row)))
    said: list[str] = []
    migrate.upgrade(engine, said.append)
    migrate.require_current(engine)
    assert [sentence.startswith(WAITS) for sentence in said] == [True]
    engine.dispose()


def test_a_claim_is_kept_for_as_long_as_the_upgrade_takes(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrading, "_RENEWAL", 0.05)
    engine, other = connect(database_url), connect(database_url)
    with upgrading.alone(engine, lambda: True, lambda: None) as needed:
        assert needed
        (made,) = _stamps(engine)
        while _stamps(engine) == [made]:
            pass
        assert not upgrading._claim(other, "other")
    assert upgrading._claim(other, "other")
    engine.dispose()
    other.dispose()


def _stamps(engine: Engine) -> list[object]:
    return write(engine, lambda c: list(c.scalars(select(upgrading.claims.c.renewed_at))))


def test_an_upgrade_that_stood_still_does_not_go_on(mariadb: MariaDB, tmp_path: Path) -> None:
    """Another process has taken over, and what the first would do is done (F-61)."""
    url = mariadb.database()
    config = tmp_path / "servicegroup.conf"
    config.write_text(f"[database]\nconnection = {url}\n")
    command = [sys.executable, "-m", "servicegroup", "--config-file", str(config), "db", "upgrade"]
    engine = connect(url)
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(inspect(engine).get_table_names()) < 3:
        assert first.poll() is None, first.communicate()
    first.send_signal(signal.SIGSTOP)
    second = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert second.returncode == 0, second.stderr
    first.send_signal(signal.SIGCONT)
    _, said = first.communicate(timeout=100)
    assert first.returncode == 4, said
    assert "stood still" in said
    assert said.count("\n") == 1
    migrate.require_current(engine)
    engine.dispose()


def test_a_schema_that_is_current_is_not_claimed(engine: Engine) -> None:
    """Every start of a control plane on the embedded database comes here."""
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    migrate.upgrade(engine)
    assert not [s for s in statements if upgrading.claims.name in s]
