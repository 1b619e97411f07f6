"""The figures of docs/promises.md, as formulas of the configuration. Seconds and moments.

What disturbs a path moves a moment and never changes a figure: silence counts only while somebody
listened, and a backend that was away gives its members their whole time again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from promises.history import Fault, History, Proof
from servicegroup.liveness import LOOK_INTERVAL, MARK_INTERVAL, MARK_TOLERANCE, PATIENCE

TAKEOVER = 5.0
"""Until another control plane observes in place of one that died or hangs."""

Span = tuple[float, float]


class Bounds:
    """The moments from which a promise binds, in one history with its faults."""

    def __init__(self, history: History) -> None:
        self.settings = history.settings
        self._faults = sorted(history.of(Fault), key=lambda fault: fault.begun)
        self._unheard = _unheard(self._touching("record"), history.of(Proof))
        after = max(TAKEOVER, self.settings.detection or 0.0)  # and a step of the clock: joining
        after += self.settings.limits.report_interval + self.settings.slack
        self._disturbed = merged((fault.begun, fault.ended + after) for fault in self._faults)

    # Each is the moment from which a service is down whose last report counted at ``reported`` and
    # whose last heartbeat at ``beaten``.

    def at_most(self, reported: float, beaten: float) -> float:
        """Whatever else happens: it has been silent for too long, and the backend forgot it."""
        forgotten = self.forgotten(beaten)
        return max(self.silent(reported, forgotten), forgotten)

    def crowd(self, reported: float, beaten: float) -> float:
        """Undisturbed, one of many: protection holds it until it lost both signals."""
        limits, detection = self.settings.limits, self.settings.detection
        if detection is None:
            return reported + limits.service_down_time
        late = PATIENCE * limits.report_interval + LOOK_INTERVAL
        return max(beaten + detection, reported + min(late, limits.service_down_time))

    def alone(self, reported: float, beaten: float) -> float:
        """Undisturbed, the only one: the first signal that is missed decides."""
        silent = reported + self.settings.limits.service_down_time
        detection = self.settings.detection
        return silent if detection is None else min(silent, beaten + detection)

    def silent(self, last: float, forgotten: float = float("-inf")) -> float:
        """Return the moment from which who reported last at ``last`` has been silent for too long.

        A step of the database's clock begins the count anew, once somebody observes after it, for
        a service that may be up by then: one that is present up to ``forgotten`` may be held.
        """
        counted, stepped = last, False
        for fault in self._faults:
            stepped = stepped or "clock" in fault.touches
            if stepped and fault.begun <= max(self._heard(counted), forgotten):
                counted = max(counted, fault.ended + TAKEOVER)
        return self._heard(counted)

    def forgotten(self, last: float) -> float:
        """Return the moment from which no backend has who sent its last heartbeat at ``last``.

        Whatever touches the backend meanwhile gives its members their whole time once more.
        """
        if self.settings.detection is None:
            return last
        until = last + self.settings.detection
        for fault in self._touching("backend"):
            if fault.begun <= until:
                until = max(until, fault.ended + self.settings.detection)
        return until

    def counted(self, proof: Proof) -> float:
        """Return the last moment at which a proof may have counted.

        A report that another control plane acknowledged may still be under way in the first one.
        """
        alone = proof.signal == "heartbeat" or not self.is_disturbed(proof.sent, proof.ended)
        if proof.acknowledged and alone:
            return proof.ended
        return self.under_way(proof.sent, proof.ended)

    def under_way(self, sent: float, given_up: float) -> float:
        """Return the last moment at which what was sent and given up may still count.

        It may wait in a control plane for report_interval, and as long for its commit, and in
        whatever holds it until that goes on.
        """
        waits = 2 * self.settings.limits.report_interval
        until = given_up + waits
        for fault in self._faults:
            if fault.holds and fault.begun <= until and fault.ended >= sent:
                until = max(until, fault.ended + waits)
        return until

    def is_disturbed(self, begun: float, ended: float) -> bool:
        """Tell whether anything between two moments leaves only ``at_most`` promised."""
        return overlaps(self._disturbed, begun, ended)

    def has_stepped(self, by: float) -> bool:
        """Tell whether the database's clock was ever stepped before a moment."""
        return any(fault.begun <= by for fault in self._touching("clock"))

    def steps(self, begun: float, ended: float) -> int:
        """Return how often the database's clock was stepped between two moments."""
        return sum(f.begun <= ended and begun <= f.ended for f in self._touching("clock"))

    def _touching(self, *paths: str) -> list[Fault]:
        return [fault for fault in self._faults if fault.touches & set(paths)]

    def _heard(self, since: float) -> float:
        """Return the moment at which service_down_time of the time since has been heard."""
        end = since + self.settings.limits.service_down_time
        for begun, ended in self._unheard:
            if begun < end and ended > since:
                end += ended - max(begun, since)
        return end


def _unheard(faults: Iterable[Fault], proofs: Iterable[Proof]) -> list[Span]:
    """Return the spans in which maybe nobody listened: of faults, and without acknowledgements.

    A mark is committed once a second, and misses after MARK_TOLERANCE.
    """
    apart = MARK_TOLERANCE - MARK_INTERVAL
    heard: list[Span] = []
    reports = [p for p in proofs if p.acknowledged and p.signal == "report"]
    for proof in sorted(reports, key=lambda proof: proof.ended):
        if heard and proof.ended - heard[-1][1] <= apart:
            heard[-1] = (heard[-1][0], max(heard[-1][1], proof.sent))
        else:
            heard.append((proof.ended, proof.sent))
    deaf = merged((fault.begun, fault.ended + TAKEOVER) for fault in faults)
    return list(_without(deaf, [span for span in heard if span[0] < span[1]]))


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, without overlap."""
    found: list[Span] = []
    for begun, ended in sorted(spans):
        if found and begun <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ended))
        else:
            found.append((begun, ended))
    return found


def overlaps(spans: Sequence[Span], begun: float, ended: float) -> bool:
    """Tell whether any of the spans has a part between two moments."""
    return any(start <= ended and begun <= end for start, end in spans)


def _without(spans: Iterable[Span], holes: Sequence[Span]) -> Iterable[Span]:
    for begun, ended in spans:
        for start, end in holes:
            if start < ended and end > begun:
                if begun < start:
                    yield begun, start
                begun = max(begun, end)
        if begun < ended:
            yield begun, ended
