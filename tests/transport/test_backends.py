"""TLS to every backend and database: the right authority works, all else is a sentence at once.

A driver that cannot prove its server says unknown, never absent: nobody is accused of it.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from servers.certificates import Authority
from servers.mariadb import MariaDB
from servers.memcached import Memcached
from servers.postgresql import PostgreSQL
from servers.process import LOOPBACK
from servers.redis import PRIMARY, Redis, RedisSentinel
from servicegroup.driver import Driver, load
from servicegroup.errors import DriverUnavailable, StoreUnavailable
from servicegroup.model import Member, PresenceState
from servicegroup.store.database import connect, reading
from servicegroup.testing.harness import ask

MEMBER = Member("compute", "host-1")
AT_ONCE = 8.0
"""Seconds after which an answer that does not come would be a hang."""


class Secure:
    """A server with a certificate of its own authority; mixed in before the server's class."""

    directory: Path

    def certify(self) -> None:
        self.authority = Authority(self.directory)
        self.pair = self.authority.sign(LOOPBACK)


class SecureMemcached(Secure, Memcached):
    def __init__(self) -> None:
        super().__init__()
        self.certify()
        files = f"ssl_chain_cert={self.pair.cert},ssl_key={self.pair.key}"
        self.arguments = ("-Z", "-o", files)

    def answers(self) -> bool:
        return knows(load("memcached", self.options()))

    def options(self) -> dict[str, Any]:
        return {"servers": self.address, "tls": True, "ca": str(self.authority.file)}


