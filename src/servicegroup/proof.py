"""An absence is believed only while presence can be written (F-1).

A backend that takes no writes still answers questions: whoever restarts, or whose time runs out,
is missing from it and lives. So a member that is missing counts as absent only beside a proof: its
driver wrote a new record to the server that holds the member, and read it back. Else nothing is
known of it, and the backend's own words say why.

Writes that are refused from a moment on take nobody's presence sooner than ``membership_ttl -
heartbeat_interval`` later, so a proof that was begun within that time before a question counts for
it. One serves everybody who asks for a second, and while everybody is present none is made. After
a refusal members need time to come back: for one ``membership_ttl`` from the first proof on
nobody is absent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from servicegroup.breaker import CircuitBreaker, by_server
from servicegroup.driver import Driver
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Limits, Member, Presence, PresenceState
from servicegroup.per_process import PerProcess

Lives = Mapping[Member, int | None]
"""Who is asked about, each with the incarnation that has to be there; any for None."""

REUSED = 1.0
"""Seconds after the end of a proof, or of a refusal, in which no other one is made."""

_PROVEN = Presence(PresenceState.ABSENT)


class _Server:
    """What was found out about one server by writing to it; times are of a monotonic clock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begun = self.ended = self.settled_at = float("-inf")
        self.refusal = ""


class _State:
    """The servers that one process wrote to, and where it was refused last, by a member of each."""

    def __init__(self) -> None:
        self.servers: dict[str, _Server] = {}
        self.refused: dict[str, Member] = {}


class Proofs:
    """The proofs of one driver; safe to share between threads, and found anew after a fork."""

    def __init__(
        self, driver: Driver, limits: Limits, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Write through ``driver``, whose members heartbeat by ``limits``."""
        self._driver = driver
        self._limits = limits
        self._monotonic = monotonic
        self._states = PerProcess(_State)
        self._breaker = CircuitBreaker(driver, self._proven)

    def believed(
        self, lives: Lives, presences: Mapping[Member, Presence]
    ) -> Mapping[Member, Presence]:
        """Return the answers, UNKNOWN for those that are missing and may be so for want of writes.

        A server that hangs when it is written to holds nobody up, see ``breaker``.
        """
        missing = [
            member
            for (member, life), presence in zip(
                lives.items(), map(presences.get, lives), strict=True
            )
            if presence is not None
            and life not in presence.incarnations  # which most are in
            and _is_missing(presence, life)
        ]
        refused = self._states.get().refused
        if not missing and not refused:
            return presences
        answers = self._breaker.ask([*missing, *refused.values()])
        doubted = {
            member: msgspec.structs.replace(answers[member], age=presences[member].age)
            for member in missing
            if answers[member].state is PresenceState.UNKNOWN
        }
        return {**presences, **doubted} if doubted else presences

    def close(self) -> None:
        """Write no more in place of others; call it before the driver is closed."""
        self._breaker.close()

    def _proven(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Say of each member whether it may be called absent: else UNKNOWN, with the cause."""
        answers: dict[Member, Presence] = {}
        for server, own in by_server(self._driver, members).items():
            doubt = self._doubt(server, own[0])
            answer = Presence(PresenceState.UNKNOWN, detail=doubt) if doubt else _PROVEN
            answers |= dict.fromkeys(own, answer)
        return answers

    def _doubt(self, name: str, member: Member) -> str:
        """Say why a member that is missing from this server may be alive, or nothing."""
        asked_at = self._monotonic()
        state = self._states.get()
        server = state.servers.setdefault(name, _Server())
        with server.lock:
            if asked_at - server.ended >= REUSED or not self._covers(server.begun):
                self._write(server, member)
            if server.refusal:
                state.refused[name] = member
                return f"a new record cannot be written: {server.refusal.rstrip('.')}"
            state.refused.pop(name, None)
            if self._monotonic() < server.settled_at:
                return "recovering: writes were refused lately, and members may still come back"
        return ""

    def _covers(self, begun: float) -> bool:
        """Tell whether nobody can be missing now for want of writes that were refused since."""
        window = self._limits.membership_ttl - self._limits.heartbeat_interval
        return self._monotonic() - begun < window

    def _write(self, server: _Server, member: Member) -> None:
        before, server.begun = server.refusal, self._monotonic()
        server.refusal = ""
        try:
            self._driver.prove(member)
        except DriverUnavailable as error:
            server.refusal = str(error)
        server.ended = self._monotonic()
        if before and not server.refusal:
            server.settled_at = server.ended + self._limits.membership_ttl


def _is_missing(presence: Presence, life: int | None) -> bool:
    """Tell whether the backend says that this life of a member is not there."""
    if presence.state is PresenceState.PRESENT:
        return life is not None and life not in presence.incarnations
    return presence.state is PresenceState.ABSENT
