"""How services are asked: spread out, twice before one counts as deaf, and never by a broken way.

A service that leaves a question unanswered is asked once more, at least the time for an answer
later. It is deaf if another service behind the same broker then answers, and the connection that
was opened before the first question still stands: else the broker may be what is wrong, nothing
is known, and what was known before stays.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol

import msgspec

from servicegroup.model import Member
from servicegroup.nova.rpc.broker import BrokerAway, Unanswered
from servicegroup.nova.rpc.results import Answer

CATCH_UP = 0.5
"""Seconds that a busy machine may make good."""

WITNESSES = 3
"""Services that are asked for a proof that the broker works."""

RETURNING = 60.0
"""Seconds after which everybody has found back to a broker that was away; oslo.messaging waits 30
between two tries."""


class Target(msgspec.Struct, frozen=True):
    """A service to be asked, the cell it belongs to, and what was known of it before."""

    uuid: str
    member: Member
    cell: str
    before: Answer | None = None

    @property
    def place(self) -> str:
        """What it has in common with those that may be deaf for the same cause."""
        return f"{self.cell}/{self.member.group}"

    @property
    def is_deaf(self) -> bool:
        """Whether it left questions unanswered when it was last asked."""
        return self.before is not None and self.before.deaf_since is not None


class Asked(Protocol):
    """A question under way."""

    def answer(self) -> float | Unanswered:
        """Wait for the answer, and return the seconds it took. Raises BrokerAway."""


class Way(Protocol):
    """A broker, as far as it matters here."""

    timeout: float

    def open(self) -> None:
        """Connect anew. Raises BrokerAway."""

    def close(self) -> None:
        """Close that connection."""

    def look(self, member: Member) -> Unanswered | None:
        """Tell why a question would not be heard. Raises BrokerAway."""

    def send(self, member: Member) -> Asked:
        """Ask, and do not wait for the answer."""


class Pace:
    """Lets one after the other through, ``interval`` seconds apart, and catches up on a little."""

    def __init__(
        self,
        interval: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Let the first one through at once."""
        self.interval = interval
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = monotonic()

    def wait(self) -> None:
        """Return when it is time for the next one."""
        self.until(self._next)
        self._next = max(self._next, self._monotonic() - CATCH_UP) + self.interval

    def until(self, moment: float) -> None:
        """Return when it is that time, on the monotonic clock."""
        if (left := moment - self._monotonic()) > 0:
            self._sleep(left)

    def now(self) -> float:
        """Return the time on the monotonic clock, in seconds."""
        return self._monotonic()


class _Question(msgspec.Struct, frozen=True):
    """A question to a target: when it was asked, by both clocks, and what is heard of it.

    ``since`` is when an earlier one was asked that was not answered.
    """

    target: Target
    begun: float
    asked_at: float
    heard: Unanswered | Asked
    since: float | None

    def answer(self) -> Answer:
        """Wait for the answer; who gives none has been deaf since then, or before."""
        heard = self.heard if isinstance(self.heard, Unanswered) else self.heard.answer()
        place = self.target.place
        if not isinstance(heard, Unanswered):
            return Answer(place, self.asked_at, took=heard)
        before = self.target.before
        since = (before and before.deaf_since) or self.since or self.asked_at
        return Answer(place, self.asked_at, deaf_since=since, detail=heard.why)


class Found(msgspec.Struct, frozen=True):
    """What is known now, by the uuid of the service; and why that is not all, if so.

    ``is_away`` says that the broker does not answer, so that asking on is in vain.
    """

    answers: dict[str, Answer]
    doubt: str = ""
    is_away: bool = False


class Inquiry:
    """The questions to the services behind one broker."""

    def __init__(self, way: Way, pace: Pace) -> None:
        """Ask by this way, no faster than the pace."""
        self._way = way
        self._pace = pace
        self._away_at = float("-inf")

    def ask(self, targets: Sequence[Target], others: Iterable[Member] = ()) -> Found:
        """Ask the targets, and return what is known of them now.

        ``others`` are services that may prove that the broker works, beside those that answer.
        """
        try:
            self._way.open()
            return self._ask(targets, others)
        except BrokerAway as away:
            self._away_at = self._pace.now()
            return Found({}, str(away), is_away=True)
        finally:
            self._way.close()

    def _ask(self, targets: Sequence[Target], others: Iterable[Member]) -> Found:
        found = self._questions(targets)
        silent = [one for one in targets if found[one.uuid].took is None]
        if not silent:
            return Found(found)
        answering = [one.member for one in targets if found[one.uuid].took is not None]
        if why := self._doubts([*answering, *others], {one.member for one in silent}):
            known = {one.uuid for one in targets} - {one.uuid for one in silent}
            return Found({uuid: found[uuid] for uuid in known}, why)
        return Found(found)

    def _questions(self, targets: Sequence[Target]) -> dict[str, Answer]:
        """Ask all of them, and those again who do not answer, while others are still to be asked.

        Who is deaf already was asked twice at first, and gets no more messages than needed.
        """
        found: dict[str, Answer] = {}
        left = deque(targets)
        waiting: deque[_Question] = deque()  # in the order in which they were asked
        while left or waiting:
            if left and not (waiting and self._pace.now() >= self._over(waiting[0])):
                waiting.append(self._question(left.popleft()))
                continue
            asked = waiting.popleft()
            answer = found[asked.target.uuid] = asked.answer()
            if answer.took is None and asked.since is None and not asked.target.is_deaf:
                self._pace.until(self._over(asked))
                waiting.append(self._question(asked.target, answer.deaf_since))
        return found

    def _over(self, asked: _Question) -> float:
        return asked.begun + self._way.timeout

    def _question(self, target: Target, since: float | None = None) -> _Question:
        self._pace.wait()
        begun, asked_at = self._pace.now(), time.time()
        heard = self._way.look(target.member) or self._way.send(target.member)
        return _Question(target, begun, asked_at, heard, since)

    def _doubts(self, witnesses: Iterable[Member], silent: set[Member]) -> str:
        """Return why nobody can be called deaf now; "" where the broker is proven to work."""
        for member in islice((one for one in witnesses if one not in silent), WITNESSES):
            if self._way.look(member) is None and not isinstance(
                self._way.send(member).answer(), Unanswered
            ):
                if self._pace.now() - self._away_at < RETURNING:
                    return "RabbitMQ was away, and services may still be on their way back to it."
                return ""
        return "Nobody answers by this RabbitMQ, so it may be what is wrong."
