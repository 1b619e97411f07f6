"""Numbers of the lives of Nova's services, which tell whose record each life belongs to (F-44).

Nova's records have no incarnation, and services of one name in two cells are one member. So the
number that a process joins by says when it started, and in its last digits which record it has. A
delete then ends the lives of that record, and of no other. Workers of one service share both.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from uuid import UUID

STARTED = int(time.time())
"""When this process began, in seconds since 1970, taken before Nova forks its workers (ZK-15)."""

_MARKS = 1_000_000
"""How many records can be told apart; greater numbers still are newer lives of one record."""

_UNMARKED = 1_000_000 * _MARKS
"""What lives of the first release are below: they joined by the second in which they began."""


def life_of(record: str, started: int = STARTED) -> int:
    """Return the incarnation by which a process joins for a record, named by its uuid."""
    return started * _MARKS + _mark(record)


def is_life_of(record: str, incarnation: int) -> bool:
    """Tell whether a process joined by this incarnation for the record with this uuid.

    That may be so of every life that the first release began.
    """
    return incarnation < _UNMARKED or incarnation % _MARKS == _mark(record)


def newest_start(record: str, incarnations: Iterable[int]) -> int | None:
    """Return when the newest of these lives began that may be the record's, None without any.

    In seconds since 1970.
    """
    own = (one for one in incarnations if is_life_of(record, one))
    return max((one if one < _UNMARKED else one // _MARKS for one in own), default=None)


def _mark(record: str) -> int:
    return UUID(record).int % _MARKS
