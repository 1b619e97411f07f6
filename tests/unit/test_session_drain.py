"""A fleet is asked to go as fast as it goes, so that those it comes to can take it (LC-8)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import create_engine

from servicegroup.controlplane import sessions as module
from servicegroup.controlplane.sessions import GOING, LAST_ASKED, Holding, Sessions
from servicegroup.messages import Drain
from servicegroup.recording import SessionWriter
from servicegroup.sessions import SessionEnd

MANY = 20 * GOING


class Line:
    """One connection, and what it was told."""

    def __init__(self, sessions: Sessions) -> None:
        self.told: list[object] = []
        self.holding: Holding = sessions.begin(self)

    def tell(self, said: object) -> None:
        self.told.append(said)

    def close(self, end: SessionEnd) -> None:
        raise AssertionError("it is not ended")

    def recheck(self) -> None:
        """Find nothing wrong."""


def fleet() -> tuple[Sessions, list[Line]]:
    unused = SessionWriter(create_engine("sqlite://"), "node1")
    sessions = Sessions(unused, 1000, 1, lambda members: None)
    return sessions, [Line(sessions) for _ in range(MANY)]


def asked(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line.told == [{"drain": "stopping"}]]


def test_each_that_has_gone_has_the_next_one_asked() -> None:
    sessions, lines = fleet()
    sessions.stop_accepting()
    assert len(asked(lines)) == GOING
    for gone in range(1, MANY - GOING + 1):
        going = next(line for line in asked(lines) if line.holding.ended is None)
        sessions.lost(going.holding, SessionEnd.CLOSED)
        assert len(asked(lines)) == GOING + gone
    assert len(asked(lines)) == MANY, "each of them once"


def test_who_has_gone_by_itself_is_not_counted_as_asked() -> None:
    sessions, lines = fleet()
    sessions.drain(Drain.STOPPING)
    waiting = [line for line in lines if not line.told]
    for line in waiting[: GOING // 2]:
        sessions.lost(line.holding, SessionEnd.BROKEN)
    assert len(asked(lines)) == GOING + GOING // 2


def test_all_are_asked_however_few_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They hang, or nobody takes them."""
    monkeypatch.setattr(module, "TICK", LAST_ASKED / 6)
    ticks = 0

    async def tick(seconds: float) -> None:
        nonlocal ticks
        assert seconds == LAST_ASKED / 6
        if ticks == 6:
            raise asyncio.CancelledError
        ticks += 1

    sessions, lines = fleet()
    sessions.stop_accepting()
    monkeypatch.setattr(module.asyncio, "sleep", tick)  # type: ignore[attr-defined]
    with suppress(asyncio.CancelledError):
        asyncio.run(sessions._watch())
    assert len(asked(lines)) == MANY
