"""Why endpoints of etcd did not do what they were asked, each by its right name (F-17)."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError

from servicegroup.decoding import decoder
from servicegroup.errors import DriverUnavailable

EXHAUSTED = 8
"""gRPC's code for a server that has no more of something: space, or time for so many."""


class StreamFault(msgspec.Struct, frozen=True):
    """What went wrong with a keepalive, which the gateway says in a form of its own."""

    message: str = ""
    grpc_code: int = 0


class _Fault(msgspec.Struct, frozen=True):
    error: str | StreamFault
    code: int = 0


class Faulted(Exception):
    """etcd's answer is that it will not, or cannot; ``code`` is gRPC's."""

    def __init__(self, message: str, code: int = 0) -> None:
        """Keep what it says."""
        super().__init__(message)
        self.code = code


class NoGateway(Exception):
    """Somebody answers, and it is not etcd's JSON gateway."""


PASSED_OVER = (HTTPError, msgspec.DecodeError, Faulted, NoGateway)
"""What may be wrong with one endpoint while another one answers."""


class Cause(enum.Enum):
    """What is wrong with an endpoint, and the remedy."""

    NO_GATEWAY = (
        "is no JSON gateway",
        "name servers of etcd, not its grpc-proxy, without --enable-grpc-gateway=false",
    )
    NO_SPACE = (
        "has no space left and refuses to write",
        "compact and defragment it, or raise --quota-backend-bytes, then disarm its NOSPACE alarm",
    )
    OVERLOADED = ("has more to do than it can", "take load off it")
    NO_TLS = ("has no TLS that this host trusts", "check [etcd] ca and the servers' certificates")
    NO_QUORUM = ("has no quorum, or does not answer", "check the health of its members")
    AWAY = ("cannot be reached", "check that it runs and that this host reaches it")


def problem(data: bytes, status: int) -> Exception:
    """Return what an answer with another status than 200 means.

    Where it is not etcd that answers, a failing server (5xx) is a proxy that reaches none.
    """
    try:
        found = decoder(_Fault, strict=False).decode(data)
    except msgspec.DecodeError:
        return (Faulted if status >= 500 else NoGateway)(f"HTTP {status}")
    if isinstance(found.error, StreamFault):
        return Faulted(found.error.message, found.error.grpc_code)
    return Faulted(found.error, found.code)


def advice(endpoint: str, error: Exception) -> str:
    """Return what is wrong with one endpoint, a colon, and what to do."""
    what, remedy = _cause(error).value
    return f"etcd at {endpoint} {what}: {remedy}."


def unavailable(problems: Sequence[tuple[str, Exception]]) -> DriverUnavailable:
    """Return the sentence for endpoints of which each had its problem.

    Endpoints with one cause are named together, and the remedies follow.
    """
    found: dict[Cause, list[tuple[str, Exception]]] = {}
    for endpoint, error in problems:
        found.setdefault(_cause(error), []).append((endpoint, error))
    causes = [cause for cause in Cause if cause in found]
    clauses = [
        f"at {','.join(endpoint for endpoint, _ in found[cause])} {cause.value[0]}"
        f" ({found[cause][-1][1]})"
        for cause in causes
    ]
    remedies = "; ".join(cause.value[1] for cause in causes)
    return DriverUnavailable(f"etcd {', '.join(clauses)}; {remedies}.")


def _cause(error: Exception) -> Cause:
    if isinstance(error, NoGateway | msgspec.DecodeError):
        return Cause.NO_GATEWAY
    if isinstance(error, Faulted) and error.code == EXHAUSTED:
        return Cause.NO_SPACE if "space" in str(error) else Cause.OVERLOADED
    if isinstance(error, SSLError):
        return Cause.NO_TLS
    return Cause.AWAY if isinstance(error, NewConnectionError) else Cause.NO_QUORUM
