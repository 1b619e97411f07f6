"""Every test server starts, answers, hangs, crashes and comes back, as the other tests assume."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pymemcache
import pytest
import redis
import sqlalchemy
import urllib3
from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError
from sqlalchemy import text

from servers.plugin import require
from servers.postgresql import PostgreSQL, Standby
from servers.process import Server, ServerError, ask, family, free_port
from servers.redis import Redis
from support.waiting import until

pytestmark = pytest.mark.long

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.etcd import Etcd, EtcdCluster
    from servers.mariadb import MariaDB
    from servers.memcached import Memcached
    from servers.zookeeper import ZooKeeper, ZooKeeperEnsemble

pytest_plugins = ["pytester"]

TESTS = Path(__file__).parents[1]
SHARED = [
    "postgresql",
    "mariadb",
    "memcached_server",
    "zookeeper_server",
    "zookeeper_ensemble",
    "etcd_server",
    "redis_server",
]


# One note is written and read through the server's ordinary client, within about two seconds.


class SqlNote:
    unavailable = sqlalchemy.exc.OperationalError

    def __init__(self, server: PostgreSQL | MariaDB) -> None:
        timeouts = {"connect_timeout": 2}
        if server.name == "mariadb":  # PyMySQL's connect_timeout ends before the greeting
            timeouts["read_timeout"] = 2
        self.engine = sqlalchemy.create_engine(
            server.database(), poolclass=sqlalchemy.NullPool, connect_args=timeouts
        )
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE note (note VARCHAR(20))"))

    def write(self, note: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text("INSERT INTO note VALUES (:note)"), {"note": note})

    def read(self) -> str | None:
        with self.engine.connect() as connection:
            return connection.execute(text("SELECT note FROM note")).scalar()


class MemcachedNote:
    unavailable = OSError

    def __init__(self, server: Memcached) -> None:
        self.client = pymemcache.Client(server.address, connect_timeout=2, timeout=2)

    def write(self, note: str) -> None:
        self.client.set("note", note, noreply=False)
        self.client.close()

    def read(self) -> str | None:
        note = self.client.get("note")
        self.client.close()
        return note.decode() if note else None


class RedisNote:
    unavailable = redis.RedisError

    def __init__(self, server: Redis) -> None:
        self.url = server.url

    @contextmanager
    def client(self) -> Iterator[Any]:
        with redis.Redis.from_url(self.url, socket_timeout=2, decode_responses=True) as client:
            yield client

    def write(self, note: str) -> None:
        with self.client() as client:
            client.set("note", note)

    def read(self) -> str | None:
        with self.client() as client:
            note: str | None = client.get("note")
            return note


class ZooKeeperNote:
    unavailable = KazooTimeoutError

    def __init__(self, server: ZooKeeper | ZooKeeperEnsemble) -> None:
        self.address = server.address

    @contextmanager
    def client(self) -> Iterator[Any]:
        client = KazooClient(self.address, timeout=4)
        try:
            client.start(timeout=4)
            yield client
        finally:
            client.stop()
            client.close()

    def write(self, note: str) -> None:
        with self.client() as client:
            client.create("/note", note.encode())

    def read(self) -> str | None:
        with self.client() as client:
            note: str = client.get("/note")[0].decode()
            return note


class EtcdNote:
    unavailable = urllib3.exceptions.HTTPError
    key = b64encode(b"note").decode()

    def __init__(self, server: Etcd) -> None:
        self.url = server.url

    def ask(self, verb: str, **question: str) -> Any:
        with urllib3.PoolManager(retries=False, timeout=2) as http:
            return http.request("POST", f"{self.url}/v3/kv/{verb}", json=question).json()

    def write(self, note: str) -> None:
        self.ask("put", key=self.key, value=b64encode(note.encode()).decode())

    def read(self) -> str | None:
        found = self.ask("range", key=self.key).get("kvs")
        return b64decode(found[0]["value"]).decode() if found else None


NOTES: dict[str, Callable[[Any], Any]] = {
    "own_postgresql": SqlNote,
    "own_mariadb": SqlNote,
    "own_memcached": MemcachedNote,
    "own_zookeeper": ZooKeeperNote,
    "own_etcd": EtcdNote,
    "own_redis": RedisNote,
}


@pytest.fixture(params=NOTES)
def kind(request: pytest.FixtureRequest) -> tuple[Callable[[], Server], Callable[[Any], Any]]:
    """A way to start servers of one kind, and a way to keep a note in one."""
    return request.getfixturevalue(request.param), NOTES[request.param]


Kind = tuple[Callable[[], Server], Callable[[Any], Any]]


def test_two_servers_live_side_by_side(kind: Kind) -> None:
    start, note_in = kind
    one, other = start(), start()
    assert one.answers()
    assert other.answers()
    assert one.port != other.port
    note_in_one, note_in_other = note_in(one), note_in(other)
    note_in_one.write("one")
    note_in_other.write("other")
    assert (note_in_one.read(), note_in_other.read()) == ("one", "other")


def test_a_frozen_server_answers_nothing_until_it_is_thawed(kind: Kind) -> None:
    start, note_in = kind
    server = start()
    note = note_in(server)
    note.write("kept")
    pid = server.pid
    server.freeze()
    with pytest.raises(note.unavailable):
        note.read()
    assert server.running
    server.thaw()
    assert note.read() == "kept"
    assert server.pid == pid


@pytest.mark.parametrize("end", [Server.kill, Server.stop])
def test_an_ended_server_comes_back_where_it_was(kind: Kind, end: Callable[[Server], None]) -> None:
    start, note_in = kind
    server = start()
    note = note_in(server)
    note.write("kept")
    pid, address = server.pid, server.address
    end(server)
    assert not server.running
    with pytest.raises(ConnectionRefusedError):
        ask(server.port, b"")
    server.start()
    assert (server.pid != pid, server.address) == (True, address)
    assert note.read() == (None if server.name == "memcached" else "kept")


def test_a_frozen_server_can_be_killed_and_restarted(own_redis: Callable[..., Redis]) -> None:
    server = own_redis()
    server.freeze()
    server.kill()
    server.start()
    server.freeze()
    server.restart()
    assert RedisNote(server).read() is None


def test_a_closed_server_leaves_nothing(own_postgresql: Callable[..., PostgreSQL]) -> None:
    server = own_postgresql()
    pids = family(server.pid)
    assert len(pids) > 1
    server.close()
    assert not server.directory.exists()
    with pytest.raises(ServerError, match="does not run"):
        _ = server.pid
    until(lambda: not any(map(family, pids)), what="the server's processes are gone")


def test_a_start_that_fails_shows_the_log(own_memcached: Callable[..., Memcached]) -> None:
    with pytest.raises(ServerError, match=r"memcached on port \d+ exited(.|\n)*--nonsense"):
        own_memcached(arguments=["--nonsense"])


def test_a_frozen_postgresql_freezes_the_sessions_it_has(
    own_postgresql: Callable[..., PostgreSQL],
) -> None:
    server = own_postgresql()
    url = server.url.replace("+psycopg", "")
    with closing(psycopg.connect(url)) as connection:
        server.freeze()
        connection.pgconn.send_query(b"SELECT 1")
        assert select.select([connection.pgconn.socket], [], [], 0.5)[0] == []
        server.thaw()
        assert select.select([connection.pgconn.socket], [], [], 10)[0]


@pytest.mark.parametrize("fixture", ["postgresql", "mariadb"])
def test_every_database_is_fresh(request: pytest.FixtureRequest, fixture: str) -> None:
    server = request.getfixturevalue(fixture)
    one, other = SqlNote(server), SqlNote(server)
    one.write("one")
    assert (one.read(), other.read()) == ("one", None)


def test_postgresql_is_durable_unless_told_otherwise(
    postgresql: PostgreSQL, own_postgresql: Callable[..., PostgreSQL]
) -> None:
    hasty = own_postgresql(settings={"fsync": "off"})
    for server, fsync in ((postgresql, "on"), (hasty, "off")):
        with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
            assert connection.execute("SHOW fsync").fetchone() == (fsync,)


def test_options_reach_the_servers(
    own_mariadb: Callable[..., MariaDB],
    own_memcached: Callable[..., Memcached],
    own_zookeeper: Callable[..., ZooKeeper],
) -> None:
    mariadb = own_mariadb(settings={"max-connections": "17"})
    with sqlalchemy.create_engine(mariadb.url).connect() as connection:
        assert connection.execute(text("SELECT @@max_connections")).scalar() == 17
        connection.engine.dispose()
    memcached = own_memcached(memory=3, arguments=["-c", "99"])
    settings = ask(memcached.port, b"stats settings\r\n", b"END\r\n")
    assert b"STAT maxbytes 3145728\r\n" in settings
    assert b"STAT maxconns 99\r\n" in settings
    zookeeper = own_zookeeper(tick_time=250, settings={"maxSessionTimeout": "9000"})
    settings = ask(zookeeper.port, b"conf")
    assert b"tickTime=250\n" in settings
    assert b"maxSessionTimeout=9000\n" in settings


def test_an_ensemble_elects_another_leader(
    own_zookeeper_ensemble: Callable[..., ZooKeeperEnsemble],
) -> None:
    ensemble = own_zookeeper_ensemble()
    note = ZooKeeperNote(ensemble)
    note.write("kept")
    first = ensemble.leader()
    assert first not in ensemble.followers()
    assert len(ensemble.followers()) == 2
    first.kill()
    assert ensemble.leader() is not first
    assert note.read() == "kept"
    first.start()
    assert first in until(ensemble.followers, what="the old leader follows")


def test_a_cluster_elects_another_leader(own_etcd_cluster: Callable[..., EtcdCluster]) -> None:
    cluster = own_etcd_cluster()
    first = cluster.leader()
    EtcdNote(first).write("kept")
    first.kill()
    second = cluster.leader()
    assert second is not first
    assert EtcdNote(second).read() == "kept"
    first.start()
    assert EtcdNote(first).read() == "kept"


@pytest.mark.parametrize("fixture", SHARED)
def test_shared_servers_answer(request: pytest.FixtureRequest, fixture: str) -> None:
    shared = request.getfixturevalue(fixture)
    assert all(server.answers() for server in getattr(shared, "servers", [shared]))


ABANDON = """
from servers.postgresql import PostgreSQL, Standby
from servers.process import family
from servers.redis import Redis
servers = [PostgreSQL(), Redis()]
for server in servers:
    server.start()
