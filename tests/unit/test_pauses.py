"""A pause is noticed by whoever looks first, the watch or a report, and is suspect for a while."""

from __future__ import annotations

import asyncio

import pytest

from servicegroup.controlplane.pauses import SUSPICION, TICK, TOLERANCE, Pauses

A_PAUSE = TICK + TOLERANCE + 0.1


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pauses(clock: Clock) -> Pauses:
    """Give one that started a while ago."""
    pauses = Pauses(clock)
    end = clock.now + SUSPICION
    while clock.now <= end:
        look(pauses)
        clock.now += TICK
    return pauses


def look(pauses: Pauses) -> None:
    """Let the watch have one turn."""

    async def turn() -> None:
        watch = asyncio.create_task(pauses.watch())
        await asyncio.sleep(0)
        watch.cancel()

    asyncio.run(turn())


def test_what_comes_first_is_suspect(clock: Clock) -> None:
    """SQL-7: it may have lain in the socket while the process started."""
    pauses = Pauses(clock)
    assert pauses.just_ended
    look(pauses)
    clock.now += SUSPICION - 1
    assert pauses.just_ended


def test_a_while_after_the_start_nothing_is_suspect(pauses: Pauses) -> None:
    assert not pauses.just_ended


def test_a_report_that_comes_before_the_watch_notices_the_pause(
    clock: Clock, pauses: Pauses
) -> None:
    """SQL-7: the loop serves what lay in its sockets first."""
    look(pauses)
    clock.now += A_PAUSE
    assert pauses.just_ended


def test_the_watch_notices_a_pause_that_no_report_met(clock: Clock, pauses: Pauses) -> None:
    look(pauses)
    clock.now += A_PAUSE
    look(pauses)
    assert pauses.just_ended


def test_the_suspicion_ends_however_often_it_is_asked_for(clock: Clock, pauses: Pauses) -> None:
    look(pauses)
    clock.now += A_PAUSE
    end = clock.now + SUSPICION
    while clock.now < end:
        assert pauses.just_ended
        look(pauses)
        clock.now += TICK / 2
    assert not pauses.just_ended


def test_a_second_pause_is_another_one(clock: Clock, pauses: Pauses) -> None:
    for _ in range(2):
        look(pauses)
        clock.now += A_PAUSE + SUSPICION
        assert pauses.just_ended


def test_a_look_that_is_a_little_late_is_no_pause(clock: Clock, pauses: Pauses) -> None:
    for _ in range(3):
        look(pauses)
        clock.now += TICK + TOLERANCE
        assert not pauses.just_ended


def test_only_what_is_older_than_the_pause_is_suspect(clock: Clock, pauses: Pauses) -> None:
    """SQL-7: over a connection that was made after a pause nothing comes that was sent before."""
    look(pauses)
    before = clock.now
    clock.now += A_PAUSE
    look(pauses)
    clock.now += TICK / 2
    assert pauses.ended_since(before)
    assert not pauses.ended_since(clock.now)
