"""Time to detect: from a service's last proof of life to the record of its failure.

The proof is its last report; time in which nobody listened is not counted. The failure lies
between the two, at most one report interval after the proof, so this is what a caller waited for
at the most. Who stops in order or is forced down has not failed and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from servicegroup.events import Event, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.liveness import LOOK_INTERVAL
from servicegroup.measuring import AGES, Distribution
from servicegroup.model import Reason

FAILURES = (Reason.SILENT, Reason.ABSENT, Reason.EXITED)
"""The reasons that a failure is detected by."""

TOLERANCE = 1.0
"""Seconds over its limit from which on a detection is late: a busy machine is not a broken one."""


class Detections:
    """How long failures took to be recorded, by their reason; ``late`` counts the late ones."""

    def __init__(self, group: ServiceGroup) -> None:
        """Hold the detections to the limits of ``group``."""
        self._group = group
        self.seconds = {reason: Distribution(AGES) for reason in FAILURES}
        self.late = dict.fromkeys(FAILURES, 0)

    def limits(self) -> dict[Reason, float]:
        """Return the seconds that a detection takes at the most, by the reasons there can be."""
        group, limits = self._group, self._group.limits
        found = {
            Reason.SILENT: limits.service_down_time + LOOK_INTERVAL,
            Reason.EXITED: limits.report_interval + LOOK_INTERVAL,
        }
        absent = group.detection_time(group.driver)
        if absent is not None:
            found[Reason.ABSENT] = absent + limits.report_interval
        return found

    def saw(self, events: Iterable[Event], taken: float) -> None:
        """Count the failures among what a look recorded that took so many seconds itself."""
        limits = self.limits()
        for event in events:
            if event.kind is not EventKind.DOWN or event.before != "up" or event.evidence is None:
                continue
            if event.reason in FAILURES:
                seconds = event.evidence.silence + taken
                self.seconds[event.reason].add(seconds)
                self.late[event.reason] += seconds > limits[event.reason] + TOLERANCE
