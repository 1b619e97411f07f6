"""The questions that Nova's processes ask a register beside it, each with an answer or an error.

Who is up there is the register's verdict, so Nova and the register's own interfaces say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from servicegroup.agent.client import HttpClient, understood
from servicegroup.agent.connection import Reply
from servicegroup.errors import DriverUnavailable, ServiceGroupError
from servicegroup.events import EventFilter, Page
from servicegroup.model import Member

T = TypeVar("T")

TIMEOUT = 3.0
"""Seconds that each control plane has for an answer, beyond those it waits for an event."""

PAGE = 1_000
"""Services that are asked for at once: some 1.5 MB."""


class _Signal(msgspec.Struct):
    detail: str = ""


class _Evidence(msgspec.Struct):
    presence: _Signal | None = None
    observed: bool = False


class _Verdict(msgspec.Struct):
    state: str
    reason: str
    evidence: _Evidence


class Known(msgspec.Struct):
    """A service of the register, as far as it matters here."""

    uuid: str
    host: str
    topic: str
    incarnation: int
    verdict: _Verdict

    @property
    def member(self) -> Member:
        """The service as Nova's layer knows it."""
        return Member(self.topic, self.host)

    @property
    def words(self) -> str:
        """What its session's state is, for people."""
        presence = self.verdict.evidence.presence
        return presence.detail if presence else ""


class _Services(msgspec.Struct):
    services: list[Known]
    next: str | None = None


class _Service(msgspec.Struct):
    service: Known


class Driver(msgspec.Struct):
    """The driver that a register obeys, and the seconds in which it and the record find a crash."""

    name: str
    shadow: bool
    detection_seconds: float | None
    silence_seconds: float


class _Drivers(msgspec.Struct):
    drivers: list[Driver]


class Register:
    """A register at the URLs of its control planes; safe to share between threads."""

    def __init__(self, client: HttpClient) -> None:
        """Ask through ``client``, which is this one's alone; nothing is asked before a question."""
        assert client.planes is not None  # noqa: S101 - of an HttpClient they are always there
        self._client = client
        self._planes = client.planes
        client.timeout = TIMEOUT * len(self._planes)  # which they share

    def events(self, wanted: EventFilter, seconds: float) -> Page:
        """Return events, waiting so long for the first one. Raises as ``HttpClient.events``."""
        return self._client.events(wanted, seconds)

    def services(self) -> list[Known]:
        """Return all services. Raises Unavailable, Forbidden."""
        found: list[Known] = []
        marker: dict[str, str] = {}
        while True:
            page = self._get("/v1/services", {"limit": str(PAGE), **marker}, _Services)
            found += page.services
            if page.next is None:
                return found
            marker = {"marker": page.next}

    def is_observed(self) -> bool:
        """Tell whether its database answers and somebody observes there, who finds the dead.

        Raises Unavailable, Forbidden.
        """
        first = self._get("/v1/services", {"limit": "1"}, _Services).services
        return all(one.verdict.evidence.observed for one in first)

    def state(self, uuid: str) -> str:
        """Return ``up`` or ``down`` for a service. Raises ServiceGroupError."""
        return self._get(f"/v1/services/{uuid}", {}, _Service).service.verdict.state

    def delete(self, member: Member) -> None:
        """Delete what the register has of a member. Raises DriverUnavailable."""
        try:
            names = {"host": member.host, "group": member.group}
            for one in self._get("/v1/services", names, _Services).services:
                self._request("DELETE", f"/v1/services/{one.uuid}", _gone)
        except ServiceGroupError as error:
            raise DriverUnavailable(str(error)) from error

    def driver(self) -> Driver:
        """Return the driver that it obeys. Raises DriverUnavailable."""
        try:
            drivers = self._get("/v1/drivers", {}, _Drivers).drivers
        except ServiceGroupError as error:
            raise DriverUnavailable(str(error)) from error
        return next(one for one in drivers if not one.shadow)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._client.close()

    def _get(self, path: str, query: dict[str, str], answer: type[T]) -> T:
        def read(url: str, reply: Reply) -> T:
            return understood(url, reply, answer)

        return self._request("GET", f"{path}?{urlencode(query)}" if query else path, read)

    def _request(self, method: str, path: str, read: Callable[[str, Reply], T]) -> T:
        return self._planes.request(method, path, None, TIMEOUT, read)


def _gone(url: str, reply: Reply) -> None:
    """Take a deletion for done, by whomever; else raise what the answer means."""
    if reply.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
        understood(url, reply, object)
