"""The door to the register: the layer in this process, or a control plane over ``/v1``.

Commands know neither SQL nor HTTP; both doors answer with the same frozen Structs, so a command
prints the same either way. ``local`` is the door in process, ``remote`` the other one; what only
one of them needs is imported by that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import click

from servicegroup.bodies import Prune, Pruned
from servicegroup.comparison import Compared
from servicegroup.driver_state import DriverState
from servicegroup.events import EventFilter, Page, Protection
from servicegroup.history import History
from servicegroup.model import BinaryVersions, Service, ServiceFilter


class Register(Protocol):
    """What commands ask and change. Every method may raise Unavailable, InvalidInput, Forbidden."""

    def services(
        self, filters: ServiceFilter | None = None, *, state: str | None = None
    ) -> list[Service]:
        """Return the services that match, judged; ``state`` is ``up`` or ``down``."""
        ...

    def get(self, service_id: int | str) -> Service:
        """Return one service by uuid or integer id. Raises NotFound."""
        ...

    def find(self, host: str, binary: str) -> Service:
        """Return one service by host and binary. Raises NotFound."""
        ...

    def update(self, service_id: str, **changes: Any) -> Service:
        """Change ``disabled``, ``disabled_reason``, ``forced_down``. Raises NotFound."""
        ...

    def delete(self, service_id: str) -> object:
        """Delete a service. Raises NotFound."""
        ...

    def prune(self, wanted: Prune) -> Pruned:
        """Delete all services that match, or return which they are."""
        ...

    def version_counts(self, binaries: Sequence[str]) -> list[BinaryVersions]:
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

    def history(self, service_id: str, since: datetime | None, until: datetime | None) -> History:
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
    from servicegroup.cli.local import open_local

    local = open_local(config.load(options["config_file"]))
    ctx.call_on_close(local.close)
    return local
