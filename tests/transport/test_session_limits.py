"""Sessions of clients that are limited, and known by certificates."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress

import pytest

from servers.certificates import Authority
from servers.process import LOOPBACK
from servicegroup.agent.websocket import Rejected
from servicegroup.controlplane.clients import BURST
from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.session import Talker, masked
from transport.conftest import Serve

RATE = 5


@pytest.fixture(scope="module")
def plane(serve: Serve, authority: Authority) -> ControlPlane:
    """Give a control plane that lets a client do little."""
    return serve(authority.sign(LOOPBACK), client_ca=authority.file, rate_limit=RATE)


def shown(authority: Authority, host: str, seconds: float = 3600) -> ssl.SSLContext:
    """Return TLS with a certificate for a host, which ends in so many seconds."""
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(authority.sign(host, days=seconds / 86_400).both)
    return context


@pytest.mark.parametrize(
    "frame",
    [masked(0x9, b""), masked(0xA, b""), masked(0x1, b'{"release":[]}')],
    ids=["ping", "pong", "message"],
)
def test_who_floods_a_session_is_cut_off(
    frame: bytes, plane: ControlPlane, authority: Authority
) -> None:
    host = f"flood-{frame[0]:x}"
    with Talker(plane.url, shown(authority, host)) as talker:
        with suppress(OSError):
            talker.socket.sendall(frame * int(3 * RATE * BURST))
        assert "too often" in talker.ended()
    assert f"{host} exceeds a limit" in plane.log()
    with Talker(plane.url, shown(authority, "honest")) as other:
        assert other.say({"release": []}) == {"released": {}}


@pytest.mark.long
def test_a_certificate_that_expires_ends_its_session(
    plane: ControlPlane, authority: Authority
) -> None:
    tls = shown(authority, "node1", seconds=5)
    ends = time.monotonic() + 5
    with Talker(plane.url, tls) as talker:
        talker.say({"register": {"host": "node1", "binary": "w"}})
        with pytest.raises(OSError, match="credential"):
            talker.ping_on(30)
        assert time.monotonic() > ends - 1
    assert Scrape.of(plane).total("sessions_ended_total", cause="refused") == 1
    with pytest.raises((Rejected, OSError)):
        Talker(plane.url, tls)
