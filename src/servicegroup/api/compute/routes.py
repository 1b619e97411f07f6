"""Nova's API: every route of it in one table, every check of a request in Nova's order.

``respond`` is a plain function from the parts of a request that was already read to an answer. It
runs in a worker thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from servicegroup.api import faults
from servicegroup.api.call import NOT_ASKED, Answer, Call, Caller
from servicegroup.api.compute import discovery, microversions, schemas
from servicegroup.api.compute import os_availability_zone as zones
from servicegroup.api.compute import os_hosts as hosts
from servicegroup.api.compute import os_services as services
from servicegroup.api.compute.microversions import MAX, MIN, UnsupportedVersion, Version
from servicegroup.errors import InvalidInput, NotFound, Unauthorized

MEDIA_TYPES = frozenset(
    {"", "text/plain", "application/json", "application/vnd.openstack.compute+json"}
)
"""What a request may call its content; the first two say nothing about it."""

# A project's id may stand before any path. Text with NUL in it never reaches SQL.
_PROJECT = r"(?:/(?P<project_id>[0-9a-f-]+))?"
_ID = r"(?P<id>[^/\0]+)"


class Route(msgspec.Struct, frozen=True, dict=True):
    """A method on a path, for a range of microversions, and what its query or body may hold."""

    method: str
    path: str
    since: Version
    until: Version
    handler: Callable[[Call, Mapping[str, Any]], Answer]
    schema: schemas.Schema = schemas.ANYTHING

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What the path has to be like, after the API's root."""
        return re.compile(_PROJECT + self.path.replace("{id}", _ID))

    @property
    def has_body(self) -> bool:
        """Whether the schema is for the body; it is for the query otherwise."""
        return self.method == "PUT"


# fmt: off
ROUTES = (
    Route("GET", "/os-services", MIN, (2, 74), services.list_services, schema=schemas.SERVICES),
    Route("GET", "/os-services", (2, 75), MAX, services.list_services,
          schema=schemas.SERVICES_2_75),
    Route("PUT", "/os-services/{id}", MIN, (2, 10), services.act, schema=schemas.ACTION_2_1),
    Route("PUT", "/os-services/{id}", (2, 11), (2, 52), services.act, schema=schemas.ACTION_2_11),
    Route("PUT", "/os-services/{id}", (2, 53), MAX, services.update, schema=schemas.UPDATE_2_53),
    Route("DELETE", "/os-services/{id}", MIN, (2, 52), services.delete_by_number),
    Route("DELETE", "/os-services/{id}", (2, 53), MAX, services.delete_by_uuid),
    Route("GET", "/os-availability-zone", MIN, (2, 101), zones.list_zones),
    Route("GET", "/os-availability-zone", (2, 102), MAX, zones.list_zones, schema=schemas.NOTHING),
    Route("GET", "/os-availability-zone/detail", MIN, (2, 101), zones.list_details),
    Route("GET", "/os-availability-zone/detail", (2, 102), MAX, zones.list_details,
          schema=schemas.NOTHING),
    Route("GET", "/os-hosts", MIN, (2, 42), hosts.list_hosts, schema=schemas.HOSTS),
    Route("GET", "/os-hosts/{id}", MIN, (2, 42), hosts.show_host),
)
# fmt: on


def respond(call: Call) -> Answer:
    """Answer one request as Nova does.

    ``path`` and ``query`` of the call are as they stood in the request line; its headers have
    lower-case names, the lines of a repeated one joined by commas. Where no caller was asked for
    (NOT_ASKED), a path that ``is_open`` is answered, and any other is Unauthorized.
    """
    path, headers = unquote(call.path), call.headers
    if path == "/":
        return discovery.list_versions(headers)
    root, rest = _parts(call.path)
    api = next((api for api in (discovery.CURRENT, discovery.LEGACY) if api.root == root), None)
    if api is None:
        return discovery.choices(path, headers)
    is_legacy = api is discovery.LEGACY
    if not rest:
        return _versioned(headers, is_legacy, lambda _: discovery.show_version(api, headers))
    if call.caller is NOT_ASKED:
        raise Unauthorized
    call = msgspec.structs.replace(call, path=_below(rest))

    def answer(version: Version) -> Answer:
        return _answer(msgspec.structs.replace(call, microversion=version), is_legacy=is_legacy)

    return _versioned(headers, is_legacy, answer)


