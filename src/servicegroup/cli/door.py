"""The door to the register: the layer in this process, or a control plane over ``/v1``.

Commands know neither SQL nor HTTP; both doors answer with the same frozen Structs, so a command
prints the same either way. A file or server that only one door needs is imported by that door.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlencode

import click
import msgspec

from servicegroup.comparison import Compared
from servicegroup.driver import DriverState
from servicegroup.errors import (
    ConfigError,
    ControlPlaneUnavailable,
    Forbidden,
    InvalidInput,
    NotFound,
)
from servicegroup.model import Service, VersionRange

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from servicegroup.agent.connection import Reply
    from servicegroup.config import Settings
    from servicegroup.group import ServiceGroup

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds a control plane may take for one answer."""

PAGE = 1000
"""Services asked for at once over HTTP; about a megabyte."""


class Versions(VersionRange, frozen=True):
    """The version range of a binary, and how many services run each version."""

    histogram: dict[int, int]


class Register(Protocol):
    """What commands ask and change. Every method may raise Unavailable, InvalidInput, Forbidden."""

    def services(
        self, filters: Mapping[str, str], state: str | None = None, limit: int | None = None
    ) -> list[Service]:
        """Return the services that match ``host``, ``binary``, ``group`` and ``zone``, judged."""
        ...

    def get(self, service_id: int | str) -> Service:
        """Return one service by uuid or integer id. Raises NotFound."""
        ...

    def find(self, host: str, binary: str) -> Service:
        """Return one service by host and binary. Raises NotFound."""
        ...

    def update(self, uuid: str, **changes: Any) -> Service:
        """Change ``disabled``, ``disabled_reason``, ``forced_down``. Raises NotFound."""
        ...

    def delete(self, uuid: str) -> None:
        """Delete a service. Raises NotFound."""
        ...

    def versions(self, binaries: Sequence[str]) -> list[Versions]:
        """Return the versions of the binaries, or of all that exist."""
        ...

    def driver_states(self) -> list[DriverState]:
        """Return the drivers in use, and how fast they detect."""
        ...

    def compare(self) -> Compared:
        """Return what obeying the shadow driver would change. InvalidInput where there is none."""
        ...


def open_register(ctx: click.Context) -> Register:
    """Return the register the command line names; it is closed with the command's context."""
    options = ctx.find_root().params
    if options["url"]:
        remote = RemoteRegister(options["url"], options["token"] or "")
        ctx.call_on_close(remote.close)
        return remote
    from servicegroup import config

    group = open_group(config.load(options["config_file"]))
    ctx.call_on_close(group.store.engine.dispose)
    for driver, _ in group.drivers():
        ctx.call_on_close(driver.close)
    return LocalRegister(group)


def open_group(settings: Settings) -> ServiceGroup:
    """Return the layer on the configured record and driver.

    Raises ConfigError where there is no register yet, or one of another release;
    StoreUnavailable.
    """
    from servicegroup import driver
    from servicegroup.group import ServiceGroup
    from servicegroup.store import migrate
    from servicegroup.store.store import Store

    engine = connect(settings)
    migrate.require_current(engine)
    chosen, other = settings.driver, settings.shadow_driver
    return ServiceGroup(
        Store(engine),
        driver.load(chosen.name, chosen.options),
        settings.limits,
        driver.load(other.name, other.options) if other else None,
    )


def connect(settings: Settings) -> Engine:
    """Return an engine for the configured database; never creates an SQLite file by asking.

    Raises ConfigError.
    """
    from servicegroup.store import database

    engine = database.connect(settings.connection)
    path = sqlite_file(engine)
    if path is not None and not path.exists():
        raise ConfigError(
            f"There is no register at {path} yet; run servicegroup db upgrade, or name another"
            " with --config-file or --url."
        )
    return engine


def sqlite_file(engine: Engine) -> Path | None:
    """Return the file an SQLite engine keeps its database in; None for any other."""
    named = engine.url.database
    if engine.dialect.name != "sqlite" or not named or named.startswith((":memory:", "file:")):
        return None
    return Path(named)


class LocalRegister:
    """The layer in this process, as nova-manage had it: needs the configuration."""

    def __init__(self, group: ServiceGroup) -> None:
        """Ask the given layer."""
        self._group = group

    def services(
        self, filters: Mapping[str, str], state: str | None = None, limit: int | None = None
    ) -> list[Service]:
        """Return the services that match, judged; see ``Register``."""
        from servicegroup.store.store import Filters

        wanted = {**filters, "limit": limit}
        return self._group.services(msgspec.convert(wanted, Filters), state=state)

    def get(self, service_id: int | str) -> Service:
        """Return one service; see ``Register``."""
        return self._group.get(service_id)

    def find(self, host: str, binary: str) -> Service:
        """Return one service; see ``Register``."""
        return self._group.find(host, binary)

    def update(self, uuid: str, **changes: Any) -> Service:
        """Change one service; see ``Register``."""
        return self._group.update(uuid, by=_operator(), **changes)

    def delete(self, uuid: str) -> None:
        """Delete one service; see ``Register``."""
        self._group.delete(uuid, by=_operator())
        self._group.free_deleted()  # there may be no control plane to do it in the next second

    def versions(self, binaries: Sequence[str]) -> list[Versions]:
        """Return versions; see ``Register``."""
        return [
            Versions(one.binary, one.minimum, one.maximum, self._group.histogram(one.binary))
            for one in self._group.versions(binaries)
        ]

    def driver_states(self) -> list[DriverState]:
        """Return the drivers in use; see ``Register``."""
        return self._group.driver_states()

    def compare(self) -> Compared:
        """Compare the drivers in use; see ``Register``."""
        return self._group.compare()


