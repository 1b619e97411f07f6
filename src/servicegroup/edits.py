"""What an operator may change of a service, checked: as Nova's API has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servicegroup.errors import Conflict, InvalidInput
from servicegroup.model import Service
from servicegroup.names import check_name

_EDITABLE = frozenset({"disabled", "disabled_reason", "forced_down"})

EDITED_BY = {
    "nova": "openstack --os-cloud {cloud} compute service set",
    "cinder": "openstack --os-cloud {cloud} volume service set",
    "neutron": "openstack --os-cloud {cloud} network agent set",
}
"""The command that edits a service where it is mirrored from, by API."""


def own(service: Service) -> Service:
    """Return a service that may be edited here. Raises Conflict for one that is mirrored."""
    if service.mirror is None:
        return service
    cloud, _, api = service.mirror.rpartition("/")
    where = f"edit it in {cloud or service.mirror}"
    if api in EDITED_BY:
        where = f"edit it there, with '{EDITED_BY[api].format(cloud=cloud)}'"
    raise Conflict(
        f"Service {service.binary} on host {service.host} is mirrored from {service.mirror} and"
        f" read only here; {where}, and the change comes here by itself."
    )


def checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that an edit sets. Raises InvalidInput.

    Enabling clears the reason, and disabling without one sets it to null, as in Nova.
    """
    if unknown := set(changes) - _EDITABLE:
        raise InvalidInput(f"{', '.join(sorted(unknown))} cannot be changed.")
    if not changes:
        raise InvalidInput("No updates were requested; give disabled or forced_down.")
    alone = "disabled_reason" in changes and "disabled" not in changes
    if alone or (changes.get("disabled_reason") and not changes["disabled"]):
        raise InvalidInput("disabled_reason goes with disabled=true; set both.")
    columns = dict(changes)
    if "disabled" in changes:
        reason = changes.get("disabled_reason") if changes["disabled"] else None
        columns["disabled_reason"] = reason
        if reason is not None:
            check_name("disabled_reason", reason)
    return columns
