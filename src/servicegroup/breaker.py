"""Asks a backend, and stops waiting for one that does not answer (F-18).

It is a circuit breaker. A question that took long and was answered for nobody opens the circuit of
the servers that it was about. While a circuit is open, every question about its members is answered
UNKNOWN at once, with the cause and for how long, and one thread asks in place of all others. The
first answer that thread gets closes the circuit.

A question that fails at once, as where a connection is refused, costs nobody anything and opens
nothing: the next one is asked as if nothing had happened.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from weakref import WeakSet

import msgspec

from servicegroup.driver import Driver
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.per_process import PerProcess

Ask = Callable[[Collection[Member]], dict[Member, Presence]]
"""Gives an answer for each member, and none for a driver that has no signal of its own."""

SLOW = 0.25
"""Seconds from which on a question that was answered for nobody counts as one without an answer.

Longer than any answer of a backend that is recovering takes, which says UNKNOWN of everybody too,
and shorter than drivers wait.
"""

PAUSE = 0.5
"""Seconds from a question without an answer to the next one."""

IDLE = 60.0
"""Seconds after the latest question from which on nobody waits for an answer any more."""


class _Circuit(msgspec.Struct):
    """A server that does not answer: why, since when, who is asked about, and when it was asked.

    Times are seconds of ``time.monotonic``; ``cause`` was given at ``failed_at``.
    """

    since: float
    cause: Presence
    failed_at: float
    members: Collection[Member]
    wanted_at: float

    def answer(self) -> Presence:
        """Return what is said of its members meanwhile."""
        now, age = time.monotonic(), self.cause.age
        return msgspec.structs.replace(
            self.cause,
            age=None if age is None else age + now - self.failed_at,
            detail=f"{self.cause.detail.rstrip('.')}; no answer for {now - self.since:.1f} s",
        )


class _State:
    """The open circuits of one process, by the name of the server."""

    def __init__(self) -> None:
        self.open: dict[str, _Circuit] = {}
        self.probers: WeakSet[threading.Thread] = WeakSet()
        self.closing = threading.Event()


class CircuitBreaker:
    """Asks one driver; safe to share between threads, and found anew after a fork."""

    def __init__(self, driver: Driver, ask: Ask) -> None:
        """Ask through ``ask``; ``driver`` says which server holds a member."""
        self._ask = ask
        self._driver = driver
        self._name = f"{driver.name}-prober"
        self._states = PerProcess(_State)

    def ask(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Answer for every member, asking only servers that are not known to be silent."""
        state = self._states.get()
        if not state.open:
            return self._asked(state, members)
        answers: dict[Member, Presence] = {}
        for server, own in by_server(self._driver, members).items():
            if (circuit := state.open.get(server)) is not None:
                circuit.wanted_at = time.monotonic()
                # The next probe is about the most that anybody wanted to know.
                circuit.members = max(circuit.members, own, key=len)
                answers |= dict.fromkeys(own, circuit.answer())
        rest = [member for member in members if member not in answers]
        return answers | self._asked(state, rest) if rest else answers

    def close(self) -> None:
        """End the threads of this process, after the questions that are on their way."""
        state = self._states.pop()
        if state is not None:
            state.closing.set()
            for prober in [*state.probers]:
                prober.join()

    def _asked(self, state: _State, members: Collection[Member]) -> dict[Member, Presence]:
        started = time.monotonic()
        presences = self._ask(members)
        if time.monotonic() - started >= SLOW:
            for server, own in by_server(self._driver, members).items():
                if (cause := _silent(presences, own)) is not None:
                    self._open(state, server, _circuit(started, cause, own))
        return presences

    def _open(self, state: _State, server: str, circuit: _Circuit) -> None:
        if state.open.setdefault(server, circuit) is not circuit:
            return
        prober = threading.Thread(
            target=self._probe, args=(state, server, circuit), name=self._name, daemon=True
        )
        state.probers.add(prober)
        prober.start()

    def _probe(self, state: _State, server: str, circuit: _Circuit) -> None:
        """Ask until there is an answer, or nobody wants one any more; then close the circuit."""
        try:
            while not state.closing.wait(PAUSE) and time.monotonic() - circuit.wanted_at < IDLE:
                started, members = time.monotonic(), circuit.members
                presences = self._ask(members)
                cause = _silent(presences, members)
                if cause is None or time.monotonic() - started < SLOW:
                    return
                circuit.cause, circuit.failed_at = cause, time.monotonic()
        finally:
            del state.open[server]


def by_server(driver: Driver, members: Collection[Member]) -> dict[str, list[Member]]:
    """Return the members that each of a driver's independent servers holds, by its name."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(driver.server_of(member), []).append(member)
    return found


def _silent(presences: Mapping[Member, Presence], members: Collection[Member]) -> Presence | None:
    """Return why nothing is known of any of these members, None where something is."""
    answers = [presences[member] for member in members]
    if any(answer.state is not PresenceState.UNKNOWN for answer in answers):
        return None
    return answers[0]


def _circuit(started: float, cause: Presence, members: Collection[Member]) -> _Circuit:
    now = time.monotonic()
    return _Circuit(started, cause, now, members, now)
