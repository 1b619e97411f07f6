"""TLS of the API: real control planes, agents and commands, and every way the proof can fail."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from servers.certificates import Authority, Pair
from servers.process import LOOPBACK, PATIENCE
from servicegroup.agent.join import client_for
from servicegroup.api.transport.tls import ServerTls
from servicegroup.config import load
from servicegroup.errors import (
    ConfigError,
    ControlPlaneUnavailable,
    Forbidden,
    InvalidInput,
)
from servicegroup.events import EventFilter, Page
from support.control_plane import ControlPlane
from support.waiting import until
from transport.conftest import Serve, lines

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def proof(authority: Authority) -> Pair:
    """Give the control planes' certificate, for the loopback address alone."""
    return authority.sign(LOOPBACK)


@pytest.fixture(scope="module")
def plane(serve: Serve, proof: Pair) -> ControlPlane:
    """Give a control plane that asks nobody for a certificate."""
    return serve(proof)


@pytest.fixture(scope="module")
def trusted(directory: Path, authority: Authority) -> Path:
    """Give the file of the authorities whose agents are believed."""
    file = directory / "clients.pem"
    file.write_bytes(authority.file.read_bytes())
    return file


@pytest.fixture(scope="module")
def mutual(serve: Serve, proof: Pair, trusted: Path) -> ControlPlane:
    """Give a control plane that requires certificates."""
    return serve(proof, client_ca=trusted, client_certificate="required")


def ask(url: str, **files: Any) -> Page:
    """Ask as the library does, on a connection of its own."""
    client = client_for(url, None, **{name: str(file) for name, file in files.items()})
    with closing(client):
        return client.events(EventFilter(), 0)


def say(url: str, **files: Any) -> str:
    """Return what the library is told instead of an answer; the agent tries on after it."""
    with pytest.raises(ControlPlaneUnavailable) as refusal:
        ask(url, **files)
    return str(refusal.value)


def command(*arguments: str | Path, **own: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, with this environment of its own."""
    return subprocess.run(
        [sys.executable, "-m", "servicegroup", *arguments],
        env=os.environ | own,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def connected(plane: ControlPlane, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection after its handshake."""
    raw = socket.create_connection((LOOPBACK, plane.port), timeout=PATIENCE)
    try:
        return context.wrap_socket(raw, server_hostname=LOOPBACK)
    except OSError:
        raw.close()
        raise


def certificate(plane: ControlPlane, authority: Authority) -> Any:
    """Return what a new connection is shown."""
    with connected(plane, ssl.create_default_context(cafile=authority.file)) as found:
        return found.getpeercert()


@pytest.fixture
def agent() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start an agent of host h1, which is killed in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | Path, **own: str) -> subprocess.Popen[bytes]:
        base = [sys.executable, "-m", "servicegroup", "agent", "--host", "h1", "--binary", "web"]
        started.append(subprocess.Popen([*base, *arguments], env=os.environ | own))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(PATIENCE)


def test_agents_and_commands_speak_tls(
    authority: Authority, plane: ControlPlane, agent: Callable[..., subprocess.Popen[bytes]]
) -> None:
    agent("--url", plane.url, "--ca", authority.file)
    until(lambda: ("h1", "web") in plane.services(), PATIENCE)
    listed = command(
        *("--url", plane.url, "service", "list", "-f", "value"), SERVICEGROUP_CA=str(authority.file)
    )
    assert "h1" in listed.stdout, listed.stderr
    distrustful = command("--url", plane.url, "service", "list")
    assert distrustful.returncode == 4
    assert "set SERVICEGROUP_CA" in distrustful.stderr
    assert f"listens on {plane.url}" in plane.log()


def test_agents_and_commands_show_their_certificate(
    authority: Authority, mutual: ControlPlane, agent: Callable[..., subprocess.Popen[bytes]]
) -> None:
    proof = authority.sign("h1")
    files = {"SERVICEGROUP_CA": str(authority.file), "SERVICEGROUP_CERT": str(proof.both)}
    agent("--url", mutual.url, **files)
    shown = ("--url", mutual.url, "--ca", authority.file, "--cert", proof.cert, "--key", proof.key)
    until(lambda: command(*shown, "service", "show", "h1", "web").returncode == 0, PATIENCE)


def test_what_is_wrong_with_a_certificate_is_said(
    authority: Authority, stranger: Authority, plane: ControlPlane
) -> None:
    elsewhere = f"https://localhost:{plane.port}"
    assert "use a name in the URL" in say(elsewhere, ca=authority.file)
    assert "not known here" in say(plane.url, ca=stranger.file)
    assert "set SERVICEGROUP_CA" in say(plane.url)


def test_plain_against_tls_ends_in_a_sentence(plane: ControlPlane) -> None:
    assert "is it https://" in say(f"http://{LOOPBACK}:{plane.port}")
    assert plane.request("GET", "/healthz")[0] == 200


