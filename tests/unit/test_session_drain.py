"""A fleet is asked to go as fast as it goes, so that those it comes to can take it (LC-8)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import create_engine

from servicegroup.controlplane import sessions as module
from servicegroup.controlplane.sessions import GOING, TICK, Holding, Sessions
from servicegroup.messages import Drain
from servicegroup.recording import SessionWriter
from servicegroup.sessions import SessionEnd

MANY = 20 * GOING


class Line:
    """One connection, and what it was told."""

    def __init__(self, sessions: Sessions) -> None:
        self.asked = 0
        self.holding: Holding = sessions.begin(self)

    def tell(self, said: object) -> None:
        raise AssertionError("nobody has to know anything")

    def ask_to_go(self, why: Drain) -> None:
        assert why is Drain.STOPPING
        self.asked += 1

    def close(self, end: SessionEnd) -> None:
        raise AssertionError("it is not ended")

    def recheck(self) -> None:
        """Find nothing wrong."""


def fleet() -> tuple[Sessions, list[Line]]:
    unused = SessionWriter(create_engine("sqlite://"), "node1")
    sessions = Sessions(unused, 1000, 1, lambda members: None)
    return sessions, [Line(sessions) for _ in range(MANY)]


def asked(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line.asked == 1]


def test_each_that_has_gone_has_the_next_one_asked() -> None:
    sessions, lines = fleet()
    sessions.drain(Drain.STOPPING)
    assert len(asked(lines)) == GOING
    for gone in range(1, MANY - GOING + 1):
        going = next(line for line in asked(lines) if line.holding.ended is None)
        sessions.lost(going.holding, SessionEnd.CLOSED)
        assert len(asked(lines)) == GOING + gone
    assert len(asked(lines)) == MANY, "each of them once"


def test_who_has_gone_by_itself_is_not_counted_as_asked() -> None:
    sessions, lines = fleet()
    sessions.drain(Drain.STOPPING)
    waiting = [line for line in lines if not line.asked]
    for line in waiting[: GOING // 2]:
        sessions.lost(line.holding, SessionEnd.BROKEN)
    assert len(asked(lines)) == GOING + GOING // 2


def test_all_are_asked_however_few_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """They hang, or nobody takes them."""
    ticks = iter(range(MANY // GOING))

    async def tick(seconds: float) -> None:
        assert seconds == TICK
        if next(ticks, None) is None:
            raise asyncio.CancelledError

    sessions, lines = fleet()
    sessions.stopping = True
    sessions.drain(Drain.STOPPING)
    monkeypatch.setattr(module.asyncio, "sleep", tick)  # type: ignore[attr-defined]
    with suppress(asyncio.CancelledError):
        asyncio.run(sessions._watch())
    assert len(asked(lines)) == MANY
