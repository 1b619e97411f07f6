"""Whatever work does, its loop goes on, and the log says it once (LC-9)."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from servicegroup.controlplane.background import Recurring
from servicegroup.errors import StoreUnavailable


def fails(error: Exception) -> object:
    raise error


def test_a_failure_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    recurring = Recurring("The work")
    away = StoreUnavailable("The database is away.")

    async def scenario() -> None:
        assert await recurring.attempt(lambda: 1) == 1
        for _ in range(3):
            assert await recurring.attempt(partial(fails, away)) is None
        assert await recurring.attempt(lambda: 2) == 2
        assert await recurring.attempt(lambda: 3) == 3

    asyncio.run(scenario())
    assert caplog.messages == ["The work fails: The database is away.", "The work works again."]
    assert recurring.failures == 3
    assert not any(record.exc_info for record in caplog.records)


def test_what_nobody_expected_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with Recurring("The work"):
        fails(ZeroDivisionError("by nought"))
    assert "ZeroDivisionError: by nought" in caplog.text


def test_being_cancelled_is_no_failure() -> None:
    recurring = Recurring("The work")
    with pytest.raises(asyncio.CancelledError), recurring:
        raise asyncio.CancelledError
    assert recurring.failures == 0
