"""Moments are stamps in another form: nothing is lost, and their texts are Nova's."""

from __future__ import annotations

from datetime import datetime

from hypothesis import example, given
from hypothesis import strategies as st

from servicegroup.moments import NEVER, moment_of, stamp_of, texts

stamps = st.datetimes()
WHOLE = datetime(2026, 11, 29, 12)
EARLIEST = datetime(1, 1, 1)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_999)


@given(st.lists(st.none() | stamps))
@example([WHOLE, WHOLE.replace(microsecond=1), WHOLE.replace(microsecond=999_999)])
@example([datetime(2000, 1, 1), datetime(2000, 1, 1, 0, 0, 0, 999_999), datetime(1999, 12, 31)])
@example([None, EARLIEST, LATEST, None])
def test_a_moment_is_a_stamp_and_has_its_text(some: list[datetime | None]) -> None:
    moments = [moment_of(one) for one in some]
    assert [None if one == NEVER else stamp_of(one) for one in moments] == some
    assert texts(moments) == [one and one.isoformat(timespec="microseconds") for one in some]


@given(stamps, stamps)
def test_moments_are_in_the_order_of_stamps(one: datetime, another: datetime) -> None:
    assert (moment_of(one) < moment_of(another)) == (one < another)


def test_what_never_was_has_no_text() -> None:
    assert texts([moment_of(None), moment_of(WHOLE)]) == [None, "2026-11-29T12:00:00.000000"]
    assert moment_of(None) == NEVER < moment_of(EARLIEST)
