"""Stamps from the future age by the judge's own clock, and go on when they are reached."""

from __future__ import annotations

from datetime import datetime

from servicegroup.judging import FutureStamps

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
