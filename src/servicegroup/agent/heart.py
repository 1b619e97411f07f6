"""The loop that keeps a signal alive: it beats until it is stopped, and nothing else ends it.

It knows no transport and no driver; the clock, the waiting and the chance are parameters. When a
beat fails it says "lost" once, backs off up to the interval, and says "recovered" once.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Protocol

from servicegroup.errors import ControlPlaneUnavailable, ServiceGroupError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("servicegroup.agent")

_JITTER = 0.1
_DOUBLINGS = 3


class Busy(ControlPlaneUnavailable):
    """The control plane answers, and asks to be asked again after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        """Keep the seconds beside the sentence."""
        super().__init__(message)
        self.retry_after = retry_after


def next_delay(interval: float, took: float, chance: float) -> float:
    """Return the seconds to wait after a beat that took ``took``, so that beats stay apart.

    Two beats begin at most ``interval`` seconds apart, and up to a tenth less by ``chance`` (0 to
    1), so that a fleet does not fall into step (LC-8).
    """
    return max(0.0, interval * (1 - _JITTER * chance) - took)


def retry_delay(failures: int, interval: float, chance: float, asked: float = 0.0) -> float:
    """Return the seconds to wait after the given number of failures in a row.

    It begins at an eighth of the interval and doubles up to the interval; ``chance`` (0 to 1)
    takes up to half of it away. ``asked`` is what the other side wants waited; that is honoured
    up to the interval.
    """
    grown = interval * 2.0 ** min(failures - 1 - _DOUBLINGS, 0)
    return min(max(grown * (0.5 + chance / 2), asked * (1 + chance / 4)), interval)


class Stop(Protocol):
    """What the loop waits on between beats; ``threading.Event`` is one."""

    def wait(self, timeout: float, /) -> bool:
        """Wait up to ``timeout`` seconds and tell whether to stop; return at once when set."""
        ...

    def set(self) -> None:
        """Stop the loop, now or at the end of the beat under way."""
        ...

    def is_set(self) -> bool:
        """Tell whether to stop."""
        ...


class Heart:
    """Calls ``beat`` at once, and then about every ``interval`` seconds until stopped.

    A beat that raises anything has failed, and the loop goes on (LC-9). ``interval`` may be
    changed at any time. ``who`` and ``path`` are for the log: who lost which path.
    """

    def __init__(
        self,
        who: str,
        path: str,
        beat: Callable[[], None],
        interval: float,
        *,
        stop: Stop | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Prepare the loop; ``run`` runs it in the caller's thread."""
        self.interval = interval
        self.beats = 0
        self.last_success: float | None = None
        self.lost_since: float | None = None
        self.error = ""
        self._who = who
        self._path = path
        self._beat = beat
        self._stop = stop or threading.Event()
        self._monotonic = monotonic
        self._chance = chance
        self._failures = 0

    @property
    def is_lost(self) -> bool:
        """Whether the last beat failed; ``error`` then says why."""
        return self.lost_since is not None

    @property
    def is_stopping(self) -> bool:
        """Whether the beat under way, if there is one, is the last."""
        return self._stop.is_set()

    @property
    def success_age(self) -> float | None:
        """Seconds since the last beat that succeeded; None before the first."""
        return None if self.last_success is None else self._monotonic() - self.last_success

    def stop(self) -> None:
        """End the loop: at once when it waits, else after the beat under way."""
        self._stop.set()

    def run(self) -> None:
        """Beat until stopped; there is always a first beat, and it comes at once."""
        while True:
            started = self._monotonic()
            self.beats += 1
            try:
                self._beat()
            except BaseException as error:  # noqa: BLE001 - nothing a beat does may end the loop
                delay = self._failed(error)
            else:
                delay = self._succeeded(started)
            if self._stop.wait(delay):
                return

    def _succeeded(self, started: float) -> float:
        first = self.last_success is None
        now = self.last_success = self._monotonic()
        if self.lost_since is not None:
            away = now - self.lost_since
            log.warning("%s recovered %s after %.1f s.", self._who, self._path, away)
        self.lost_since, self.error, self._failures = None, "", 0
        # The phase is drawn once, after the first success: a fleet started together spreads.
        return self.interval * self._chance() if first else self._next(now - started)

    def _next(self, took: float) -> float:
        return next_delay(self.interval, took, self._chance())

    def _failed(self, error: BaseException) -> float:
        self._failures += 1
        self.error = str(error) or type(error).__name__
        if self.lost_since is None and not self._stop.is_set():
            self.lost_since = self._monotonic()
            log.warning(
                "%s lost %s: %s Trying until it answers.",
                self._who,
                self._path,
                self.error,
                exc_info=None if isinstance(error, ServiceGroupError) else error,
            )
        asked = error.retry_after if isinstance(error, Busy) else 0.0
        return retry_delay(self._failures, self.interval, self._chance(), asked)
