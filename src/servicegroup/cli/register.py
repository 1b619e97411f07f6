"""The door to the register: the layer in this process, or a control plane over ``/v1``.

Commands know neither SQL nor HTTP; both doors answer with the same frozen Structs, so a command
prints the same either way. This is the door in process, ``remote`` the other one; what only one
of them needs is imported by that one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
import msgspec

from servicegroup.comparison import Compared
from servicegroup.driver import DriverState
from servicegroup.errors import ConfigError
from servicegroup.events import EventFilter, Page, Protection
from servicegroup.history import History
from servicegroup.model import BinaryVersions, Service

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from servicegroup.config import Settings
    from servicegroup.group import ServiceGroup

_LOOK = 0.2
"""Seconds between two looks at the log of events, in process, while one waits for the next."""


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

    def versions(self, binaries: Sequence[str]) -> list[BinaryVersions]:
        """Return the versions of the binaries, or of all that exist."""
        ...

    def driver_states(self) -> list[DriverState]:
        """Return the drivers in use, and how fast they detect."""
        ...

    def compare(self) -> Compared:
        """Return what obeying the shadow driver would change. InvalidInput where there is none."""
        ...

    def events(self, wanted: EventFilter, limit: int, wait: float = 0.0) -> Page:
        """Return events that match; with ``wanted.after``, wait so many seconds for the first."""
        ...

    def history(self, uuid: str, since: datetime | None, until: datetime | None) -> History:
        """Return what happened to a service, of the last day if no times are given."""
        ...

    def protections(self) -> list[Protection]:
        """Return which signals are suspect now, and where."""
        ...


def open_register(ctx: click.Context) -> Register:
    """Return the register the command line names; it is closed with the command's context."""
    options = ctx.find_root().params
    if options["url"]:
        from servicegroup.cli.remote import open_remote

        remote = open_remote(options)
        ctx.call_on_close(remote.close)
        return remote
    from servicegroup import config

    group = open_group(config.load(options["config_file"]))
    ctx.call_on_close(group.close)
    return LocalRegister(group)


def open_group(settings: Settings, engine: Engine | None = None) -> ServiceGroup:
    """Return the layer on the configured driver and record, or the one that ``engine`` leads to.

    Raises ConfigError where there is no register yet, or one of another release;
    StoreUnavailable.
    """
    from servicegroup import driver
    from servicegroup.group import ServiceGroup
    from servicegroup.store import migrate
    from servicegroup.store.store import Store

    engine = engine or connect(settings)
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
        from servicegroup.model import ServiceFilter

        wanted = {**filters, "limit": limit}
        return self._group.services(msgspec.convert(wanted, ServiceFilter), state=state)

    def get(self, service_id: int | str) -> Service:
        """Return one service; see ``Register``."""
        return self._group.get(service_id)

    def find(self, host: str, binary: str) -> Service:
        """Return one service; see ``Register``."""
        return self._group.find(host, binary)

    def update(self, uuid: str, **changes: Any) -> Service:
        """Change one service; see ``Register``."""
        return self._group.update(uuid, by=operator(), **changes)

    def delete(self, uuid: str) -> None:
        """Delete one service; see ``Register``."""
        self._group.delete(uuid, by=operator())
        self._group.free_deleted()  # there may be no control plane to do it in the next second

    def versions(self, binaries: Sequence[str]) -> list[BinaryVersions]:
        """Return versions; see ``Register``."""
        return [
            BinaryVersions(one.binary, one.minimum, one.maximum, self._group.histogram(one.binary))
            for one in self._group.versions(binaries)
        ]

    def driver_states(self) -> list[DriverState]:
        """Return the drivers in use; see ``Register``."""
        return self._group.driver_states()

    def compare(self) -> Compared:
        """Compare the drivers in use; see ``Register``."""
        return self._group.compare()

    def events(self, wanted: EventFilter, limit: int, wait: float = 0.0) -> Page:
        """Return events, looking again while there are none; see ``Register``."""
        deadline = time.monotonic() + wait
        page = self._group.events(wanted, limit)
        while not page.events and time.monotonic() < deadline:
            time.sleep(_LOOK)
            page = self._group.events(msgspec.structs.replace(wanted, after=page.next), limit)
        return page

    def history(self, uuid: str, since: datetime | None, until: datetime | None) -> History:
        """Return a service's history; see ``Register``."""
        return self._group.history(uuid, since, until)

    def protections(self) -> list[Protection]:
        """Return the suspect signals; see ``Register``."""
        return self._group.protections()


def operator() -> str:
    """Return who types, for the events: the user of this process on this host."""
    import getpass
    import socket

    return f"{getpass.getuser()}@{socket.gethostname()}"
