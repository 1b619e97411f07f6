"""A world whose database is a cluster: its parts do what their faults say, and a short storm.

It takes both processors itself, so these run alone (see ``make test-long``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nemesis.clock import COMPILER, Clock
from nemesis.databases import OnGalera
from nemesis.mishaps import connected
from nemesis.short import short_storm
from nemesis.ways import MakeWay
from servers.plugin import require
from servers.process import PATIENCE
from support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def database() -> Iterator[OnGalera]:
    for server in (OnGalera.program, *OnGalera.beside):
        require(server)
    with OnGalera(Clock.of_servers()) as database:
        yield database


def port_of(url: str) -> int | None:
    """Return the port of the node that answers there; None while there is no answer."""
    with contextlib.suppress(DBAPIError), connected(url) as connection:
        return int(connection.execute(text("SELECT @@port")).scalar_one())
    return None


def test_one_has_a_node_and_the_other_the_next(database: OnGalera, way: MakeWay) -> None:
    one, other = database.reach(way), database.reach(way)
    first, second, third = database.servers
    assert (port_of(one), port_of(other)) == (first.port, second.port)
    second.kill()
    until(lambda: port_of(other) == third.port, PATIENCE, what="the next node")
    third.kill()
    until(lambda: port_of(one) is port_of(other) is None, PATIENCE, what="there is no quorum")
    first.bootstrap()
    database.cluster.start()
    database.settle()
    until(lambda: port_of(other) == second.port, PATIENCE, what="the preferred node")
    assert port_of(one) == first.port


def test_each_node_has_a_clock(database: OnGalera) -> None:
    if COMPILER is None:
        pytest.skip("SKIPPED: there is no compiler; apt-get install gcc libc6-dev")
    for number, node in enumerate(database.servers):
        database.clocks[number].step(-3600)
        told = [
            float(one.ask("SELECT UNIX_TIMESTAMP(SYSDATE(6))")[0][0]) for one in database.servers
        ]
        behind = [time.time() - moment > 1800 for moment in told]
        assert behind == [one is node for one in database.servers]
        database.clocks[number].step(0)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # openstacksdk's own
def test_the_promises_are_kept_in_a_storm_over_a_cluster(tmp_path: Path) -> None:
    short_storm(tmp_path, "galera", "zookeeper")
