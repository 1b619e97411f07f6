"""What one client may ask for, requests a second and connections; others notice nothing."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from contextlib import ExitStack, closing
from statistics import quantiles

import pytest

from servers.certificates import Authority
from servers.process import LOOPBACK, PATIENCE
from servicegroup.agent.client import HttpClient
from servicegroup.agent.heart import Busy
from servicegroup.agent.join import client_for
from servicegroup.controlplane.clients import BURST, ClientQuota, Clients, Limit
from servicegroup.events import EventFilter
from servicegroup.messages import Report
from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.waiting import until
from transport.conftest import Serve

RATE, CONNECTIONS = 2, 4


@pytest.fixture(scope="module")
def plane(serve: Serve, authority: Authority) -> ControlPlane:
    """Give a control plane that lets a client do little."""
    limits = {"rate_limit": RATE, "connection_limit": CONNECTIONS}
    return serve(authority.sign(LOOPBACK), client_ca=authority.file, **limits)


def client_of(plane: ControlPlane, authority: Authority, host: str) -> HttpClient:
    return client_for(plane.url, None, str(authority.file), str(authority.sign(host).both))


def ask_until_refused(client: HttpClient) -> Busy:
    """Return the refusal that comes after many questions."""
    for _ in range(int(10 * RATE * BURST)):
        try:
            client.events(EventFilter(), 0)
        except Busy as refusal:
            return refusal
    raise AssertionError("nothing was refused")


def test_who_asks_too_often_is_told_when_to_come_back(
    plane: ControlPlane, authority: Authority
) -> None:
    with closing(client_of(plane, authority, "busy")) as client:
        refusal = ask_until_refused(client)
        assert "asks too often" in str(refusal)
        assert refusal.retry_after == 1.0
        with closing(client_of(plane, authority, "other")) as other:
            assert other.events(EventFilter(), 0)
        until(lambda: answered(client), PATIENCE, interval=1 / RATE)
    assert plane.log().count("busy exceeds a limit") == 1
    assert Scrape.of(plane).total("limited_clients_total", limit="rate") >= 1


def answered(client: HttpClient) -> bool:
    try:
        return bool(client.events(EventFilter(), 0))
    except Busy:
        return False


def test_connections_of_one_client_are_counted(plane: ControlPlane, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(authority.sign("many").both)
    with ExitStack() as stack:
        lines = [stack.enter_context(connected(plane, context)) for _ in range(CONNECTIONS + 1)]
        answer = lines[-1].recv(4096)
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"Too many connections" in answer
        for line in lines[:-1]:
            line.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert line.recv(4096).startswith(b"HTTP/1.1 200")


def connected(plane: ControlPlane, context: ssl.SSLContext) -> ssl.SSLSocket:
    raw = socket.create_connection((LOOPBACK, plane.port), timeout=PATIENCE)
    return context.wrap_socket(raw, server_hostname=LOOPBACK)


def test_slow_clients_do_not_delay_reports(plane: ControlPlane, authority: Authority) -> None:
    """Half of them never shake hands, half of them send a request's bytes one by one."""
    context = ssl.create_default_context(cafile=authority.file)
    ended = threading.Event()
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(plane, context)) for _ in range(100)]
        for _ in range(100):
            stack.enter_context(socket.create_connection((LOOPBACK, plane.port)))

        def drip() -> None:
            while not ended.wait(0.1):
                for line in slow:
                    line.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        stack.callback(thread.join, PATIENCE)
        stack.callback(ended.set)
        waits = report(plane, authority, 100)
    assert quantiles(waits, n=10)[-1] < 0.5, waits


def report(plane: ControlPlane, authority: Authority, count: int) -> list[float]:
    """Return how long each of so many reports took to be acknowledged."""
    client = client_for(plane.url, None, str(authority.file))
    waits = []
    with closing(client):
        life = client.register("honest", "web", "", "", 0)
        for _ in range(count):
            begun = time.monotonic()
            refused = client.report([Report(life.uuid, life.incarnation)])
            waits.append(time.monotonic() - begun)
            assert not refused.deleted
    return waits


@pytest.mark.parametrize(
    ("addresses", "many"),
    [
        (("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "", "fe80::1%lo"), 1),
        (("192.0.2.1", "::ffff:192.0.2.1"), 1),
        (("192.0.2.1", "192.0.2.2"), 2),
        (("2001:db8::1", "2001:db8::2:3"), 1),
        (("2001:db8::1", "2001:db8:0:1::1"), 2),
    ],
)
def test_who_is_one_client(addresses: tuple[str, ...], many: int) -> None:
    clients = Clients(rate=1, each=1)
    found = [clients.connect(None, address, 0.0) for address in addresses]
    counted = [client for client in found if isinstance(client, ClientQuota)]
    own = many == 1 and addresses[0].startswith("127.")
    assert len(counted) == (len(addresses) if own else many)


def test_a_process_has_room_for_so_many() -> None:
    clients = Clients(most=1)
    first = clients.connect(None, "127.0.0.1", 0.0)
    assert isinstance(first, ClientQuota)
    assert clients.connect(None, "127.0.0.1", 0.0) is Limit.CONNECTIONS
    clients.disconnect(first)
    assert isinstance(clients.connect("h1", "192.0.2.1", 0.0), ClientQuota)


def test_a_bucket_refills_at_its_rate() -> None:
    client = ClientQuota("h1", 2.0, 100.0)
    assert [client.wait(100.0) for _ in range(20)] == [0.0] * 20
    assert client.wait(100.0) == 0.5
    assert client.wait(100.5) == 0.0
    assert client.wait(100.5) == 0.5
    assert not client.is_idle(109.9)
    assert client.is_idle(200.0)
    assert ClientQuota("this host", math.inf, 0.0).wait(0.0) == 0.0


def test_whoever_came_once_is_forgotten() -> None:
    clients = Clients(rate=1)
    for number in range(25_000):
        client = clients.connect(f"h{number}", "192.0.2.1", number * 1.0)
        assert isinstance(client, ClientQuota)
        client.wait(number * 1.0)
        clients.disconnect(client)
    assert len(clients._known) <= 10_000