def _operator() -> str:
    """Return who types, for the events: the user of this process on this host."""
    import getpass
    import socket

    return f"{getpass.getuser()}@{socket.gethostname()}"


class _Page(msgspec.Struct):
    services: list[Service]
    next: str | None


class _One(msgspec.Struct):
    service: Service


class _Versions(msgspec.Struct):
    versions: list[Versions]


class _Drivers(msgspec.Struct):
    drivers: list[DriverState]


class RemoteRegister:
    """A control plane's ``/v1``; of several, comma separated, the first that answers."""

    def __init__(self, urls: str, token: str = "") -> None:
        """Ask the control planes at ``urls``. Raises InvalidInput for what cannot be a URL."""
        from servicegroup.agent.connection import Connection

        self._planes = [Connection(url) for url in urls.split(",") if url.strip()]
        if not self._planes:
            raise InvalidInput(f"--url {urls!r} names no control plane; write http://HOST:8774.")
        if not (token.isascii() and token.isprintable()):
            raise InvalidInput("The token holds a character that an HTTP header cannot carry.")
        self._headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if token:
            self._headers["X-Auth-Token"] = token

    def services(
        self, filters: Mapping[str, str], state: str | None = None, limit: int | None = None
    ) -> list[Service]:
        """Return the services that match, judged, page by page; see ``Register``."""
        query = {**filters, **({"state": state} if state else {})}
        found: list[Service] = []
        while limit is None or len(found) < limit:
            query["limit"] = str(PAGE if limit is None else min(PAGE, limit - len(found)))
            page = self._ask("GET", f"/v1/services?{urlencode(query)}", _Page)
            found += page.services
            if page.next is None:
                break
            query["marker"] = page.next
        return found

    def get(self, service_id: int | str) -> Service:
        """Return one service by uuid; raises InvalidInput for an integer id, which /v1 has not."""
        if isinstance(service_id, int):
            raise InvalidInput(
                f"A control plane does not know services by integer ids such as {service_id};"
                " give the uuid, or HOST BINARY."
            )
        return self._ask("GET", f"/v1/services/{service_id}", _One).service

    def find(self, host: str, binary: str) -> Service:
        """Return one service; see ``Register``."""
        found = self.services({"host": host, "binary": binary})
        if not found:
            raise NotFound(f"Could not find binary {binary} on host {host}.")
        return found[0]

    def update(self, uuid: str, **changes: Any) -> Service:
        """Change one service; see ``Register``."""
        return self._ask("PATCH", f"/v1/services/{uuid}", _One, changes).service

    def delete(self, uuid: str) -> None:
        """Delete one service; see ``Register``."""
        self._request("DELETE", f"/v1/services/{uuid}", None)

    def versions(self, binaries: Sequence[str]) -> list[Versions]:
        """Return versions; see ``Register``."""
        query = urlencode([("binary", binary) for binary in binaries])
        return self._ask("GET", f"/v1/versions?{query}", _Versions).versions

    def driver_states(self) -> list[DriverState]:
        """Return the drivers in use; see ``Register``."""
        return self._ask("GET", "/v1/drivers", _Drivers).drivers

    def compare(self) -> Compared:
        """Compare the drivers in use; see ``Register``."""
        return self._ask("GET", "/v1/drivers/comparison", Compared)

    def close(self) -> None:
        """Close the connections."""
        for plane in self._planes:
            plane.close()

    def _ask(self, method: str, path: str, kind: type[T], content: Any = None) -> T:
        url, body = self._request(method, path, content)
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise ControlPlaneUnavailable(
                f"{url} gave an answer that is not a control plane's of this release ({error});"
                " check --url."
            ) from error

    def _request(self, method: str, path: str, content: Any) -> tuple[str, bytes]:
        """Return who answered and what, from the first control plane that is there."""
        body = None if content is None else msgspec.json.encode(content)
        for plane in self._planes:
            try:
                reply = plane.request(method, path, body, self._headers, TIMEOUT)
                return plane.url, _accepted(plane.url, reply)
            except ControlPlaneUnavailable as error:
                failure = error
        raise failure


def _accepted(url: str, reply: Reply) -> bytes:
    """Return the body of a success; raises what a refusal means, in the control plane's words."""
    from servicegroup.agent.client import REFUSALS, fault_messages

    if reply.status in (200, 204):
        return reply.body
    faults = fault_messages(reply.body)
    if not faults:  # a proxy, or another server altogether
        raise ControlPlaneUnavailable(
            f"{url} answered {reply.status} without a control plane's reason; check --url."
        )
    if reply.status == 401:
        raise Forbidden(f"{url} does not accept the token; set --token or SERVICEGROUP_TOKEN.")
    meanings = REFUSALS | {404: NotFound}
    raise meanings.get(reply.status, ControlPlaneUnavailable)(faults[0])
