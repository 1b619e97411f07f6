"""A control plane that asks for tokens, and the table of them beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from servicegroup.store import tokens
from servicegroup.store.database import connect
from support.control_plane import ControlPlane
from support.waiting import until

ADMIN = "the-administrators-token"


class Guarded(msgspec.Struct):
    """A running control plane, and its database."""

    plane: ControlPlane
    engine: Engine

    def issue(self, name: str, role: str = "reporter", host: str | None = None) -> str:
        """Make a token, as the command does, and wait until it is known."""
        token = tokens.create(self.engine, name, role, host, None)
        until(lambda: self.knows(token))
        return token

    def ask(self, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and content of the answer to whoever has the token."""
        status, _, content = self.plane.request(method, path, body, X_Auth_Token=token)
        return status, content

    def join(self, token: str, host: str) -> str:
        """Register a worker and return its uuid."""
        status, content = self.ask(
            token, "POST", "/v1/services", {"host": host, "binary": "worker"}
        )
        assert status == 200, content
        uuid: str = content["uuid"]
        return uuid

    def knows(self, token: str) -> bool:
        """Tell whether the token lets its holder in, whatever its role."""
        return self.ask(token, "GET", "/v2.1/os-availability-zone")[0] == 200


@contextmanager
def guarding(connection: str, directory: Path) -> Iterator[Guarded]:
    """Run a control plane that asks for tokens on a database."""
    known = f"admin:{hashlib.sha256(ADMIN.encode()).hexdigest()}:root"
    plane = ControlPlane(
        connection, directory, f"auth_strategy = token\ntoken = {known}", report_interval=1
    )
    plane.start()
    engine = connect(connection)
    yield Guarded(plane, engine)
    engine.dispose()
    plane.stop()


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("guarded")
    with guarding(f"sqlite:///{directory / 'r.sqlite'}", directory) as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def guarded_anywhere(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """Give the same on each of the three databases."""
    directory = tmp_path_factory.mktemp("guarded")
    connection = f"sqlite:///{directory / 'r.sqlite'}"
    if request.param != "sqlite":
        connection = request.getfixturevalue(request.param).database()
    with guarding(connection, directory) as found:
        yield found
