"""Who asks: everybody, or who shows a token or a certificate; a strategy decides.

Nobody asks through a page of another origin, which a browser on the same machine may show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import Engine
from starlette.requests import Request

from servicegroup.api.access.tokens import Tokens
from servicegroup.api.call import Caller, Role
from servicegroup.config import Settings
from servicegroup.errors import Forbidden

EVERYBODY = Caller("anonymous", frozenset(Role))
"""The one caller there is where nobody is asked who they are."""


class Authenticator(Protocol):
    """Tells who sends a request."""

    async def caller(self, request: Request) -> Caller:
        """Return the caller, by the request's token or its connection's certificate.

        Raises Unauthorized for one who may not come in, Unavailable where that cannot be told now.
        """
        ...

    async def run(self) -> None:
        """Keep what callers are known by up to date, until cancelled."""
        ...


class TrustEveryone:
    """Strategy ``none``: every caller is an administrator; for loopback."""

    async def caller(self, request: Request) -> Caller:
        """Return the one caller there is."""
        return EVERYBODY

    async def run(self) -> None:
        """Nothing has to be known."""


def authenticator(settings: Settings, engine: Engine) -> Authenticator:
    """Return what the configured strategy asks for. Raises ConfigError."""
    if settings.auth_strategy == "none":
        return TrustEveryone()
    tokens = Tokens(settings.tokens, engine)
    if settings.auth_strategy == "token":
        return tokens
    from servicegroup.api.access.keystone import Keystone

    return Keystone(settings, tokens)


def refuse_foreign_pages(method: str, headers: Mapping[str, str]) -> None:
    """Raise Forbidden for what a page of another origin can make a browser send.

    A browser names the origin of each POST, and first asks whether it may send JSON to another
    one; so it does with every PATCH, PUT and DELETE. Nobody here says yes.
    """
    if method != "POST" or "origin" not in headers:
        return
    if not headers.get("content-type", "").startswith("application/json"):
        raise Forbidden("A browser's POST needs Content-Type: application/json.")
