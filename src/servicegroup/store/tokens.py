"""Tokens as they are kept: whom each lets in, as what and until when; of its secret only a hash.

A token reads ``sg_<public id>_<secret>``. Its secret is long and random, so that one SHA-256 of it
cannot be guessed back. A rotation is a further row of the same name.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, RowMapping, func, select
from sqlalchemy.exc import IntegrityError

from servicegroup.errors import Conflict, NotFound
from servicegroup.events import Event, EventKind
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.events import append
from servicegroup.store.tables import tokens

PREFIX = "sg"
"""What every token begins with, so that those who scan for leaked ones know it."""

Revision = tuple[int, int | None, datetime | None]
"""Differs whenever the tokens do: how many there are, the newest one, and when it was made."""


class IssuedToken(msgspec.Struct, frozen=True):
    """A token without its secret; it ends at ``expires_at``, in ``remaining`` seconds."""

    name: str
    public_id: str
    sha256: str
    role: str
    host: str | None
    created_at: datetime
    expires_at: datetime | None
    remaining: float | None


class _Overtaken(Exception):
    """Another process did the same, faster."""


def digest(secret: str) -> str:
    """Return what is kept of a secret, in hex."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def create(
    engine: Engine,
    name: str,
    role: str,
    host: str | None,
    lifetime: timedelta | None,
    by: str | None = None,
) -> str:
    """Make a token and return it, which nobody can a second time; it ends after ``lifetime``.

    ``by`` is who wants it, for the events. Raises Conflict where the name is taken,
    StoreUnavailable.
    """
    public_id, secret = _random()

    def work(connection: Connection) -> None:
        row = {"name": name, "number": 1, "role": role, "host": host}
        _add(connection, row, public_id, secret, lifetime)
        whom = f" for {host}" if host else ""
        _tell(connection, EventKind.TOKEN_CREATE, by, f"{name}: {role}{whom}")

    try:
        write(engine, work)
    except IntegrityError:
        raise Conflict(f"There is a token {name} already; rotate it, or revoke it first.") from None
    return _text(public_id, secret)


def rotate(engine: Engine, name: str, grace: timedelta, by: str | None = None) -> str:
    """Make a new secret for a token and return it; the old one is valid for ``grace`` more.

    The new one lives as long as the old one was made for. Raises NotFound, Conflict where another
    process rotates it too, StoreUnavailable.
    """
    public_id, secret = _random()
    named = tokens.c.name == name

    def work(connection: Connection) -> None:
        rows = select(tokens).where(named).order_by(tokens.c.number.desc()).with_for_update()
        old = connection.execute(rows).mappings().first()
        if old is None and connection.execute(select(tokens.c.id).where(named)).first():
            raise _Overtaken  # all its rows were replaced while this waited for one of them
        if old is None:
            raise NotFound(f"There is no token {name}; see servicegroup token list.")
        end = connection.execute(select(utcnow())).scalar_one() + grace
        lasts = tokens.c.expires_at.is_(None) | (tokens.c.expires_at > end)
        connection.execute(tokens.delete().where(named, tokens.c.expires_at <= end - grace))
        connection.execute(tokens.update().where(named, lasts).values(expires_at=end))
        lifetime = old["expires_at"] and old["expires_at"] - old["created_at"]
        row = {"name": name, "number": old["number"] + 1, "role": old["role"], "host": old["host"]}
        _add(connection, row, public_id, secret, lifetime)
        left = f"{name}: the old secret is valid for {grace.total_seconds():g} s"
        _tell(connection, EventKind.TOKEN_ROTATE, by, left)

    try:
        write(engine, work)
    except (IntegrityError, _Overtaken):
        raise Conflict(f"Token {name} is being rotated by another process.") from None
    return _text(public_id, secret)


def revoke(engine: Engine, name: str, by: str | None = None) -> None:
    """Remove a token with every secret of it. Raises NotFound, StoreUnavailable."""
    gone = tokens.delete().where(tokens.c.name == name)

    def work(connection: Connection) -> None:
        if not connection.execute(gone).rowcount:
            raise NotFound(f"There is no token {name}; see servicegroup token list.")
        _tell(connection, EventKind.TOKEN_REVOKE, by, name)

    write(engine, work)


def issued(engine: Engine) -> list[IssuedToken]:
    """Return all tokens that have not expired, by name and age. Raises StoreUnavailable."""
    query = select(utcnow().label("now"), tokens).order_by(tokens.c.name, tokens.c.number)
    with reading(engine) as connection:
        found = [_issued(row) for row in connection.execute(query).mappings()]
    return [token for token in found if token.remaining is None or token.remaining > 0]


def revision(engine: Engine) -> Revision:
    """Return what tells whether to read the tokens again. Raises StoreUnavailable."""
    query = select(func.count(), func.max(tokens.c.id), func.max(tokens.c.created_at))
    with reading(engine) as connection:
        count, newest, made = connection.execute(query).one()
    return count, newest, made


def clamp_future_tokens(connection: Connection, now: datetime) -> None:
    """Date tokens that were made later than now to now, with the lifetime they were made for.

    The clock was ahead when they were made; else they would last so much longer, and so would the
    secrets that they replaced (F-50).
    """
    names = select(tokens.c.name).where(tokens.c.created_at > now)
    secrets_of = select(tokens.c.id, tokens.c.name, tokens.c.created_at, tokens.c.expires_at)
    newest_first = secrets_of.where(tokens.c.name.in_(names)).order_by(tokens.c.number.desc())
    replaced_at: dict[str, datetime] = {}
    for id_, name, made, end in connection.execute(newest_first).all():
        replaced = replaced_at.get(name)
        if end is not None and replaced is not None and end >= replaced:
            end = now + (end - replaced)
        elif end is not None and made > now:
            end -= made - now
        dated = {"created_at": min(made, now), "expires_at": end}
        connection.execute(tokens.update().where(tokens.c.id == id_).values(dated))
        if made > now:
            replaced_at[name] = made


def _add(
    connection: Connection,
    row: Mapping[str, Any],
    public_id: str,
    secret: str,
    lifetime: timedelta | None,
) -> None:
    now = connection.execute(select(utcnow())).scalar_one()
    made = {"created_at": now, "expires_at": now + lifetime if lifetime else None}
    key = {"public_id": public_id, "sha256": digest(secret)}
    connection.execute(tokens.insert().values({**row, **made, **key}))


def _tell(connection: Connection, kind: EventKind, actor: str | None, detail: str) -> None:
    now = connection.execute(select(utcnow())).scalar_one()
    append(connection, [Event(at=now, kind=kind, actor=actor, detail=detail[:255])])


def _random() -> tuple[str, str]:
    return secrets.token_hex(6), secrets.token_hex(24)


def _text(public_id: str, secret: str) -> str:
    return f"{PREFIX}_{public_id}_{secret}"


def _issued(row: RowMapping) -> IssuedToken:
    end = row["expires_at"]
    remaining = None if end is None else (end - row["now"]).total_seconds()
    kept = {name: row[name] for name in IssuedToken.__struct_fields__ if name in row}
    return IssuedToken(**kept, remaining=remaining)