def test_only_modern_protocols_are_spoken(authority: Authority, plane: ControlPlane) -> None:
    context = ssl.create_default_context(cafile=authority.file)
    with connected(plane, context) as found:
        assert found.version() == "TLSv1.3"
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLS"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol"), connected(plane, context):
        pass


def test_a_renewed_certificate_is_taken_and_nobody_is_cut_off(
    authority: Authority, plane: ControlPlane, proof: Pair
) -> None:
    with connected(plane, ssl.create_default_context(cafile=authority.file)) as kept:
        before = kept.getpeercert()
        proof.key.write_text("half of a renewal")
        until(lambda: "not renewed" in plane.log(), PATIENCE)
        assert certificate(plane, authority) == before
        authority.sign(LOOPBACK, days=5)
        until(lambda: certificate(plane, authority) != before, PATIENCE)
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: cp\r\n\r\n")
        assert b"200 OK" in kept.recv(4096)


def test_a_client_renews_its_proof_without_a_restart(
    authority: Authority, mutual: ControlPlane
) -> None:
    proof = authority.sign("renewing", days=-1)
    files = {"ca": str(authority.file), "cert": str(proof.cert), "key": str(proof.key)}
    with closing(client_for(mutual.url, None, **files)) as client:
        with pytest.raises(ControlPlaneUnavailable, match="does not accept the certificate"):
            client.events(EventFilter(), 0)
        proof.key.write_text("half of a renewal")
        with pytest.raises(ControlPlaneUnavailable, match="does not accept the certificate"):
            client.events(EventFilter(), 0)
        authority.sign("renewing")
        assert client.events(EventFilter(), 0).last >= 0


def test_who_must_show_a_certificate(
    authority: Authority, stranger: Authority, mutual: ControlPlane
) -> None:
    trusting = {"ca": authority.file}
    with pytest.raises(Forbidden, match="asks for a client certificate"):
        ask(mutual.url, **trusting)
    answers = [mutual.request("GET", path)[0] for path in ("/readyz", "/healthz", "/metrics")]
    assert answers == [200, 200, 403]
    for proof in (authority.sign("h2.example", "h2"), authority.sign(common_name="h3")):
        assert ask(mutual.url, **trusting, cert=proof.cert, key=proof.key)
    with pytest.raises(Forbidden, match="names a host"):
        ask(mutual.url, **trusting, cert=authority.sign("*.example").both)
    for refused in (stranger.sign("h1"), authority.sign("h4", days=-1)):
        assert "does not accept the certificate" in say(mutual.url, **trusting, cert=refused.both)


def test_an_authority_that_is_removed_vouches_for_nobody(
    authority: Authority, stranger: Authority, mutual: ControlPlane, trusted: Path
) -> None:
    files = {"ca": authority.file, "cert": stranger.sign("h5").both}

    def accepted() -> bool:
        try:
            return bool(ask(mutual.url, **files))
        except ControlPlaneUnavailable:
            return False

    assert not accepted()
    trusted.write_bytes(authority.file.read_bytes() + stranger.file.read_bytes())
    until(accepted, PATIENCE)
    trusted.write_bytes(authority.file.read_bytes())
    until(lambda: not accepted(), PATIENCE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"certfile": "/no/such/file"}, "certfile = /no/such/file cannot be read"),
        ({"keyfile": "/no/such/file"}, "keyfile = /no/such/file cannot be read"),
        ({"keyfile": "other.key"}, "belong together"),
        ({"certfile": "authority.pem"}, "belong together"),
        ({"certfile": "old.pem", "keyfile": "old.key"}, "expired on"),
        ({"client_ca": "other.key"}, "holds no PEM certificates"),
        ({"client_certificate": "required"}, "needs client_ca"),
        ({"certfile": "", "keyfile": "", "client_ca": "authority.pem"}, "client_ca is for TLS"),
    ],
)
def test_files_that_cannot_work_are_named(
    authority: Authority,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    said: str,
) -> None:
    monkeypatch.chdir(directory)
    authority.sign("old", days=-1)
    given = authority.sign("other", file="given")
    authority.sign("other")
    options = {"certfile": given.cert, "keyfile": given.key, **change}
    configured = ControlPlane("", directory, lines(**options))
    with pytest.raises(ConfigError, match=said):
        ServerTls(load(str(configured.config)).tls)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ca": "/no/such/file"}, "authorities /no/such/file cannot be used"),
        ({"cert": "/no/such/file"}, "certificate /no/such/file"),
        ({"key": "other.key"}, "set --cert"),
        ({"cert": "authority.pem", "key": "other.key"}, "belong together"),
        ({"cert": "authority.pem"}, "belong together"),
    ],
)
def test_a_clients_files_that_cannot_work_are_named(
    authority: Authority,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    said: str,
) -> None:
    authority.sign("other")
    monkeypatch.chdir(directory)
    with pytest.raises(InvalidInput, match=said):
        client_for("https://cp:8774", None, **files)
