"""A cell whose database is away: it is named, costs seconds once, and nobody else pays (F-43)."""

from __future__ import annotations

import re
import time

import psycopg
import pytest

from servers.cloud import Cloud
from servers.nova import psycopg2
from servers.postgresql import PostgreSQL
from servers.process import ServerError

WITHIN = 5.0
"""Seconds of asking, beyond what a command takes to start."""


def said(cloud: Cloud, *arguments: str) -> str:
    """Return what a command that finds a cell away prints, which ends with 4 and no traceback."""
    with pytest.raises(ServerError, match=r"ended with 4") as ended:
        cloud.api.servicegroup(*arguments)
    words = str(ended.value)
    assert "Traceback" not in words
    return words


def map_host(cloud: Cloud, host: str, cell: str) -> None:
    """Have a cell own a host, as its scheduler does when a compute joins."""
    url = cloud.api.databases.api.replace("+psycopg:", ":")
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO host_mappings (created_at, cell_id, host)"
            " SELECT now(), id, %s FROM cell_mappings WHERE uuid = %s",
            (host, cell),
        )


@pytest.mark.parametrize("trouble", ["stopped", "hanging"])
def test_a_cell_that_is_away_is_named_and_the_others_are_judged(
    zookeeper_cloud: Cloud, trouble: str
) -> None:
    cloud = zookeeper_cloud
    begun = time.monotonic()
    cloud.api.servicegroup("list")
    usual = time.monotonic() - begun
    with PostgreSQL({"fsync": "off"}) as other:
        name = f"cell-{trouble}"
        url = psycopg2(other.database())
        made = cloud.api.manage("cell_v2", "create_cell", "--name", name, "--verbose",
                                "--database_connection", url,
                                "--transport-url", cloud.rabbitmq.url)  # fmt: skip
        uuid = re.findall(r"[0-9a-f-]{36}", made)[-1]
        map_host(cloud, "three", uuid)
        try:
            if trouble == "stopped":
                other.kill()
            else:
                other.freeze()
            begun = time.monotonic()
            listed = said(cloud, "list")
            assert time.monotonic() - begun <= usual + WITHIN
            assert name in listed
            assert name in said(cloud, "why", "nobody")
            assert name in said(cloud, "why", "one")
            assert "No cell that answers" not in said(cloud, "why", "three")
        finally:
            if trouble == "hanging":
                other.thaw()
            cloud.api.manage("cell_v2", "delete_cell", "--cell_uuid", uuid, "--force")
