"""Cells whose databases are away: named, seconds in all, and nobody else pays for them (F-43)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import psycopg
import pytest

from servers.cloud import Cloud
from servers.memcached import Memcached
from servers.nova import psycopg2
from servers.openstack import output
from servers.postgresql import PostgreSQL
from servers.zookeeper import ZooKeeper
from servicegroup.driver import load
from servicegroup.model import Member

WITHIN = 5.0
"""Seconds in which the others are judged, however many cells are away."""

ASKING = """
import sys, time
from servicegroup.nova.deployment import Deployment
deployment = Deployment(sys.argv[1])
begun = time.monotonic()
deployment.services()
print(time.monotonic() - begun)
"""
"""Without what it takes to import Nova, which a busy machine takes its time for."""

PATIENCE = 50
"""Seconds in which a command ends: fewer than the minute that Nova waits for a cell."""

AWAY = 4
"""The exit code that says that a cell did not answer."""


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def ask(cloud: Cloud, *arguments: str) -> Said:
    """Run `servicegroup nova …`; fail when it ends with a traceback, or not at all."""
    where = ("nova", "--nova-config-file", str(cloud.api.configuration))
    command = (str(cloud.api.program("servicegroup")), *where, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert "Traceback" not in done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


@contextmanager
def cell(cloud: Cloud, name: str, host: str) -> Iterator[PostgreSQL]:
    """Give Nova one more cell, which a host is mapped to, on a database server of its own."""
    with PostgreSQL({"fsync": "off"}) as server:
        made = cloud.api.manage("cell_v2", "create_cell", "--name", name, "--verbose",
                                "--database_connection", psycopg2(server.database()),
                                "--transport-url", f"{cloud.rabbitmq.url}{name}")  # fmt: skip
        uuid = re.findall(r"[0-9a-f-]{36}", made)[-1]
        # A scheduler maps the host when a compute joins; nova-manage unmaps it where the cell is.
        execute(
            cloud,
            "INSERT INTO host_mappings (created_at, cell_id, host)"
            f" SELECT now(), id, '{host}' FROM cell_mappings WHERE uuid = '{uuid}'",
        )
        try:
            yield server
        finally:
            execute(cloud, f"DELETE FROM host_mappings WHERE host = '{host}'")
            execute(cloud, f"DELETE FROM cell_mappings WHERE uuid = '{uuid}'")


def execute(cloud: Cloud, statement: str) -> None:
    """Execute a statement in the API database."""
    with psycopg.connect(cloud.api.databases.api.replace("+psycopg:", ":")) as connection:
        connection.execute(statement)


@pytest.fixture
def cloud(
    zookeeper_cloud: Cloud,
    zookeeper: ZooKeeper,
    memcached: Memcached,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cloud]:
    """Give a Nova of three cells: one is well, one was stopped, and one hangs.

    The commands compare with memcached. A compute of the cell that hangs is present.
    """
    monkeypatch.setenv("OS_SERVICEGROUP__SHADOW_DRIVER", "memcached")
    monkeypatch.setenv("OS_MEMCACHED__SERVERS", memcached.address)
    driver = load("zookeeper", {"address": zookeeper.address})
    with (
        cell(zookeeper_cloud, "stopped", "three") as stopped,
        cell(zookeeper_cloud, "hanging", "four") as hanging,
    ):
        driver.heartbeat(Member("compute", "four"), 1, 60.0)
        stopped.kill()
        hanging.freeze()
        try:
            yield zookeeper_cloud
        finally:
            hanging.thaw()
            driver.close()


def test_cells_that_are_away_are_named_and_the_others_are_judged(cloud: Cloud) -> None:
    listed = ask(cloud, "list", "-f", "json")
    states = {(row["binary"], row["host"]): row["state"] for row in msgspec.json.decode(listed.out)}
    unknown = {("nova-compute", host): "UNKNOWN" for host in ("three", "four")}
    assert states == unknown | dict.fromkeys(cloud.everybody, "up")

    why = ask(cloud, "why", "four")
    assert "The host belongs to it" in why.out
    known = ask(cloud, "why", "one")
    assert "UNKNOWN" not in known.out
    nobody = ask(cloud, "why", "nobody")
    compared = ask(cloud, "compare")
    assert "Not ready" in compared.err
    asked = [listed, why, known, nobody, compared]
    for said in asked:
        assert said.code == AWAY
        assert "stopped" in said.err
        assert "hanging" in said.err

    doctored = ask(cloud, "doctor", "-c", "result", "-c", "check", "-f", "value")
    assert doctored.code == 1
    assert doctored.out.splitlines().count("FAIL cells") == 2
    assert "strays" not in doctored.out


def test_cells_that_are_away_cost_their_time_once(cloud: Cloud) -> None:
    asked = output(cloud.api.program("python"), "-c", ASKING, cloud.api.configuration)
    assert float(asked) <= WITHIN
