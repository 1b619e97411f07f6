"""A probe of a whole Nova: every cell's services that are up, each asked once a round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from servicegroup.model import Reason, Service
from servicegroup.nova.cells import Failed, Question
from servicegroup.nova.rpc.broker import GRACE, brokers
from servicegroup.nova.rpc.questions import Found, Inquiry, Pace, Target
from servicegroup.nova.rpc.results import Answer

if TYPE_CHECKING:
    from servicegroup.nova.deployment import Deployment, Listing


BATCH = 10.0
"""Seconds in which the services of a batch are asked; after each, what was found is kept."""

CALLS_IN_A_ROW = 10
"""Answers of a broker that a batch waits for at most, one after the other, besides its pace."""

STUCK = Found({}, "RabbitMQ stands still in the middle of an answer.", is_away=True)
"""What is known where a broker, or its client library, kept a batch waiting without an end."""


def asked_in_time(ask: Callable[[], Found], seconds: float) -> Found:
    """Return what ``ask`` finds within so many seconds, else ``STUCK``.

    The client library has waits of its own that nothing bounds. Raises what ``ask`` raises.
    """
    by = time.monotonic() + seconds
    raised: list[Exception] = []

    def work() -> Found:
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - raised again below
            raised.append(error)
            return STUCK

    answer = Question(lambda: None, work).answer(by, by)
    if raised:
        raise raised[0]
    return STUCK if isinstance(answer, Failed) else answer


class Result(msgspec.Struct, frozen=True):
    """What a probe found of one service; without an ``answer`` nothing new is known of it.

    ``before`` is what was known until then, and ``why`` says what stood in the way.
    """

    service: Service
    answer: Answer | None
    before: Answer | None = None
    why: str = ""


def is_asked(service: Service) -> bool:
    """Tell whether a service is worth a question: up, but for what a probe has found."""
    verdict = service.judged
    return bool(service.topic) and (verdict.is_up or verdict.reason is Reason.DEAF)


class Prober:
    """Asks again and again; it remembers which brokers were away."""

    def __init__(self, deployment: Deployment) -> None:
        """Ask the services that this Nova lists, as its ``[rpc]`` says."""
        self._deployment = deployment
        self._settings = deployment.layer.rpc.settings
        self._results = deployment.layer.rpc.results
        self._pace = Pace(1.0 / self._settings.rate)
        self._inquiries: dict[str, Inquiry] = {}
        self._results.add({})  # what cannot be kept need not be asked

    def probe(
        self, listing: Listing, wanted: Sequence[Service], every: float = 0.0
    ) -> Iterator[Result]:
        """Ask the wanted ones of the services just listed; spread over ``every`` seconds.

        What is found is kept, and told in batches. Raises ConfigError where it cannot be kept.
        """
        asked = [one for one in wanted if is_asked(one)]
        yield from (Result(one, None, why="It is down.") for one in wanted if not is_asked(one))
        interval = max(self._pace.interval, every / max(1, len(asked)))
        size = max(1, int(BATCH / interval))
        spread = Pace(size * interval if every else 0.0)
        by_cell: dict[str, list[Service]] = {}
        for one in random.sample(asked, len(asked)):
            by_cell.setdefault(self._deployment.cell_of(one), []).append(one)
        for cell, services in by_cell.items():
            batches = [services[n : n + size] for n in range(0, len(services), size)]
            yield from self._cell(cell, batches, spread, listing)

    def _cell(
        self, cell: str, batches: Sequence[Sequence[Service]], spread: Pace, listing: Listing
    ) -> Iterator[Result]:
        """Ask the services of a cell, batch by batch, until its broker turns out to be away."""
        others = [
            one.member
            for one in random.sample(listing.services, len(listing.services))
            if is_asked(one) and self._deployment.cell_of(one) == cell
        ]
        away = ""
        for batch in batches:
            known = self._results.read()
            targets = [Target(one.uuid, one.member, cell, known.get(one.uuid)) for one in batch]
            if away:
                found, why = {}, away
            else:
                spread.wait()
                answered = asked_in_time(
                    partial(self._inquiry(cell).ask, targets, others), self._longest(len(targets))
                )
                if answered is STUCK:
                    self._inquiries.pop(cell)  # its connection is in the hands of that thread
                found, why = answered.answers, answered.doubt
                away = answered.doubt if answered.is_away else ""
            if found:
                self._results.add(found)
            for one in batch:
                yield Result(one, found.get(one.uuid), known.get(one.uuid), why)

    def _longest(self, count: int) -> float:
        """Return the seconds that so many questions take at most, each asked twice."""
        each = self._settings.timeout + GRACE
        return 2 * count * self._pace.interval + CALLS_IN_A_ROW * each

    def _inquiry(self, cell: str) -> Inquiry:
        if cell not in self._inquiries:
            for uuid, broker in brokers(self._settings.timeout).items():
                self._inquiries.setdefault(uuid, Inquiry(broker, self._pace))
        return self._inquiries[cell]