class SecureRedis(Secure, Redis):
    def __init__(self) -> None:
        super().__init__()
        self.certify()
        self.arguments = (
            *("--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(self.pair.cert), "--tls-key-file", str(self.pair.key)),
        )

    def answers(self) -> bool:
        return knows(load("redis", self.options()))

    def options(self) -> dict[str, Any]:
        return {"url": f"rediss://{self.address}/0?ssl_ca_certs={self.authority.file}"}


class SecureSentinel(Secure, RedisSentinel):
    """The only sentinel of a server that speaks TLS alone; TLS to both."""

    def __init__(self, server: SecureRedis) -> None:
        super().__init__(server, quorum=1, settings=["tls-replication yes"])
        self.certify()
        self.server = server
        self.lines = [
            *(f"tls-port {self.port}", "tls-auth-clients no", *self.lines),
            *(f"tls-cert-file {self.pair.cert}", f"tls-key-file {self.pair.key}"),
            f"tls-ca-cert-file {server.authority.file}",
        ]

    def command(self) -> list[str | Path]:
        return [*super().command(), "--port", "0"]

    def answers(self) -> bool:
        return knows(load("redis", {"url": self.place()}))

    def place(self) -> str:
        """Return where the server is, each proven by its own authority."""
        ours, theirs = self.server.authority.file, self.authority.file
        files = f"ssl_ca_certs={ours}&sentinel_ssl_ca_certs={theirs}"
        return f"rediss+sentinel://{self.address}/{PRIMARY}?{files}"


class SecurePostgreSQL(Secure, PostgreSQL):
    def __init__(self) -> None:
        super().__init__()
        self.certify()
        self.settings |= {
            "ssl": "on",
            "ssl_cert_file": str(self.pair.cert),
            "ssl_key_file": str(self.pair.key),
        }

    def prepare(self) -> None:
        super().prepare()
        self.pair.key.chmod(0o600)
        if self.user:
            shutil.chown(self.pair.key, self.user)


class SecureMariaDB(Secure, MariaDB):
    def __init__(self) -> None:
        super().__init__()
        self.certify()
        self.settings |= {"ssl-cert": str(self.pair.cert), "ssl-key": str(self.pair.key)}


def knows(driver: Driver) -> bool:
    """Tell whether a driver gets an answer that is not unknown for want of a server."""
    with contextlib.closing(driver):
        try:
            driver.heartbeat(MEMBER, 1, 60)
        except DriverUnavailable:
            return False
        return ask(driver, MEMBER).state is PresenceState.PRESENT


def refusal(name: str, options: dict[str, Any]) -> str:
    """Return what a driver says that cannot prove its server; it comes at once."""
    begun = time.monotonic()
    with contextlib.closing(load(name, options)) as driver:
        with pytest.raises(DriverUnavailable) as refused:
            driver.heartbeat(MEMBER, 1, 60)
        answer = ask(driver, MEMBER)
    assert answer.state is PresenceState.UNKNOWN
    assert answer.detail
    assert time.monotonic() - begun < AT_ONCE
    return str(refused.value)


def test_memcached(memcached_server: Memcached, stranger: Authority) -> None:
    """MC-10."""
    with SecureMemcached() as server:
        options = server.options()
        assert knows(load("memcached", options))
        assert "certificate verify failed" in refusal("memcached", options | {"ca": ""})
        wrong = {"ca": str(stranger.file)}
        assert "certificate verify failed" in refusal("memcached", options | wrong)
        elsewhere = {"servers": f"localhost:{server.port}"}
        assert "ostname" in refusal("memcached", options | elsewhere)
        assert refusal("memcached", {"servers": server.address})
        assert refusal("memcached", options | {"servers": memcached_server.address})
        shared = load("memcached", options).shared_options()
        assert shared["tls"] is True
        assert "ca" not in shared


def test_redis(redis_server: Redis, stranger: Authority) -> None:
    with SecureRedis() as server:
        url = server.options()["url"]
        assert knows(load("redis", {"url": url}))
        for wrong in (
            f"rediss://{server.address}/0",
            url.partition("?")[0] + f"?ssl_ca_certs={stranger.file}",
        ):
            assert "certificate verify failed" in refusal("redis", {"url": wrong})
        elsewhere = url.replace(LOOPBACK, "localhost")
        assert "ostname" in refusal("redis", {"url": elsewhere})
        assert refusal("redis", {"url": f"redis://{server.address}/0"})
        assert refusal("redis", {"url": f"rediss://{redis_server.address}/0"})


def test_redis_and_its_sentinel() -> None:
    """F-16."""
    with SecureRedis() as server, SecureSentinel(server) as sentinel:
        url = sentinel.place()
        assert knows(load("redis", {"url": url}))
        kolla = f"redis://{sentinel.address}?sentinel={PRIMARY}&sentinel_ssl=yes&ssl=yes&"
        assert knows(load("redis", {"url": kolla + url.partition("?")[2]}))
        for wrong in (url.replace("sentinel_ssl", "ssl"), url.partition("&")[0]):
            assert "certificate verify failed" in refusal("redis", {"url": wrong})
        assert refusal("redis", {"url": f"redis+sentinel://{sentinel.address}/{PRIMARY}"})
        assert refusal("redis", {"url": url.partition("&")[0] + "&sentinel_ssl=no"})


def answer(url: str) -> object:
    """Ask a database for one."""
    engine = connect(url)
    try:
        with reading(engine) as connection:
            return connection.execute(text("SELECT 1")).scalar()
    finally:
        engine.dispose()


def says(url: str) -> str:
    """Return what is said of a database that is not proved; it comes at once."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable) as refused:
        answer(url)
    assert time.monotonic() - begun < AT_ONCE
    return str(refused.value)


def test_postgresql(postgresql: PostgreSQL, stranger: Authority) -> None:
    verified = "?sslmode=verify-full&sslrootcert="
    with SecurePostgreSQL() as server:
        assert answer(f"{server.url}{verified}{server.authority.file}") == 1
        assert "certificate verify failed" in says(f"{server.url}{verified}{stranger.file}")
        elsewhere = server.url.replace(LOOPBACK, "localhost")
        assert "does not match" in says(f"{elsewhere}{verified}{server.authority.file}")
        plain = f"{postgresql.url}{verified}{server.authority.file}"
        assert "does not support SSL" in says(plain)


def test_mariadb(mariadb: MariaDB, stranger: Authority) -> None:
    with SecureMariaDB() as server:
        assert answer(f"{server.url}&ssl_ca={server.authority.file}") == 1
        assert "certificate verify failed" in says(f"{server.url}&ssl_ca={stranger.file}")
        elsewhere = server.url.replace(LOOPBACK, "localhost")
        assert "ostname" in says(f"{elsewhere}&ssl_ca={server.authority.file}")
        assert "SSL is required" in says(f"{mariadb.url}&ssl_ca={server.authority.file}")
