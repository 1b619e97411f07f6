"""Our own API, ``/v1``: services with verdict and evidence, registration, edits, versions.

One table says everything about a route: where it is, who may call it, what it takes and gives.
Routing, policy and the OpenAPI document are made of it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, TypeVar

import msgspec

from servicegroup.agent.client import DEFAULT_TIMEOUT, Joined, Terms
from servicegroup.agreement import Agreement
from servicegroup.api.access.host_binding import MOST_SERVICES, check_host, check_services
from servicegroup.api.access.policy import DELETE, READ, REPORT, UPDATE
from servicegroup.api.call import Answer, Call, Handler, Role, Rule, json_answer
from servicegroup.api.listing import encoded, is_small, listed
from servicegroup.api.unchanged import revision_of
from servicegroup.api.v1.query import values, whole_number
from servicegroup.api.v1.rows import forget_frames, frames_of
from servicegroup.bodies import (
    Drivers,
    Edit,
    Elements,
    GroupCount,
    Groups,
    Leaves,
    NewService,
    One,
    Protections,
    Prune,
    Pruned,
    Reports,
    Services,
    Versions,
    decode_with,
)
from servicegroup.comparison import Compared
from servicegroup.controlplane.feed import PAGE
from servicegroup.controlplane.terms import joined, terms
from servicegroup.decoding import decoder
from servicegroup.errors import Forbidden
from servicegroup.events import Page, moment
from servicegroup.explanation import explain
from servicegroup.group import ServiceGroup
from servicegroup.history import History
from servicegroup.messages import Leave, Refusals, Reported
from servicegroup.mirrors import Look, Looked
from servicegroup.model import Service, ServiceFilter
from servicegroup.pruning import pruned

T = TypeVar("T")

MAX_LIMIT = 10_000
"""Services one page may have."""

_LEAVES = Elements(Leaves, "leaves", Leave)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the API: everything that routing, policy and its document need to know.

    What has no handler waits on the event loop and not in a thread: see ``app.Handlers``. What
    has a ``limit`` gives a ``page`` of so many at the most.
    """

    method: str
    path: str
    handler: Handler | None = None
    rule: Rule
    summary: str
    query: tuple[str, ...] = ()
    page: int | None = None
    takes: type[Any] | None = None
    gives: type[Any] | None = None
    status: int = 200

    @property
    def roles(self) -> frozenset[Role]:
        """The roles of tokens that may call it."""
        return self.rule.roles


def decode(call: Call, kind: type[T]) -> T:
    """Return the body as the given type; raises InvalidInput that names the field at fault."""
    return decode_with(decoder(kind), call.body)


def register(call: Call) -> Answer:
    """Begin a new incarnation of a service and say how to keep it up."""
    new = decode(call, NewService)
    check_host(call.caller, new.host)
    registration = call.group.join(
        new.host,
        new.binary,
        group=new.group,
        zone=new.zone,
        version=new.version,
        most=None if call.caller.host is None else MOST_SERVICES,
        deadline=call.arrived + DEFAULT_TIMEOUT,  # by then its sender has given it up
    )
    return json_answer(joined(call.group, registration))


def mirror(call: Call) -> Answer:
    """Keep what a mirror saw of another control plane's API."""
    look = decode(call, Look)
    if call.caller.host is not None:
        raise Forbidden(
            f"{look.mirror} has services of many hosts, and this credential is for host"
            f" {call.caller.host}; mirror with a token without a host."
        )
    return json_answer(call.group.recorder().mirror(look))


def show_terms(call: Call) -> Answer:
    """Show what every member keeps to."""
    return json_answer(terms(call.group))


def leave(call: Call) -> Answer:
    """Record departures; answers after the commit."""
    leaves, invalid = _LEAVES.decode(call.body)
    check_services(call.caller, call.group, (leave.uuid for leave in leaves))
    refused = call.group.depart(leaves)
    return json_answer(msgspec.structs.replace(refused, invalid=refused.invalid | invalid))


