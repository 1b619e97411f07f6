"""Registrations, reports, leaves and events over HTTP, in the control plane's own words (``/v1``).

Nothing is sent twice to the same control plane: retrying is the heart's. ``ControlPlanes`` says
which of several is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import msgspec

from servicegroup.agent.connection import Reply
from servicegroup.agent.control_planes import ControlPlanes
from servicegroup.agent.credentials import TlsFiles
from servicegroup.agent.heart import Busy
from servicegroup.decoding import decoder
from servicegroup.errors import (
    Conflict,
    ControlPlaneUnavailable,
    Forbidden,
    InvalidInput,
    ServiceGroupError,
)
from servicegroup.keepalive import Keepalive
from servicegroup.messages import Leave, Refusals, Report, Reported

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from servicegroup.events import EventFilter, Page

DEFAULT_URL = "http://127.0.0.1:8774"
DEFAULT_TIMEOUT = 5.0

_HEARING = 0.25
"""The share of an attempt that must be left to hear the answer to a registration (F-4).

One whose answer nobody hears is obeyed all the same: each try would make another incarnation.
"""

T = TypeVar("T")
_Seconds = Annotated[float, msgspec.Meta(gt=0)]


class DriverSettings(msgspec.Struct, frozen=True):
    """A backend to heartbeat to: the driver's name and options, and whether it is a shadow."""

    name: str
    shadow: bool = False
    options: dict[str, Any] = {}


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What every member keeps to; ``fingerprint`` changes when anything of it does.

    Durations are seconds. ``drivers`` are those with a backend that members write to; with a
    ``session`` they hold one with a control plane.
    """

    report_interval: _Seconds
    service_down_time: _Seconds
    heartbeat_interval: _Seconds
    membership_ttl: _Seconds
    drivers: tuple[DriverSettings, ...] = ()
    session: Keepalive | None = None
    fingerprint: str = ""


class Joined(Terms, frozen=True, kw_only=True):
    """The control plane's answer to a registration: which life this is, and its terms."""

    uuid: str
    incarnation: int


class Client(Protocol):
    """The way to a control plane, in process or over a network; safe to share between threads.

    Each call takes at most ``timeout`` seconds, which the membership sets. Each raises
    ControlPlaneUnavailable for what may work later, and InvalidInput, Conflict or Forbidden.
    ``unanswered`` counts the requests without an answer: each may have been, or may be, obeyed.
    ``planes`` are the control planes that a session can be held with, None for none.
    """

    timeout: float
    planes: ControlPlanes | None

    @property
    def unanswered(self) -> int:
        """Requests without an answer so far."""
        ...

    def register(self, host: str, binary: str, group: str, zone: str, version: int) -> Joined:
        """Begin a new incarnation; an empty group or zone is the control plane's to choose."""
        ...

    def report(self, reports: Sequence[Report]) -> Reported:
        """Report for services and return which were refused; the others are committed."""
        ...

    def terms(self) -> Terms:
        """Return the terms in force now."""
        ...

    def leave(self, leaves: Sequence[Leave]) -> Refusals:
        """Tell that services left and return which were refused; the others are committed."""
        ...

    def incarnation(self, uuid: str) -> int | None:
        """Return the incarnation the record has now, for the log; None where it is not told."""
        ...


def attempt_timeout(report_interval: float, service_down_time: float) -> float:
    """Return the seconds one attempt may take: a quarter of what a late report can afford.

    So a connection that hangs is given up early enough for several more attempts before the
    service counts as silent (AND-6, LC-7).
    """
    affordable = (service_down_time - report_interval) / 4
    return min(report_interval, affordable) if affordable > 0 else report_interval


