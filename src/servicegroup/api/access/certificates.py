"""Which host a client has proved to be, by a certificate that TLS has verified.

The connection reads the certificate once, after the handshake, and says so in the scope of each of
its requests; no header can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servicegroup.controlplane.clients import client_name

_KEY = "servicegroup.certified_host"


def certified_host(scope: Mapping[str, Any]) -> str | None:
    """Return the host that the client's certificate names, None without a certificate."""
    host: str | None = scope.get(_KEY)
    return host


def client_of(scope: Mapping[str, Any]) -> str | None:
    """Return the client that sends a request, by its certificate or address; None: this host."""
    address, _ = scope.get("client") or ("", 0)
    return client_name(certified_host(scope), address)


def certify(scope: Any, host: str) -> None:
    """Say in a request's scope which host sends it."""
    scope[_KEY] = host


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