def list_services(call: Call) -> Answer:
    """List services, judged, by filters and in pages; 304 while no state and no edit changed."""
    wanted = values(call.pairs, LIST_QUERY)
    revision = revision_of(call)
    if revision.is_known:
        return Answer(304, headers=revision.headers())
    limit = whole_number("limit", wanted["limit"], 1, MAX_LIMIT) if "limit" in wanted else None
    filters = ServiceFilter(
        host=wanted.get("host"),
        binary=wanted.get("binary"),
        group=wanted.get("group"),
        zone=wanted.get("zone"),
        marker=wanted.get("marker"),
        limit=limit,
    )
    state = wanted.get("state")

    def answer() -> Answer:
        agreement = Agreement()
        made = _listed(call, filters, state, agreement)
        return msgspec.structs.replace(made, headers=revision.headers(agreement))

    if is_small(filters, state):
        return answer()
    return Answer(later=answer, question=("services", filters, state))


def _listed(call: Call, filters: ServiceFilter, state: str | None, agreement: Agreement) -> Answer:
    lists = call.group.lists(agreement)
    if filters.limit is None and state is None:
        if (glimpses := lists.glimpses(filters)) is not None:
            rows = frames_of(call.group).encoded(glimpses, filters)
            return listed(rows, b'],"next":null}')
        if filters == ServiceFilter():
            forget_frames(call.group)  # the fleet may have grown too large for them
    batches = lists.services(filters, state)
    if filters.limit is None:
        return listed(encoded(batches), b'],"next":null}')
    found = [service for batch in batches for service in batch]
    is_full = len(found) == filters.limit
    return json_answer(Services(found, found[-1].uuid if is_full else None))


def show_service(call: Call) -> Answer:
    """Show one service with the explanation of its verdict."""
    return _one(call.group.get(call.params["uuid"]))


def edit_service(call: Call) -> Answer:
    """Enable, disable with a reason, force down or unset it; any binary."""
    edit = decode(call, Edit)
    given = {name: getattr(edit, name) for name in Edit.__struct_fields__}
    changes = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    return _one(call.group.update(call.params["uuid"], by=call.caller.user, **changes))


def delete_service(call: Call) -> Answer:
    """Delete a service; its process, if it still runs, is told and stays away."""
    call.group.delete(call.params["uuid"], by=call.caller.user)
    return Answer(204)


def prune_services(call: Call) -> Answer:
    """Delete all services that match, in one transaction, or say which they are."""
    wanted = decode(call, Prune)
    return Answer(later=lambda: json_answer(pruned(call.group, wanted, call.caller.user)))


def show_history(call: Call) -> Answer:
    """Show what happened to a service over a time, and what it adds up to."""
    given = values(call.pairs, HISTORY_QUERY)
    times = {name: moment(name, text) for name, text in given.items()}
    return json_answer(call.group.history(call.params["uuid"], **times))


def list_protections(call: Call) -> Answer:
    """Show which signals are suspect now, and where."""
    return json_answer(Protections(call.group.protections()))


def list_groups(call: Call) -> Answer:
    """Count the services of each group by state."""
    return Answer(later=lambda: json_answer(Groups(_counted(call.group))), question="groups")


def _counted(group: ServiceGroup) -> list[GroupCount]:
    up, down, disabled = Counter[str](), Counter[str](), Counter[str]()
    for service, state, _ in itertools.chain.from_iterable(one.each() for one in group.states()):
        (up if state == "up" else down)[service.topic] += 1
        disabled[service.topic] += service.disabled
    names = sorted(up.keys() | down.keys())
    return [GroupCount(name, up[name], down[name], disabled[name]) for name in names]


def list_versions(call: Call) -> Answer:
    """Show the range and the histogram of service versions per binary."""
    values(call.pairs, ("binary",))
    binaries = [value for name, value in call.pairs if name == "binary" and value]
    return json_answer(Versions(call.group.version_counts(binaries)))


