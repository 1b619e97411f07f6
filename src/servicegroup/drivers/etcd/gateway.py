"""etcd's JSON gateway: one question, answered by whichever endpoint does so in time (ET-7).

Only what the driver needs of the protocol is here, for servers from 3.4. Bytes are base64 and
64-bit integers are strings in this JSON; msgspec reads and writes both.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import urllib3
from urllib3.exceptions import ProtocolError

from servicegroup.decoding import decoder
from servicegroup.drivers.etcd import releases
from servicegroup.drivers.etcd.causes import (
    EXHAUSTED,
    PASSED_OVER,
    Faulted,
    StreamFault,
    advice,
    problem,
    unavailable,
)
from servicegroup.errors import DriverUnavailable

# What gRPC calls the ways to fail; all others are tried again at another endpoint.
_INVALID, _NOT_FOUND, _FORBIDDEN, _UNAUTHENTICATED = 3, 5, 7, 16
_FINAL = frozenset({_INVALID, _NOT_FOUND, _FORBIDDEN, _UNAUTHENTICATED})


class Header(msgspec.Struct, frozen=True):
    """Which store answered, how many changes it has seen, and in the term of which leader."""

    cluster_id: int = 0
    revision: int = 0
    raft_term: int = 0


class KeyValue(msgspec.Struct, frozen=True):
    """A key, its value, and the lease it ends with (0: none)."""

    key: bytes
    value: bytes = b""
    lease: int = 0


class Range(msgspec.Struct, frozen=True):
    """The keys of a range that were asked for, and how many there are in all."""

    kvs: list[KeyValue] = []
    count: int = 0


class _RangeResponse(msgspec.Struct, frozen=True):
    response_range: Range


class Ranges(msgspec.Struct, frozen=True):
    """The keys of several ranges, all as of one moment."""

    header: Header
    responses: list[_RangeResponse] = []


class Granted(msgspec.Struct, frozen=True, rename={"id": "ID", "ttl": "TTL"}):
    """A lease and the seconds it was granted, which may be more than were asked for (ET-9)."""

    id: int
    ttl: int


class _Left(msgspec.Struct, frozen=True, rename={"ttl": "TTL"}):
    ttl: int = 0


class KeptAlive(msgspec.Struct, frozen=True):
    """The seconds a lease lasts from now, 0 for one that is gone; or what went wrong."""

    result: _Left | None = None
    error: StreamFault | None = None


class Done(msgspec.Struct, frozen=True):
    """A change was made."""


class Status(msgspec.Struct, frozen=True):
    """What one server says of itself and its store: its version, and such as alarms."""

    version: str = ""
    errors: list[str] = []


class _Token(msgspec.Struct, frozen=True):
    token: str


class LeaseGone(DriverUnavailable):
    """The lease has ended meanwhile; another one has to be granted."""


_AUTHENTICATIONS = 3
"""Tokens that are fetched for one question at the most."""

_OLD = "revision of auth store is old"
"""What a token of before a change of users and roles is refused with, as an invalid argument."""

T = TypeVar("T")


class Gateway:
    """The endpoints of one cluster, for one process; safe to share between threads."""

    def __init__(
        self,
        endpoints: Sequence[str],
        timeout: float,
        user: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Ask ``endpoints``; every call is answered or fails within ``timeout`` seconds."""
        self._endpoints = tuple(endpoints)
        self._timeout = timeout
        self._user = user
        self._token = ""
        self._preferred = 0
        self._http = urllib3.PoolManager(maxsize=16, retries=False, ssl_context=tls)

    def ask(self, path: str, question: dict[str, Any], answer: type[T]) -> T:
        """Post a question and return its answer; raises DriverUnavailable, LeaseGone."""
        deadline = time.monotonic() + self._timeout
        try:
            if self._user is None:
                return self._ask(path, question, answer, deadline)
            return self._ask_as(self._user, path, question, answer, deadline)
        except Faulted as error:
            if error.code == _NOT_FOUND:
                raise LeaseGone(f"etcd at {self._where} has ended the lease.") from error
            raise DriverUnavailable(
                f"etcd at {self._where} refuses ({error}); check [etcd] username and password, and"
                " that this user may read and write below the prefix."
            ) from error

    def examine(self) -> list[str]:
        """Return what is wrong with single endpoints, each with the remedy.

        Raises DriverUnavailable where none of them answers, or none takes writes.
        """
        self.ask("maintenance/status", {}, Status)  # which logs in, too
        found, versions = [], {}
        for endpoint in self._endpoints:
            share = self._timeout / len(self._endpoints)
            try:
                status = self._ask_one(endpoint, "maintenance/status", {}, Status, share)
            except PASSED_OVER as error:
                found.append(advice(endpoint, error))
                continue
            versions[endpoint] = status.version
            if any("NOSPACE" in error for error in status.errors):
                raise unavailable([(endpoint, Faulted("alarm NOSPACE: out of space", EXHAUSTED))])
            if status.errors:
                found.append(advice(endpoint, Faulted(", ".join(status.errors))))
        return found + releases.advice(versions)

    def close(self) -> None:
        """Close the idle connections."""
        self._http.clear()

    @property
    def _where(self) -> str:
        return ",".join(self._endpoints)

    def _ask_as(
        self, user: tuple[str, str], path: str, question: Any, answer: type[T], deadline: float
    ) -> T:
        """Ask with a token; a token ends by itself, and with the server that gave it.

        One of a cluster with JWT ends with every change of users and roles too, which may come in
        between, so it is fetched anew a few times (F-5).
        """
        if self._token:
            with _asked_to_authenticate():
                return self._ask(path, question, answer, deadline)
        name, password = user
        who = {"name": name, "password": password}
        for _ in range(_AUTHENTICATIONS - 1):
            with _asked_to_authenticate():
                self._authenticate(who, deadline)
                return self._ask(path, question, answer, deadline)
        self._authenticate(who, deadline)
        return self._ask(path, question, answer, deadline)

    def _authenticate(self, who: dict[str, str], deadline: float) -> None:
        self._token = ""
        self._token = self._ask("auth/authenticate", who, _Token, deadline).token

    def _ask(self, path: str, question: Any, answer: type[T], deadline: float) -> T:
        """Try one endpoint after the other, from the one that answered last."""
        first, many = self._preferred, len(self._endpoints)
        problems = []
        for attempt in range(many):
            number = (first + attempt) % many
            share = (deadline - time.monotonic()) / (many - attempt)
            try:
                found = self._ask_one(self._endpoints[number], path, question, answer, share)
            except PASSED_OVER as error:
                if isinstance(error, Faulted) and error.code in _FINAL:
                    raise
                problems.append((self._endpoints[number], error))
            else:
                self._preferred = number
                return found
        raise unavailable(problems)

    def _ask_one(self, endpoint: str, path: str, question: Any, answer: type[T], share: float) -> T:
        """Ask one endpoint, which has ``share`` seconds; raises what is in ``PASSED_OVER``."""
        data = self._post(f"{endpoint}/v3/{path}", msgspec.json.encode(question), share)
        found = decoder(answer, strict=False).decode(data)
        if isinstance(found, KeptAlive) and found.error is not None:
            raise Faulted(found.error.message, found.error.grpc_code)
        return found

    def _post(self, url: str, body: bytes, share: float) -> bytes:
        """Return the body of an answer that comes within ``share`` seconds."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = self._token
        timeout = urllib3.Timeout(total=max(0.001, share))
        try:
            response = self._http.request("POST", url, body=body, headers=headers, timeout=timeout)
        except ProtocolError:  # the server had closed an idle connection: that is not its answer
            response = self._http.request("POST", url, body=body, headers=headers, timeout=timeout)
        if response.status != 200:
            raise problem(response.data, response.status)
        return response.data


@contextmanager
def _asked_to_authenticate() -> Iterator[None]:
    """Go on after the block where etcd wants another token; whatever else it says is raised."""
    try:
        yield
    except Faulted as fault:
        if fault.code != _UNAUTHENTICATED and _OLD not in str(fault):
            raise
