"""Driver memcached: users (F-23), and what looks like a server and is a proxy (F-22)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from drivers.refusals import refused
from servers.memcached import Memcached
from servers.plugin import require
from servers.process import LOOPBACK, ask, free_port
from servers.twemproxy import Twemproxy
from servicegroup.driver import Driver
from servicegroup.drivers.memcached.driver import MemcachedDriver
from servicegroup.errors import ConfigError
from servicegroup.model import Member, PresenceState
from servicegroup.testing import DriverContract
from servicegroup.testing.harness import ask as ask_of

pytestmark = pytest.mark.long

Make = Callable[..., MemcachedDriver]

MEMBER = Member("compute", "host-1")
USER = {"username": "agent-ä", "password": "s:ec-ret-ä"}


class WithUsers(Memcached):
    """A server that asks for a user (-Y)."""

    def __init__(self) -> None:
        super().__init__()
        self.users = self.directory / "users"
        self.arguments = ("-Y", str(self.users))

    def prepare(self) -> None:
        self.users.write_text(f"other:else\n{USER['username']}:{USER['password']}\n")

    def answers(self) -> bool:
        return ask(self.port, b"version\r\n", b"\r\n") == b"CLIENT_ERROR unauthenticated\r\n"

    def empty(self) -> None:
        """Lose everything, as by flush_all."""
        self.restart()


@pytest.fixture(scope="module")
def guarded() -> Iterator[WithUsers]:
    require(Memcached)
    with WithUsers() as server:
        yield server


@pytest.fixture
def make() -> Iterator[Make]:
    """Make handles that are closed with the test."""
    made: list[MemcachedDriver] = []

    def handle(servers: str, **options: Any) -> MemcachedDriver:
        made.append(MemcachedDriver.from_options({"servers": servers, **options}))
        return made[-1]

    yield handle
    for one in made:
        one.close()


def refusals(handle: MemcachedDriver) -> list[str]:
    """Return why a heartbeat, a question, a departure and an examination fail."""
    found = ask_of(handle, MEMBER)
    assert found.state is PresenceState.UNKNOWN
    beats, leaves = (lambda: handle.heartbeat(MEMBER, 1, 10)), (lambda: handle.leave(MEMBER))
    return [found.detail, *refused(beats, leaves, handle.warnings)]


# -- users ---------------------------------------------------------------------------------


class TestMemcachedWithUsers(DriverContract):
    driver = MemcachedDriver

    @pytest.fixture
    def backend(self, guarded: WithUsers) -> WithUsers:
        return guarded

    @pytest.fixture
    def options(self, guarded: WithUsers) -> dict[str, Any]:
        return {"servers": guarded.address, **USER}

    @pytest.fixture
    def nowhere(self) -> dict[str, Any]:
        return {"servers": f"{LOOPBACK}:{free_port()}", **USER}

    def test_the_shared_options_lead_to_the_same_backend(
        self, observer: Driver, member: Member
    ) -> None:
        """With the password, which an agent has from its own environment."""
        told = {**observer.shared_options(), "password": USER["password"]}
        with contextlib.closing(self.driver.from_options(told)) as agent:
            self.joins(agent, observer, [member])


@pytest.mark.parametrize(
    ("user", "named"),
    [
        ({}, "asks for a user; set [memcached] username and password."),
        ({**USER, "password": "wr-ong"}, "does not let this user in; check [memcached] username"),
        ({**USER, "username": "stranger"}, "does not let this user in"),
    ],
)
def test_who_is_not_let_in_is_told_why(
    guarded: WithUsers, make: Make, user: dict[str, str], named: str
) -> None:
    for refusal in refusals(make(guarded.address, **user)):
        assert named in refusal
        assert "ec-ret" not in refusal
        assert "wr-ong" not in refusal


def test_a_server_that_lets_everybody_in_never_hears_the_password(
    own_memcached: Callable[..., Memcached], make: Make
) -> None:
    """It would keep it as the value of a key, or write it into its log."""
    server = own_memcached(arguments=["-vv"])
    handle = make(server.address, **USER)
    handle.heartbeat(MEMBER, 1, 10)
    assert ask_of(handle, MEMBER).incarnations == {1}
    (warning,) = handle.warnings()
    assert "lets everybody in, though username is set: start it with -Y FILE" in warning
    log = server.log.read_text(errors="replace")
    assert "servicegroup:canary" in log
    assert "login" not in log
    assert ask(server.port, b"get servicegroup:login\r\n", b"END\r\n") == b"END\r\n"


def test_the_password_is_not_shared() -> None:
    shared = MemcachedDriver.from_options(USER).shared_options()
    assert shared["username"] == USER["username"]
    assert "password" not in shared
    assert "ec-ret" not in msgspec.json.encode(shared).decode()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"username": "agent"}, "username and password"),
        ({"password": "s-ecret"}, "username and password"),
        ({"username": "a:b", "password": "s-ecret"}, "username has a colon"),
        ({"username": "a b", "password": "s-ecret"}, "username has"),
        ({"username": "a", "password": "s-ecret t"}, "password has a blank"),
        ({"username": "a", "password": "s-ecret\r\nflush_all"}, "password has a blank"),
    ],
)
def test_users_that_cannot_work_are_named(options: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as refusal:
        MemcachedDriver.from_options(options)
    assert "ecret" not in str(refusal.value)


# -- proxies -------------------------------------------------------------------------------


def test_a_proxy_is_refused_with_its_name(
    own_memcached: Callable[..., Memcached], make: Make
) -> None:
    """F-22: behind it a dead server's keys are misses, and no canary of ours would show that."""
    require(Twemproxy)
    servers = [own_memcached() for _ in range(2)]
    with Twemproxy(servers) as proxy:
        handle = make(proxy.address)
        for _ in range(2):
            for refusal in refusals(handle):
                assert f"memcached {proxy.address} does not answer stats" in refusal
                assert "twemproxy" in refusal
                assert "name the memcached servers themselves in [memcached] servers" in refusal
        servers[0].kill()
        assert all("twemproxy" in refusal for refusal in refusals(handle))


def test_the_servers_of_a_proxy_may_be_named_beside_it(
    own_memcached: Callable[..., Memcached], make: Make
) -> None:
    """What the driver is told to name works, on the servers that the proxy has too."""
    require(Twemproxy)
    servers = [own_memcached() for _ in range(2)]
    with Twemproxy(servers):
        handle = make(",".join(server.address for server in servers))
        handle.heartbeat(MEMBER, 1, 10)
        assert ask_of(handle, MEMBER).state is PresenceState.PRESENT
        assert handle.warnings() == []
