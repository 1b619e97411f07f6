"""A credential that is bound to a host speaks for the services of that host and for no other."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from starlette.concurrency import run_in_threadpool

from servicegroup.api.call import Caller
from servicegroup.errors import Forbidden
from servicegroup.store.store import Store

_REMEMBERED = 200_000
"""Services whose host is remembered."""


class Hosts:
    """Which host a service is on, remembered, since no service ever moves."""

    def __init__(self, store: Store) -> None:
        """Ask the record for what is not remembered."""
        self._store = store
        self._known: dict[str, str] = {}

    async def check(self, host: str, uuids: AbstractSet[str]) -> None:
        """Raise Forbidden unless all of these services are on the host; StoreUnavailable.

        What no record has passes: there is nothing to protect, and its process is told.
        """
        if not uuids <= self._known.keys():
            if len(self._known) + len(uuids) > _REMEMBERED:
                self._known.clear()
            unknown = [uuid for uuid in uuids if uuid not in self._known]
            self._known |= await run_in_threadpool(self._store.hosts, unknown)
        for uuid in uuids:
            _check(host, self._known.get(uuid, host), uuid)


def check_host(caller: Caller, host: str) -> None:
    """Raise Forbidden unless the caller may register services on the host."""
    if caller.host is not None:
        _check(caller.host, host, "a new one")


def check_services(caller: Caller, store: Store, uuids: Iterable[str]) -> None:
    """Raise Forbidden unless the caller may speak for these services; StoreUnavailable."""
    if caller.host is not None:
        for uuid, host in store.hosts(set(uuids)).items():
            _check(caller.host, host, uuid)


def _check(own: str, host: str, service: str) -> None:
    if host != own:
        raise Forbidden(
            f"This credential is for services of host {own}, not for {service} of host {host}."
        )
