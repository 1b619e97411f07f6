"""Every real server a test asks for is a fixture, started when first asked for.

`postgresql` and its like are shared by all tests of one process: take a fresh database or a name of
your own there, and leave the server running. `own_postgresql` and its like are for tests that
freeze, kill or restart: call them, with the class's options, once for every server wanted.

A server this machine lacks skips the test on a laptop, fails it where CI=true, and is listed at
the end of the run either way.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar, ParamSpec, Protocol, TypeVar

import pytest

from servers.etcd import Etcd, EtcdCluster
from servers.galera import GaleraCluster, GaleraNode
from servers.mariadb import MariaDB
from servers.memcached import Memcached
from servers.pgbouncer import PgBouncer
from servers.postgresql import PostgreSQL
from servers.process import Server, Started
from servers.redis import Redis, RedisWithSentinels
from servers.redis_cluster import RedisCluster
from servers.zookeeper import ZooKeeper, ZooKeeperEnsemble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
S = TypeVar("S", bound=Started)

LACKING = re.compile(r"([\w-]+) is not installed; apt-get install ([\w-]+)")


class Program(Protocol):
    """What a machine may lack: a server, or a program that tests run."""

    name: ClassVar[str]
    package: ClassVar[str]

    @classmethod
    def installed(cls) -> bool: ...


def require(server: type[Program]) -> None:
    """Skip the test, or fail it where CI=true, unless this machine has the server."""
    if server.installed():
        return
    reason = f"{server.name} is not installed; apt-get install {server.package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(f"SKIPPED: {reason}")


def _shared(server: type[Server], make: Callable[[], S]) -> Iterator[S]:
    require(server)
    with make() as started:
        yield started


def _own(server: type[Server], make: Callable[P, S]) -> Iterator[Callable[P, S]]:
    require(server)
    with ExitStack() as stack:

        def start(*arguments: P.args, **options: P.kwargs) -> S:
            started = make(*arguments, **options)
            stack.enter_context(started)
            return started

        yield start


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    yield from _shared(PostgreSQL, PostgreSQL)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    yield from _shared(MariaDB, MariaDB)


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[Memcached]:
    yield from _shared(Memcached, Memcached)


@pytest.fixture(scope="session")
def zookeeper_server() -> Iterator[ZooKeeper]:
    yield from _shared(ZooKeeper, ZooKeeper)


@pytest.fixture(scope="session")
def zookeeper_ensemble() -> Iterator[ZooKeeperEnsemble]:
    yield from _shared(ZooKeeper, ZooKeeperEnsemble)


@pytest.fixture(scope="session")
def etcd_server() -> Iterator[Etcd]:
    yield from _shared(Etcd, Etcd)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    yield from _shared(Redis, Redis)


@pytest.fixture
def own_postgresql() -> Iterator[Callable[..., PostgreSQL]]:
    yield from _own(PostgreSQL, PostgreSQL)


@pytest.fixture
def own_pgbouncer() -> Iterator[Callable[..., PgBouncer]]:
    yield from _own(PgBouncer, PgBouncer)


@pytest.fixture
def own_mariadb() -> Iterator[Callable[..., MariaDB]]:
    yield from _own(MariaDB, MariaDB)


@pytest.fixture(scope="session")
def galera() -> Iterator[GaleraCluster]:
    yield from _shared(GaleraNode, GaleraCluster)


@pytest.fixture
def own_galera() -> Iterator[Callable[..., GaleraCluster]]:
    yield from _own(GaleraNode, GaleraCluster)


@pytest.fixture
def own_memcached() -> Iterator[Callable[..., Memcached]]:
    yield from _own(Memcached, Memcached)


@pytest.fixture
def own_zookeeper() -> Iterator[Callable[..., ZooKeeper]]:
    yield from _own(ZooKeeper, ZooKeeper)


@pytest.fixture
def own_zookeeper_ensemble() -> Iterator[Callable[..., ZooKeeperEnsemble]]:
    yield from _own(ZooKeeper, ZooKeeperEnsemble)


@pytest.fixture
def own_etcd() -> Iterator[Callable[..., Etcd]]:
    yield from _own(Etcd, Etcd)


@pytest.fixture
def own_etcd_cluster() -> Iterator[Callable[..., EtcdCluster]]:
    yield from _own(Etcd, EtcdCluster)


@pytest.fixture
def own_redis() -> Iterator[Callable[..., Redis]]:
    yield from _own(Redis, Redis)


@pytest.fixture
def own_redis_with_sentinels() -> Iterator[Callable[..., RedisWithSentinels]]:
    yield from _own(Redis, RedisWithSentinels)


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    yield from _shared(Redis, RedisCluster)


@pytest.fixture
def own_redis_cluster() -> Iterator[Callable[..., RedisCluster]]:
    yield from _own(Redis, RedisCluster)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the missing servers, read from the reports because workers send nothing else."""
    missing: Counter[tuple[str, str]] = Counter()
    for outcome in ("skipped", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            if isinstance(report, pytest.TestReport) and report.longrepr:
                missing.update(LACKING.findall(str(report.longrepr))[:1])
    if not missing:
        return
    terminalreporter.section("MISSING SERVERS", sep="!", red=True, bold=True)
    for (name, package), tests in sorted(missing.items()):
        line = f"{name}: {tests} tests did NOT run; apt-get install {package}"
        terminalreporter.write_line(line, red=True)
