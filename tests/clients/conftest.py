"""Running control planes for OpenStack's own clients: one trusts everybody, one wants a token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from servers.haproxy import HAProxy
from servers.plugin import require
from support.control_plane import ControlPlane

ADMIN = "the-administrators-token"
READER = "a-readers-token"


def _asks(role: str, token: str) -> str:
    return f"token = {role}:{hashlib.sha256(token.encode()).hexdigest()}"


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane with ``auth_strategy = none``."""
    yield from _running(tmp_path_factory)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane that knows an administrator's token and a reader's."""
    lines = ["auth_strategy = token", _asks("admin", ADMIN), _asks("reader", READER)]
    yield from _running(tmp_path_factory, "\n".join(lines))


def _running(tmp_path_factory: pytest.TempPathFactory, api: str = "") -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("plane")
    plane = ControlPlane(f"sqlite:///{directory / 'register.sqlite'}", directory, api)
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture(scope="module")
def below_a_path(trusting: ControlPlane) -> Iterator[str]:
    """Give the URL of the control plane below a path, which HAProxy takes off."""
    require(HAProxy)
    rules = (
        "http-request set-header X-Forwarded-Prefix /compute",
        "http-request replace-path /compute/?(.*) /\\1",
    )
    with HAProxy([trusting.port], rules=rules) as proxy:
        yield f"{proxy.url}/compute"


def join(plane: ControlPlane, host: str, **headers: str) -> str:
    """Register a compute and return its uuid."""
    status, _, body = plane.request(
        "POST", "/v1/services", {"host": host, "binary": "nova-compute"}, **headers
    )
    assert status == 200, body
    uuid: str = body["uuid"]
    return uuid
