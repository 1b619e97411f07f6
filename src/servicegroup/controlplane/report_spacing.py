"""How regularly services report, as one intake sees them: seconds between two of their reports."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from servicegroup.measuring import AGES, Distribution
from servicegroup.model import Report

MAX_REMEMBERED = 200_000
"""Services whose latest report is remembered; beyond it all are forgotten, and each gap once."""


class Gaps:
    """The gaps between reports that were committed; for one thread."""

    def __init__(self) -> None:
        """No service is known."""
        self.seconds = Distribution(AGES)
        self._latest: dict[str, float] = {}

    def saw(self, reports: Sequence[Report], arrived: float) -> None:
        """Count the gap of each service that proved its life at that moment (monotonic)."""
        latest, add = self._latest, self.seconds.add
        for report in reports:
            if report.failing is None:
                uuid = report.uuid
                before = latest.get(uuid)
                if before is not None:
                    add(arrived - before)
                latest[uuid] = arrived
        if len(latest) > MAX_REMEMBERED:
            latest.clear()

    def forget(self, uuids: Collection[str]) -> None:
        """Forget services whose reports are refused."""
        for uuid in uuids:
            self._latest.pop(uuid, None)
