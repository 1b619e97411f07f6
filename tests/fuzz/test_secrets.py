"""No secret is shown: not in a log at level debug, an answer, a metric, a traceback, nor by ps.

Everything that has a password runs with one that is known, is made to fail in every way, and all
that was said meanwhile is searched.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
import redis
import sqlalchemy
import urllib3

from servers.etcd import Etcd
from servers.mariadb import MariaDB
from servers.process import PATIENCE
from servers.redis import Redis
from servers.zookeeper import ZooKeeper
from servicegroup.api.v1 import routes as v1
from servicegroup.drivers.etcd.driver import EtcdDriver
from servicegroup.model import Member, PresenceState
from servicegroup.testing.harness import ask
from support.control_plane import ControlPlane
from support.fleet import Agent
from support.waiting import until

from .known_secrets import SECRETS, encoded, leaks

USER = "fuzzed"
PATHS = (
    *(route.path for route in v1.ROUTES if route.method == "GET"),
    *("/v1/events", "/v1/openapi.json", "/metrics", "/healthz", "/readyz"),
    *("/v2.1/os-services", "/v2.1/os-availability-zone/detail", "/v2.1", "/nothing"),
)


class Talkative(ControlPlane):
    """A control plane that logs all it can, and whose commands show where an error comes from."""

    def command(self, *arguments: str) -> list[str]:
        if arguments == ("serve",):
            return super().command(*arguments, "--log-level", "debug")
        return super().command("--debug", *arguments)


class Database:
    """A MariaDB user whose password can be changed while it is in use."""

    def __init__(self, server: MariaDB) -> None:
        url = sqlalchemy.make_url(server.database())
        self.url = str(url).replace("root@", f"{USER}:{encoded('database')}@")
        self._engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        self.do(f"CREATE USER {USER}@'127.0.0.1'")
        self.do(f"GRANT ALL ON {url.database}.* TO {USER}@'127.0.0.1'")
        self.set_password(SECRETS["database"])

    def set_password(self, password: str) -> None:
        """Let in who says this one, and end the connections there are."""
        self.do(f"SET PASSWORD FOR {USER}@'127.0.0.1' = PASSWORD(:given)", given=password)
        self.do(f"KILL USER {USER}@'127.0.0.1'")

    def do(self, statement: str, **values: str) -> None:
        """Run a statement as the administrator."""
        with self._engine.connect() as connection:
            connection.execute(sqlalchemy.text(statement), values)


@pytest.fixture
def database(mariadb: MariaDB) -> Iterator[Database]:
    """Give a database of a user with a password."""
    database = Database(mariadb)
    yield database
    database.do(f"DROP USER {USER}@'127.0.0.1'")


@pytest.fixture
def backend(redis_server: Redis) -> Iterator[redis.Redis]:
    """Give the administrator of a Redis that knows a user with a password."""
    with redis.Redis.from_url(redis_server.url) as administrator:
        let_in(administrator, SECRETS["redis"])
        yield administrator
        administrator.acl_deluser(USER)


def let_in(backend: redis.Redis, password: str) -> None:
    backend.acl_setuser(
        USER, enabled=True, reset=True, passwords=[f"+{password}"], keys=["*"], commands=["+@all"]
    )
    backend.client_kill_filter(user=USER)


@pytest.fixture
def plane(
    database: Database,
    backend: redis.Redis,
    redis_server: Redis,
    zookeeper_server: ZooKeeper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Talkative]:
    """Give a control plane that has to prove itself to its database and to two backends."""
    url = redis_server.url.replace("://", f"://{USER}:{encoded('redis')}@")
    monkeypatch.setenv("OS_REDIS__URL", url)
    monkeypatch.setenv("OS_ZOOKEEPER__PASSWORD", SECRETS["zookeeper"])
    monkeypatch.setenv("SERVICEGROUP_TOKEN", SECRETS["agent"])
    plane = Talkative(database.url, tmp_path)
    tokens = "".join(
        f"token = {role}:{hashlib.sha256(SECRETS[name].encode()).hexdigest()}\n"
        for role, name in (("admin", "admin"), ("reporter", "agent"))
    )
    plane.configure(
        f"[api]\nauth_strategy = token\n{tokens}"
        f"[zookeeper]\naddress = {zookeeper_server.address}\nprefix = /secrets\nusername = {USER}",
        servicegroup_driver="redis",
        servicegroup_shadow_driver="zookeeper",
        report_interval=1,
        heartbeat_interval=0.5,
    )
    plane.start()
    yield plane
    plane.stop()


def everything_said(plane: Talkative, when: str, *commands: str) -> dict[str, bytes]:
    """Return the answers of all routes to good and bad requests, and what commands print."""

    def output(words: str) -> bytes:
        command = plane.command(*words.split())
        ended = subprocess.run(command, stdout=PIPE, stderr=STDOUT, timeout=PATIENCE)
        assert b"Usage:" not in ended.stdout
        return ended.stdout

    with ThreadPoolExecutor(2) as threads:
        printed = {f"{words} {when}": threads.submit(output, words) for words in commands}
        said = {}
        for path, token, method in product(PATHS, (SECRETS["admin"], "wrong"), ("GET", "POST")):
            answer = plane.http.request(
                method,
                plane.url + path,
                body=b"{" if method == "POST" else None,
                headers={"X-Auth-Token": token, "OpenStack-API-Version": "compute 2.53"},
                timeout=PATIENCE,
            )
            headers = repr(answer.headers.items()).encode()
            said[f"{method} {path} {when}: {answer.status}"] = headers + answer.data
    return said | {name: future.result() for name, future in printed.items()}


def is_known_present(plane: Talkative) -> bool:
    """Tell whether the agent is present in both backends, which so let everybody in."""
    token = {"X_Auth_Token": SECRETS["admin"]}
    found = plane.request("GET", "/v1/services?host=h1", **token)[2]["services"]
    compared = plane.request("GET", "/v1/drivers/comparison", **token)[2]
    reasons = [service["verdict"]["reason"] for service in found]
    return reasons == ["present"] and not compared["undetermined"] and not compared["disagreements"]


@pytest.mark.timeout(300)
@pytest.mark.long
def test_no_secret_is_ever_shown(
    plane: Talkative, database: Database, backend: redis.Redis, tmp_path: Path
) -> None:
    agent = Agent(plane.url, "h1", tmp_path, binary="nova-compute")
    try:
        until(lambda: is_known_present(plane), PATIENCE, what=f"the agent: {agent.log()}")
        arguments = [f"/proc/{process.pid}/cmdline" for process in (plane.process, agent.process)]
        said = {path: Path(path).read_bytes() for path in arguments}
        said |= everything_said(plane, "while all is well", "doctor", "driver compare")
        database.set_password("another")
        let_in(backend, "another")
        until(lambda: plane.http.request("GET", plane.url + "/readyz").status != 200, PATIENCE)
        said |= everything_said(plane, "while nobody is let in", "doctor", "service list")
        database.set_password(SECRETS["database"])
        until(plane.is_ready, PATIENCE, what="ready again")
        database.do(f"DROP TABLE {sqlalchemy.make_url(database.url).database}.events")
        said |= everything_said(plane, "while a table is missing", "events")
    finally:
        agent.end()
        plane.stop()
    said |= {"the agent's log": agent.log().encode(), "the log": plane.log().encode()}
    assert b"Traceback" in said["the log"]
    assert b"DEBUG" in said["the log"]
    assert leaks(said) == []


def test_etcd_s_password_is_never_shown(
    own_etcd: Callable[..., Etcd], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_etcd()
    known = {"name": "root", "password": SECRETS["etcd"]}
    steps: tuple[tuple[str, Any], ...] = (
        ("user/add", known),
        ("role/add", {"name": "root"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("enable", {}),
    )
    with urllib3.PoolManager() as http:
        for path, question in steps:
            url = f"{server.url}/v3/auth/{path}"
            assert http.request("POST", url, json=question).status == 200
    caplog.set_level(logging.DEBUG)
    said, member = {}, Member("compute", "h1")
    for user, away in (("root", False), ("nobody", False), ("root", True)):
        if away:
            server.kill()
        options = {"endpoints": server.url, "username": user, "password": SECRETS["etcd"]}
        driver = EtcdDriver.from_options(options)
        presence = ask(driver, member)
        assert (presence.state is PresenceState.UNKNOWN) == (user == "nobody" or away)
        said[f"as {user}"] = f"{presence} {driver.shared_options()}".encode()
        driver.close()
    said["the log"] = caplog.text.encode()
    assert leaks(said) == []


def test_the_search_finds_a_secret_however_it_is_written() -> None:
    basic = urllib3.make_headers(basic_auth=f"{USER}:{SECRETS['redis']}")["authorization"]
    for text in (basic, encoded("redis"), repr(SECRETS["redis"]), SECRETS["redis"].encode().hex()):
        assert len(leaks({"somewhere": text.encode()})) == 1
