"""Watching a register: every event once, in order, through outages, for as long as one likes.

The place in the log is kept here, so whatever breaks in between, a watch goes on exactly after the
last event that it gave. What it can not have any more is told as an event of kind ``gap``.
"""

from __future__ import annotations

import logging
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from servicegroup.agent.heart import Busy, retry_delay
from servicegroup.agent.join import client_for
from servicegroup.errors import InvalidInput, Unavailable
from servicegroup.events import Cursor, Event, EventFilter, EventKind, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Source = Callable[[EventFilter, float], Page]
    """Gives events that match, waiting so many seconds for the first one if ``after`` is given."""

log = logging.getLogger("servicegroup.agent")

WAIT = 10.0
"""Seconds one question waits for an event; a control plane that hangs is found that much later."""

_RETRY_INTERVAL = 5.0


def watch(
    url: str | None = None,
    *,
    after: int | str | Cursor | None = None,
    group: str | None = None,
    uuid: str | None = None,
    kind: EventKind | None = None,
    token: str | Path | None = None,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
) -> Iterator[Event]:
    """Give what happens to services, as it happens, each event once and in order, without an end.

    Begins after the event ``after``, or with what happens once a control plane has answered. That
    is an id, or better an event's ``cursor``, with which nothing that is lost in a failover of the
    database goes unnoticed.
    ``group``, ``uuid`` and ``kind`` leave out what they do not match; a ``gap`` is always told.
    ``url`` (``$SERVICEGROUP_URL``, else http://127.0.0.1:8774) may list several control planes
    with commas; ``token``, ``ca``, ``cert`` and ``key`` are as for ``join``. A control plane that
    is away is tried until it answers. Raises InvalidInput; while iterating too, and Forbidden for
    a refused token.
    """
    client = client_for(url, token, ca, cert, key)
    place = None if after is None else Cursor.parse(str(after))
    wanted = EventFilter(group=group, uuid=uuid, kind=kind).at(place)

    def events() -> Iterator[Event]:
        try:
            yield from follow(client.events, wanted)
        finally:
            client.close()

    return events()


def follow(
    ask: Source, wanted: EventFilter, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Event]:
    """Give events that match, from ``wanted.after`` or the present on, through outages of ``ask``.

    A place that is refused again and again, as by one address before two registers, is asked for
    after growing pauses, in seconds, of ``sleep``. Raises what ``ask`` raises, but for Unavailable.
    """
    patient = _Patience(ask)
    refusals = 0
    place = wanted.place
    if place is None:
        place = _end(patient.ask(wanted, 0))
    while True:
        try:
            page = patient.ask(wanted.at(place), WAIT)
        except InvalidInput:
            if place.mark:  # which a control plane of an older release does not know
                place = Cursor(place.id)
                continue
            # Either the question is wrong, and is so without a place too, or the place is.
            page = patient.ask(wanted.at(None), 0)
            if refusals:
                sleep(retry_delay(refusals, _RETRY_INTERVAL, patient.chance()))
            refusals += 1
            yield _elsewhere(place.id, page.last)
            place = _end(page)
        else:
            # An answer between two refusals may be the other register's; one waited for is calm.
            if not page.events:
                refusals = 0
            yield from page.events
            place = page.place


def _end(page: Page) -> Cursor:
    """Return the place after the newest event, as a page of the newest ones tells it."""
    return page.place if page.next == page.last else Cursor(page.last)


class _Patience:
    """Asks until there is an answer; says once that it is lost, and once that it is recovered."""

    def __init__(self, ask: Source, chance: Callable[[], float] = random.random) -> None:
        self._ask = ask
        self.chance = chance

    def ask(self, wanted: EventFilter, seconds: float) -> Page:
        failures, lost_since = 0, 0.0
        while True:
            try:
                page = self._ask(wanted, seconds)
            except Unavailable as error:
                failures += 1
                if failures == 1:
                    lost_since = time.monotonic()
                    log.warning("The watch lost its events: %s Trying until it answers.", error)
                asked = error.retry_after if isinstance(error, Busy) else 0.0
                time.sleep(retry_delay(failures, _RETRY_INTERVAL, self.chance(), asked))
            else:
                if failures:
                    away = time.monotonic() - lost_since
                    log.warning("The watch recovered its events after %.1f s.", away)
                return page


def _elsewhere(place: int, last: int) -> Event:
    """Return what tells that the log is another one, whose ids say nothing about the old one's."""
    detail = f"event {place} is not known: another register, or an older copy; its newest is {last}"
    now = datetime.now(UTC).replace(tzinfo=None)
    return Event(id=last, at=now, kind=EventKind.GAP, detail=detail)
