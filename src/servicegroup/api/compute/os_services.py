"""``os-services``: the register as Nova shows and edits it, a small view per microversion.

Every handler takes the call and its checked fields: of the query for GET, of the body for PUT.
The order of its checks is Nova's, since it decides between 400, 403 and 404.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from servicegroup.agreement import Agreement
from servicegroup.api.access.policy import NOVA_DELETE, NOVA_LIST, NOVA_UPDATE
from servicegroup.api.call import Answer, Call, json_answer
from servicegroup.api.compute.microversions import Version, text_of
from servicegroup.api.compute.rows import Rows, View, rows_of
from servicegroup.api.compute.schemas import TRUE
from servicegroup.api.listing import is_small, listed
from servicegroup.api.unchanged import revision_of
from servicegroup.errors import InvalidInput, NotFound
from servicegroup.model import Service, ServiceFilter
from servicegroup.moments import moment_of, texts
from servicegroup.uuids import uuid_of

COMPUTE = "nova-compute"
"""The one binary Nova lets its administrators edit; ``/v1`` edits any."""

_MAX_ID = 2**31 - 1


# -- views ---------------------------------------------------------------------------------


class Shown(msgspec.Struct, frozen=True, gc=False):
    """A service as it is listed up to 2.10."""

    binary: str
    host: str
    id: int | str
    zone: str
    status: str
    state: str
    updated_at: str | None
    disabled_reason: str | None


class ShownWithForcedDown(Shown, frozen=True, gc=False):
    """A service as it is listed from 2.11 on."""

    forced_down: bool


def view_2_1(s: Service, state: str, updated_at: str | None) -> Shown:
    """Show the integer id."""
    return Shown(s.binary, s.host, s.id, s.zone, s.status, state, updated_at, s.disabled_reason)


def view_2_11(s: Service, state: str, updated_at: str | None) -> Shown:
    """Show the integer id and whether it was forced down."""
    return ShownWithForcedDown(
        s.binary, s.host, s.id, s.zone, s.status, state, updated_at, s.disabled_reason,
        s.forced_down,
    )  # fmt: skip


def view_2_53(s: Service, state: str, updated_at: str | None) -> Shown:
    """Show the UUID and whether it was forced down."""
    return ShownWithForcedDown(
        s.binary, s.host, s.uuid, s.zone, s.status, state, updated_at, s.disabled_reason,
        s.forced_down,
    )  # fmt: skip


VIEWS: dict[Version, View] = {
    (2, 53): view_2_53,
    (2, 11): view_2_11,
    (2, 1): view_2_1,
}
"""The view from each microversion on, newest first."""


def view(version: Version) -> View:
    """Return the view of a microversion."""
    return next(view for since, view in VIEWS.items() if version >= since)


# -- GET and DELETE ------------------------------------------------------------------------


def list_services(call: Call, query: Mapping[str, str]) -> Answer:
    """List the services of a host or a binary, or all; an empty value is no filter.

    Who asks with If-None-Match gets an ETag, and 304 while no state and no edit changed. Others
    get none, as from Nova: to name the revision takes a question of its own.
    """
    call.caller.must(NOVA_LIST)
    is_conditional = "if-none-match" in call.headers
    form = f".{text_of(call.microversion)}"  # each has its own ids and fields
    revision = revision_of(call, form) if is_conditional else None
    if revision and revision.is_known:
        return Answer(304, headers=revision.headers())
    filters = ServiceFilter(host=query.get("host") or None, binary=query.get("binary") or None)
    shown = view(call.microversion)

    question = ("os-services", filters, shown)

    def answer() -> Answer:
        rows = Rows(shown) if is_small(filters) else rows_of(call.group, question, shown)
        agreement = Agreement() if revision else None
        made = listed(rows.encoded(call.group.lists(agreement).states(filters)))
        headers = revision.headers(agreement) if revision else []
        return msgspec.structs.replace(made, headers=headers)

    if is_small(filters):
        return answer()
    return Answer(later=answer, question=(question, is_conditional))


def delete_by_number(call: Call, _: Mapping[str, str]) -> Answer:
    """Delete by integer id (up to 2.52)."""
    call.caller.must(NOVA_DELETE)
    text = call.params["id"]
    try:
        number = int(text)
    except ValueError:
        raise InvalidInput("Invalid input received: id must be an integer") from None
    return _delete(call, number if 0 < number <= _MAX_ID else 0)


def delete_by_uuid(call: Call, _: Mapping[str, str]) -> Answer:
    """Delete by UUID (from 2.53)."""
    call.caller.must(NOVA_DELETE)
    return _delete(call, _uuid(call))


def _delete(call: Call, service_id: int | str) -> Answer:
    try:
        call.group.delete(service_id, by=call.caller.user)
    except NotFound:
        raise NotFound(f"Service {call.params['id']} not found.") from None
    return Answer(204)


# -- PUT up to 2.52: an action on a host and binary ------------------------------------------


class Edit(msgspec.Struct, frozen=True):
    """What an action changes, and what its answer says of it."""

    changes: dict[str, Any]
    said: dict[str, Any]


def enable(_: Mapping[str, Any]) -> Edit:
    """Enable; a reason in the body is ignored."""
    return Edit({"disabled": False}, {"status": "enabled"})


def disable(_: Mapping[str, Any]) -> Edit:
    """Disable; a reason in the body is ignored."""
    return Edit({"disabled": True}, {"status": "disabled"})


def disable_log_reason(body: Mapping[str, Any]) -> Edit:
    """Disable and keep the reason."""
    if "disabled_reason" not in body:
        raise InvalidInput("Missing disabled reason field")
    reason = {"disabled_reason": body["disabled_reason"]}
    return Edit({"disabled": True, **reason}, {"status": "disabled", **reason})


def force_down(body: Mapping[str, Any]) -> Edit:
    """Force down, or no longer."""
    if "forced_down" not in body:
        raise InvalidInput("Missing forced_down field")
    forced_down = {"forced_down": body["forced_down"] in TRUE}
    return Edit(forced_down, forced_down)


ACTIONS: dict[str, tuple[Version, Callable[[Mapping[str, Any]], Edit]]] = {
    "enable": ((2, 1), enable),
    "disable": ((2, 1), disable),
    "disable-log-reason": ((2, 1), disable_log_reason),
    "force-down": ((2, 11), force_down),
}
"""The actions, each with the microversion it came with; 2.53 ended them all."""


def act(call: Call, body: Mapping[str, Any]) -> Answer:
    """Run an action on the service that the body names."""
    call.caller.must(NOVA_UPDATE)
    since, action = ACTIONS.get(call.params["id"], (None, None))
    if since is None or action is None or call.microversion < since:
        raise NotFound("Unknown action")
    edit = action(body)
    host, binary = body["host"], body["binary"]
    _check_editable(binary)
    call.group.update(_compute_of(call, host).uuid, by=call.caller.user, **edit.changes)
    return json_answer({"service": {"host": host, "binary": binary, **edit.said}})


def _compute_of(call: Call, host: str) -> Service:
    found = call.group.services(ServiceFilter(host=host))
    if not found:
        raise NotFound(f"Host '{host}' is not mapped to any cell")
    for service in found:
        if service.binary == COMPUTE:
            return service
    raise NotFound(f"Could not find binary {COMPUTE} on host {host}.")


# -- PUT from 2.53: a partial record by UUID -------------------------------------------------


def update(call: Call, body: Mapping[str, Any]) -> Answer:
    """Change status, reason and forced_down in one edit; gives the full record."""
    uuid = _uuid(call)
    call.caller.must(NOVA_UPDATE)
    _check_editable(call.group.get(uuid).binary)
    service = call.group.update(uuid, by=call.caller.user, **_changes(body))
    (updated_at,) = texts([moment_of(service.updated_at)])
    shown = view(call.microversion)(service, service.judged.state, updated_at)
    return json_answer({"service": shown})


def _changes(body: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    reason = body.get("disabled_reason")
    if "status" in body:
        if body["status"] == "enabled" and reason:
            raise InvalidInput("Specifying 'disabled_reason' with status 'enabled' is invalid.")
        changes["disabled"] = body["status"] == "disabled"
        changes["disabled_reason"] = reason
    if "forced_down" in body:
        changes["forced_down"] = body["forced_down"] in TRUE
    if not changes:
        raise InvalidInput(
            "No updates were requested. Fields 'status' or 'forced_down' should be specified."
        )
    return changes


# -- checks ----------------------------------------------------------------------------------


def _uuid(call: Call) -> str:
    """Return the id in the form in which records have it. Raises InvalidInput."""
    return uuid_of(call.params["id"])


def _check_editable(binary: str) -> None:
    if binary != COMPUTE:
        raise InvalidInput(
            f"Updating a {binary} service is not supported."
            " Only nova-compute services can be updated."
        )
