"""The one way to a backend's answers: counted, with proof, and without waiting for the silent.

Whoever judges asks through here, in the register as in Nova, so that the rules of ``breaker`` and
``proof`` hold for every driver and every interface alike. Ask with no connection to the database
in hand: it may take seconds (F-18).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Collection, Mapping

import msgspec

from servicegroup.breaker import CircuitBreaker
from servicegroup.driver import Driver, GroupPresence
from servicegroup.measuring import Questions
from servicegroup.model import Limits, Member, Presence, PresenceState
from servicegroup.proof import Lives, Proofs

LIVES_TOLD = 16
"""Lives of a member that evidence names; whoever may write to a backend can plant thousands."""


class Asking:
    """Asks one driver for all of a process; safe to share between threads."""

    def __init__(self, driver: Driver, limits: Limits) -> None:
        """Ask ``driver``, whose members heartbeat by ``limits``."""
        self.driver = driver
        self.questions = Questions()
        self._members = CircuitBreaker(driver, self._question)
        self._groups = CircuitBreaker(driver, self._list)
        self._listed: dict[str, GroupPresence | None] = {}
        self._proofs = Proofs(driver, limits)

    def ask(self, lives: Lives) -> Mapping[Member, Presence]:
        """Ask the backend once about all of these; whoever is ABSENT is proven to be.

        Nobody is told of by a driver like ``db``, which has no signal of its own, or ``session``,
        whose answers are read with the record.
        """
        if not lives or not self.driver.capabilities.is_asked:
            return {}
        return self._proofs.believed(lives, self._members.ask(lives))

    def ask_unproven(self, members: Collection[Member]) -> Mapping[Member, Presence]:
        """Ask the backend once about all of these; an absence is to be ``proven`` before use."""
        return self._members.ask(members)

    def list_group(self, group: str) -> GroupPresence | None:
        """Ask the backend once for a whole group, None where it can only be asked by name.

        An absence is to be ``proven`` before use.
        """
        anybody = Member(group, "")
        answer = self._groups.ask((anybody,))[anybody]
        if answer.state is PresenceState.UNKNOWN:
            return GroupPresence({}, answer)
        return self._listed[group]

    def proven(self, member: Member, presence: Presence) -> Presence:
        """Return the answer for a member, UNKNOWN instead of an absence without a proof."""
        return self._proofs.believed({member: None}, {member: presence})[member]

    def close(self) -> None:
        """Ask no more in place of others; call it before the driver is closed."""
        for part in (self._members, self._groups, self._proofs):
            part.close()

    def _question(self, members: Collection[Member]) -> dict[Member, Presence]:
        started = time.monotonic()
        presences = self.driver.presence(members)
        taken = time.monotonic() - started
        unknown = [one.state for one in presences.values()].count(PresenceState.UNKNOWN)
        self.questions.asked(len(presences), unknown, taken)
        return presences

    def _list(self, members: Collection[Member]) -> dict[Member, Presence]:
        """List the group of each, and answer with what is known of anybody, if anything is."""
        answers = {}
        for member in members:
            listed = self._listed[member.group] = self.driver.list_group(member.group)
            told = [*listed.present.values(), listed.others] if listed else [_NOT_LISTED]
            known = (one for one in told if one.state is not PresenceState.UNKNOWN)
            answers[member] = next(known, told[-1])
        return answers


_NOT_LISTED = Presence(PresenceState.ABSENT)


def bounded(presence: Presence, own: int) -> Presence:
    """Leave the greatest incarnations and the record's own: evidence has to fit into an event."""
    told = {*heapq.nlargest(LIVES_TOLD - 1, presence.incarnations)}
    told |= {own} & presence.incarnations
    return msgspec.structs.replace(presence, incarnations=frozenset(told))
