"""Tokens in memory: who is known, until when, and how little the database is asked."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, update
from starlette.requests import Request

from servicegroup.api.access import tokens as memory
from servicegroup.api.access.certificates import certify
from servicegroup.api.access.tokens import Tokens
from servicegroup.api.call import Caller, Role
from servicegroup.config import Token
from servicegroup.errors import Conflict, NotFound, Unauthorized, Unavailable
from servicegroup.store import tokens
from servicegroup.store.database import connect, write
from servicegroup.store.tables import event_log, metadata
from servicegroup.store.tables import tokens as table
from support.waiting import until

CONFIGURED = Token("admin", tokens.digest("written-in-the-file"), "root")


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'r.sqlite'}")
    metadata.create_all(engine)
    write(engine, lambda c: c.execute(event_log.insert().values(id=1, last=0, purged=0)))
    yield engine
    engine.dispose()


class Door:
    """Who stands before the tokens: asks, as a request would, and counts what SQL is asked."""

    def __init__(self, engine: Engine, *configured: Token) -> None:
        self.tokens = Tokens(configured, engine)
        self.questions = 0
        event.listen(engine, "before_cursor_execute", self._count)

    def ask(self, token: str, certified: str | None = None) -> Caller | None:
        """Return who is let in with a token, None for nobody."""
        [caller] = self.ask_at_once([token], certified)
        return caller

    def ask_at_once(self, sent: Sequence[str], certified: str | None = None) -> list[Caller | None]:
        """Return who is let in with each of these tokens, None for nobody."""

        async def ask(token: str) -> Caller | None:
            scope: dict[str, Any] = {"type": "http", "headers": [(b"x-auth-token", token.encode())]}
            if certified is not None:
                certify(scope, certified)
            with suppress(Unauthorized):
                return await self.tokens.caller(Request(scope))
            return None

        async def ask_all() -> list[Caller | None]:
            return await asyncio.gather(*map(ask, sent))

        return asyncio.run(ask_all())

    def _count(self, *_: object) -> None:
        self.questions += 1


def test_the_life_of_a_token(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IMPATIENCE", 0.0)
    door = Door(engine)
    first = tokens.create(engine, "node1", "reporter", "node1", timedelta(days=9))
    assert door.ask(first) == Caller("node1", frozenset({Role.REPORTER}), host="node1")
    with pytest.raises(Conflict):
        tokens.create(engine, "node1", "admin", None, None)

    second = tokens.rotate(engine, "node1", timedelta(seconds=60))
    assert door.ask(second) == door.ask(first), "both, for the grace"
    kept = tokens.issued(engine)
    lives = [round((one.expires_at or one.created_at).timestamp()) for one in kept]
    assert lives[0] < lives[1]
    assert kept[1].expires_at == kept[1].created_at + timedelta(days=9), (
        "as long as it was made for"
    )

    third = tokens.rotate(engine, "node1", timedelta())
    until(lambda: (door.ask(third), door.ask(second), door.ask(first))[1:] == (None, None))
    assert door.ask(third)
    tokens.revoke(engine, "node1")
    tokens.create(engine, "another", "reader", None, None)
    until(lambda: door.ask("sg_any_thing") is None and door.ask(third) is None)
    with pytest.raises(NotFound):
        tokens.revoke(engine, "node1")
    with pytest.raises(NotFound):
        tokens.rotate(engine, "node1", timedelta())


def test_of_many_that_rotate_at_once_the_last_one_counts(engine: Engine) -> None:
    tokens.create(engine, "a", "reader", None, None)

    def rotate(_: int) -> str:
        try:
            return tokens.rotate(engine, "a", timedelta())
        except Conflict:
            return ""

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(rotate, range(8))) - {""}
    door = Door(engine)
    assert len(list(filter(None, door.ask_at_once([*made])))) == 1
    assert len(tokens.issued(engine)) == 1


def test_the_database_keeps_no_secret(sqlite: Engine) -> None:
    _, public_id, secret = tokens.create(sqlite, "a", "admin", None, None).split("_")
    [kept] = tokens.issued(sqlite)
    assert (kept.public_id, kept.sha256) == (public_id, tokens.digest(secret))
    assert len(secret) == 48
    sqlite.dispose()
    stored = b"".join(
        path.read_bytes() for path in Path(str(sqlite.url.database)).parent.glob("r.sqlite*")
    )
    assert public_id.encode() in stored
    assert secret.encode() not in stored


@pytest.mark.parametrize(
    "token",
    ["", "sg", "sg_", "sg__", "sg_id", "written-in-the-fil", "WRITTEN-IN-THE-FILE", "ä", "0" * 64],
)
def test_what_is_no_token_opens_nothing(sqlite: Engine, token: str) -> None:
    door = Door(sqlite, CONFIGURED)
    assert door.ask("written-in-the-file") == Caller("root", frozenset({Role.ADMIN}))
    assert door.ask(token) is None
    assert door.ask(CONFIGURED.sha256) is None


def test_a_certificate_is_a_reporter_for_its_host_where_no_token_is_sent(sqlite: Engine) -> None:
    door = Door(sqlite, CONFIGURED)
    assert door.ask("", "node1") == Caller("node1", frozenset({Role.REPORTER}), host="node1")
    assert door.ask("wrong", "node1") is None
    assert door.ask("written-in-the-file", "node1") == Caller("root", frozenset({Role.ADMIN}))


def test_requests_ask_the_database_nothing(sqlite: Engine) -> None:
    token = tokens.create(sqlite, "a", "reader", None, None)
    door = Door(sqlite, CONFIGURED)
    assert door.ask(token)
    door.questions = 0
    for _ in range(50):
        assert door.ask(token)
        assert door.ask("written-in-the-file")
    assert door.questions == 0


def test_guesses_are_answered_by_one_look(sqlite: Engine) -> None:
    token = tokens.create(sqlite, "a", "reader", None, None)
    door = Door(sqlite)
    guesses = [f"sg_{guess:012x}_{'0' * 48}" for guess in range(50)]
    answers = door.ask_at_once([token, *guesses])
    assert answers == [Caller("a", frozenset({Role.READER}))] + [None] * len(guesses)
    assert door.questions <= 4, "what changed, and the table, each with what begins a reading"


def test_a_new_token_counts_however_short_ago_another_was_asked_for(
    sqlite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was let in a moment ago is not refused by a look from before."""
    monkeypatch.setattr(memory, "IMPATIENCE", 0.2)
    door = Door(sqlite)
    for name in "abc":
        assert door.ask("sg_unknown_token") is None
        assert door.ask(tokens.create(sqlite, name, "reader", None, None)), name


