"""Driver etcd: users, TLS, and options that cannot work."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import urllib3

from servers.certificates import Authority
from servers.etcd import Etcd
from servers.plugin import require
from servers.process import LOOPBACK
from servicegroup.drivers.etcd.driver import EtcdDriver
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, PresenceState
from servicegroup.testing.harness import ask
from support.waiting import until

Make = Callable[..., EtcdDriver]

MEMBER = Member("compute", "host-1")


class WithTls(Etcd):
    """A server that knows one authority: its own, and its clients'."""

    def __init__(self) -> None:
        super().__init__()
        self.authority = Authority(self.directory)
        self.pair = self.authority.sign(LOOPBACK)
        self.arguments = (
            *("--cert-file", str(self.pair.cert), "--key-file", str(self.pair.key)),
            *("--client-cert-auth", "--trusted-ca-file", str(self.authority.file)),
        )

    @property
    def url(self) -> str:
        return f"https://{self.address}"

    def answers(self) -> bool:
        with contextlib.closing(EtcdDriver.from_options(self.options())) as driver:
            return ask(driver, MEMBER).state is PresenceState.ABSENT

    def options(self) -> dict[str, Any]:
        proof = {"certfile": str(self.pair.cert), "keyfile": str(self.pair.key)}
        return {"endpoints": self.url, "ca": str(self.authority.file), **proof}


@pytest.fixture
def make() -> Iterator[Make]:
    """Make handles that are closed with the test."""
    with contextlib.ExitStack() as stack:

        def made(**options: Any) -> EtcdDriver:
            return stack.enter_context(contextlib.closing(EtcdDriver.from_options(options)))

        yield made


