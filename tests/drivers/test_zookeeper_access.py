"""Driver zookeeper: who may touch a node, how to prove it, and options that cannot work."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError

from servers.certificates import Authority
from servers.plugin import require
from servers.process import LOOPBACK, free_port
from servers.zookeeper import ZooKeeper
from servicegroup.drivers.zookeeper.driver import ZooKeeperDriver
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, PresenceState
from servicegroup.testing.harness import ask
from support.waiting import until

pytestmark = pytest.mark.long

Make = Callable[..., ZooKeeperDriver]

MEMBER = Member("compute", "host-1")

JAAS = """\
Server {
  org.apache.zookeeper.server.auth.DigestLoginModule required
  user_agent="secret";
};
"""


class WithSasl(ZooKeeper):
    """A server that knows the user agent, with the password secret."""

    def command(self) -> Sequence[str | Path]:
        jaas = self.directory / "jaas.conf"
        jaas.write_text(JAAS)
        java, *rest = super().command()
        return [java, f"-Djava.security.auth.login.config={jaas}", *rest]


class WithTls(ZooKeeper):
    """A server with a TLS port, which knows one authority: its own, and its clients'."""

    def __init__(self) -> None:
        super().__init__()
        self.secure_address = f"{LOOPBACK}:{free_port()}"
        self.authority = Authority(self.directory)
        self.pair = self.authority.sign(LOOPBACK)
        self.settings |= {
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
            "secureClientPort": self.secure_address.split(":")[1],
            "ssl.keyStore.location": str(self.pair.both),
            "ssl.trustStore.location": str(self.authority.file),
        }

    def command(self) -> Sequence[str | Path]:
        command = list(super().command())
        jars = Path("/usr/share/java").glob("netty-*.jar")  # more than the server's jar names
        where = command.index("-cp") + 1
        command[where] = ":".join([str(command[where]), *map(str, jars)])
        return command


@pytest.fixture
def make() -> Iterator[Make]:
    """Make handles that are closed with the test."""
    with contextlib.ExitStack() as stack:

        def made(**options: Any) -> ZooKeeperDriver:
            handle = ZooKeeperDriver.from_options({"session_timeout": 4, **options})
            return stack.enter_context(contextlib.closing(handle))

        yield made


def is_present(driver: ZooKeeperDriver) -> bool:
    return ask(driver, MEMBER).state is PresenceState.PRESENT


def is_refused(driver: ZooKeeperDriver) -> None:
    """Neither reading nor writing is for this user, and the answer says what to do."""
    with pytest.raises(DriverUnavailable, match="username and password"):
        driver.heartbeat(MEMBER, 2, 60)
    with pytest.raises(DriverUnavailable, match="username and password"):
        driver.leave(MEMBER)
    answer = ask(driver, MEMBER)
    assert answer.state is PresenceState.UNKNOWN
    assert "username and password" in answer.detail


def test_nodes_belong_to_the_user_who_made_them(zookeeper_server: ZooKeeper, make: Make) -> None:
    where = {"address": zookeeper_server.address, "prefix": "/guarded"}
    user = {**where, "username": "agent", "password": "secret"}
    agent, observer, stranger = make(**user), make(**user), make(**where)
    agent.heartbeat(MEMBER, 1, 60)
    until(lambda: is_present(observer))
    client = agent._process.session._client
    assert client is not None
    _, path = agent._process.own._node(client, MEMBER, 1)
    thief = KazooClient(zookeeper_server.address)
    thief.start(10)
    for touch in (thief.delete, thief.get, thief.get_acls):
        with pytest.raises(NoAuthError):
            touch(path)
    thief.stop()
    thief.close()
    is_refused(stranger)
    assert is_present(observer)
    observer.leave(MEMBER)
    until(lambda: not is_present(observer))


def test_users_are_proved_by_sasl_where_that_is_asked_for(make: Make) -> None:
    require(ZooKeeper)
    provider = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
    with WithSasl(settings={"authProvider.1": provider}) as server:
        user = {"address": server.address, "username": "agent", "sasl_mechanism": "DIGEST-MD5"}
        agent, observer = make(**user, password="secret"), make(**user, password="secret")
        agent.heartbeat(MEMBER, 1, 60)
        until(lambda: is_present(observer))
        is_refused(make(address=server.address))
        is_refused(make(**user, password="wrong"))


# kazoo leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_proves_both_ends(make: Make) -> None:
    require(ZooKeeper)
    with WithTls() as server:
        ca = str(server.authority.file)
        trusting = {"address": server.secure_address, "tls": True, "ca": ca}
        proof = {"certfile": str(server.pair.cert), "keyfile": str(server.pair.key)}
        agent, observer = make(**trusting, **proof), make(**trusting, **proof)
        agent.heartbeat(MEMBER, 1, 60)
        until(lambda: is_present(observer))
        distrustful = make(**{**trusting, **proof, "ca": ""})
        anonymous, plain = make(**trusting), make(address=server.secure_address)
        for handle in (distrustful, anonymous, plain):
            with pytest.raises(DriverUnavailable):
                handle.heartbeat(MEMBER, 1, 60)
            handle.close()
    gc.collect()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"address": "host:port"}, "address = host:port"),
        ({"address": ""}, "address"),
        ({"session_timeout": 0}, "session_timeout"),
        ({"prefix": "servicegroups"}, "prefix = servicegroups"),
        ({"prefix": "/"}, "prefix = /"),
        ({"prefix": "/a//b"}, "prefix = /a//b"),
        ({"sasl_mechanism": "PLAIN"}, "sasl_mechanism"),
        ({"username": "agent"}, "password"),
        ({"password": "secret"}, "username"),
        ({"ca": __file__}, "tls = true"),
        ({"tls": "true", "keyfile": __file__}, "certfile"),
        ({"tls": "true", "ca": "/no/such/file"}, "ca = /no/such/file"),
        ({"hosts": "127.0.0.1:2181"}, "hosts"),
    ],
)
def test_options_that_cannot_work_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as refusal:
        ZooKeeperDriver.from_options(options)
    assert "secret" not in str(refusal.value)


def test_options_come_as_text_and_secrets_are_not_shared() -> None:
    text = {"session_timeout": "6", "tls": "true", "username": "agent", "password": "secret"}
    driver = ZooKeeperDriver.from_options({**text, "ca": __file__})
    assert driver.options.session_timeout == 6
    shared = driver.shared_options()
    assert shared["tls"] is True
    assert shared["username"] == "agent"
    told = msgspec.json.encode(shared).decode()
    assert "secret" not in told
    assert __file__ not in told


def test_every_option_says_what_it_is() -> None:
    for field in msgspec.inspect.type_info(ZooKeeperDriver.Options).fields:  # type: ignore[attr-defined]
        assert len(field.type.extra_json_schema["description"]) > 30, field.name


@pytest.mark.parametrize(("asked", "granted"), [(4, None), (0.25, "1 s of session_timeout = 0.25")])
def test_a_timeout_that_the_servers_changed_is_warned_of(
    zookeeper_server: ZooKeeper, asked: float, granted: str | None
) -> None:
    """ZK-6: 2 to 20 ticks of 500 ms."""
    driver = ZooKeeperDriver.from_options(
        {"address": zookeeper_server.address, "session_timeout": asked}
    )
    try:
        warnings = driver.warnings()
    finally:
        driver.close()
    assert bool(warnings) == bool(granted)
    assert all(str(granted) in warning for warning in warnings)
