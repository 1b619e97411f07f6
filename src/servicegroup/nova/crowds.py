"""Crowds in Nova: many members that vanish together accuse the backend (AND-2).

Nothing observes beside Nova, so each process counts for itself, whom it was asked about, by the
same thresholds as a register (``protection``). Who is held is up for as long as it reports: the
rule releases whoever stops (``liveness``), so a rack that lost its power is hidden for two report
intervals at the most. Not every process of Nova knows zones, so a group is counted as a whole.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from servicegroup.liveness import LOOK_INTERVAL
from servicegroup.model import Limits, Member, Presence, PresenceState
from servicegroup.protection import (
    TOGETHER,
    WINDOW,
    Patience,
    Threshold,
    are_several,
    is_credible,
    is_crowd,
)

FORGET = 600.0
"""Seconds after the last question about a member from which on it may have been deleted."""

_THRESHOLD = Threshold()

Ask = Callable[[Iterable[Member]], Mapping[Member, Presence]]
"""Gives the driver's answers for members that were asked about before."""

log = logging.getLogger("servicegroup.nova")


class _Group(msgspec.Struct):
    """Whom this process was asked about in a group, by host; times are of a monotonic clock.

    ``present`` is when each one that is there was asked about last, ``lost_at`` when each one that
    is missing was found so, ``vanished`` those of them that were present before, and ``held_at``
    since when each is held; ``suspect`` says that some were.
    """

    present: dict[str, float] = msgspec.field(default_factory=dict)
    lost_at: dict[str, float] = msgspec.field(default_factory=dict)
    vanished: set[str] = msgspec.field(default_factory=set)
    held_at: dict[str, float] = msgspec.field(default_factory=dict)
    changed_at: float = 0.0
    peak: int = 0
    suspect: bool = False
    looked_at: float = float("-inf")


class Crowds:
    """Whose absence is held, of one driver's members; safe to share between threads."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        ask: Ask,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold members of the driver ``name``, which ``ask`` asks."""
        self._name = name
        self._patience = Patience(
            few=min(limits.heartbeat_interval, limits.membership_ttl), crowd=limits.membership_ttl
        )
        self._ask = ask
        self._monotonic = monotonic
        self._groups: dict[str, _Group] = {}
        self._lock = threading.Lock()

    def held_age(self, member: Member, presence: Presence) -> float | None:
        """Note the driver's answer, and return for how many seconds the member has been held.

        None for one that is not. The first one that is missing has its whole group looked at, so
        that no member of a crowd is down before the others are asked about.
        """
        group = self._groups.get(member.group)
        if group is not None and presence.state is PresenceState.PRESENT:
            # What nearly every question finds costs no lock.
            host = member.host
            if host in group.present and host not in group.lost_at:
                group.present[host] = self._monotonic()
                return None
        with self._lock:
            group = self._groups.setdefault(member.group, _Group())
            now = self._monotonic()
            news = self._note(group, member.host, presence, now)
            if not group.lost_at and not group.suspect:
                return None
            if news:
                self._meet(member.group, group, now)
            is_over = group.suspect and not group.held_at
            if news or is_over or now - group.looked_at >= LOOK_INTERVAL:
                self._look(member.group, group, now)
            held_at = group.held_at.get(member.host)
        return None if held_at is None else now - held_at

    def _note(self, group: _Group, host: str, presence: Presence, now: float) -> bool:
        """Note an answer, and return whether somebody is missing who was not."""
        if presence.state is PresenceState.PRESENT:
            group.present[host] = now
            group.lost_at.pop(host, None)
            group.vanished.discard(host)
            if group.held_at.pop(host, None) is not None:
                group.changed_at = now
        elif presence.state is PresenceState.ABSENT:
            was_present = group.present.pop(host, None) is not None
            if host not in group.lost_at:
                group.lost_at[host] = now
                if was_present:
                    group.vanished.add(host)
                return True
        return False

    def _meet(self, name: str, group: _Group, now: float) -> None:
        """Ask about everybody who was present: somebody is missing, and may not be alone."""
        asked = list(group.present.items())
        for host, at in asked:
            if now - at > FORGET:
                del group.present[host]
        members = [Member(name, host) for host, at in asked if now - at <= FORGET]
        for member, presence in self._ask(members).items():
            self._note(group, member.host, presence, now)

    def _look(self, name: str, group: _Group, now: float) -> None:
        """Hold a crowd, or what may become one, and release what is credible."""
        group.looked_at = now
        for host in self._accusing(group, now):
            if host not in group.held_at:
                group.held_at[host] = now
                group.changed_at = now
        group.peak = max(group.peak, len(group.held_at))
        held, kept = len(group.held_at), len(group.present)
        if held and not group.suspect:
            group.suspect = True
            log.warning(
                "%d of %d members of group %s vanished from driver %s at once: they are held, and"
                " their reports decide.", held, held + kept, name, self._name,
            )  # fmt: skip
        if group.suspect and is_credible(
            held=held,
            kept=kept,
            peak=group.peak,
            calm=now - group.changed_at,
            patience=self._patience,
            threshold=_THRESHOLD,
        ):
            group.held_at.clear()
            group.peak, group.suspect = 0, False
            log.warning(
                "Driver %s is believed again in group %s: %d members are still missing.",
                self._name, name, held,
            )  # fmt: skip

    def _accusing(self, group: _Group, now: float) -> list[str]:
        """Return those who are to be held: a crowd, or what may become one; often nobody.

        Who was missing when this process was first asked is brought back by a whole crowd only.
        """
        together = [host for host, at in group.lost_at.items() if now - at <= TOGETHER]
        lately = sum(now - at <= WINDOW for at in group.lost_at.values())
        if is_crowd(lately, len(group.present), _THRESHOLD):
            return together
        vanished = [host for host in together if host in group.vanished]
        return vanished if are_several(len(vanished), _THRESHOLD) else []
