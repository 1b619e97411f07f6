"""Records of services that will not come back: which they are, and their end (F-14).

A pod has a name that nothing ever reports for again. Its record alarms for ever, and pins versions.
Whoever prunes says for which reasons a service must be down and for how long it was not heard of;
what still reports is deleted by its name only, since that stops its process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from servicegroup.bodies import Prune, Pruned, PrunedService
from servicegroup.errors import InvalidInput
from servicegroup.explanation import duration
from servicegroup.group import ServiceGroup
from servicegroup.model import Reason, Service, ServiceFilter

REASONS = (Reason.LEFT, Reason.EXITED, Reason.SILENT, Reason.FORCED_DOWN)
"""Reasons to be down of services that are not heard of."""

MOST = 10_000
"""Records that end at once, in one transaction."""


class Pruning(msgspec.Struct, frozen=True, kw_only=True):
    """Which services: those that are down for one of the reasons and match every name given.

    ``unseen`` is how many seconds at least each has not reported while somebody listened.
    """

    reasons: tuple[Reason, ...]
    host: str | None = None
    binary: str | None = None
    group: str | None = None
    zone: str | None = None
    unseen: float = 0.0

    def __post_init__(self) -> None:
        """Raise InvalidInput for what could end more than was meant."""
        if not self.reasons:
            known = ", ".join(reason.value for reason in REASONS)
            raise InvalidInput(f"Pruning needs a reason; use one or more of {known}.")
        if not 0 <= self.unseen < math.inf:
            raise InvalidInput(f"unseen = {self.unseen:g} is no number of seconds.")
        for field in ("host", "binary", "group", "zone"):
            if getattr(self, field) == "":
                raise InvalidInput(f"{field} is empty; leave it out, or name one.")


def find(group: ServiceGroup, wanted: Pruning) -> list[Service]:
    """Return the services that would end, ordered by id. Raises InvalidInput, StoreUnavailable."""
    filters = ServiceFilter(
        host=wanted.host, binary=wanted.binary, group=wanted.group, zone=wanted.zone
    )
    return [
        service
        for batch in group.batches(filters, state="down")
        for service in batch
        if service.judged.reason in wanted.reasons
        and service.judged.evidence.silence >= wanted.unseen
    ]


def prune(
    group: ServiceGroup, wanted: Pruning, *, by: str, only_first: bool = False
) -> list[Service]:
    """Delete the services that match, all or none, and return those that are deleted.

    What registered, reported or was edited since it was judged is left alone. Each is deleted as by
    ``ServiceGroup.delete``: its backend is freed, and its event says ``by`` whom and why. Raises
    InvalidInput for more than MOST, unless ``only_first`` of them are wanted; StoreUnavailable.
    """
    found = find(group, wanted)[: MOST if only_first else None]
    if len(found) > MOST:
        raise InvalidInput(
            f"{len(found)} services match, and {MOST} end at once; name a group, host or zone."
        )
    drivers = [d.name for d, _ in group.drivers() if d.capabilities.separate_signal]
    whys = {service.id: why(service) for service in found}
    gone = group.recorder().prune(found, whys, drivers, by, wanted.unseen) if found else set()
    return [service for service in found if service.id in gone]


def pruned(group: ServiceGroup, asked: Prune, by: str) -> Pruned:
    """Do what is asked for and say to which services. Raises as ``prune``."""
    wanted = Pruning(
        reasons=reasons_of(asked.reasons),
        host=asked.host,
        binary=asked.binary,
        group=asked.group,
        zone=asked.zone,
        unseen=asked.unseen,
    )
    found = find(group, wanted) if asked.dry_run else prune(group, wanted, by=by)
    return Pruned([PrunedService.of(service) for service in found], asked.dry_run)


def why(service: Service) -> str:
    """Return for which reason a service ends, for its event."""
    age = duration(max(0.0, service.judged.evidence.silence))
    return f"pruned: {service.judged.reason.value}, no report for {age}"


def reasons_of(texts: Sequence[str]) -> tuple[Reason, ...]:
    """Return the reasons of these names. Raises InvalidInput."""
    known = {reason.value: reason for reason in REASONS}
    for text in texts:
        if text not in known:
            raise InvalidInput(f"reason {text!r} is none to prune for; use {', '.join(known)}.")
    return tuple(dict.fromkeys(known[text] for text in texts))
