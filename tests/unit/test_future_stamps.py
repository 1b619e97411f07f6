"""Stamps from the future age by the judge's own clock, and go on when they are reached."""

from __future__ import annotations

from datetime import datetime

from servicegroup.future_stamps import FutureStamps

STAMP, LATER = datetime(2030, 1, 1, 12), datetime(2030, 1, 1, 13)


def test_a_stamp_that_is_reached_stays_as_old_as_it_was() -> None:
    """SQL-4: the database's clock stepped back an hour, and was set right again later."""
    clock = [0.0]
    stamps = FutureStamps(lambda: clock[0])
    assert stamps.age(1, STAMP, -3600.0) == 0
    clock[0] = 100.0
    assert stamps.age(1, STAMP, -3500.0) == 100
    assert stamps.age(1, STAMP, 0.5) == 100
    assert stamps.age(1, LATER, 0.5) == 0.5, "it reported"
    assert stamps.age(2, STAMP, 7.0) == 7, "another service's stamp was never ahead"


def test_two_threads_that_see_the_same_report_forget_its_old_stamp_once() -> None:
    """The second one finds it gone between its look-up and its removal."""
    stamps = FutureStamps(lambda: 0.0)
    stamps.age(1, STAMP, -3600.0)

    def other_thread() -> float:
        stamps._monotonic = lambda: 0.0
        assert stamps.age(1, LATER, 0.5) == 0.5
        return 0.0

    stamps._monotonic = other_thread
    assert stamps.age(1, LATER, 0.5) == 0.5
    assert not stamps.first_seen
