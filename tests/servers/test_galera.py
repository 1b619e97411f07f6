"""A cluster loses a node and takes it back, loses its quorum, and holds what a backup does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from servers.galera import GaleraCluster, GaleraNode, Refused
from servers.process import PATIENCE
from support.waiting import until

pytestmark = pytest.mark.long


def write(node: GaleraNode, number: int) -> None:
    node.ask(f"INSERT INTO note VALUES ({number})")


def read(node: GaleraNode, timeout: float = PATIENCE) -> list[int]:
    question = "SELECT * FROM note ORDER BY 1"
    return [n for (n,) in node.ask("SET wsrep_sync_wait = 7", question, timeout=timeout)]


def test_a_cluster_loses_nodes_and_takes_them_back(
    own_galera: Callable[..., GaleraCluster],
) -> None:
    cluster = own_galera()
    one, two, three = cluster.servers
    one.ask("CREATE TABLE note (note INTEGER PRIMARY KEY) ENGINE = InnoDB")
    write(two, 1)
    assert [read(node) for node in cluster.servers] == [[1], [1], [1]]

    three.kill()
    cluster.wait_until_whole(2)
    write(one, 2)
    three.start()
    cluster.wait_until_whole()
    assert read(three) == [1, 2]

    three.cut_off()
    until(lambda: not three.is_primary, PATIENCE, what="the node knows that it is alone")
    with pytest.raises(Refused):
        write(three, 3)
    cluster.wait_until_is(2, one, two)
    write(one, 3)
    three.heal()
    cluster.wait_until_whole()
    assert read(three) == [1, 2, 3]

    with three.blocked():
        write(one, 4)
        with pytest.raises(Refused):
            read(three, 1)
    assert read(three) == [1, 2, 3, 4]

    one.kill()
    two.kill()
    until(lambda: not three.is_primary, PATIENCE, what="the last one has no quorum")
    three.bootstrap()
    write(three, 5)
    cluster.start()
    assert [read(node) for node in cluster.servers] == [[1, 2, 3, 4, 5]] * 3
