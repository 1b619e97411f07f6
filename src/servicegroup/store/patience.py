"""A connection to PostgreSQL that is given up once waiting for its server has become pointless.

The server ends what takes too long, but only one that runs: a frozen one answers nothing, and the
kernel acknowledges whatever it is sent. A pooler without a free session is silent as well, and so
is a COMMIT that waits for a standby, which no limit of the server's ends (F-31). So whoever waits
looks up from time to time, and asks on a new connection what became of the server.
"""

from __future__ import annotations

import contextlib
import math
import select
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import OperationalError
from psycopg.pq import TransactionStatus

from servicegroup.polling import poller
from servicegroup.store.database import STATEMENT_TIMEOUT

T = TypeVar("T")

LONGEST = STATEMENT_TIMEOUT + 1.0
"""Seconds of silence after which a connection is given up; a server that runs answers before."""

LOOK = 0.75
"""Seconds between two looks at what became of the server."""

FRESH = 1.5
"""Seconds from an answer on in which a connection needs no proof that it still is one.

Longer than the pause between two looks, and than a mark's: who asks each second asks only that.
"""

MOST_FOR_A_STANDBY = 3.0
"""Seconds a COMMIT may wait for a synchronous standby."""

_STATE = (
    "SELECT pg_postmaster_start_time(),"
    " ARRAY(SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep')"
)

NO_STANDBY = (
    "COMMIT waits for a synchronous standby that does not answer; start one, or take it out of"
    " synchronous_standby_names"
)


class NoStandby(OperationalError):
    """A COMMIT waits for a standby; what it wrote stays written, and nobody knows."""

    awaits_standby = True


class PlainCursor(psycopg.Cursor[Any]):
    """A cursor that describes columns by what SQLAlchemy asks of them: their names and types.

    An object for each column, as psycopg makes them, costs a question about one service a tenth.
    """

    @property
    def description(self) -> Any:
        """Name and type of each column, as PEP 249 has it; None where there is no result."""
        result = self.pgresult
        if result is None or not result.nfields:
            return None
        return [
            ((result.fname(i) or b"").decode(), result.ftype(i), None, None, None, None, None)
            for i in range(result.nfields)
        ]


class PatientConnection(psycopg.Connection[Any]):
    """A connection whose statements wait no longer than makes sense, then raise OperationalError.

    ``is_shared`` says that a pooler is between. ``server`` is when the server was started, which
    tells it from any other one; None behind a pooler. ``beginning`` is how transactions begin.
    """

    is_shared = False
    beginning = "BEGIN ISOLATION LEVEL READ COMMITTED"
    server: datetime | None = None
    inquiry: Inquiry | None = None
    _longest = LONGEST
    _answered_at = -math.inf

    def __init__(self, *args: Any, **options: Any) -> None:
        """Be made by ``connect``."""
        super().__init__(*args, **options)
        self.cursor_factory = PlainCursor

    @property
    def is_fresh(self) -> bool:
        """Whether the server answered just now, and neither said anything since nor hung up.

        A server that ends, or ends a session, says so or closes it, and so does what is between.
        """
        if time.monotonic() - self._answered_at > FRESH:
            return False
        poll = poller()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)

    def rollback(self) -> None:
        """Undo the transaction, if there is one: after a question by itself there is none."""
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            super().rollback()

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Wait no longer than so many seconds for what is asked within the block."""
        before, self._longest = self._longest, seconds
        try:
            yield
        finally:
            self._longest = before

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """Wait for the end of an exchange with the server, looking up from time to time."""
        return super().wait(self._watched(gen), *args, **options)

    def _watched(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        started = looked = time.monotonic()
        ready: Any = None
        while True:
            try:
                state = gen.send(ready)
            except StopIteration as end:
                self._answered_at = time.monotonic()
                result: T = end.value
                return result
            ready = yield state
            now = time.monotonic()
            if ready:
                started = looked = now
            elif now - started > self._longest:
                self._give_up(OperationalError(self._silence(self._longest)))
            elif now - looked > LOOK:
                if (reason := self._inquire(now - started)) is not None:
                    self._give_up(reason)
                looked = time.monotonic()

    def _silence(self, seconds: float) -> str:
        if self.server is None:
            return (
                f"no answer for {seconds:g} s; if this is a pooler, all connections of its pool are"
                " in use: make the pool larger"
            )
        return f"no answer for {seconds:g} s"

    def _inquire(self, silent: float) -> OperationalError | None:
        """Return why to wait no longer, if there is a reason."""
        if self.inquiry is None or self.server is None:
            return None
        found = self.inquiry.ask()
        if found is None:
            return None
        if found.server != self.server:
            return OperationalError("the server has been replaced by another one")
        if silent > MOST_FOR_A_STANDBY and self.info.backend_pid in found.waiting:
            # Or each try would leave a session behind that waits for the standby, with its locks.
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=LOOK)
            return NoStandby(NO_STANDBY)
        return None

    def _give_up(self, reason: OperationalError) -> None:
        self.pgconn.finish()
        raise reason


class Found(NamedTuple):
    """What is reached now: when that server was started, and who waits there for a standby."""

    server: datetime
    waiting: list[int]


class Inquiry:
    """Asks on a new connection what became of the server: one thread at a time, for all of them."""

    def __init__(self, connect: Callable[[], PatientConnection]) -> None:
        """Ask on what ``connect`` returns, within about a second."""
        self._connect = connect
        self._asking = Lock()
        self._found: Found | None = None
        self._found_at = -math.inf

    def ask(self) -> Found | None:
        """Return what was found within the last second; None if nobody answers in time."""
        if self._asking.acquire(blocking=False):
            try:
                self._found = self._ask()
                self._found_at = time.monotonic()
            finally:
                self._asking.release()
        return self._found if time.monotonic() - self._found_at < LOOK else None

    def _ask(self) -> Found | None:
        with suppress(psycopg.Error), contextlib.closing(self._connect()) as session:
            with session.patience(LOOK):
                row = session.execute(_STATE, prepare=False).fetchone()
            return Found(*row) if row else None
        return None
