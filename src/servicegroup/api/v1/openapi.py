"""The OpenAPI document of ``/v1``, made of the route table and the types it names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

import servicegroup
from servicegroup.api.streaming import MAX_WAIT
from servicegroup.events import CURSOR_PATTERN, EventKind

if TYPE_CHECKING:
    from servicegroup.api.v1.routes import Route

_FAULTS = {
    "400": "The request is malformed; the message names the field.",
    "401": "No valid X-Auth-Token was given.",
    "403": "The caller's role may not do this.",
    "404": "There is no such service.",
    "408": "The request did not arrive in time.",
    "409": "The record as it stands forbids it.",
    "413": "The body is too large.",
    "429": "The client asks too often; Retry-After says when to go on, in seconds.",
    "431": "The headers are too large.",
    "503": "The database does not answer; Retry-After says when to try again, in seconds.",
}

_NAME = {"type": "string", "pattern": r"^[^\x00]*$"}
_ID = {"type": "string", "format": "uuid"}
_MOMENT = {"type": "string", "format": "date-time"}

_PARAMETERS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("host", "binary", "group", "zone"), _NAME),
    **dict.fromkeys(("uuid", "marker"), _ID),
    **dict.fromkeys(("since", "until"), _MOMENT),
    "state": {"type": "string", "enum": ["up", "down"]},
    "kind": {"type": "string", "enum": [str(kind) for kind in EventKind]},
    "after": {"type": "string", "pattern": f"^{CURSOR_PATTERN}$"},
    "wait": {"type": "integer", "minimum": 0, "maximum": MAX_WAIT},
    "limit": {"type": "integer", "minimum": 1},
}
"""What a parameter may be, by its name; what it means is the same on every path."""

_FAULT_SCHEMA = {
    "type": "object",
    "description": "One member, named after the kind of fault, as in Nova.",
    "additionalProperties": {
        "type": "object",
        "required": ["code", "message"],
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
    },
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the given routes; it has no words for a WebSocket."""
    routes = [route for route in routes if route.status != 101]
    types = [kind for route in routes for kind in (route.takes, route.gives) if kind is not None]
    unique = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(
        unique, ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(unique, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "servicegroup",
            "version": servicegroup.__version__,
            "description": "Which services exist, which of them are up, and why.",
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Fault": _FAULT_SCHEMA},
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}
            },
        },
    }


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": route.summary,
        "description": f"Roles: {', '.join(sorted(route.roles))}.",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _ID}
            for name in re.findall(r"{(\w+)}", route.path)
        ]
        + [_query(route, name) for name in route.query],
        "responses": {str(route.status): _content(route.summary, schemas.get(route.gives))}
        | {code: _content(text, _ref("Fault")) for code, text in _FAULTS.items()},
    }
    if route.takes is not None:
        body = _content("", schemas[route.takes])
        operation["requestBody"] = {"required": True, "content": body["content"]}
    return operation


def _query(route: Route, name: str) -> dict[str, Any]:
    """Return a parameter; an empty one is as good as none, which is what a form sends."""
    schema = _PARAMETERS[name] | ({"maximum": route.page} if name == "limit" else {})
    return {"name": name, "in": "query", "allowEmptyValue": True, "schema": schema}


def _content(description: str, schema: Any) -> dict[str, Any]:
    if schema is None:
        return {"description": description}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
