"""What a handler gets and gives: a decoded request in, an answer out, no framework in between.

A handler is a plain function ``(Call) -> Answer`` that may touch SQL; the application runs it in a
worker thread and maps the errors it raises to HTTP at one edge (``faults``). What takes a whole
list of services it leaves for a second step, ``Answer.later``, of which few run at once.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

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


NOT_ASKED = Caller("", frozenset())
"""Stands for the caller of what is open to everybody: nobody was asked who they are."""


class Call(msgspec.Struct, frozen=True):
    """One request; ``query`` is what stood after the question mark, ``microversion`` Nova's.

    ``arrived`` is when, in seconds of ``time.monotonic``.
    """

    group: ServiceGroup
    caller: Caller
    method: str
    path: str
    params: Mapping[str, str] = {}
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    microversion: tuple[int, int] = (2, 1)
    arrived: float = msgspec.field(default_factory=time.monotonic)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The query's names and values, in order and with repetitions."""
        return parse_qsl(self.query, keep_blank_values=True)


class Answer(msgspec.Struct, frozen=True):
    """One response; ``body`` is what goes out, already encoded, unless it is a ``large`` one.

    With ``later`` it is not made yet: that is what makes it, once its turn has come. Answers with
    an equal ``question`` are alike if they are made at the same time, whoever asks; None is like no
    other.
    """

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    large: Large | None = None
    later: Callable[[], Answer] | None = None
    question: Hashable = None


Handler = Callable[[Call], Answer]


def json_answer(content: Any, status: int = 200) -> Answer:
    """Return an answer whose body is the content as JSON."""
    return Answer(status, msgspec.json.encode(content))
