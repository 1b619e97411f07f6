"""The door in process: the layer itself, on the configured record and driver."""

from __future__ import annotations

import getpass
import os
import socket
import time
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine

from servicegroup import driver
from servicegroup.bodies import Prune, Pruned
from servicegroup.config import Settings
from servicegroup.errors import ConfigError
from servicegroup.events import EventFilter, Page
from servicegroup.group import ServiceGroup
from servicegroup.model import Service
from servicegroup.pruning import pruned
from servicegroup.store import database, migrate
from servicegroup.store.store import Store

G = TypeVar("G", bound=ServiceGroup)

_LOOK = 0.2
"""Seconds between two looks at the log of events while one waits for the next."""


class LocalRegister(ServiceGroup):
    """The layer in this process, as nova-manage had it; edits are by whoever types."""

    def update(self, service_id: int | str, *, by: str | None = None, **changes: Any) -> Service:
        """Change one service; see ``Register``."""
        return super().update(service_id, by=by or operator(), **changes)

    def delete(self, service_id: int | str, *, by: str | None = None) -> Service:
        """Delete one service; see ``Register``."""
        deleted = super().delete(service_id, by=by or operator())
        self.free_deleted()  # there may be no control plane to do it in the next second
        return deleted

    def prune(self, wanted: Prune) -> Pruned:
        """Delete all services that match; see ``Register``."""
        found = pruned(self, wanted, operator())
        if not wanted.dry_run:
            self.free_deleted()
        return found

    def events(self, wanted: EventFilter, limit: int, wait: float = 0.0) -> Page:
        """Return events, looking again while there are none; see ``Register``."""
        deadline = time.monotonic() + wait
        page = super().events(wanted, limit)
        while not page.events and time.monotonic() < deadline:
            time.sleep(_LOOK)
            page = super().events(wanted.at(page.place), limit)
        return page


def open_group(
    settings: Settings, engine: Engine | None = None, reserved: Engine | None = None
) -> ServiceGroup:
    """Return the layer on the configured driver and record, or the one that ``engine`` leads to.

    ``reserved`` leads to the same record, for reports and the observer. Raises ConfigError where
    there is no register yet, or one of another release; StoreUnavailable.
    """
    return _opened(ServiceGroup, settings, engine, reserved)


def open_local(settings: Settings) -> LocalRegister:
    """Return the same for commands. Raises as ``open_group``."""
    return _opened(LocalRegister, settings)


def _opened(
    kind: type[G],
    settings: Settings,
    engine: Engine | None = None,
    reserved: Engine | None = None,
) -> G:
    engine = engine or connect(settings)
    try:
        migrate.require_current(engine)
    except BaseException:
        engine.dispose()
        raise
    chosen, other = settings.driver, settings.shadow_driver
    obeyed = driver.load(chosen.name, chosen.options)
    shadow = driver.load(other.name, other.options) if other else None

    def store(own: Engine, *, lists: bool) -> Store:
        is_recorded = any(d.capabilities.recorded for d in (obeyed, shadow) if d is not None)
        silence = settings.limits.service_down_time
        return Store(own, silence, with_sessions=is_recorded, keep_rows=lists)

    return kind(
        store(engine, lists=True),
        obeyed,
        settings.limits,
        shadow,
        reserved=store(reserved, lists=False) if reserved else None,
        rpc=settings.rpc,
    )


def connect(settings: Settings) -> Engine:
    """Return an engine for the configured database; never creates an SQLite file by asking.

    Raises ConfigError.
    """
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


def operator() -> str:
    """Return who types, for the events: the user of this process on this host.

    In a container the user may have a number and no name (F-11).
    """
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
