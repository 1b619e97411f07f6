"""Who asks: no questions on loopback, or a static token that is kept only as its hash.

Nobody asks through a page of another origin, which a browser on the same machine may show.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Protocol

from servicegroup.api.call import Caller, Role
from servicegroup.config import Settings, Token
from servicegroup.errors import Forbidden


class Authenticator(Protocol):
    """Tells who sends a request, from its headers (lower-case names)."""

    def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Return the caller, or None for one who may not come in (401)."""


class TrustEveryone:
    """Strategy ``none``: every caller is an administrator; for loopback."""

    _caller = Caller("anonymous", frozenset(Role))

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Return the one caller there is."""
        return self._caller


class StaticTokens:
    """Strategy ``token``: X-Auth-Token must hash to one of the configured tokens."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Accept the given tokens."""
        self._tokens = tokens

    def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Compare with every token, in constant time, so that timing tells nothing."""
        text = headers.get("x-auth-token", "")
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        found = [token for token in self._tokens if hmac.compare_digest(token.sha256, digest)]
        return Caller(found[0].role, frozenset({Role(found[0].role)})) if found else None


def authenticator(settings: Settings) -> Authenticator:
    """Return what the configured strategy asks for."""
    return StaticTokens(settings.tokens) if settings.auth_strategy == "token" else TrustEveryone()


def refuse_foreign_pages(method: str, headers: Mapping[str, str]) -> None:
    """Raise Forbidden for what a page of another origin can make a browser send.

    A browser names the origin of each POST, and first asks whether it may send JSON to another
    one; so it does with every PATCH, PUT and DELETE. Nobody here says yes.
    """
    if method != "POST" or "origin" not in headers:
        return
    if not headers.get("content-type", "").startswith("application/json"):
        raise Forbidden("A browser's POST needs Content-Type: application/json.")
