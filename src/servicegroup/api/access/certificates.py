"""Which host a client has proved to be, by a certificate that TLS has verified.

The connection reads the certificate once, after the handshake, and says so in the scope of each of
its requests; no header can.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Any

from servicegroup.controlplane.clients import client_name

CERTIFIED = "servicegroup.certified_host"
"""Where a request's scope has the host."""
CERTIFICATE_ENDS = "servicegroup.certificate_ends"
"""Where it has when that host's certificate ends."""


def certified_host(scope: Mapping[str, Any]) -> str | None:
    """Return the host that the client's certificate names, None without a certificate."""
    host: str | None = scope.get(CERTIFIED)
    return host


def client_of(scope: Mapping[str, Any]) -> str | None:
    """Return the client that sends a request, by its certificate or address; None: this host."""
    address, _ = scope.get("client") or ("", 0)
    return client_name(certified_host(scope), address)


def certify(scope: Any, host: str | None, ends: float | None = None) -> None:
    """Say in a request's scope which host sends it, and when its certificate ``ends``."""
    scope[CERTIFIED] = host
    scope[CERTIFICATE_ENDS] = ends


def may_expire(scope: Mapping[str, Any]) -> bool:
    """Tell whether the connection was begun with a client's certificate."""
    return scope.get(CERTIFICATE_ENDS) is not None


def has_expired(scope: Mapping[str, Any]) -> bool:
    """Tell whether the client's certificate has ended since its connection began."""
    ends: float | None = scope.get(CERTIFICATE_ENDS)
    return ends is not None and time.time() > ends


def end_of(certificate: Mapping[str, Any]) -> float:
    """Return when a verified certificate ends, in seconds of ``time.time``."""
    return ssl.cert_time_to_seconds(certificate["notAfter"])


def host_of(certificate: Mapping[str, Any] | None) -> str | None:
    """Return the host of a verified certificate, given as ``ssl`` gives it.

    That is the first DNS name among the alternative names, else the common name. A name with a
    wildcard is no host.
    """
    certificate = certificate or {}
    names = [name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        subject = certificate.get("subject", ())
        names = [name for part in subject for kind, name in part if kind == "commonName"]
    return next((name for name in names if "*" not in name), None)
