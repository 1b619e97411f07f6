"""Driver etcd: what does not answer, or refuses, is called by its right name (F-17)."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from servers.etcd import Etcd, EtcdCluster
from servers.plugin import require
from servers.process import LOOPBACK, Server, ask, free_port
from servicegroup.drivers.etcd import releases
from servicegroup.drivers.etcd.causes import problem, unavailable
from servicegroup.drivers.etcd.driver import EtcdDriver
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, PresenceState
from servicegroup.testing.harness import ask as ask_of
from support.waiting import until

Make = Callable[..., EtcdDriver]

MEMBER = Member("compute", "host-1")


def is_healthy(port: int) -> bool:
    return b"true" in ask(port, b"GET /health HTTP/1.0\r\n\r\n", b"}")


class WithoutGateway(Etcd):
    """A server that speaks gRPC only."""

    def __init__(self) -> None:
        super().__init__(["--enable-grpc-gateway=false"])

    def answers(self) -> bool:
        return is_healthy(self.port)


class GrpcProxy(Server):
    """etcd's own proxy before a server; it speaks gRPC only."""

    name = "etcd grpc-proxy"
    package = "etcd-server"

    def __init__(self, target: Etcd) -> None:
        super().__init__()
        self.target = target

    @classmethod
    def installed(cls) -> bool:
        return shutil.which("etcd") is not None

    def command(self) -> Sequence[str | Path]:
        listen = ["--listen-addr", self.address]
        return ["etcd", "grpc-proxy", "start", "--endpoints", self.target.address, *listen]

    def answers(self) -> bool:
        return is_healthy(self.port)


@pytest.fixture
def make() -> Iterator[Make]:
    """Make handles that are closed with the test."""
    with contextlib.ExitStack() as stack:

        def made(*urls: str, **options: object) -> EtcdDriver:
            handle = EtcdDriver.from_options({"endpoints": ",".join(urls), **options})
            return stack.enter_context(contextlib.closing(handle))

        yield made


def refusals(handle: EtcdDriver) -> list[str]:
    """Return why a heartbeat, a question and an examination fail, each in its own words."""
    with pytest.raises(DriverUnavailable) as beat:
        handle.heartbeat(MEMBER, 1, 10)
    answer = ask_of(handle, MEMBER)
    assert answer.state is PresenceState.UNKNOWN
    with pytest.raises(DriverUnavailable) as examined:
        handle.warnings()
    return [str(beat.value), answer.detail, str(examined.value)]


def test_a_server_without_a_gateway_is_no_lost_quorum(make: Make) -> None:
    require(Etcd)
    with WithoutGateway() as server:
        for refusal in refusals(make(server.url)):
            assert "is no JSON gateway (HTTP 404)" in refusal
            assert "without --enable-grpc-gateway=false" in refusal
            assert "quorum" not in refusal


def test_a_grpc_proxy_is_no_lost_quorum(etcd_server: Etcd, make: Make) -> None:
    with GrpcProxy(etcd_server) as proxy:
        for refusal in refusals(make(f"http://{proxy.address}")):
            assert "is no JSON gateway (HTTP 404); name servers of etcd" in refusal
            assert "quorum" not in refusal
        both = make(f"http://{proxy.address}", etcd_server.url)
        both.heartbeat(MEMBER, 1, 10)
        assert ask_of(both, MEMBER).state is PresenceState.PRESENT
        warning, *others = both.warnings()
        assert others == releases.advice({etcd_server.url: etcd_server.version()})
        assert warning.startswith(f"etcd at http://{proxy.address} is no JSON gateway: name")
        both.leave(MEMBER)


def test_a_write_refused_for_space_says_so(own_etcd: Callable[..., Etcd], make: Make) -> None:
    handle = make(own_etcd(["--quota-backend-bytes", "1"]).url)
    with pytest.raises(DriverUnavailable) as beat:
        handle.heartbeat(MEMBER, 1, 10)
    with pytest.raises(DriverUnavailable) as examined:
        handle.warnings()
    for refusal in (str(beat.value), str(examined.value)):
        assert "has no space left and refuses to write" in refusal
        assert "disarm its NOSPACE alarm" in refusal
        assert "quorum" not in refusal


def test_a_member_without_a_quorum_is_passed_over(
    own_etcd_cluster: Callable[..., EtcdCluster], own_etcd: Callable[..., Etcd], make: Make
) -> None:
    """Such a member goes on to accept connections, and lets every question wait."""
    lonely, *others = own_etcd_cluster().servers
    for server in others:
        server.kill()
    handle = make(lonely.url, own_etcd().url)
    begun = time.monotonic()
    handle.heartbeat(MEMBER, 1, 10)
    assert ask_of(handle, MEMBER).state is PresenceState.PRESENT
    assert time.monotonic() - begun < 3
    words = f"etcd at {lonely.url} has no quorum, or does not answer: check"
    # It takes a moment until the member itself knows, and its release has a warning as well.
    until(lambda: any(one.startswith(words) for one in handle.warnings()), what="it is warned of")
    handle.heartbeat(MEMBER, 1, 10)


def test_each_endpoint_has_its_own_cause(make: Make) -> None:
    require(Etcd)
    with WithoutGateway() as server:
        nowhere = f"http://{LOOPBACK}:{free_port()}"
        for refusal in refusals(make(nowhere, server.url)):
            assert f"at {server.url} is no JSON gateway" in refusal
            assert f"at {nowhere} cannot be reached" in refusal


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (b'{"error":"etcdserver: too many requests","code":8}', 429, "more to do than it can"),
        (b'{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}', 503, "no leader"),
        (b'{"error":"context deadline exceeded","code":2}', 500, "has no quorum"),
        (b"<html>No server is available</html>", 503, "does not answer (HTTP 503)"),
        (b"<html>", 404, "is no JSON gateway (HTTP 404)"),
        (b"Client sent an HTTP request to an HTTPS server.", 400, "is no JSON gateway (HTTP 400)"),
    ],
)
def test_an_answer_that_is_no_result_has_a_name(body: bytes, status: int, named: str) -> None:
    refusal = str(unavailable([("http://a:1", problem(body, status))]))
    assert refusal.startswith("etcd at http://a:1 ")
    assert named in refusal
    assert refusal.endswith(".")


@pytest.mark.parametrize(
    ("version", "is_old"),
    [
        ("3.3.27", True), ("3.4.23", True), ("3.4.30", True), ("3.4.31", False), ("3.4.32", False),
        ("3.5.0", True), ("3.5.12", True), ("3.5.13", False), ("3.6.0", False),
        ("3.6.0-rc.0", False), ("4.0.0", False), ("", False), ("main", False), ("3.4.30+git", True),
    ],
)  # fmt: skip
def test_who_runs_a_release_that_ends_living_leases_is_told(version: str, is_old: bool) -> None:
    """ET-4: mended in 3.4.31 and 3.5.13."""
    assert bool(releases.advice({"http://one:2379": version})) == is_old


def test_old_servers_are_named_together() -> None:
    servers = {"http://a": "3.5.1", "http://b": "3.6.1", "http://c": "3.5.1", "http://d": "3.4.3"}
    first, second = releases.advice(servers)
    assert first.startswith("etcd 3.5.1 at http://a,http://c may end leases that live")
    assert second.startswith("etcd 3.4.3 at http://d may")


def test_a_server_says_which_release_it_is(etcd_server: Etcd, make: Make) -> None:
    version = etcd_server.version()
    expected = releases.advice({etcd_server.url: version})
    assert make(etcd_server.url).warnings() == expected
