"""Strategy ``token``: those of the configuration and those of the database, known in memory.

The table is read anew when it has changed, so a request asks the database nothing and a database
that is away locks nobody out. Whatever is sent takes the same comparisons, in constant time.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from anyio import CapacityLimiter, to_thread
from sqlalchemy import Engine
from starlette.requests import Request

from servicegroup.api.access.certificates import certified_host
from servicegroup.api.call import Caller, Role
from servicegroup.config import Token
from servicegroup.controlplane.background import Recurring
from servicegroup.errors import ServiceGroupError, Unauthorized, Unavailable
from servicegroup.store.tokens import PREFIX, IssuedToken, Revision, digest, issued, revision

LOG = logging.getLogger(__name__)

PAUSE = 2.0
"""Seconds between two looks at whether the table changed."""

REREAD = 60.0
"""Seconds after which all are read again: the clock may have been wrong the last time (F-50)."""

IMPATIENCE = 1.0
"""Seconds between two looks for a token that is not known, however many are sent."""


class _Key(msgspec.Struct, frozen=True):
    """Who shows a secret, by its hash, until when on this process's clock."""

    sha256: str
    caller: Caller
    until: float = float("inf")


_NOBODY = _Key("0" * 64, Caller("", frozenset()), float("-inf"))


class Tokens:
    """Every token that lets somebody in; ``X-Auth-Token`` has to be one, or a certificate."""

    def __init__(self, configured: Sequence[Token], engine: Engine) -> None:
        """Accept those of the configuration, and those of the engine's database."""
        self._configured = [
            _Key(token.sha256, Caller(token.name, frozenset({Role(token.role)})))
            for token in configured
        ]
        self._engine = engine
        self._issued: dict[str, _Key] = {}
        self._revision: Revision | None = None
        self._read_at = -math.inf
        self._looked = -math.inf
        self._next_look: asyncio.Task[None] | None = None
        self._blind = False
        self._turn = CapacityLimiter(1)
        self._thread = CapacityLimiter(1)

    async def caller(self, request: Request, uri: str = "") -> Caller:
        """Return whose token it is; see ``Authenticator``. ``uri`` goes into a refusal.

        Without a token, a verified certificate is as good as a reporter's token for its host.
        """
        text = token_of(request)
        if not text and (host := certified_host(request.scope)) is not None:
            return Caller(host, frozenset({Role.REPORTER}), host=host)
        found = self._find(text)
        if found is None and is_ours(text):
            await self._look_again()
            found = self._find(text)
            if found is None and self._blind:
                raise Unavailable("The token is not known, and the database does not answer.")
        if found is None:
            raise Unauthorized(uri)
        return found

    async def run(self) -> None:
        """Follow the table; see ``Authenticator``."""
        recurring = Recurring("Reading the tokens")
        await recurring.attempt(self._refresh)
        if not (self._issued or self._configured):
            LOG.warning("There is no token yet: servicegroup token create NAME --role admin.")
        while True:
            await recurring.attempt(self._refresh)
            await asyncio.sleep(PAUSE)

    def _find(self, text: str) -> Caller | None:
        _, _, rest = text.partition("_")
        public_id, _, secret = rest.partition("_")
        issued = self._issued.get(public_id, _NOBODY)
        found = issued if hmac.compare_digest(issued.sha256, digest(secret)) else _NOBODY
        if self._configured:
            whole = digest(text)
            for key in self._configured:
                if hmac.compare_digest(key.sha256, whole):
                    found = key
        return found.caller if found.until > time.monotonic() else None

    async def _look_again(self) -> None:
        """Wait for a look at the table that begins from now on: the token may be a second old.

        Looks are a pause apart, however many tokens are sent: all that come before the next one
        wait for it, and an answer from an earlier one would refuse who was let in since.
        """
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look())
        await asyncio.shield(self._next_look)

    async def _look(self) -> None:
        await asyncio.sleep(self._looked + IMPATIENCE - time.monotonic())
        async with self._turn:
            self._next_look = None
            self._looked = time.monotonic()
            with suppress(ServiceGroupError):  # said by ``run``, which goes on trying
                await to_thread.run_sync(self._refresh, limiter=self._thread)

    def _refresh(self) -> None:
        self._blind = True
        found = revision(self._engine)
        now = time.monotonic()
        if found != self._revision or now - self._read_at > REREAD:
            self._read_at = now
            self._issued = {token.public_id: _key(token) for token in issued(self._engine)}
            self._revision = found
        self._blind = False


def token_of(request: Request) -> str:
    """Return the token that was sent, empty for none."""
    return request.headers.get("x-auth-token", "").strip()


def is_ours(text: str) -> bool:
    """Tell whether a token has the form of those that the database keeps."""
    return text.startswith(f"{PREFIX}_")


def _key(token: IssuedToken) -> _Key:
    # A role that only a newer release knows lets nobody do anything, and locks nobody else out.
    roles = frozenset(role for role in Role if role.value == token.role)
    caller = Caller(token.name, roles, host=token.host)
    if token.remaining is None:
        return _Key(token.sha256, caller)
    return _Key(token.sha256, caller, time.monotonic() + token.remaining)
