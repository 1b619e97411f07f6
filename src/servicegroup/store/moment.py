"""The moment that a statement reads as of: the database's clock, and who listened and observed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, null, select

from servicegroup.liveness import Listening
from servicegroup.store.clock import utcnow
from servicegroup.store.direct import directly, one_row
from servicegroup.store.lease import driver_of, latest_holder, latest_observation
from servicegroup.store.marks import latest_mark, newest_page, unheard_that_matters
from servicegroup.store.register_clock import by_register

OF_MOMENT = 5
"""Columns that ``columns_of_moment`` are."""


def columns_of_moment(*, few: bool) -> tuple[ColumnElement[Any], ...]:
    """Return what is the same in each row of a statement, for ``listening_of``.

    ``few`` says that few rows can match, so that each may bring along the unheard times.
    """
    page = newest_page() if few else null()
    return (utcnow(), latest_mark(), latest_observation(), latest_holder(), page)


def listening_of(connection: Connection, silence: float, moment: Sequence[Any]) -> Listening:
    """Return who listened and observed when; ``silence`` is as for ``snapshots.read``."""
    now, marked_at, observed_at, holder, page = moment
    now = by_register(now, marked_at)
    # These are read after the mark, or with it: one that is stored in between is then seen twice,
    # never missed.
    unheard = unheard_that_matters(connection, now, marked_at, silence, page)
    return Listening.of(now, marked_at, unheard, observed_at, driver_of(holder))


def read_listening(connection: Connection, silence: float) -> Listening:
    """Return the same by a statement of its own."""
    return read_listening_and(connection, silence, null())[0]


def read_listening_and(
    connection: Connection, silence: float, also: ColumnElement[Any]
) -> tuple[Listening, Any]:
    """Return the same, and what else that statement is to tell."""
    *moment, told = one_row(connection, _with(also))
    return listening_of(connection, silence, moment), told


@cache
def _with(also: ColumnElement[Any]) -> Select[Any]:
    return directly(select(*columns_of_moment(few=True), also))
