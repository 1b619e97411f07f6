"""Group commit: reports that arrive close together share one transaction, answered after it.

While one batch commits, the next one gathers, so the busier the intake the larger its batches.
While it can commit, it also leaves a mark every second, which is what silence is counted by.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
from anyio import to_thread

from servicegroup.controlplane.intake_statistics import BATCH_SIZES, Statistics
from servicegroup.errors import ServiceGroupError, StandbyMissing, StoreUnavailable, Unavailable
from servicegroup.liveness import MARK_INTERVAL
from servicegroup.messages import Refusals, Report

WINDOW = 0.01
"""Seconds a batch gathers after its first report."""

PACE = 0.03
"""Seconds from one batch to the next: a commit costs as much as tens of reports."""

LONGEST_PACE = 0.1
"""The same while more reports keep coming in, as those of a large fleet do."""

ENOUGH = 500
"""Reports that wait for no pace."""

MAX_BATCH = BATCH_SIZES[-1]
"""Reports after which a batch takes no further request."""

MAX_WAITING = 50_000
"""Reports that may wait; beyond it a request is refused at once."""

SHARE = 4
"""What one client may hold of them is one in so many, so that it shuts nobody out (F-59)."""

STALLED = 10.0
"""Seconds without a commit, though a mark is due each second, after which commits hang."""

NOBODY = Refusals()

_STOPPING = "The control plane is stopping; report again elsewhere."

Commit = Callable[[Sequence[Report], bool, float], Refusals]
"""Commits a batch, with a mark or without, and returns who was refused; runs in a thread.

