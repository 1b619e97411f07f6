"""One clock for a register whose database has several: the one of its nodes that is furthest ahead.

Each node of a Galera cluster has a clock of its own, and marks are committed on all of them. What
one of them stamps seemed old, or of the future, on another, and each mark of the one looked like an
outage to the other, so nobody counted as silent any more (F-25). A mark that is a little later than
a node's own clock is therefore the register's "now" there, and only who comes later than it writes
a mark. Where nobody who is ahead marks any more, the register goes back to the others' clocks; once
such a node marks again, the register's clock leaps, and what it skips is a time unheard.

Beyond MOST_APART it is no difference between clocks but a clock that was wrong: see ``marks``.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta

import msgspec

from servicegroup.liveness import MARK_TOLERANCE

MOST_APART = timedelta(seconds=15)
"""By how much the clocks of a database's nodes may differ."""

WORTH_A_WORD = 2.0
"""Seconds of difference from which on the log says so."""

LOG = logging.getLogger(__name__)


def by_register(now: datetime, marked_at: datetime | None) -> datetime:
    """Return the register's now, for a node's clock and the latest mark."""
    if marked_at is not None and now < marked_at <= now + MOST_APART:
        return marked_at
    return now


class Committed(msgspec.Struct, frozen=True):
    """A mark of this intake: its node's clock and the monotonic one, and what the mark said.

    ``since`` is when the intake first saw that mark, by its monotonic clock.
    """

    node: datetime
    monotonic: float
    marked_at: datetime
    since: float

    def has_stepped(self, now: datetime) -> bool:
        """Tell whether the node's clock, which says ``now``, has not gone steadily since."""
        passed = time.monotonic() - self.monotonic
        return abs((now - self.node).total_seconds() - passed) > MARK_TOLERANCE


class Marker:
    """What one intake remembers from one of its marks to the next."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._latest: Committed | None = None
        self._next: Committed | None = None
        self._has_warned = False

    def goes_by(self, marked_at: datetime, now: datetime) -> bool:
        """Tell whether the latest mark, which is ahead of our clock, is the register's now.

        So it is until our own clock is seen to step, or nobody has gone on with it for as long as
        makes a time unheard: whoever set it back earlier, at its start or between two marks of a
        node that is ahead, would stamp reports that are old by that node's clock.
        """
        if not now < marked_at <= now + MOST_APART:
            return False
        latest = self._latest
        if latest is None:
            return True
        stands = marked_at == latest.marked_at and time.monotonic() - latest.since > MARK_TOLERANCE
        return not stands and not latest.has_stepped(now)

    def read(self, now: datetime, marked_at: datetime) -> None:
        """Keep what a transaction read and wrote, until it is committed."""
        monotonic, latest = time.monotonic(), self._latest
        stood = latest is not None and latest.marked_at == marked_at
        since = latest.since if latest is not None and stood else monotonic
        self._next = Committed(now, monotonic, marked_at, since)

    def committed(self) -> None:
        """Take note that it is; say once if the clocks of the nodes are far apart."""
        if self._next is None:
            return
        self._latest, self._next = self._next, None
        apart = abs(self._latest.marked_at - self._latest.node).total_seconds()
        if apart >= WORTH_A_WORD and not self._has_warned:
            self._has_warned = True
            LOG.error(
                "The clocks of the database's servers differ: by this control plane's, the latest"
                " mark is %.1f s ahead. The register goes by the one that is furthest ahead, up to"
                " %g s; check NTP on all of them.",
                apart,
                MOST_APART.total_seconds(),
            )
