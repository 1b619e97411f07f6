"""Whether the process works, as it says itself: one answer that both signals obey.

A process that runs is not yet one that works (AND-3). The report's thread asks; the heartbeats'
threads read the last answer, and do not trust a question that stays unanswered.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("servicegroup.agent")

_LENGTH = 255


class Health:
    """Asks ``healthy`` and remembers the answer; logs when it turns bad, and when good again."""

    def __init__(
        self,
        who: str,
        healthy: Callable[[], object] | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask ``healthy``, or nobody: then all is well. ``who`` is for the log."""
        self._who = who
        self._healthy = healthy
        self._monotonic = monotonic
        self._failing = ""
        self._asked_at: float | None = None

    def ask(self) -> str | None:
        """Return why the process does not work, or None where it does; never raises.

        Not working is False, a sentence that is not empty, or any exception.
        """
        if self._healthy is None:
            return None
        self._asked_at = self._monotonic()
        try:
            reason = _reason(self._healthy())
        except BaseException as error:  # noqa: BLE001 - whatever it raises is its answer
            reason = one_line(str(error)) or type(error).__name__
        self._asked_at = None
        if bool(reason) != bool(self._failing):
            if reason:
                log.warning("%s withholds its signals: %s", self._who, reason)
            else:
                log.warning("%s works again and sends its signals.", self._who)
        self._failing = reason
        return reason or None

    def answer(self, patience: float) -> str | None:
        """Return the last answer; a question open for ``patience`` seconds is a bad one."""
        asked_at = self._asked_at
        if asked_at is not None and self._monotonic() - asked_at > patience:
            return f"The health check has not answered for {patience:g} s."
        return self._failing or None


def _reason(answer: object) -> str:
    if answer is False:
        return "The health check says no."
    return one_line(answer) if isinstance(answer, str) else ""


def one_line(text: str) -> str:
    """Return the first line with anything in it, as far as it can be shown and stored."""
    lines = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
    return next(filter(None, lines), "")[:_LENGTH]
