"""Whatever way a server says "authenticate again" leads there, with a limit (F-5).

etcd's ways, an expired token and one from before a change of users, are in ``test_etcd_access``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from drivers.refusals import refused
from drivers.test_memcached_access import USER, WithUsers
from drivers.zookeeper_contract import plain
from servers.memcached import Memcached
from servers.plugin import require
from servers.process import ask
from servers.redis import Redis
from servers.zookeeper import ZooKeeper
from servicegroup.driver import Driver
from servicegroup.drivers.memcached.driver import MemcachedDriver
from servicegroup.drivers.redis import RedisDriver
from servicegroup.drivers.zookeeper.driver import ZooKeeperDriver
from servicegroup.model import Member, PresenceState
from servicegroup.testing.harness import ask as ask_of
from support.waiting import until

MEMBER = Member("compute", "host-1")
OLD, NEW = "s3cret-old", "s3cret-new"


class WithPassword(Redis):
    """A server with a password, which an administrator knows."""

    def __init__(self) -> None:
        super().__init__(["--requirepass", OLD])
        self.password = OLD

    def answers(self) -> bool:
        return b"NOAUTH" in ask(self.port, b"PING\r\n", b"\r\n")

    def rotate(self, password: str) -> None:
        """Change the password, and end every connection that was let in by the former one."""
        self.tell(f"CONFIG SET requirepass {password}")
        self.password = password
        self.tell("CLIENT KILL TYPE normal")

    def logins(self) -> int:
        """Return how many logins there were without success."""
        found = re.search(rb"cmdstat_auth:.*failed_calls=(\d+)", self.tell("INFO commandstats"))
        return int(found[1]) if found else 0

    def tell(self, command: str) -> bytes:
        return super().tell(f"AUTH {self.password}\r\n{command}")


@pytest.fixture
def guarded() -> Iterator[WithPassword]:
    require(Redis)
    with WithPassword() as server:
        yield server


@pytest.fixture
def redis(guarded: WithPassword) -> Iterator[RedisDriver]:
    options = {"url": f"redis://:{OLD}@{guarded.address}/0"}
    with contextlib.closing(RedisDriver.from_options(options)) as handle:
        yield handle


def beats(handle: Driver) -> None:
    handle.heartbeat(MEMBER, 1, 30)
    assert ask_of(handle, MEMBER).state is PresenceState.PRESENT


def test_a_connection_to_redis_that_is_let_in_no_more_logs_in_again(redis: RedisDriver) -> None:
    """RESET takes a connection's login away, as a proxy may, and the next command hears NOAUTH."""
    beats(redis)
    for call in (lambda: redis.heartbeat(MEMBER, 1, 30), lambda: ask_of(redis, MEMBER)):
        pool: Any = redis._redis.connection_pool
        connection = pool.get_connection()
        connection.send_command("RESET")
        assert connection.read_response() == b"RESET"
        pool.release(connection)
        call()
        beats(redis)


def test_a_password_of_redis_that_was_changed_is_no_password(
    guarded: WithPassword, redis: RedisDriver
) -> None:
    """Each call tries it a few times at most, and the handle goes on when it is right again."""
    beats(redis)
    guarded.rotate(NEW)
    before = guarded.logins()
    answer = ask_of(redis, MEMBER)
    assert answer.state is PresenceState.UNKNOWN
    texts = [answer.detail, *refused(lambda: redis.heartbeat(MEMBER, 1, 30), redis.warnings)]
    assert 3 <= guarded.logins() - before <= 3 * 4
    for text in texts:
        assert "invalid username-password pair" in text
        assert "s3cret" not in text
    guarded.rotate(OLD)
    beats(redis)


def test_a_user_of_memcached_who_is_let_in_no_more_is_told_and_comes_back() -> None:
    require(Memcached)
    with WithUsers() as server:
        options = {"servers": server.address, **USER}
        with contextlib.closing(MemcachedDriver.from_options(options)) as handle:
            beats(handle)
            server.restart()
            beats(handle)
            server.kill()
            rights, server.users = server.users, server.directory / "others"
            rights.write_text("other:else\n")
            server.prepare = lambda: None  # type: ignore[method-assign]
            server.start()
            assert ask_of(handle, MEMBER).state is PresenceState.UNKNOWN
            (text,) = refused(lambda: handle.heartbeat(MEMBER, 1, 30))
            assert "does not let this user in" in text
            assert "ec-ret" not in text
            server.kill()
            rights.write_text(f"{USER['username']}:{USER['password']}\n")
            server.start()
            beats(handle)


@pytest.mark.long
def test_a_user_of_zookeeper_is_named_again_on_each_connection() -> None:
    require(ZooKeeper)
    with ZooKeeper() as server:
        user = {"username": "agent", "password": "secret"}
        options = plain(server.address, prefix="/guarded", **user)
        with contextlib.closing(ZooKeeperDriver.from_options(options)) as handle:
            beats(handle)
            server.restart()

            def is_back() -> bool:
                with contextlib.suppress(Exception):
                    beats(handle)
                    return True
                return False

            until(is_back, 60, what="it may read and write below its own nodes again")
