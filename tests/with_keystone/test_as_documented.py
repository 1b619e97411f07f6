"""The page's line and configuration, with the Keystone and memcached that it names (F-41)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.memcached import Memcached
from support.installing import (
    Installations,
    InstalledPlane,
    documented_keystone,
    require_an_index,
)

from .conftest import QUIET, Cloud, close, connect

pytestmark = QUIET


@pytest.fixture
def configuration(cloud: Cloud, memcached_server: Memcached) -> str:
    """Give the page's, once Keystone has the user and the address that every cloud has."""
    _, text = documented_keystone()
    admin = connect(cloud.keystone, "admin", "admin")
    identity = admin.identity
    project = identity.create_project(name="service")
    user = identity.create_user(name="servicegroup", password="secret")
    identity.assign_project_role_to_user(project.id, user.id, identity.find_role("service").id)
    itself = identity.find_service("keystone")
    identity.create_endpoint(service_id=itself.id, interface="internal", url=cloud.keystone.url)
    close(admin)
    text = text.replace("http://keystone:5000/v3", cloud.keystone.url)
    return text.replace("localhost:11211", memcached_server.address)


@pytest.fixture
def plane(configuration: str, tmp_path: Path) -> Iterator[InstalledPlane]:
    require_an_index(tmp_path)
    line, _ = documented_keystone()
    installations = Installations(tmp_path / "installations", [line])
    plane = InstalledPlane(installations.of(line), tmp_path)
    plane.configure(configuration)
    plane.start()
    yield plane
    plane.stop()
    installations.close()


def test_whoever_keystone_knows_is_let_in(cloud: Cloud, plane: InstalledPlane) -> None:
    for user, status in (("alice", 200), ("mel", 403)):
        token = cloud.token(user)
        for _ in range(2):  # the second time as memcached has it
            answer = plane.request("GET", "/v1/services", X_Auth_Token=token)
            assert answer[0] == status, answer
    assert plane.request("GET", "/v1/services", X_Auth_Token="garbage")[0] == 401
    assert "Traceback" not in plane.log()
