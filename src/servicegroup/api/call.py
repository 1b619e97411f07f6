"""What a handler gets and gives: a decoded request in, an answer out, no framework in between.

A handler is a plain function ``(Call) -> Answer`` that may touch SQL; the application runs it in a
worker thread and maps the errors it raises to HTTP at one edge (``faults``).
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from servicegroup.errors import Forbidden
from servicegroup.group import ServiceGroup

MAX_BODY = 1024 * 1024
"""Bytes a request body may have; a report of 5,000 services fits."""


class Role(enum.StrEnum):
    """What a caller may do: everything, read, or report for services."""

    ADMIN = "admin"
    READER = "reader"
    REPORTER = "reporter"


class Caller(msgspec.Struct, frozen=True):
    """Who asks, as authentication found them; ``project_id`` is None where there is none."""

    user: str
    roles: frozenset[Role]
    project_id: str | None = None

    def must_be(self, *roles: Role, rule: str) -> None:
        """Raise Forbidden, naming the policy rule, unless the caller has one of the roles."""
        if self.roles.isdisjoint(roles):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.")


class Call(msgspec.Struct, frozen=True):
    """One request; ``query`` keeps order and repetitions, ``microversion`` is Nova's routes'.

    ``arrived`` is when, in seconds of ``time.monotonic``.
    """

    group: ServiceGroup
    caller: Caller
    method: str
    path: str
    params: Mapping[str, str] = {}
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = {}
    body: bytes = b""
    microversion: tuple[int, int] = (2, 1)
    arrived: float = msgspec.field(default_factory=time.monotonic)


class Answer(msgspec.Struct, frozen=True):
    """One response; ``body`` is what goes out, already encoded."""

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()


Handler = Callable[[Call], Answer]


def json_answer(content: Any, status: int = 200) -> Answer:
    """Return an answer whose body is the content as JSON."""
    return Answer(status, msgspec.json.encode(content))