What is not done by the last argument, seconds of ``time.monotonic``, is to be undone.
"""

Done = Callable[[Refusals | Exception], object]
"""Takes the answer to one request: who was refused, or why none of it is stored."""

LOG = logging.getLogger(__name__)


class Waiting(msgspec.Struct):
    """One request that waits for its commit."""

    reports: Sequence[Report]
    arrived: float
    done: Done
    client: str | None
    size: int = 0
    """The reports it counts for: one without any takes memory, too."""

    def __post_init__(self) -> None:
        """Count them once."""
        self.size = len(self.reports) or 1


class Intake:
    """Gathers reports on the event loop and commits them in one thread, batch after batch."""

    def __init__(self, commit: Commit, longest_wait: float) -> None:
        """Commit through ``commit``; what waited over ``longest_wait`` seconds is refused.

        So is a batch whose commit takes as long, in a database or a process that stood still: a
        report that waited so long proves too little to stamp a record with (SQL-7).
        """
        self._commit = commit
        self._longest_wait = longest_wait
        self._queue: deque[Waiting] = deque()
        self._waiting = 0
        self._held: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._enough = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "intake")
        self._runner: asyncio.Task[None] | None = None
        self._marked = float("-inf")
        self._healthy = True
        self._awaits_standby = False
        self._stopping = False
        self.statistics = Statistics()

    @property
    def waiting(self) -> int:
        """How many reports wait for their commit."""
        return self._waiting

    @property
    def is_committing(self) -> bool:
        """Whether the latest commit succeeded, and is not so old that the next one must hang."""
        return self._healthy and self.last_commit_age < STALLED

    @property
    def trouble(self) -> str:
        """Why reports are not committed, in a sentence for anybody: no address, no name."""
        if self._awaits_standby:
            return "Commits wait for a synchronous standby of the database that does not answer."
        return "Reports cannot be committed now; see the control plane's log."

    @property
    def last_commit_age(self) -> float:
        """Seconds since the latest commit, or since the start."""
        return time.monotonic() - self.statistics.last_commit_at

    def start(self) -> None:
        """Begin committing; call it on the event loop."""
        self._runner = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop committing; requests that still wait are refused."""
        if self._runner is not None:
            self._runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._runner
        self._stopping = True  # whoever is told so may have more to report
        while self._queue:
            _tell(self._queue.popleft(), Unavailable(_STOPPING))
        await to_thread.run_sync(self._thread.shutdown, abandon_on_cancel=True)

    async def report(self, reports: Sequence[Report], client: str | None = None) -> Refusals:
        """Return, after the commit, who of these was refused.

        ``client`` is who sends them; what waits of one client is bounded, unless it is None.
        Raises Unavailable when too much waits already or the wait got too long, StoreUnavailable
        when the commit failed; then none of these reports is stored.
        """
        answer: asyncio.Future[Refusals] = asyncio.get_running_loop().create_future()
        self.submit(reports, partial(_settle, answer), client)
        return await answer

    def submit(self, reports: Sequence[Report], done: Done, client: str | None = None) -> None:
        """Have ``done`` called on the loop with what ``report`` returns, or with what it raises."""
        entry = Waiting(_of_latest_lives(reports), time.monotonic(), done, client)
        try:
            self._append(entry)
        except Unavailable as error:
            asyncio.get_running_loop().call_soon(_tell, entry, error)
        self._wake.set()

    def _append(self, entry: Waiting) -> None:
        """Let a request wait; raises Unavailable when too much waits, in all or of its client."""
        if self._stopping:
            raise Unavailable(_STOPPING)
        if self._waiting + entry.size > MAX_WAITING:
            self.statistics.refused_requests += 1
            raise Unavailable(f"{self._waiting} reports wait for their commit; report again later.")
        if entry.client is not None:
            held = self._held[entry.client]
            if held + entry.size > MAX_WAITING // SHARE:
                self.statistics.refused_requests += 1
                raise Unavailable(
                    f"{held} reports of client {entry.client} wait for their commit; report again"
                    " later."
                )
            self._held[entry.client] = held + entry.size
        self._queue.append(entry)
        self._waiting += entry.size
        if self._waiting >= ENOUGH:
            self._enough.set()

    def _release(self, entry: Waiting) -> None:
        """Count a request no more: it is in a batch, or refused."""
        self._waiting -= entry.size
        if entry.client is not None:
            self._held[entry.client] -= entry.size
            if not self._held[entry.client]:
                del self._held[entry.client]

    async def _run(self) -> None:
        waited = False
        taken_at = float("-inf")
        while True:
            until_mark = self._marked + MARK_INTERVAL - time.monotonic()
            if not self._queue and until_mark > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), until_mark)
            if self._queue and not waited:
                await self._gather(taken_at)
            self._wake.clear()
            self._enough.clear()
            taken_at = time.monotonic()
            batch = self._take()
            waited = bool(self._queue)  # what a batch left over has had its window
            await self._commit_batch(batch)

    async def _gather(self, taken_at: float) -> None:
        """Wait while the next batch gathers; ``taken_at`` is when the latest one was taken.

        Clients that report again once they are answered have soon come, all of them.
        """
        pause = max(WINDOW, taken_at + PACE - time.monotonic())
        while not await self._has_enough_within(pause):
            now = time.monotonic()
            if now > self._queue[-1].arrived + WINDOW / 2 or now > taken_at + LONGEST_PACE:
                return
            pause = WINDOW

    async def _has_enough_within(self, seconds: float) -> bool:
        try:
            return await asyncio.wait_for(self._enough.wait(), seconds)
        except TimeoutError:
            return False

    def _take(self) -> list[Waiting]:
        """Take the requests of the next batch off the queue, refusing what waited too long.

        An answer names services by uuid. So that it is about one life, the superseded and the
        living one are never in one batch: the later request waits for the next batch, of which it
        is the first, and holds up nobody behind it (F-60).
        """
        batch: list[Waiting] = []
        aside: list[Waiting] = []
        size = 0
        lives: dict[str, int] = {}
        oldest = time.monotonic() - self._longest_wait
        while self._queue and size < MAX_BATCH:
            entry = self._queue.popleft()
            reports = entry.reports
            if entry.arrived < oldest:
                self._release(entry)
                self.statistics.refused_requests += 1
                _tell(entry, Unavailable("The report waited too long for its commit."))
            elif batch and not _fits(reports, lives):
                aside.append(entry)
            else:
                for report in reports:
                    lives[report.uuid] = report.incarnation
                self._release(entry)
                batch.append(entry)
                size += entry.size
        self._queue.extendleft(reversed(aside))
        return batch

    async def _commit_batch(self, batch: list[Waiting]) -> None:
        reports = [report for entry in batch for report in entry.reports]
        marking = time.monotonic() - self._marked >= MARK_INTERVAL
        if not batch and not marking:
            return
        started = time.monotonic()
        if marking:
            self._marked = started  # a failed mark is tried again one interval later, not at once
        try:
            refused = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._commit, reports, marking, started + self._longest_wait
            )
        except Exception as error:  # noqa: BLE001 - the loop outlives any failure (LC-9)
            self._failed(batch, error)
            return
        self._succeeded(len(reports), refused, time.monotonic() - started)
        is_nobody = refused == NOBODY
        for entry in batch:
            _tell(entry, NOBODY if is_nobody else _own(entry, refused))

    def _succeeded(self, size: int, refused: Refusals, seconds: float) -> None:
        statistics = self.statistics
        if refused != NOBODY:
            for kind, uuids in msgspec.structs.asdict(refused).items():
                statistics.refused_reports[kind] += len(uuids)
        statistics.reports += size
        statistics.batches.add(size)
        statistics.commit_seconds.add(seconds)
        statistics.last_commit_at = time.monotonic()
        if not self._healthy:
            self._healthy, self._awaits_standby = True, False
            LOG.warning("Reports are committed again.")

    def _failed(self, batch: Sequence[Waiting], error: Exception) -> None:
        self.statistics.failed_commits += 1
        is_new = isinstance(error, StandbyMissing) and not self._awaits_standby
        if self._healthy or is_new:
            self._healthy = False
            LOG.error("Reports cannot be committed: %s", error)
        self._awaits_standby |= is_new
        if not isinstance(error, ServiceGroupError):
            LOG.error("Unexpected failure of a commit", exc_info=error)
            error = StoreUnavailable("The reports could not be committed; report again.")
        for entry in batch:
            _tell(entry, error)


def _of_latest_lives(reports: Sequence[Report]) -> Sequence[Report]:
    """Leave out reports of a life that another report of the same request supersedes.

    An answer names services by uuid, and is about the latest life that was named.
    """
    if len(reports) < 2:
        return reports
    latest: dict[str, int] = {}
    for report in reports:
        if report.incarnation > latest.get(report.uuid, 0):
            latest[report.uuid] = report.incarnation
    if len(latest) == len(reports):
        return reports
    return [report for report in reports if report.incarnation == latest[report.uuid]]


def _fits(reports: Iterable[Report], lives: Mapping[str, int]) -> bool:
    """Tell whether none of these services is in ``lives`` with another incarnation."""
    for report in reports:  # for each report of a fleet, and a generator costs as much as that
        if lives.get(report.uuid, report.incarnation) != report.incarnation:
            return False
    return True


def _tell(entry: Waiting, outcome: Refusals | Exception) -> None:
    """Give a request its answer; whatever becomes of it, others get theirs (LC-9)."""
    try:
        entry.done(outcome)
    except Exception:
        LOG.exception("An answer to reports could not be given")


def _settle(answer: asyncio.Future[Refusals], outcome: Refusals | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _own(entry: Waiting, refused: Refusals) -> Refusals:
    """Return what of a batch's refusals concerns this request."""
    uuids = {report.uuid for report in entry.reports}
    return Refusals(*(uuids & kind for kind in msgspec.structs.astuple(refused)))
