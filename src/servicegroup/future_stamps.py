"""How old a stamp is that lies ahead of the clock, since that clock stepped back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime


class FutureStamps:
    """Ages stamps from the future by the judge's own clock, from the moment each was seen.

    After the database's clock stepped back, a stamp may lie ahead of ``now``. Taking the
    distance without its sign would keep a dead service up (SQL-5); such a stamp ages from when
    it was first seen, for as long as it stays the record's stamp.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Age by the given monotonic clock, in seconds; ``first_seen`` is kept by service id."""
        self._monotonic = monotonic
        self.first_seen: dict[int, tuple[datetime, float]] = {}

    def age(self, service_id: int, stamp: datetime, age: float) -> float:
        """Return the age to judge by of a stamp whose plain age, maybe negative, is given."""
        known = self.first_seen.get(service_id)
        if age >= 0 and known is None:
            return age
        now = self._monotonic()
        if known is None or known[0] != stamp:
            if age >= 0:
                self.first_seen.pop(service_id, None)
                return age
            known = self.first_seen[service_id] = (stamp, now)
        return max(age, now - known[1])
