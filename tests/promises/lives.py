"""What a history says of each life of a service: its proofs, and what can have counted when."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import accumulate

from promises.bounds import Bounds, Span, overlaps
from promises.history import Act, Ended, Evicted, History, Joined, Key, Proof
from servicegroup.liveness import MARK_TOLERANCE, PATIENCE

NEVER, INFINITY = float("-inf"), float("inf")


class Signalled:
    """One signal of one life: when it surely counted, and when it may have counted last."""

    def __init__(
        self, proofs: list[Proof], bounds: Bounds, kept: float, lost: list[Span] | None = None
    ) -> None:
        """Each counts for ``kept`` seconds, and no longer than to the next span of ``lost``."""
        proofs = sorted(proofs, key=lambda proof: proof.sent)
        self._sent = [proof.sent for proof in proofs]
        self._latest = list(accumulate((bounds.counted(proof) for proof in proofs), max))
        sure = sorted((p for p in proofs if p.acknowledged), key=lambda proof: proof.ended)
        self._ended = [proof.ended for proof in sure]
        self._begun = list(accumulate((proof.sent for proof in sure), max))
        self._unbroken: list[float] = []
        for number, proof in enumerate(sure):
            previous = self._begun[number - 1] if number else NEVER
            broken = proof.ended - previous > kept or overlaps(lost or (), previous, proof.ended)
            self._unbroken.append(proof.ended if broken else self._unbroken[-1])
        self._kept = kept
        self._lost = lost or []

    def surely_counts(self, asked: float, answered: float) -> bool:
        """Tell whether one that was acknowledged counts still, all the time between two moments."""
        given = self.acknowledged(asked)
        return answered - given < self._kept and not overlaps(self._lost, given, answered)

    def acknowledged(self, by: float) -> float:
        """Return when the newest proof was sent that was acknowledged by then; or NEVER."""
        number = bisect_right(self._ended, by)
        return self._begun[number - 1] if number else NEVER

    def count(self, begun: float, ended: float) -> int:
        """Return how many were sent and acknowledged between two moments."""
        first, last = bisect_left(self._begun, begun), bisect_right(self._ended, ended)
        return max(0, last - first)

    def unbroken_since(self, by: float) -> float:
        """Return since when no two acknowledged ones by then were too far apart; or infinity."""
        number = bisect_right(self._ended, by)
        return self._unbroken[number - 1] if number else INFINITY

    def last(self, by: float) -> float:
        """Return when one may have counted last of those sent by then; or NEVER."""
        number = bisect_right(self._sent, by)
        return self._latest[number - 1] if number else NEVER

    def breaks(self, since: float, until: float) -> list[Span]:
        """Return the spans between two moments in which this signal may have been missed."""
        apart = zip([since, *self._begun], [*self._ended, until], strict=True)
        lost = [(begun, ended + self._kept) for begun, ended in self._lost]
        return lost + [(begun, end) for begun, end in apart if end - begun > self._kept]


class Life:
    """One incarnation of a service."""

    def __init__(
        self, joined: Joined, proofs: list[Proof], ended: Ended | None, lost: list[Span], b: Bounds
    ) -> None:
        limits = b.settings.limits
        kept = b.settings.kept
        self.joined = joined
        self.ended = ended
        self.over = INFINITY
        reports = [proof for proof in proofs if proof.signal == "report"]
        beats = [proof for proof in proofs if proof.signal == "heartbeat"]
        self.reports = Signalled(reports, b, PATIENCE * limits.report_interval)
        self.beats = None if kept is None else Signalled(beats, b, kept, lost)
        self._bounds = b

    @property
    def key(self) -> Key:
        """Whose life it is."""
        return self.joined.host, self.joined.binary

    @property
    def place(self) -> tuple[str, str]:
        """Its group and zone."""
        return self.joined.group, self.joined.zone

    def last_report(self, by: float) -> float:
        """Return when a report may have counted last; NEVER where there was none."""
        return max(self.reports.last(by), self._under_way(by))

    def last_heartbeat(self, by: float) -> float:
        """Return when a heartbeat may have counted last, or the registration that awaits one."""
        awaited = self.joined.answered + self._bounds.settings.limits.report_interval
        beaten = NEVER if self.beats is None else self.beats.last(by)
        return max(awaited, beaten, self._under_way(by))

    def _under_way(self, by: float) -> float:
        """Return until when may count what a process had under way when it was killed."""
        if self.ended is None or self.ended.how != "killed" or self.ended.at > by:
            return NEVER
        return self._bounds.under_way(self.ended.at, self.ended.at)

    def is_proven(self, asked: float, answered: float) -> bool:
        """Tell whether nobody may have called it down for want of a signal between two moments.

        Its reports and its heartbeats were acknowledged without a gap above the tolerance, and
        one report was since the backend has it, which ends an absence before.
        """
        limits = self._bounds.settings.limits
        reported = self.reports.acknowledged(asked)
        tolerated = limits.service_down_time
        tolerated -= MARK_TOLERANCE * self._bounds.steps(reported, answered)
        if answered - reported > tolerated:
            return False
        if self.beats is None:
            return True
        linger = self._bounds.settings.linger
        if linger is not None and self.ended is not None and answered >= self.ended.at + linger:
            return False
        since = self.beats.unbroken_since(asked)
        return self.beats.surely_counts(asked, answered) and since <= reported

    def lacks(self, begun: float, ended: float) -> bool:
        """Tell whether it may have lacked a signal between two moments, before it was over."""
        since, until = self.joined.answered, min(self.over, ended)
        spans = [
            span
            for signal in (self.reports, self.beats)
            if signal is not None
            for span in signal.breaks(since, until)
        ]
        return begun <= until and overlaps(spans, begun, until)


class Lives:
    """All lives of a history, by service and by record; and what operators did to them."""

    def __init__(self, history: History) -> None:
        self.bounds = Bounds(history)
        proofs: dict[tuple[str, int], list[Proof]] = defaultdict(list)
        for proof in history.of(Proof):
            proofs[proof.uuid, proof.incarnation].append(proof)
        ended: dict[tuple[str, int], Ended] = {}
        for end in sorted(history.of(Ended), key=lambda end: end.at):
            ended.setdefault((end.uuid, end.incarnation), end)  # who left is killed after that
        lost: dict[tuple[str, str, int], list[Span]] = defaultdict(list)
        for gone in history.of(Evicted):
            lost[gone.host, gone.binary, gone.incarnation].append((gone.begun, gone.ended))
        self.of_key: dict[Key, list[Life]] = defaultdict(list)
        for joined in sorted(history.of(Joined), key=lambda joined: joined.answered):
            life = (joined.uuid, joined.incarnation)
            spans = lost[joined.host, joined.binary, joined.incarnation]
            made = Life(joined, proofs[life], ended.get(life), spans, self.bounds)
            for former in self.of_key[made.key][-1:]:
                former.over = joined.answered
            self.of_key[made.key].append(made)
        self.acts: dict[str, list[Act]] = defaultdict(list)
        for act in sorted(history.of(Act), key=lambda act: act.asked):
            self.acts[act.uuid].append(act)

    def neighbours(self, life: Life) -> list[Life]:
        """Return the lives of other services in its group and zone."""
        lives = [one for many in self.of_key.values() for one in many]
        return [one for one in lives if one.place == life.place and one.key != life.key]

    def current(self, key: Key, asked: float, answered: float) -> Life | None:
        """Return the life that a service had between two moments; None where it is not certain."""
        lives = self.of_key.get(key, ())
        if any(one.joined.asked <= answered and one.joined.answered > asked for one in lives):
            return None
        begun = [one for one in lives if one.joined.answered <= asked]
        return begun[-1] if begun else None

    def told(self, uuid: str, words: set[str], asked: float, answered: float) -> str | None:
        """Return which of some edits is in force between two moments: ``''`` for none of them.

        None where it is not certain.
        """
        acts = [a for a in self.acts.get(uuid, ()) if a.what in words and a.asked <= answered]
        if not acts:
            return ""
        sure = acts[-1].done and acts[-1].answered <= asked
        return acts[-1].what if sure else None

    def is_deleted(self, uuid: str, asked: float) -> bool:
        """Tell whether a record was deleted, as the operator was told, before a moment."""
        acts = self.acts.get(uuid, ())
        return any(a.what == "delete" and a.done and a.answered <= asked for a in acts)