pids = [pid for server in servers for pid in family(server.pid)]
servers[0].freeze()
print(servers[0].directory.parent, *pids, flush=True)
input()
"""


def test_a_promoted_standby_has_what_was_committed(
    own_postgresql: Callable[[], PostgreSQL],
) -> None:
    primary = own_postgresql()
    with Standby(primary) as standby:
        standby.keep_up()
        primary.ask("CREATE TABLE note AS SELECT 'kept' AS text")
        primary.kill()
        standby.promote()
        assert standby.ask("SELECT text FROM note") == "kept"
        standby.ask("INSERT INTO note VALUES ('another')")


def test_a_killed_test_run_leaves_nothing() -> None:
    for kind in (PostgreSQL, Redis):
        require(kind)
    with subprocess.Popen(
        [sys.executable, "-c", ABANDON],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        text=True,
    ) as run:
        assert run.stdout
        directory, *words = run.stdout.readline().split()
        pids = [int(word) for word in words]
        assert len(pids) > 2
        assert all(map(family, pids))
        run.send_signal(signal.SIGKILL)
    until(lambda: not any(map(family, pids)), what="the servers are gone")
    until(lambda: not Path(directory).exists(), what="their directories are gone")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("ci", "outcome"), [("", "skipped"), ("true", "errors")])
def test_a_missing_server_is_loud(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    ci: str,
    outcome: str,
    workers: int,
) -> None:
    pytester.makeconftest("pytest_plugins = ['servers.plugin']")
    pytester.makepyfile(
        """
        def test_one(memcached_server): pass
        def test_other(own_memcached): pass
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    result = pytester.runpytest_subprocess("-n", str(workers))
    result.assert_outcomes(**{outcome: 2})
    result.stdout.fnmatch_lines(
        ["!* MISSING SERVERS !*", "memcached: 2 tests did NOT run; apt-get install memcached"]
    )


def test_ports_are_not_given_twice() -> None:
    ports = [free_port() for _ in range(300)]
    assert len(set(ports)) == 300


def test_until_returns_the_answer() -> None:
    answers = iter([None, "", "here"])
    assert until(lambda: next(answers), interval=0) == "here"


def test_until_names_what_did_not_happen_and_the_last_answer() -> None:
    with pytest.raises(AssertionError, match=r"the ship is in: not within 0\.1 s; last answer: 0"):
        until(lambda: 0, timeout=0.1, interval=0.01, what="the ship is in")
