"""``servicegroup doctor`` names each way in which Redis is not as it should be, with its remedy."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from servers.process import LOOPBACK
from servers.redis import PRIMARY, Redis, RedisSentinel, RedisWithSentinels
from servers.redis_cluster import RedisCluster
from support.waiting import until

from .conftest import Desk

SECRET = "s3cret-of-redis"

Examine = Callable[[str], str]


@pytest.fixture
def examine(desk: Desk) -> Examine:
    """Return what doctor says of the backend at a URL, given with a password; it has to fail."""

    def run(url: str) -> str:
        desk.configure(servicegroup_driver="redis")
        with desk.config.open("a") as file:
            file.write(f"[redis]\nurl = {url}\n")
        result = desk.type("doctor", "-f", "json")
        assert result.exit_code == 1, result.output
        assert "s3cret" not in result.output
        assert "Traceback" not in result.output
        (found,) = (c for c in json.loads(result.stdout) if c["check"] == "backend")
        assert found["result"] == "FAIL"
        assert "\n" not in found["finding"]
        return str(found["finding"])

    return run


def test_a_replica(own_redis: Callable[..., Redis], examine: Examine) -> None:
    replica = own_redis(["--replicaof", f"{LOOPBACK} {own_redis().port}"])
    assert "it is a replica, and may lag; name the primary" in examine(replica.url)


def test_writes_that_are_refused(own_redis: Callable[..., Redis], examine: Examine) -> None:
    """F-1."""
    server = own_redis(["--min-replicas-to-write", "1"])
    assert "NOREPLICAS Not enough good replicas to write" in examine(server.url)


def test_a_sentinel_that_is_called_a_server(
    own_redis: Callable[..., Redis], examine: Examine
) -> None:
    with RedisSentinel(own_redis(), quorum=1) as sentinel:
        found = examine(sentinel.url)
    assert "if it is a sentinel, write redis+sentinel://host:26379/MASTER" in found


def test_a_server_that_is_called_a_sentinel(
    own_redis: Callable[..., Redis], examine: Examine
) -> None:
    found = examine(f"redis+sentinel://:{SECRET}@{own_redis().address}/{PRIMARY}")
    assert "it is no sentinel" in found


def test_a_name_that_the_sentinels_do_not_know(
    own_redis: Callable[..., Redis], examine: Examine
) -> None:
    with RedisSentinel(own_redis(), quorum=1) as sentinel:
        found = examine(f"redis+sentinel://:{SECRET}@{sentinel.address}/other")
    assert "No such master" in found
    assert "write the name that sentinel monitor has" in found


def test_sentinels_without_a_quorum(
    own_redis_with_sentinels: Callable[[], RedisWithSentinels], examine: Examine
) -> None:
    servers = own_redis_with_sentinels()
    *others, last = servers.sentinels
    for sentinel in others:
        sentinel.kill()
    until(lambda: b"NOQUORUM" in last.tell(f"SENTINEL CKQUORUM {PRIMARY}"), 30)
    found = examine(servers.url)
    assert "has no quorum: NOQUORUM" in found
    assert "start or reach enough sentinels" in found


def test_a_server_of_a_cluster(
    own_redis_cluster: Callable[..., RedisCluster], examine: Examine
) -> None:
    found = examine(own_redis_cluster(1, 0).servers[0].url)
    assert "it is part of a Redis Cluster; write redis+cluster://host:port,host:port" in found


def test_a_cluster_that_is_down(
    own_redis_cluster: Callable[..., RedisCluster], examine: Examine
) -> None:
    cluster = own_redis_cluster(1, 0)
    cluster.servers[0].tell("CLUSTER DELSLOTS 0")
    until(lambda: b"cluster_state:fail" in cluster.servers[0].tell("CLUSTER INFO"))
    found = examine(cluster.url)
    assert "CLUSTERDOWN" in found
    assert "see CLUSTER INFO" in found


def test_a_server_that_is_in_no_cluster(own_redis: Callable[..., Redis], examine: Examine) -> None:
    found = examine(f"redis+cluster://{own_redis().address}")
    assert "write redis://host:port for a server that is in no cluster" in found


def test_a_cluster_passes(own_redis_cluster: Callable[..., RedisCluster], desk: Desk) -> None:
    desk.configure(servicegroup_driver="redis")
    with desk.config.open("a") as file:
        file.write(f"[redis]\nurl = {own_redis_cluster(1, 0).url}\n")
    result = desk.type("doctor", "-f", "json")
    assert not [c for c in json.loads(result.stdout) if c["check"] == "backend"]
    (driver,) = (c for c in json.loads(result.stdout) if c["check"] == "driver")
    assert driver["result"] == "OK"


def test_a_database_of_a_cluster(desk: Desk) -> None:
    desk.configure(servicegroup_driver="redis")
    with desk.config.open("a") as file:
        file.write(f"[redis]\nurl = redis+cluster://:{SECRET}@host:6379/1\n")
    result = desk.type("doctor")
    assert result.exit_code == 1
    assert "names a database of a Redis Cluster, which has only one" in result.output
    assert "s3cret" not in result.output
