"""Group commit of sessions: openings that come close together, and ends that are due, with a mark.

Openings are answered after their commit. An end waits until it is due, and longer while the
database is away. A mark goes with the ends, so it says that what had to be ended here was. After a
time without marks, as when the database was away or the process stood still, the record is told
anew what is held here. What came of questions goes with a mark, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
from anyio import to_thread

from servicegroup.controlplane.session_admission import STOPPING
from servicegroup.errors import ServiceGroupError, StoreUnavailable, Unavailable
from servicegroup.liveness import MARK_INTERVAL, MARK_TOLERANCE
from servicegroup.messages import Refusals
from servicegroup.model import Member
from servicegroup.recording import Ending, Heard, Lapsed, Opened, Opening, SessionWriter
from servicegroup.sessions import SessionEnd

T = TypeVar("T")

WINDOW = 0.01
"""Seconds in which openings gather for one commit."""

MAX_BATCH = 5_000
"""Openings, or ends, of one commit."""

MAX_WAITING = 50_000
"""Openings that may wait for their commit."""

SETTLE = 3.0
"""Seconds after an outage of the database in which nothing is ended: openings come first."""

LONG = 1.0
"""Seconds after which a commit that was made is such an outage; seldom twice in a row, so that a
slow database does not keep ends from being written."""

LOOK_AROUND = 0.25
"""Seconds in which a process that stood still learns which connections ended meanwhile."""

LOG = logging.getLogger(__name__)


class Request(msgspec.Struct):
    """Openings of one request.

    ``is_wanted`` says whether its sender still waits; ``done`` is called once they are committed,
    whether or not anybody waits for the answer.
    """

    openings: Sequence[Opening]
    is_wanted: Callable[[], bool]
    done: Callable[[Opened], None]
    answer: asyncio.Future[Opened]


class SessionCommits:
    """Writes in one thread, commit after commit; for one event loop."""

    def __init__(
        self,
        writer: SessionWriter,
        is_marking: Callable[[], bool],
        held: Callable[[], list[Opening]],
        changed: Callable[[Collection[Member]], None],
        in_trouble: Callable[[], None],
        ttl: float,
    ) -> None:
        """Write by ``writer``, and mark each second while ``is_marking``; ``held`` is what is here.

        ``changed`` is called with the members of what was opened or ended, ``in_trouble`` once
        this control plane's mark has grown too old, as where the database does not answer. Who was
        told that its opening failed has ``ttl`` seconds for the next one.
        """
        self._writer = writer
        self._is_marking = is_marking
        self._held = held
        self._changed = changed
        self._in_trouble = in_trouble
        self._ttl = ttl
        self._waiting: deque[Request] = deque()
        self._waiting_openings = 0
        self._ends: list[tuple[float, int, Ending, Member | None]] = []
        self._heard: dict[str, tuple[Heard, Member]] = {}
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "sessions")
        self._marked = float("-inf")
        self._unmarked = 0.0
        self._is_failing = False
        self._was_in_trouble = False
        self._settled_at = float("-inf")
        self.failures = 0

    @property
    def pending_ends(self) -> int:
        """How many ends are not written yet."""
        return len(self._ends)

    @property
    def is_troubled(self) -> bool:
        """Whether the database has not been seen to work since it did not."""
        return self._is_failing or self._was_in_trouble

    async def open(self, request: Request) -> Opened:
        """Return what became of the openings, after their commit.

        Raises Unavailable, StoreUnavailable; then none is known to be open.
        """
        if self._waiting_openings > MAX_WAITING:
            raise Unavailable("Too many sessions wait to be opened; try again later.")
        self._waiting.append(request)
        self._waiting_openings += len(request.openings)
        self._wake.set()
        return await request.answer

    def end(self, ending: Ending, member: Member | None, due: float) -> None:
        """Write this end once it is ``due``, in seconds of ``time.monotonic``."""
        heapq.heappush(self._ends, (due, next(self._order), ending, member))
        self._wake.set()

    def hear(self, heard: Heard, member: Member) -> None:
        """Write this with a mark, unless something newer comes of the same session before."""
        self._heard[heard.session] = (heard, member)

    def unmarked_for(self, seconds: float) -> None:
        """Count so many seconds more without a mark, as those of a commit that hangs are too.

        Once they are too many nothing that is held here is vouched for. They are counted, so that
        a process which stood still is not in trouble.
        """
        self._unmarked = self._unmarked + seconds if self._is_marking() else 0.0
        if self._unmarked >= MARK_TOLERANCE and not self._was_in_trouble:
            self._was_in_trouble = True
            self._in_trouble()

    async def run(self) -> None:
        """Write until cancelled; no failure ends it (LC-9)."""
        while True:
            await self._rest()
            # Whatever came before an end was due is opened before it is written.
            taken_at = time.monotonic()
            await self._open(self._take())
            await self._write_ends(taken_at)

    async def stop(self) -> None:
        """Refuse what waits, and wait for the commit that is on its way."""
        for request in self._waiting:
            _fail(request, Unavailable(STOPPING))
        await to_thread.run_sync(self._thread.shutdown, abandon_on_cancel=True)

    async def _rest(self) -> None:
        """Wait until something is to be written."""
        if not self._waiting:
            now = time.monotonic()
            tries = self._is_marking() or self.is_troubled
            due = (self._marked if tries else now) + MARK_INTERVAL
            if self._ends and not self.is_troubled:
                due = min(due, max(self._ends[0][0], self._settled_at))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(WINDOW, due - now))
        self._wake.clear()
        if self._waiting:
            await asyncio.sleep(WINDOW)

    def _take(self) -> list[Request]:
        """Take what is to be opened now; of each service one session at a time."""
        batch: list[Request] = []
        aside: list[Request] = []
        seen: set[str] = set()
        while self._waiting and len(seen) < MAX_BATCH:
            request = self._waiting.popleft()
            uuids = {one.uuid for one in request.openings}
            if not request.is_wanted():
                _fail(request, Unavailable("The connection ended."))
            elif seen.isdisjoint(uuids):
                seen |= uuids
                batch.append(request)
            else:
                aside.append(request)
        self._waiting.extendleft(reversed(aside))
        self._waiting_openings = sum(len(one.openings) for one in self._waiting)
        return batch

    async def _open(self, batch: Sequence[Request]) -> None:
        openings = [one for request in batch for one in request.openings]
        if not openings:
            for request in batch:
                request.answer.set_result(Opened(Refusals(), {}, {}))
            return
        try:
            opened = await self._written(lambda: self._writer.open(openings))
        except Exception as error:  # noqa: BLE001 - the loop outlives any failure (LC-9)
            failure = self._failed(error)
            due = time.monotonic() + self._ttl
            for one in openings:  # a commit without an answer may have been made all the same
                self.end(Ending(one.uuid, one.session, SessionEnd.BROKEN), None, due)
            for request in batch:
                _fail(request, failure)
            return
        for request in batch:
            own = _own(request, opened)
            request.done(own)
            if not request.answer.done():
                request.answer.set_result(own)
        self._changed(opened.known.values())

    async def _write_ends(self, by: float) -> None:
        """Write the ends that were due ``by`` then, and mark if that is due.

        None is written while the database has not been seen to work again.
        """
        now = time.monotonic()
        is_troubled = self.is_troubled
        due: list[tuple[float, int, Ending, Member | None]] = []
        while not is_troubled and self._settled_at <= now and self._ends and self._ends[0][0] <= by:
            due.append(heapq.heappop(self._ends))
            if len(due) == MAX_BATCH:
                break
        tries = self._is_marking() or is_troubled
        if not due and not (tries and now - self._marked >= MARK_INTERVAL):
            return
        self._marked = now
        endings, marking = [ending for _, _, ending, _ in due], self._is_marking()
        some = {} if is_troubled else dict(itertools.islice(self._heard.items(), MAX_BATCH))
        heard = [one for one, _ in some.values()]
        for session in some:
            del self._heard[session]
        try:
            await self._written(lambda: self._writer.end(endings, heard, marking=marking))
        except Exception as error:  # noqa: BLE001 - the loop outlives any failure (LC-9)
            for entry in due:
                heapq.heappush(self._ends, entry)
            self._heard = some | self._heard
            self._failed(error)
            await asyncio.sleep(MARK_INTERVAL)
            return
        if is_troubled:
            LOG.warning("Sessions are written again.")
            self._is_failing = self._was_in_trouble = False
            self._settled_at = time.monotonic() + SETTLE
        members = [member for *_, member in due if member is not None]
        self._changed(members + [member for _, member in some.values()])

    async def _written(self, work: Callable[[], T]) -> T:
        """Return what came of it, after a new beginning if the last mark is too old for it."""
        try:
            return await self._in_thread(work)
        except Lapsed:
            await asyncio.sleep(LOOK_AROUND)
            held = self._held()
            await self._in_thread(lambda: self._writer.begin_anew(held))
            return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        before, begun = self._unmarked, time.monotonic()
        done = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        self._unmarked = max(0.0, self._unmarked - before)  # its mark is of when it began
        ended = time.monotonic()
        if ended - begun > LONG and ended - self._settled_at > SETTLE:
            self._settled_at = ended + SETTLE  # others have waited for the database, too
        return done

    def _failed(self, error: Exception) -> Exception:
        """Say once that sessions cannot be written; return what those who wait are told."""
        self.failures += 1
        if not self._is_failing:
            self._is_failing = True
            LOG.error("Sessions cannot be written: %s", error)
        if not isinstance(error, ServiceGroupError):
            LOG.error("Unexpected failure to write sessions", exc_info=error)
            error = StoreUnavailable("The sessions could not be written; try again.")
        return error


def _fail(request: Request, error: Exception) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)


def _own(request: Request, opened: Opened) -> Opened:
    """Return what of a commit's outcome concerns this request."""
    uuids = {one.uuid for one in request.openings}
    return Opened(  # by lookups: a batch may be of thousands of requests
        Refusals(*(uuids & kind for kind in msgspec.structs.astuple(opened.refused))),
        {uuid: opened.outdated[uuid] for uuid in uuids if uuid in opened.outdated},
        {uuid: opened.known[uuid] for uuid in uuids if uuid in opened.known},
    )