def test_users_may_what_their_role_says(own_etcd: Callable[..., Etcd], make: Make) -> None:
    server = own_etcd()
    admin = {"endpoints": server.url, "username": "root", "password": "secret"}
    steps: list[tuple[str, dict[str, Any]]] = [
        ("user/add", {"name": "root", "password": "secret"}),
        ("user/add", {"name": "guest", "password": "guest"}),
        ("role/add", {"name": "root"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("enable", {}),
    ]
    with urllib3.PoolManager() as http:
        for path, question in steps:
            done = http.request("POST", f"{server.url}/v3/auth/{path}", json=question)
            assert done.status == 200, done.data
    agent, observer = make(**admin), make(**admin)
    agent.heartbeat(MEMBER, 1, 60)
    assert ask(observer, MEMBER).incarnations == {1}
    for stranger in (
        make(endpoints=server.url),
        make(**{**admin, "password": "wrong"}),
        make(**{**admin, "username": "guest", "password": "guest"}),
    ):
        with pytest.raises(DriverUnavailable, match="username and password"):
            stranger.heartbeat(MEMBER, 2, 60)
        with pytest.raises(DriverUnavailable, match="username and password"):
            stranger.leave(MEMBER)
        answer = ask(stranger, MEMBER)
        assert answer.state is PresenceState.UNKNOWN
        assert "username and password" in answer.detail
    server.stop()
    server.launch()  # it has forgotten every token it gave
    until(lambda: ask(observer, MEMBER).incarnations == {1})
    agent.heartbeat(MEMBER, 2, 60)
    assert ask(observer, MEMBER).incarnations == {1, 2}


class WithJwt(Etcd):
    """A server whose tokens are signed, and are of one revision of its users and roles."""

    def __init__(self) -> None:
        super().__init__()
        private, public = self.directory / "jwt.key", self.directory / "jwt.pub"
        for command in (
            ["genpkey", "-algorithm", "RSA", "-out", str(private)],
            ["pkey", "-in", str(private), "-pubout", "-out", str(public)],
        ):
            subprocess.run(["openssl", *command], check=True, capture_output=True, timeout=60)
        for file in (private, public):
            file.chmod(0o644)
        keys = f"jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl=10m"
        self.arguments = ("--auth-token", keys)


def test_a_signed_token_is_fetched_anew_after_a_change_of_users(make: Make) -> None:
    """F-5: it is refused as an invalid argument, code 3, and not as unauthenticated."""
    require(Etcd)
    with WithJwt() as server, urllib3.PoolManager() as http:

        def change(path: str, question: dict[str, Any], token: str = "") -> dict[str, Any]:
            headers = {"Authorization": token} if token else {}
            url = f"{server.url}/v3/auth/{path}"
            done = http.request("POST", url, json=question, headers=headers)
            assert done.status == 200, done.data
            return dict(done.json())

        root = {"name": "root", "password": "secret"}
        change("user/add", root)
        change("role/add", {"name": "root"})
        change("user/grant", {"user": "root", "role": "root"})
        change("enable", {})
        user = {"endpoints": server.url, "username": "root", "password": "secret"}
        agent, observer = make(**user), make(**user)
        for n in range(1, 4):
            assert ask(observer, MEMBER).incarnations == set(range(1, n))
            agent.heartbeat(MEMBER, n, 60)
            assert ask(observer, MEMBER).incarnations == set(range(1, n + 1))
            token = change("authenticate", root)["token"]
            change("user/add", {"name": f"guest{n}", "password": "guest"}, token)
        agent.leave(MEMBER)
        assert ask(observer, MEMBER).state is PresenceState.ABSENT
        with pytest.raises(DriverUnavailable, match="username and password"):
            make(**{**user, "password": "wrong"}).heartbeat(MEMBER, 2, 60)


def test_tls_proves_both_ends(make: Make) -> None:
    require(Etcd)
    with WithTls() as server:
        agent = make(**server.options())
        agent.heartbeat(MEMBER, 1, 60)
        assert ask(agent, MEMBER).incarnations == {1}
        anonymous = {"certfile": "", "keyfile": ""}
        plain = {"endpoints": f"http://{server.address}", "ca": "", **anonymous}
        for change in ({"ca": ""}, anonymous, plain):
            with pytest.raises(DriverUnavailable):
                make(**{**server.options(), **change}).heartbeat(MEMBER, 1, 60)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"endpoints": "127.0.0.1:2379"}, "127.0.0.1:2379"),
        ({"endpoints": ""}, "endpoints"),
        ({"endpoints": "http://a:1,ftp://b:2"}, "ftp://b:2"),
        ({"endpoints": "http://a:1/v3"}, "http://a:1/v3"),
        ({"endpoints": "http://a:port"}, "http://a:port"),
        ({"timeout": 0}, "timeout"),
        ({"prefix": "servicegroups"}, "prefix = servicegroups"),
        ({"prefix": "/servicegroups/"}, "prefix = /servicegroups/"),
        ({"username": "agent"}, "password"),
        ({"password": "secret"}, "username"),
        ({"ca": __file__}, "https"),
        ({"endpoints": "https://a:1", "ca": "/no/such/file"}, "ca = /no/such/file"),
        ({"endpoints": "https://a:1", "ca": __file__}, "ca = "),
        ({"endpoints": "https://a:1", "keyfile": __file__}, "certfile"),
        ({"servers": "http://a:1"}, "servers"),
    ],
)
def test_options_that_cannot_work_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as refusal:
        EtcdDriver.from_options(options)
    assert "secret" not in str(refusal.value)


def test_secrets_and_files_are_not_shared() -> None:
    user = {"username": "agent", "password": "secret", "timeout": "2.5"}
    shared = EtcdDriver.from_options(user).shared_options()
    assert shared["timeout"] == 2.5
    assert "secret" not in msgspec.json.encode(shared).decode()
    assert {"password", "ca", "certfile", "keyfile"}.isdisjoint(shared)


def test_every_option_says_what_it_is() -> None:
    for field in msgspec.inspect.type_info(EtcdDriver.Options).fields:  # type: ignore[attr-defined]
        assert len(field.type.extra_json_schema["description"]) > 30, field.name
