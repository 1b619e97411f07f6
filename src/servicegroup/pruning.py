"""Records of services that will not come back: which they are, and their end (F-14).

A pod has a name that nothing ever reports for again. Its record alarms for ever, and pins versions.
Whoever prunes says for which reasons a service must be down and for how long it was not heard of;
what still reports is deleted by its name only, since that stops its process.
"""

from __future__ import annotations

from servicegroup.bodies import Prune, Pruned, PrunedService
from servicegroup.errors import InvalidInput
from servicegroup.explanation import duration
from servicegroup.group import ServiceGroup
from servicegroup.model import Service, ServiceFilter

MOST = 10_000
"""Records that end at once, in one transaction."""


def find(group: ServiceGroup, wanted: Prune) -> list[Service]:
    """Return the services that would end, ordered by id: none that is mirrored.

    Raises InvalidInput, StoreUnavailable.
    """
    filters = ServiceFilter(
        host=wanted.host, binary=wanted.binary, group=wanted.group, zone=wanted.zone
    )
    return [
        service
        for batch in group.batches(filters, state="down")
        for service in batch
        if service.mirror is None
        and service.judged.reason.value in wanted.reasons
        and service.judged.evidence.silence >= wanted.unseen
    ]


def prune(
    group: ServiceGroup, wanted: Prune, *, by: str, only_first: bool = False
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
    drivers = [d.name for d, _ in group.drivers() if d.capabilities.is_asked]
    whys = {service.id: why(service) for service in found}
    gone = group.recorder().prune(found, whys, drivers, by, wanted.unseen) if found else set()
    return [service for service in found if service.id in gone]


def pruned(group: ServiceGroup, wanted: Prune, by: str) -> Pruned:
    """Do what is wanted and say to which services. Raises as ``prune``."""
    found = find(group, wanted) if wanted.dry_run else prune(group, wanted, by=by)
    return Pruned([PrunedService.of(service) for service in found], wanted.dry_run)


def why(service: Service) -> str:
    """Return for which reason a service ends, for its event."""
    age = duration(max(0.0, service.judged.evidence.silence))
    return f"pruned: {service.judged.reason.value}, no report for {age}"
