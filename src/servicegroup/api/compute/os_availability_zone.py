"""``os-availability-zone``: which zones exist, and with detail who is up in them.

A zone is available when an enabled service exists in it; liveness has no part in that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from servicegroup.api.access.policy import NOVA_ZONES, NOVA_ZONES_DETAIL
from servicegroup.api.call import Answer, Call, json_answer
from servicegroup.api.compute.rows import UNLISTED
from servicegroup.model import Service
from servicegroup.moments import texts

INTERNAL = "internal"
"""The zone of everything but computes; hidden from those who choose where to build."""


class ShownService(msgspec.Struct, frozen=True, gc=False):
    """A service of a zone: up or not, enabled or not."""

    available: bool
    active: bool
    updated_at: str | None


Hosts = dict[str, dict[str, ShownService]]

_Stated = tuple[Service, str, int]
"""A service, its state, and its ``updated_at`` as a moment."""


def list_zones(call: Call, _: Mapping[str, str]) -> Answer:
    """List the zones, for anyone."""
    call.caller.must(NOVA_ZONES)
    zones = [zone for zone in call.group.zones() if zone[0] != INTERNAL]
    return _answer((name, available, None) for name, available in zones)


def list_details(call: Call, _: Mapping[str, str]) -> Answer:
    """List the zones with the hosts and services of those available."""
    call.caller.must(NOVA_ZONES_DETAIL)
    return Answer(
        later=lambda: _detailed([one for batch in call.group.states() for one in batch.each()]),
        question="os-availability-zone/detail",
    )


def _detailed(stated: Sequence[_Stated]) -> Answer:
    enabled = [one for one in stated if not one[0].disabled]
    available = {service.zone for service, *_ in enabled}
    hosts = _hosts_by_zone(enabled)
    zones = available | {service.zone for service, *_ in stated}
    return _answer(
        (name, name in available, hosts.get(name, {}) if name in available else None)
        for name in zones
    )


def _hosts_by_zone(stated: Sequence[_Stated]) -> dict[str, Hosts]:
    zones: dict[str, Hosts] = {}
    times = texts(updated_at for *_, updated_at in stated)
    for (service, state, _), updated_at in zip(stated, times, strict=True):
        if service.binary not in UNLISTED:
            host = zones.setdefault(service.zone, {}).setdefault(service.host, {})
            host[service.binary] = ShownService(state == "up", not service.disabled, updated_at)
    return zones


def _answer(zones: Iterable[tuple[str, bool, Hosts | None]]) -> Answer:
    """Return the zones by name, the available ones first."""
    shown: list[dict[str, Any]] = [
        {"zoneName": name, "zoneState": {"available": available}, "hosts": hosts}
        for name, available, hosts in sorted(zones, key=lambda zone: (not zone[1], zone[0]))
    ]
    return json_answer({"availabilityZoneInfo": shown})