class HttpClient:
    """A ``Client`` over HTTP, with a connection that is kept between two reports."""

    def __init__(self, url: str, token: str | Path = "", files: TlsFiles | None = None) -> None:
        """Use the control planes of a comma separated list of URLs. Raises InvalidInput."""
        self.planes: ControlPlanes | None = ControlPlanes(url, token, files)
        self._planes = self.planes
        self.timeout = DEFAULT_TIMEOUT

    @property
    def unanswered(self) -> int:
        """Requests without an answer so far; see ``Client``."""
        return self._planes.unanswered

    def register(self, host: str, binary: str, group: str, zone: str, version: int) -> Joined:
        """Begin a new incarnation; see ``Client``."""
        wanted = {"host": host, "binary": binary, "version": version}
        wanted |= {key: text for key, text in (("group", group), ("zone", zone)) if text}
        return self._call("POST", "/v1/services", wanted, Joined, hearing=_HEARING)

    def report(self, reports: Sequence[Report]) -> Reported:
        """Report for services; see ``Client``."""
        return self._call("POST", "/v1/reports", {"reports": reports}, Reported)

    def terms(self) -> Terms:
        """Return the terms in force now; see ``Client``."""
        return self._call("GET", "/v1/terms", None, Terms)

    def leave(self, leaves: Sequence[Leave]) -> Refusals:
        """Tell that services left; see ``Client``."""
        return self._call("POST", "/v1/leave", {"leaves": leaves}, Refusals)

    def incarnation(self, uuid: str) -> int | None:
        """Return the incarnation the record has now; see ``Client``."""
        try:
            return self._call("GET", f"/v1/services/{uuid}", None, _Shown).service.incarnation
        except ServiceGroupError:
            return None

    def events(self, wanted: EventFilter, seconds: float) -> Page:
        """Return events that match, waiting up to ``seconds`` for the first one.

        Raises as the other calls do, InvalidInput also for an ``after`` that was never given.
        """
        from urllib.parse import urlencode

        from servicegroup.events import RawPage

        query = urlencode({**wanted.query(), "wait": round(seconds)})
        return self._call("GET", f"/v1/events?{query}", None, RawPage, seconds).decode()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._planes.close()

    def _call(
        self,
        method: str,
        path: str,
        content: object,
        answer: type[T],
        waits: float = 0.0,
        hearing: float = 0.0,
    ) -> T:
        """Return an answer that may come ``waits`` seconds later than any other.

        ``hearing`` is the share of an attempt without which nothing is sent.
        """
        timeout = self.timeout / len(self._planes) + waits
        return self._planes.request(
            method,
            path,
            content,
            timeout,
            lambda url, reply: understood(url, reply, answer),
            timeout * hearing,
        )


class _Incarnation(msgspec.Struct):
    incarnation: int


class _Shown(msgspec.Struct):
    service: _Incarnation


class _Fault(msgspec.Struct):
    message: str = ""


REFUSALS: dict[int, type[ServiceGroupError]] = {
    400: InvalidInput,
    401: Forbidden,
    403: Forbidden,
    409: Conflict,
    413: InvalidInput,
}
"""What a control plane's refusals mean to an agent; any other status may pass by itself."""


def fault_messages(body: bytes) -> list[str]:
    """Return the sentences of a fault in Nova's or Keystone's envelope, none for anything else."""
    try:
        faults = decoder(dict[str, _Fault]).decode(body).values()
    except msgspec.MsgspecError:
        return []
    return [fault.message for fault in faults]


def understood(url: str, reply: Reply, answer: type[T]) -> T:
    """Return the decoded answer of a control plane, or raise what its status means."""
    if reply.status == 200:
        try:
            return decoder(answer).decode(reply.body)
        except msgspec.MsgspecError as error:
            raise ControlPlaneUnavailable(
                f"{url} gave an answer that is not a control plane's ({error})."
            ) from error
    message = f"{url} answered {reply.status}: {_message(reply.body)}"
    if reply.status in (429, 503):
        raise Busy(message, reply.retry_after)
    raise REFUSALS.get(reply.status, ControlPlaneUnavailable)(message)


def _message(body: bytes) -> str:
    """Return the sentence of a fault, or what there is."""
    if said := " ".join(fault_messages(body)):
        return said
    text = body[:200].decode(errors="replace")
    return "".join(letter if letter.isprintable() else " " for letter in text) or "nothing."
