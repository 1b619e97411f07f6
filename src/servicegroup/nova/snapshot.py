"""A driver's answers for a whole listing, which Nova asks for one service at a time.

A driver that pushes has its view in memory, always newer than a copy of it, and is asked as it is.
Any other is asked at most once a second for a group: for all of it where the backend can list, else
for every member that was asked about before. A member that the process never asked about then costs
a question of its own, once.

A backend that does not answer holds nobody up (F-18), and an absence is proven when it is asked for
(F-1): see ``asking``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from servicegroup.asking import Asking
from servicegroup.driver import Driver
from servicegroup.liveness import LOOK_INTERVAL
from servicegroup.model import Limits, Member, Presence, PresenceState


class _Answers(msgspec.Struct):
    """What was said of a group at a time; ``others`` is said of hosts that are not in ``known``."""

    told_at: float
    known: dict[str, Presence]
    others: Presence | None


_NONE = _Answers(float("-inf"), {}, None)


class Snapshot:
    """One driver's answers, at most ``LOOK_INTERVAL`` seconds old; threads may share it.

    No thread waits for another: of several that find an answer too old, each asks.
    """

    def __init__(
        self, driver: Driver, limits: Limits, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Ask ``driver``, whose members heartbeat by ``limits``, when a question comes."""
        self._asking = Asking(driver, limits)
        self._monotonic = monotonic
        self._groups: dict[str, _Answers] = {}

    def presence(self, member: Member) -> Presence:
        """Return the driver's answer for one member; never raises."""
        found = self._told(member)
        return self._asking.proven(member, found) if found.state is PresenceState.ABSENT else found

    def presences(self, members: Iterable[Member]) -> dict[Member, Presence]:
        """Return the driver's answer for each of these; never raises."""
        return {member: self.presence(member) for member in members}

    def close(self) -> None:
        """Ask no more in place of others."""
        self._asking.close()

    def _told(self, member: Member) -> Presence:
        if self._asking.driver.capabilities.pushes:
            return self._asking.ask_unproven((member,))[member]
        answers = self._groups.get(member.group, _NONE)
        if self._monotonic() - answers.told_at > LOOK_INTERVAL:
            answers = self._groups[member.group] = self._ask(member.group, list(answers.known))
        found = answers.known.get(member.host, answers.others)
        return found or self._meet(answers, member)

    def _ask(self, group: str, hosts: list[str]) -> _Answers:
        listed = self._asking.list_group(group)
        if listed is not None:
            return _Answers(self._monotonic(), listed.present, listed.others)
        members = [Member(group, host) for host in hosts]
        presences = self._asking.ask_unproven(members) if members else {}
        known = {member.host: presence for member, presence in presences.items()}
        # An answer may take seconds to come, and is as good as any other from then on.
        return _Answers(self._monotonic(), known, None)

    def _meet(self, answers: _Answers, member: Member) -> Presence:
        """Ask about a member for the first time, and from then on with the others.

        While the backend does not answer, one such question says it for all of this second.
        """
        found = answers.known[member.host] = self._asking.ask_unproven((member,))[member]
        if found.state is PresenceState.UNKNOWN:
            answers.others = found
        return found
