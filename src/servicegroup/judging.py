"""Judging in bulk: one driver's answers beside the record's facts, one verdict a service.

The driver is asked once for all services of a listing. What has to be remembered between two
questions, because neither the record nor the backend says it, is remembered here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from servicegroup.asking import LIVES_TOLD, Asking, bounded
from servicegroup.driver import Driver
from servicegroup.future_stamps import FutureStamps
from servicegroup.liveness import Listening, has_life, judge
from servicegroup.model import (
    Evidence,
    Limits,
    Member,
    Presence,
    PresenceState,
    Service,
    Verdict,
)
from servicegroup.rpc import NOBODY_WAS_ASKED, Rpc, RpcLimits

Presences = Mapping[Member, Presence]
"""What a backend answered, for each member that it was asked about."""

_ONE_MARK = 0
"""The key of the latest mark, of which there is one."""

NOT_ASKED = Presence(PresenceState.UNKNOWN, detail="it was not asked about")
"""What is said of a member that is not among the answers."""


class Judge:
    """Verdicts by one driver and its limits; safe to share between threads."""

    def __init__(
        self,
        driver: Driver,
        limits: Limits,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        obeyed: bool = True,
        rpc: RpcLimits | None = None,
    ) -> None:
        """Ask ``driver`` and measure by ``limits``; ``monotonic`` ages stamps from the future.

        What the observer keeps of absences and holds counts for the driver that it is about.
        ``rpc`` is what answers in sessions are measured against.
        """
        self.driver = driver
        self._obeyed = obeyed
        self.limits = msgspec.structs.replace(limits, driver=driver.name)
        self._future_stamps = FutureStamps(monotonic)
        self._future_marks = FutureStamps(monotonic)
        self._seen_present: dict[int, int | None] = {}
        self.rpc = rpc or RpcLimits()
        self.asking = Asking(driver, limits)

    def ask(self, services: Sequence[Service]) -> Presences:
        """Ask the backend once about the lives of all of these; see ``Asking.ask``."""
        return self.asking.ask({s.member: s.incarnation for s in services if not s.mirror})

    def verdicts(
        self,
        services: Sequence[Service],
        listening: Listening,
        presences: Presences,
        rpc: Mapping[int, Rpc] = NOBODY_WAS_ASKED,
    ) -> list[Verdict]:
        """Return a verdict for each service by the backend's answers, and its own by its id."""
        told = self._obeyed and listening.is_about(self.driver.name)
        listening = self.aged(listening)
        if not self.driver.capabilities.separate_signal:
            return [judge(self._evidence(service, None, listening, told)) for service in services]
        found = []
        is_asked = self.driver.capabilities.is_asked
        otherwise = NOT_ASKED if is_asked else None
        for service in services:
            presence = None if service.mirror else presences.get(service.member, otherwise)
            if presence is None:  # it never held a session or is mirrored, and cannot lose one
                found.append(judge(self._evidence(service, None, listening, told)))
                continue
            if has_life(presence, service.incarnation) or not is_asked:
                self.saw_present([(service.id, service.incarnation)])
            if len(presence.incarnations) > LIVES_TOLD:
                presence = bounded(presence, service.incarnation)
            found.append(judge(self._evidence(service, presence, listening, told, rpc)))
        return found

    @property
    def goes_by_stamps(self) -> bool:
        """Whether ages are plain differences: no stamp is known to have been ahead of the clock."""
        return not self._future_stamps.first_seen

    def saw_present(self, lives: Iterable[tuple[int, int | None]]) -> None:
        """Remember of these ids that the incarnation was present: they are joining no more."""
        self._seen_present.update(lives)

    def forget_others(self, living: Collection[int]) -> None:
        """Remember nothing of services other than these: ids that are gone never come back.

        Of who was present no more are remembered than live.
        """
        if len(self._seen_present) > len(living):
            _keep_only(living, self._seen_present)
        if self._future_stamps.first_seen:
            _keep_only(living, self._future_stamps.first_seen)

    def aged(self, listening: Listening) -> Listening:
        """Return when somebody listened, where the latest mark is or was later than now (F-50).

        Until the next mark corrects it, it ages from when it was first seen, and nobody listens.
        """
        mark = listening.marked_at
        age = 0.0 if mark is None else (listening.now - mark).total_seconds()
        if mark is None or (age >= 0.0 and not self._future_marks.first_seen):
            return listening
        return listening.unmarked_for(self._future_marks.age(_ONE_MARK, mark, age))

    def _evidence(
        self, service: Service, presence: Presence | None, listening: Listening, told: bool,
        rpc: Mapping[int, Rpc] = NOBODY_WAS_ASKED,
    ) -> Evidence:  # fmt: skip
        """Return what a verdict follows from; the observer's word counts if it is ``told``."""
        now, heard = listening.now, listening.mirrors.get(service.mirror or "", listening)
        stamp = service.last_seen_up or service.created_at
        latest = _latest(service, stamp)
        age = (now - latest).total_seconds()
        ahead, heard_from = 0.0, stamp
        if age < 0.0 or self._future_stamps.first_seen:
            ahead = max(0.0, -age)
            aged = self._future_stamps.age(service.id, latest, age)
            if aged != age:
                age, heard_from = aged, now - timedelta(seconds=aged)
        if latest is not stamp:
            age += (latest - stamp).total_seconds()
        absent, held = (service.absent_since, service.held_since) if told else (None, None)
        seen = presence is not None and self._seen_present.get(service.id) == service.incarnation
        # By position, in the order of the fields: by name they cost six times as much.
        return Evidence(
            self.limits,
            age,
            heard.unheard_since(heard_from) if heard.unheard else 0.0,
            service.last_seen_up is None,
            service.forced_down,
            service.departure,
            service.detail,
            service.incarnation,
            (now - service.registered_at).total_seconds(),
            presence,
            seen,
            None if absent is None else (now - absent).total_seconds(),
            ahead,
            None if held is None else (now - held).total_seconds(),
            listening.observed and told,
            service.backend_error,
            rpc.get(service.id),
            service.mirror,
        )


def _keep_only(living: Collection[int], remembered: dict[int, Any]) -> None:
    for gone in set(remembered).difference(living):  # other threads write to it
        remembered.pop(gone, None)


def _latest(service: Service, stamp: datetime) -> datetime:
    """Return what a service's age is counted from where that may be later than now.

    One that is recorded as down has been silent since before that, whatever a clock says that
    stepped back meanwhile: its last report alone would seem new, and raise the dead (F-50).
    """
    found_at = service.observed_since
    if found_at is None or found_at <= stamp or service.observed_state != "down":
        return stamp
    return found_at
