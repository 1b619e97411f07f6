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

from servicegroup.api.large import Large
from servicegroup.errors import Forbidden
from servicegroup.group import ServiceGroup

MAX_BODY = 1024 * 1024
"""Bytes a request body may have; a report of 5,000 services fits."""


class Role(enum.StrEnum):
    """What a caller may do: everything, read, or report for services."""

    ADMIN = "admin"
    READER = "reader"
    REPORTER = "reporter"


class Rule(msgspec.Struct, frozen=True):
    """A line of the policy: its name, the roles that may, and Keystone's default for it.

    ``check`` is in oslo.policy's language; ``scopes`` are the kinds of Keystone's tokens that may.
    """

    name: str
    roles: frozenset[Role]
    check: str
    scopes: tuple[str, ...]
    what: str


class Caller(msgspec.Struct, frozen=True):
    """Who asks, as authentication found them; ``user`` is what events call them.

    ``project_id`` is None where there is none. Who has a ``host`` speaks for its services only.
    """

    user: str
    roles: frozenset[Role]
    project_id: str | None = None
    host: str | None = None

    def may(self, rule: Rule) -> bool:
        """Tell whether the policy lets this caller do what the rule is about."""
        return not self.roles.isdisjoint(rule.roles)

    def needs(self, rule: Rule) -> str:
        """Return what a caller who may not is lacking."""
        return f"the role {' or '.join(sorted(rule.roles))}"

    def must(self, rule: Rule) -> None:
        """Raise Forbidden, in Nova's words, unless the caller may."""
        if not self.may(rule):
            raise Forbidden(f"Policy doesn't allow {rule.name} to be performed.")


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
    """One response; ``body`` is what goes out, already encoded, unless it is a ``large`` one."""

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    large: Large | None = None


Handler = Callable[[Call], Answer]


def json_answer(content: Any, status: int = 200) -> Answer:
    """Return an answer whose body is the content as JSON."""
    return Answer(status, msgspec.json.encode(content))
