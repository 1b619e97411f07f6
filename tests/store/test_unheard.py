"""Unheard times that came with a statement are those that a statement of their own would find."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, insert, select

from servicegroup.store.database import reading, write
from servicegroup.store.marks import PAGE, newest_page, unheard_that_matters
from servicegroup.store.snapshots import matching
from servicegroup.store.tables import listening_gaps

NOW = datetime(2026, 11, 29, 12, 0, 0, 123_456)


@pytest.mark.parametrize("count", [0, 1, 3, PAGE - 1, PAGE, PAGE + 1])
def test_a_page_that_came_along_says_what_is_stored(engine: Engine, count: int) -> None:
    """A full one says nothing of those before it, so they are asked for (F-57)."""
    gaps = [
        {
            "start_at": NOW - timedelta(minutes=n + 1),
            "end_at": NOW - timedelta(minutes=n, seconds=9),
        }
        for n in reversed(range(count))
    ]
    if gaps:
        write(engine, lambda connection: connection.execute(insert(listening_gaps), gaps))
    with reading(engine) as connection:
        page = connection.scalar(select(newest_page()))
        # A row brings it along only where few can match: a list would bring it thousands of times.
        few, many = (
            sum(
                "listening_gaps" in str(matching(frozenset(names)).compile(engine))
                for names in kind
            )
            for kind in ([{"host"}], [set(), {"limit"}, {"binary", "limit"}])
        )
        assert (few, many) == (engine.dialect.name == "postgresql", 0)
        assert (page is not None) == (engine.dialect.name == "postgresql")
        for silence in (60.0, 86_400.0):
            asked = unheard_that_matters(connection, NOW, NOW, silence)
            assert unheard_that_matters(connection, NOW, NOW, silence, page) == asked
            assert len(asked) == (min(count, PAGE) if silence == 60.0 else count)
