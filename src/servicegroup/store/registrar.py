"""Registrations that arrive while others commit share one transaction (F-26).

A fleet that starts, or comes back from an outage, registers at once. One transaction at a time
takes whoever waits by then. If one of them is late by its end, it is undone and made again without
that one; if it fails by one of them in another way, each has a transaction of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import Engine

from servicegroup.errors import StoreUnavailable
from servicegroup.messages import Registration
from servicegroup.store.database import is_of_values, write
from servicegroup.store.registration import Beginning, begin_lives

TOGETHER = 100
"""Registrations of one transaction."""


class _Waiting(msgspec.Struct):
    wanted: Beginning
    deadline: float
    outcome: Registration | BaseException | None = None


class Registrar:
    """Begins lives in one database; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        """Write to the engine's database."""
        self._engine = engine
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def register(self, wanted: Beginning, deadline: float) -> Registration:
        """Begin a life; raises as ``begin_lives`` and ``write`` do."""
        own = _Waiting(wanted, deadline)
        with self._lock:
            self._waiting.append(own)
        with self._turn:
            while own.outcome is None:
                with self._lock:
                    batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                self._begin(batch)
        if isinstance(own.outcome, BaseException):
            raise own.outcome
        return own.outcome

    def _begin(self, batch: Sequence[_Waiting]) -> None:
        try:
            begun = self._commit(batch)
        except BaseException as error:  # noqa: BLE001 - raised by whoever it belongs to
            late = [one for one in batch if time.monotonic() > one.deadline]
            is_everybodys = isinstance(error, StoreUnavailable) and not is_of_values(error)
            for one in late or (batch if is_everybodys or len(batch) == 1 else ()):
                one.outcome = error
            others = [one for one in batch if one.outcome is None]
            for some in [others] if late and others else [[one] for one in others]:
                self._begin(some)
        else:
            for one, registration in zip(batch, begun, strict=True):
                one.outcome = registration

    def _commit(self, batch: Sequence[_Waiting]) -> list[Registration]:
        wanted = [one.wanted for one in batch]
        deadline = min(one.deadline for one in batch)
        return write(self._engine, lambda c: begin_lives(c, wanted), deadline)
