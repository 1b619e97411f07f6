"""A credential that is bound to a host speaks for the services of that host and for no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from anyio import CapacityLimiter, to_thread

from servicegroup.api.call import Caller
from servicegroup.errors import Forbidden
from servicegroup.group import ServiceGroup
from servicegroup.remembered import Remembered

MOST_SERVICES = 200
"""Services, and so groups, that a host may have for its credential to register another (F-59)."""

REMEMBERED = 200_000
"""Services whose host is remembered."""

AT_ONCE = 2
"""Questions to the record at a time: they use the connections of those who report (F-18)."""


class Hosts:
    """Which host a service is on, remembered, since no service ever moves."""

    def __init__(self, group: ServiceGroup) -> None:
        """Ask the record for what is not remembered."""
        self._group = group
        self._known: Remembered[str, str] = Remembered(REMEMBERED)
        self._threads = CapacityLimiter(AT_ONCE)

    def are_known(self, host: str, uuids: AbstractSet[str]) -> bool:
        """Tell whether all of these services are remembered, as those of the host."""
        found = self._known.found(uuids)
        return len(found) == len(uuids) and set(found.values()) <= {host}

    async def check(self, host: str, uuids: AbstractSet[str]) -> None:
        """Raise Forbidden unless all of these services are on the host; StoreUnavailable.

        What no record has passes: there is nothing to protect, and its process is told.
        """
        found = self._known.found(uuids)
        if len(found) < len(uuids):
            unknown = [uuid for uuid in uuids if uuid not in found]
            matched = await to_thread.run_sync(self._group.hosts_of, unknown, limiter=self._threads)
            self._known.add(matched)
            found |= matched
        _check_all(host, found)


def check_host(caller: Caller, host: str) -> None:
    """Raise Forbidden unless the caller may register services on the host."""
    if caller.host is not None:
        _check(caller.host, host, "a new one")


def check_services(caller: Caller, group: ServiceGroup, uuids: Iterable[str]) -> None:
    """Raise Forbidden unless the caller may speak for these services; StoreUnavailable."""
    if caller.host is not None:
        _check_all(caller.host, group.hosts_of(set(uuids)))


def _check_all(own: str, hosts: Mapping[str, str]) -> None:
    """Check every record that was matched, by its own uuid, whatever it was asked for by (F-54)."""
    for uuid, host in hosts.items():
        _check(own, host, uuid)


def _check(own: str, host: str, service: str) -> None:
    if host != own:
        raise Forbidden(
            f"This credential is for services of host {own}, not for {service} of host {host}."
        )
