"""A real Keystone with users of every kind, and a control plane that is in its catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import openstack
import pytest

from servers.keystone import PASSWORD, REGION, Keystone
from support.control_plane import ControlPlane

# The library warns of its own doings: how it calls itself, and what is installed nowhere here.
QUIET = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

PROJECT = "register"
DOMAIN = "Default"

USERS = {
    "alice": ("admin", PROJECT),
    "rita": ("reader", PROJECT),
    "mel": ("member", PROJECT),
    "agents": ("service", PROJECT),
    "sys": ("reader", "system"),
}
"""Who there is: a role, and where the user has it."""


class Cloud(msgspec.Struct):
    """A Keystone and a control plane that trusts it."""

    keystone: Keystone
    plane: ControlPlane
    connections: dict[str, Any] = {}

    def environment(self, user: str, project: str | None = PROJECT) -> dict[str, str]:
        """Return what a person's shell has, for openstack and its like."""
        scope = {"OS_SYSTEM_SCOPE": "all"}
        if project is not None:
            scope = {"OS_PROJECT_NAME": project, "OS_PROJECT_DOMAIN_NAME": DOMAIN}
        return {
            "OS_AUTH_URL": self.keystone.url,
            "OS_USERNAME": user,
            "OS_PASSWORD": PASSWORD,
            "OS_USER_DOMAIN_NAME": DOMAIN,
            "OS_REGION_NAME": REGION,
            "OS_IDENTITY_API_VERSION": "3",
            **scope,
        }

    def connection(self, user: str) -> Any:
        """Return openstacksdk, logged in as a user where they have their role."""
        if user not in self.connections:
            project = None if USERS[user][1] == "system" else PROJECT
            self.connections[user] = connect(self.keystone, user, project)
        return self.connections[user]

    def token(self, user: str) -> str:
        """Return a new token of a user."""
        connection = self.connection(user)
        connection.session.auth.invalidate()
        token: str = connection.authorize()
        return token

    def close(self) -> None:
        """Close every connection."""
        for connection in self.connections.values():
            close(connection)

    def ask(self, token: str | None, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and content of what the control plane answers whoever has the token."""
        headers = {} if token is None else {"X_Auth_Token": token}
        status, _, content = self.plane.request(method, path, body, **headers)
        return status, content


def connect(keystone: Keystone, user: str, project: str | None) -> Any:
    scope: dict[str, str] = {"system_scope": "all"}
    if project is not None:
        scope = {"project_name": project, "project_domain_name": DOMAIN}
    return openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth={
            "auth_url": keystone.url,
            "username": user,
            "password": PASSWORD,
            "user_domain_name": DOMAIN,
            **scope,
        },
        region_name=REGION,
    )


def close(connection: Any) -> None:
    connection.close()
    connection.session.session.close()


@pytest.fixture(scope="session")
def keystone() -> Iterator[Keystone]:
    with Keystone() as server:
        yield server


@pytest.fixture(scope="session")
def cloud(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("cloud")
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory, section(keystone))
    (directory / "policy.yaml").touch()
    admin = connect(keystone, "admin", "admin")
    populate(admin, plane.url)
    close(admin)
    plane.start()
    cloud = Cloud(keystone, plane)
    yield cloud
    cloud.close()
    plane.stop()


def section(keystone: Keystone) -> str:
    """Return how a control plane is told of a Keystone, below [api]."""
    return "\n".join(
        [
            "auth_strategy = keystone",
            "[keystone_authtoken]",
            "auth_type = password",
            f"auth_url = {keystone.url}",
            f"www_authenticate_uri = {keystone.url}",
            "username = admin",
            f"password = {PASSWORD}",
            "project_name = admin",
            "user_domain_name = Default",
            "project_domain_name = Default",
            "interface = public",
            "service_type = compute",
            "[oslo_policy]",
            "policy_file = policy.yaml",
        ]
    )


def populate(admin: Any, url: str) -> None:
    """Make the users, and tell the catalogue where the control plane is."""
    identity = admin.identity
    roles = {role.name: role.id for role in identity.roles()}
    project = identity.create_project(name=PROJECT)
    for name, (role, where) in USERS.items():
        user = identity.create_user(name=name, password=PASSWORD)
        if where == "system":
            identity.assign_system_role_to_user(user.id, roles[role], "all")
        else:
            identity.assign_project_role_to_user(project.id, user.id, roles[role])
    service = identity.create_service(name="servicegroup", type="compute")
    identity.create_endpoint(
        service_id=service.id, interface="public", url=f"{url}/v2.1", region_id=REGION
    )


@pytest.fixture
def policy(cloud: Cloud) -> Iterator[Path]:
    """Give the policy file that the control plane reads, empty before and after."""
    path = cloud.plane.directory / "policy.yaml"
    yield path
    path.write_text("")
