"""Errors as Nova says them: one envelope, one table from error to status, for every route.

Whoever meets an error returns ``answer_for(error)``; what the table does not know is a fault of
ours (500), is logged with its traceback, and tells the caller no more than its class.
"""

from __future__ import annotations

import logging

import msgspec

from servicegroup.api.call import Answer
from servicegroup.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Unauthorized,
    Unavailable,
)

RETRY_AFTER = 2
"""Seconds after which a caller that got 503 should ask again."""

NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    408: "requestTimeout",
    409: "conflictingRequest",
    413: "overLimit",
    414: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    431: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
"""The envelope's name by status; any other status, 406 and 500 included, is a computeFault."""

STATUSES: dict[type, int] = {
    InvalidInput: 400,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Unavailable: 503,
}
"""The status of an error's class or of the nearest class it descends from."""

UNROUTED = Answer(
    404,
    b"404 Not Found\n\nThe resource could not be found.\n\n   ",
    "text/plain; charset=UTF-8",
)
"""What a path or method that is not part of Nova's API gets: not the envelope, no versions."""

_UNEXPECTED = (
    "Unexpected API Error. Please tell the operator of this control plane the request id of this"
    " answer; the log has the cause."
)

_LOG = logging.getLogger(__name__)


def fault(status: int, message: str) -> Answer:
    """Return an error in Nova's envelope; 503 says when to ask again (``Retry-After``)."""
    content = {NAMES.get(status, "computeFault"): {"code": status, "message": message}}
    headers = (("Retry-After", str(RETRY_AFTER)),) if status == 503 else ()
    return Answer(status, msgspec.json.encode(content), "application/json; charset=UTF-8", headers)


def over_limit(seconds: int, message: str = "This client asks too often.") -> Answer:
    """Return 429 as Nova's limits say it, with the seconds after which to ask again."""
    wait = str(seconds)
    content = {
        "overLimit": {
            "code": 429,
            "message": message,
            "details": f"Ask again after {wait} s.",
            "retryAfter": wait,
        }
    }
    headers = (("Retry-After", wait),)
    return Answer(429, msgspec.json.encode(content), "application/json; charset=UTF-8", headers)


def _unauthorized(error: Unauthorized) -> Answer:
    """Return 401 in Keystone's form, which is not Nova's envelope."""
    content = {"error": {"code": 401, "title": "Unauthorized", "message": str(error)}}
    headers = (("WWW-Authenticate", f'Keystone uri="{error.uri}"'),)
    return Answer(401, msgspec.json.encode(content), "application/json", headers)


def answer_for(error: Exception) -> Answer:
    """Return what the caller is told of an error; never raises."""
    if isinstance(error, Unauthorized):
        return _unauthorized(error)
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return fault(STATUSES[kind], str(error))
    _LOG.error("A request failed unexpectedly.", exc_info=error)
    return fault(500, f"{_UNEXPECTED}\n{type(error)}")
