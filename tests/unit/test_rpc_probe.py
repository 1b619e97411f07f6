"""A batch of questions ends, whatever the broker does in the middle of it (F-40)."""

from __future__ import annotations

import threading

import pytest

from servicegroup.nova.rpc.probe import STUCK, asked_in_time
from servicegroup.nova.rpc.questions import Found


def test_what_is_found_in_time_counts() -> None:
    found = Found({})
    assert asked_in_time(lambda: found, 60.0) is found


def test_a_broker_that_stands_still_is_away() -> None:
    still = threading.Event()

    def ask() -> Found:
        still.wait(60)
        return Found({})

    assert asked_in_time(ask, 0.05) is STUCK
    assert STUCK.is_away
    still.set()


def test_what_went_wrong_is_raised() -> None:
    def ask() -> Found:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        asked_in_time(ask, 60.0)