def list_drivers(call: Call) -> Answer:
    """Show the drivers in use and how fast they detect."""
    return json_answer(Drivers(call.group.driver_states()))


def compare_drivers(call: Call) -> Answer:
    """Show the services whose verdict a change to the shadow driver would change."""
    return Answer(later=lambda: json_answer(call.group.compare()), question="comparison")


def _one(service: Service) -> Answer:
    return json_answer(One(service, explain(service.judged)))


HISTORY_QUERY = ("since", "until")
STREAM_QUERY = ("after", "uuid", "group", "kind")
EVENTS_QUERY = (*STREAM_QUERY, "since", "until", "limit", "wait")

LIST_QUERY = ("host", "binary", "group", "zone", "state", "limit", "marker")


# fmt: off
REPORTS = Route(method="POST", path="/v1/reports", rule=REPORT,
                summary="Report for many services; answers after the commit",
                takes=Reports, gives=Reported)
EVENTS = Route(method="GET", path="/v1/events", rule=READ,
               summary="Tell what happened, or wait until something does",
               query=EVENTS_QUERY, page=PAGE, gives=Page)
STREAM = Route(method="GET", path="/v1/events/stream", rule=READ,
               summary="Tell what happens as it happens, as server-sent events",
               query=STREAM_QUERY)
SESSION = Route(method="GET", path="/v1/session", rule=REPORT, status=101,
                summary="Hold a session: a WebSocket that is presence, and takes reports")
WAITING = (REPORTS, SESSION, EVENTS, STREAM)

ROUTES = (
    Route(method="POST", path="/v1/services", handler=register, rule=REPORT,
          summary="Register a service", takes=NewService, gives=Joined),
    Route(method="POST", path="/v1/mirrors", handler=mirror, rule=REPORT,
          summary="Keep what a mirror saw of another control plane's API", takes=Look,
          gives=Looked),
    Route(method="POST", path="/v1/leave", handler=leave, rule=REPORT,
          summary="Record departures", takes=Leaves, gives=Refusals),
    Route(method="GET", path="/v1/terms", handler=show_terms, rule=REPORT,
          summary="Show the terms of membership", gives=Terms),
    Route(method="GET", path="/v1/services", handler=list_services, rule=READ,
          summary="List services with verdict and evidence", query=LIST_QUERY, page=MAX_LIMIT,
          gives=Services),
    Route(method="GET", path="/v1/services/{uuid}", handler=show_service, rule=READ,
          summary="Show and explain one service", gives=One),
    Route(method="PATCH", path="/v1/services/{uuid}", handler=edit_service, rule=UPDATE,
          summary="Enable, disable or force down", takes=Edit, gives=One),
    Route(method="DELETE", path="/v1/services/{uuid}", handler=delete_service, rule=DELETE,
          summary="Delete a service", status=204),
    Route(method="POST", path="/v1/prune", handler=prune_services, rule=DELETE,
          summary="Delete the services that are down for a reason", takes=Prune, gives=Pruned),
    Route(method="GET", path="/v1/services/{uuid}/history", handler=show_history, rule=READ,
          summary="Show what happened to one service, and its availability",
          query=HISTORY_QUERY, gives=History),
    Route(method="GET", path="/v1/protection", handler=list_protections, rule=READ,
          summary="Show which signals are suspect, and where", gives=Protections),
    Route(method="GET", path="/v1/groups", handler=list_groups, rule=READ,
          summary="Count services by group and state", gives=Groups),
    Route(method="GET", path="/v1/versions", handler=list_versions, rule=READ,
          summary="Show service versions", query=("binary",), gives=Versions),
    Route(method="GET", path="/v1/drivers", handler=list_drivers, rule=READ,
          summary="Show the drivers in use and how fast they detect", gives=Drivers),
    Route(method="GET", path="/v1/drivers/comparison", handler=compare_drivers, rule=READ,
          summary="Show what a change to the shadow driver would change", gives=Compared),
)
# fmt: on
