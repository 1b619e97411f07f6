"""The way to the register: an agent's, with what a mirror saw beside the reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from servicegroup.agent.client import understood
from servicegroup.agent.control_planes import ControlPlanes
from servicegroup.bodies import MOST_LIVES
from servicegroup.errors import InvalidInput
from servicegroup.messages import Report, Reported
from servicegroup.mirror.apis import Seen
from servicegroup.mirrors import MOST_GONE, MOST_SERVICES, Kept, Look, Looked, Mirrored

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds a control plane has for an answer; a thousand new services are one."""


class Register:
    """One mirrored API in a register. Each method raises Unavailable, InvalidInput, Conflict."""

    def __init__(self, planes: ControlPlanes, mirror: str, endpoint: str) -> None:
        """Speak for the ``mirror`` of that name, of the API at ``endpoint``."""
        self.mirror = mirror
        self._planes = planes
        self._endpoint = endpoint

    def open(self) -> list[Kept]:
        """Return the services that the register mirrors from this API by now."""
        return self._look(opening=True).services

    def tell(self, seen: Sequence[Seen], now: datetime) -> Looked:
        """Tell of services, as of ``now`` by the clock of their API."""
        kept: list[Kept] = []
        refused: list[str] = []
        services: list[Mirrored] = []
        for one in seen:
            try:
                services.append(one.mirrored(now))
            except InvalidInput as error:
                refused.append(f"{one.binary!r} on host {one.host!r} is left out: {error}")
        for start in range(0, len(services), MOST_SERVICES):
            looked = self._look(services=services[start : start + MOST_SERVICES])
            kept += looked.services
            refused += looked.refused
        return Looked(kept, refused)

    def report(self, reports: Sequence[Report]) -> list[str]:
        """Report for services, and return the uuids of those that have to be told anew."""
        lost: set[str] = set()
        for start in range(0, len(reports), MOST_LIVES):
            some = {"reports": reports[start : start + MOST_LIVES]}
            answer = self._ask("/v1/reports", some, Reported)
            lost |= answer.deleted | answer.superseded | answer.unknown | answer.left
        return sorted(lost)

    def end_look(self, gone: Sequence[str], *, complete: bool) -> None:
        """Delete what is gone, and say that everybody has been told of, if that is so."""
        for start in range(0, len(gone), MOST_GONE):
            self._look(gone=gone[start : start + MOST_GONE])
        if complete:
            self._look(answered=True)

    def forget(self) -> None:
        """Delete all services of this mirror, and the mirror."""
        self._look(ending=True)

    def _look(self, **said: Any) -> Looked:
        return self._ask("/v1/mirrors", Look(self.mirror, self._endpoint, **said), Looked)

    def _ask(self, path: str, content: object, answer: type[T]) -> T:
        return self._planes.request(
            "POST", path, content, TIMEOUT, lambda url, reply: understood(url, reply, answer)
        )
