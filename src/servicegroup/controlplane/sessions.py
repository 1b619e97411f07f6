"""The sessions this control plane holds: who, for which services, and how each one ends.

A session speaks for any number of services. When its connection ends without a goodbye, its
services have ``linger`` seconds to open another one, on any control plane, before the end is
written; the write names the session that ended, so it undoes no newer one. Who gave up waiting for
the answer to its opening does not know that it holds one, and has its time to live. A heartbeat
writes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol
from uuid import uuid4

import msgspec

from servicegroup.controlplane.session_admission import STOPPING, Admission
from servicegroup.controlplane.session_commits import Request, SessionCommits
from servicegroup.errors import Unavailable
from servicegroup.messages import Drain, Hold
from servicegroup.model import Member
from servicegroup.recording import Ending, Opened, Opening, SessionWriter
from servicegroup.sessions import SessionEnd

TICK = 0.5
"""Seconds between two looks at who is silent. They are counted, so that a process which stood
still takes nobody for silent."""

GOING = 500
"""Sessions that are asked at once to go elsewhere, and in each tick at the least.

Each that has gone has the next one asked, so a fleet comes to the others as fast as they take it
(LC-8).
"""

LONGEST_DRAIN = 5.0
"""Seconds after which a control plane that stops waits for nobody any more."""

_LINGERING = frozenset({SessionEnd.CLOSED, SessionEnd.BROKEN, SessionEnd.UNANSWERED})
"""Ends after which the same life may be about to open another session."""


class Line(Protocol):
    """The connection of a session, as far as it matters here; its methods never raise."""

    def tell(self, said: object) -> None:
        """Say something unasked."""
        ...

    def ask_to_go(self, why: Drain) -> None:
        """Ask for the next session to be opened elsewhere; end this one if nobody obeys a stop."""
        ...

    def close(self, end: SessionEnd) -> None:
        """End the connection; ``Sessions.lost`` is then called."""
        ...

    def recheck(self) -> None:
        """Ask anew whether its credential is accepted."""
        ...


class HeldLife(msgspec.Struct, frozen=True):
    """One life that a session speaks for."""

    opening: Opening
    member: Member


class Holding:
    """What one connection holds; made by ``Sessions.begin``."""

    __slots__ = ("ended", "line", "lives", "quiet", "ticks", "was_answered")

    def __init__(self, line: Line, ticks: int) -> None:
        """Nothing is held yet; ``ticks`` is where its turn to be rechecked stands."""
        self.line = line
        self.lives: dict[str, HeldLife] = {}
        self.ended: tuple[SessionEnd, float] | None = None
        self.quiet = 0
        self.ticks = ticks
        self.was_answered = False

    def heard(self) -> None:
        """Note that something came, after whatever was answered before."""
        self.quiet = 0
        self.was_answered = True


class Sessions:
    """Who holds a session here; for one event loop."""

    def __init__(
        self,
        writer: SessionWriter,
        ttl: float,
        linger: float,
        changed: Callable[[Collection[Member]], None],
        recheck_after: float = 10.0,
    ) -> None:
        """Write by ``writer``; a session that is silent for ``ttl`` seconds is ended.

        ``changed`` is called with the members whose session was opened or ended. Credentials are
        asked for anew about every ``recheck_after`` seconds.
        """
        self._ttl = ttl
        self._linger = linger
        self._recheck_ticks = max(1, round(recheck_after / TICK))
        self._holdings: set[Holding] = set()
        self.answering: set[Holding] = set()
        """Connections that somebody who answers questions has held a session on."""
        self._began = 0
        self.commits = SessionCommits(
            writer,
            lambda: bool(self._holdings),
            lambda: [one.opening for h in self._holdings for one in h.lives.values()],
            changed,
            self._drain_in_trouble,
            ttl,
        )
        self.admission = Admission()
        self.stopping = False
        self._to_go: deque[Holding] = deque()
        self._all_asked = asyncio.Event()
        self._why = Drain.STOPPING
        self.opened = 0
        self.ended: Counter[SessionEnd] = Counter(dict.fromkeys(SessionEnd, 0))

    @property
    def is_empty(self) -> bool:
        """Whether nobody holds anything here."""
        return not self._holdings

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._holdings)

    @property
    def held(self) -> int:
        """How many services hold a session here."""
        return sum(len(holding.lives) for holding in self._holdings)

    def begin(self, line: Line) -> Holding:
        """Begin to watch a connection. Raises Unavailable for a control plane that stops."""
        if self.stopping:
            raise Unavailable(STOPPING)
        self._began += 1  # a fleet that comes at once is not rechecked at once
        holding = Holding(line, self._began % self._recheck_ticks)
        self._holdings.add(holding)
        return holding

    async def hold(self, holding: Holding, holds: Iterable[Hold]) -> Opened:
        """Open a session for each of these lives, and return what became of them after the commit.

        Raises Unavailable, StoreUnavailable; then none is known to be open.
        """
        openings = [
            Opening(h.uuid, h.incarnation, h.number, str(uuid4()), h.answers) for h in holds
        ]
        request = Request(
            openings,
            lambda: holding.ended is None,
            partial(self._adopt, holding, openings),
            asyncio.get_running_loop().create_future(),
        )
        return await self.commits.open(request)

    def _adopt(self, holding: Holding, openings: Iterable[Opening], opened: Opened) -> None:
        """Note what a connection holds from now on; it may have ended during the commit."""
        for one in openings:
            if one.uuid in opened.known and one.uuid not in opened.outdated:
                self.opened += 1
                life = HeldLife(one, opened.known[one.uuid])
                if holding.ended is None:
                    holding.was_answered = False
                    holding.lives[one.uuid] = life
                    if one.answers:
                        self.answering.add(holding)
                else:
                    self._end(life, *holding.ended, linger=self._ttl)

    def release(self, holding: Holding, uuids: Iterable[str], end: SessionEnd) -> None:
        """Give up what this connection holds of these services, at once."""
        for uuid in uuids:
            if (life := holding.lives.pop(uuid, None)) is not None:
                self._end(life, end, time.monotonic())

    def lost(self, holding: Holding, end: SessionEnd) -> None:
        """Note that a connection ended, and end what it held, unless another one takes it over."""
        if holding.ended is None:
            holding.ended = (end, time.monotonic())
            self._holdings.discard(holding)
            self.answering.discard(holding)
            linger = self._linger if holding.was_answered else self._ttl
            for life in holding.lives.values():
                self._end(life, *holding.ended, linger=linger)
            holding.lives.clear()
            self._ask_to_go(1)

    def _end(self, life: HeldLife, end: SessionEnd, at: float, *, linger: float = 0.0) -> None:
        if self.stopping:
            return  # it was asked to go
        self.ended[end] += 1
        due = at + (linger if end in _LINGERING else 0.0)
        ending = Ending(life.opening.uuid, life.opening.session, end)
        self.commits.end(ending, life.member, due)

    # -- what is said unasked ----------------------------------------------------------------

    def tell_deleted(self, uuid: str) -> None:
        """Say that a service was deleted to whoever speaks for it."""
        self._tell_gone("deleted", uuid, lambda life: True)

    def tell_superseded(self, uuid: str, incarnation: int) -> None:
        """Say that ``incarnation`` of a service registered to whoever speaks for an older one."""
        self._tell_gone("superseded", uuid, lambda life: life.opening.incarnation < incarnation)

    def _tell_gone(self, kind: str, uuid: str, is_meant: Callable[[HeldLife], bool]) -> None:
        for holding in self._holdings:
            life = holding.lives.get(uuid)
            if life is not None and is_meant(life):
                del holding.lives[uuid]  # the record has no more use for how it ends
                holding.line.tell({kind: [uuid]})

    def drain(self, why: Drain) -> None:
        """Ask everybody, one after the other, to open the next session before this one ends."""
        self._why = why
        self._to_go = deque(self._holdings)
        self._all_asked.clear()
        self._ask_to_go(GOING)

    def _drain_in_trouble(self) -> None:
        if not self.stopping:  # then all are asked to go, and for a better reason
            self.drain(Drain.DATABASE)

    def _ask_to_go(self, most: int) -> None:
        while self._to_go and most:
            holding = self._to_go.popleft()
            if holding.ended is None:
                holding.line.ask_to_go(self._why)
                most -= 1
        if not self._to_go:
            self._all_asked.set()

    async def stop_accepting(self) -> None:
        """Begin to stop: who is here is asked to go, and whoever stays is not accused of it.

        Returns once all were asked, or too much time has passed.
        """
        self.stopping = True
        self.admission.close()
        self.drain(Drain.STOPPING)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_DRAIN):
                await self._all_asked.wait()

    # -- what runs beside --------------------------------------------------------------------

    async def run(self) -> None:
        """Write and watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.commits.run())
            tasks.create_task(self._watch())

    async def _watch(self) -> None:
        """End what is silent, and have credentials checked, tick by tick."""
        while True:
            await asyncio.sleep(TICK)
            self.commits.unmarked_for(TICK)
            self._ask_to_go(GOING)
            for holding in list(self._holdings):
                holding.quiet += 1
                holding.ticks += 1
                if holding.quiet * TICK > self._ttl:
                    holding.line.close(SessionEnd.SILENT)
                elif holding.ticks % self._recheck_ticks == 0:
                    holding.line.recheck()