def is_open(path: str) -> bool:
    """Tell whether a path is for everybody: what clients discover the APIs by, and what is none."""
    root, rest = _parts(path)
    return not rest or root not in (discovery.CURRENT.root, discovery.LEGACY.root)


def is_for_later(call: Call) -> bool:
    """Tell whether ``respond`` does no more than leave an answer for later, so that it never waits.

    That is what lists everybody; whatever else may ask the database at once.
    """
    if call.method != "GET" or call.query or "if-none-match" in call.headers:
        return False
    path = _below(_parts(call.path)[1])
    lists = (route for route in ROUTES if route.handler is services.list_services)
    return any(route.pattern.fullmatch(path) for route in lists)


def _parts(path: str) -> tuple[str, str]:
    """Return the root of an API and the rest, of a path as it stood in the request line."""
    root, _, rest = unquote(path).removeprefix("/").partition("/")
    return root, rest


def _below(rest: str) -> str:
    """Return it as a path; as in Nova, a base URL that ends in a slash does no harm."""
    return "/" + rest.lstrip("/")


def _versioned(
    headers: Mapping[str, str], is_legacy: bool, work: Callable[[Version], Answer]
) -> Answer:
    """Answer in the microversion asked for and say so; the legacy API knows nothing of them."""
    if is_legacy:
        return work(MIN)
    try:
        version = microversions.negotiate(headers)
    except UnsupportedVersion as error:
        return microversions.stamped(faults.fault(406, str(error)), error.version)
    except InvalidInput as error:
        return faults.answer_for(error)
    answer = work(version)
    if answer is faults.UNROUTED:
        return answer
    text = microversions.text_of(version)
    if (later := answer.later) is not None:
        return Answer(
            later=lambda: microversions.stamped(_guarded(later), text),
            question=answer.question and (answer.question, text),
        )
    return microversions.stamped(answer, text)


def _answer(call: Call, *, is_legacy: bool) -> Answer:
    """Check what remains to be checked and let the route's handler answer."""
    media_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        return faults.fault(415, "Unsupported Content-Type")
    routes = [
        (route, found)
        for route in ROUTES
        if route.method == call.method and (found := route.pattern.fullmatch(call.path))
    ]
    if not routes:
        return faults.UNROUTED
    return _guarded(lambda: _handled(call, routes, is_legacy=is_legacy))


def _guarded(work: Callable[[], Answer]) -> Answer:
    """Answer with a fault for an error: a fault has the microversion's headers too."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - Nova maps whatever a handler raises
        return faults.answer_for(error)


def _handled(
    call: Call, routes: Sequence[tuple[Route, re.Match[str]]], *, is_legacy: bool
) -> Answer:
    """Answer with the one of the path's routes that is for the microversion."""
    first, params = routes[0]
    content = _decoded(call.body) if first.has_body else None
    _check_project(call.caller, params["project_id"])
    version = call.microversion
    route = next((route for route, _ in routes if route.since <= version <= route.until), None)
    if route is None:
        raise NotFound("The resource could not be found.")
    values = content if route.has_body else _query(call.query)
    fields = route.schema.fields(values, dropping=is_legacy)
    return route.handler(msgspec.structs.replace(call, params=params.groupdict()), fields)


def _decoded(body: bytes) -> object:
    """Return a body's JSON, None for an empty one."""
    if not body:
        return None
    try:
        decoded: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("Malformed request body") from None
    return decoded


def _query(query: str) -> dict[str, str]:
    """Return the values of a query, the last one of a repeated name."""
    try:
        return dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        raise InvalidInput("Query string is not UTF-8 encoded") from None


def _check_project(caller: Caller, project_id: str | None) -> None:
    """Refuse a path in another project's name; a caller without a project may use any."""
    if project_id and caller.project_id and project_id != caller.project_id:
        raise InvalidInput(
            f"Malformed request URL: URL's project_id '{project_id}'"
            f" doesn't match Context's project_id '{caller.project_id}'"
        )