def test_known_tokens_go_on_while_the_database_is_away(sqlite: Engine) -> None:
    """And whoever is not known is told to come again, not to give up."""
    token = tokens.create(sqlite, "a", "reader", None, timedelta(seconds=3600))
    door = Door(sqlite)
    assert door.ask(token)
    table.drop(sqlite)
    Path(str(sqlite.url.database)).write_bytes(b"no database" * 100)
    sqlite.dispose()
    until(lambda: _is_unavailable(door))
    assert door.ask(token)


def _is_unavailable(door: Door) -> bool:
    try:
        door.ask("sg_unknown_token")
    except Unavailable:
        return True
    return False


def test_an_expiry_counts_without_looking_again(
    sqlite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tokens.create(sqlite, "a", "reader", None, timedelta(seconds=1.5))
    door = Door(sqlite)
    assert door.ask(token)
    write(sqlite, lambda c: c.execute(update(table).values(expires_at=None)))  # same revision
    until(lambda: door.ask(token) is None)
    assert tokens.issued(sqlite)[0].remaining is None


def test_every_refusal_compares_as_much_as_every_success(
    sqlite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is known by id, and how much of a secret is right, shows in no time taken."""
    token = tokens.create(sqlite, "a", "reader", None, None)
    door = Door(sqlite, CONFIGURED)
    assert door.ask(token)
    compared: list[int] = []

    def compare(kept: str, given: str) -> bool:
        compared.append(len(given))
        return real(kept, given)

    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    sent = (token, f"{token[:-1]}-", f"sg_{'0' * 12}_{'0' * 48}", "garbage", "")
    work = set()
    for one in sent:
        compared.clear()
        door.tokens._find(one)
        work.add(tuple(compared))
    assert work == {(64, 64)}, "two hashes each, whole"


def test_a_role_of_a_newer_release_lets_nobody_do_anything_and_locks_nobody_out(
    sqlite: Engine,
) -> None:
    """F-53: after a step back there may be tokens of such a role."""
    ours = tokens.create(sqlite, "ours", "reader", None, None)
    theirs = tokens.create(sqlite, "theirs", "reader", None, None)
    newer = update(table).where(table.c.name == "theirs").values(role="auditor")
    write(sqlite, lambda connection: connection.execute(newer))
    door = Door(sqlite)
    assert door.ask(ours) == Caller("ours", frozenset({Role.READER}))
    assert door.ask(theirs) == Caller("theirs", frozenset())
