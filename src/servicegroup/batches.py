"""Services in batches, judged on the way; evidence is made for those who ask for it.

Who wants to know only who is up gets the states. Most of them show at a glance (``glance``), and
the rule is asked about the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from itertools import compress, repeat
from operator import is_
from typing import NamedTuple, TypeVar

import msgspec

from servicegroup.agreement import Agreement
from servicegroup.answers import answers_for, rpcs_for
from servicegroup.glance import reasons_at_a_glance, signals_at_a_glance
from servicegroup.judging import NOT_ASKED, Judge, Presences
from servicegroup.liveness import Listening
from servicegroup.model import OnUnknown, Reason, Service, ServiceFilter
from servicegroup.names import check_state, check_text
from servicegroup.proof import Lives
from servicegroup.store.memory import Stamped
from servicegroup.store.snapshots import BATCH, Snapshot, is_bounded
from servicegroup.store.store import Store

_UP = Reason.REPORTING.state
"""The state of whoever has a reason at a glance."""

_OF_SESSION = {None: Reason.REPORTING, True: Reason.PRESENT, False: None}
"""What a service with fresh reports is, by whether its session is held; see ``held``."""

MOST_GLIMPSED = 20_000
"""Services up to which rows may be kept as they are shown whole."""

_NOBODY: Lives = {}
_NO_ANSWERS: Presences = {}

B = TypeVar("B")
R = TypeVar("R", bound=Snapshot | Stamped)

Asked = tuple[B, Presences | None]
"""A batch with the backend's answers about it, None where no backend is asked."""


class Stated(NamedTuple):
    """Services of a batch and the states that their verdicts would have, in columns.

    The services carry no verdict, and may be as the memory keeps them: without what reports change.
    ``updated_at`` are moments.
    """

    services: Sequence[Service]
    states: Sequence[str]
    updated_at: Sequence[int]

    def each(self) -> Iterator[tuple[Service, str, int]]:
        """Give one after another, each with its state and its ``updated_at``."""
        return zip(*self, strict=True)

    def at(self, places: Collection[int]) -> Stated:
        """Return those at some places of the batch."""
        services, states, updated_at = self
        return Stated(
            [services[place] for place in places],
            [states[place] for place in places],
            [updated_at[place] for place in places],
        )


class Glimpse(NamedTuple):
    """A batch as it is shown whole: what moves of it, in columns, and who has to be judged.

    ``reasons`` has None for whoever a glance does not suffice for, or has more to tell. ``aged``
    says who listened, and ``observed`` whether evidence says that an observer is at work.
    ``sessions`` stands for what evidence says of each one's session, 0 where that is nothing.
    ``judged`` yields some of the services with their verdicts, by their ids, a slice at a time.
    """

    batch: Stamped
    reasons: list[Reason | None]
    sessions: Sequence[int]
    aged: Listening
    observed: bool
    judged: Callable[[list[int]], Iterator[list[Service]]]


class Batches:
    """Reads one store and judges by one driver; safe to share between threads.

    With an ``Agreement`` it is of one list, and takes note of whether that is as recorded.
    """

    def __init__(self, store: Store, judge: Judge, agreement: Agreement | None = None) -> None:
        """Read ``store``, and let ``judge`` say who is up."""
        self._store = store
        self._judge = judge
        self._agreement = agreement

    def services(self, filters: ServiceFilter, state: str | None) -> Iterator[list[Service]]:
        """Yield the services that match with their verdicts; see ``ServiceGroup.batches``."""
        check_state(state)
        _check(filters)
        if state is None:
            yield from self._all(filters)
            return
        room = filters.limit
        everybody = msgspec.structs.replace(filters, limit=None)  # SQL cannot count what is judged
        judged = self._maybe_down(everybody, room) if state == "down" else self._all(everybody)
        with closing(judged) as batches:
            for batch in batches:
                found = [service for service in batch if service.judged.state == state][:room]
                yield found
                room = None if room is None else room - len(found)
                if room == 0:
                    return

    def _all(self, filters: ServiceFilter) -> Generator[list[Service]]:
        with closing(self._read(filters)) as snapshots:
            for snapshot, presences in snapshots:
                yield self.judged(snapshot, presences)

    def _maybe_down(self, filters: ServiceFilter, first: int | None) -> Generator[list[Service]]:
        """Yield whoever is not up at a glance: ``first`` so many, then twice as many, and so on.

        Each is read whole once.
        """
        with closing(self._glimpsed(filters)) as batches:
            for batch, presences in batches:
                left = _doubtful(batch, self._at_a_glance(batch, presences))
                size = first or BATCH
                while left:
                    size = min(size, BATCH)
                    yield self.judged(batch.whole(left[:size]), presences)
                    left, size = left[size:], 2 * size

    def states(self, filters: ServiceFilter) -> Iterator[Stated]:
        """Yield the services that match with their states; see ``ServiceGroup.states``."""
        _check(filters)
        with closing(self._glimpsed(filters)) as batches:
            for batch, presences in batches:
                yield self.stated(batch, presences)

    def stated(self, batch: Snapshot | Stamped, presences: Presences | None) -> Stated:
        """Give each service its state; ``presences`` are the backend's answers if one is asked."""
        reasons = self._at_a_glance(batch, presences)
        services, states = batch.services, [_UP] * len(reasons)
        stated = Stated(services, states, batch.updated_at)
        if all(reasons):
            return stated
        found = {
            service.id: service.judged.state
            for some in _in_slices(_doubtful(batch, reasons))
            for service in self.judged(batch.whole(some), presences)
        }
        for place, reason in enumerate(reasons):
            if reason is None:
                states[place] = found.get(services[place].id, "")
        if all(states):
            return stated
        return stated.at([place for place, state in enumerate(states) if state])

    def glimpses(self, filters: ServiceFilter) -> Generator[Glimpse] | None:
        """Yield the services that match for ``Glimpse``, or None.

        There are none where rows are read each time, or a backend, nor of a fleet whose rows would
        take too much memory.
        """
        _check(filters)
        judge = self._judge
        if is_bounded(filters) or filters.marker is not None or not self._store.keeps_rows:
            return None
        if judge.driver.capabilities.is_asked or self._store.kept > MOST_GLIMPSED:
            return None
        return self._glimpses(self._stamped(filters, with_moves=True))

    def _glimpses(self, stamped: Generator[Stamped]) -> Generator[Glimpse]:
        judge = self._judge
        with closing(stamped) as batches:
            for batch in batches:
                special = batch.kept.special.union(batch.stamps.moves.special)
                reasons = [
                    None if one in special else reason
                    for one, reason in zip(
                        batch.kept.ids, self._at_a_glance(batch, None), strict=True
                    )
                ]
                now = batch.listening
                observed = now.observed and now.is_about(judge.driver.name)
                judged = partial(self._judged_of, batch)
                # A shadow's sessions are read too, and nothing is said of them.
                recorded = judge.driver.capabilities.recorded
                sessions = batch.stamps.moves.session if recorded else [0] * len(reasons)
                yield Glimpse(batch, reasons, sessions, judge.aged(now), observed, judged)

    def _judged_of(self, batch: Stamped, ids: list[int]) -> Iterator[list[Service]]:
        for some in _in_slices(ids):
            yield self.judged(batch.whole(some))

    def judged(self, snapshot: Snapshot, presences: Presences | None = None) -> list[Service]:
        """Give each service its verdict; asks the backend once unless ``presences`` are given."""
        answers = answers_for(self._judge, snapshot) if presences is None else presences
        verdicts = self._judge.verdicts(
            snapshot.services, snapshot.listening, answers, rpcs_for(self._judge, snapshot)
        )
        now = snapshot.listening.now
        for service, verdict in zip(snapshot.services, verdicts, strict=True):
            # The record becomes whole here, before anybody else has seen it.
            msgspec.structs.force_setattr(service, "verdict", verdict)
            if service.flapping_until is not None and service.flapping_until <= now:
                msgspec.structs.force_setattr(service, "flapping_until", None)
        if self._agreement is not None:
            self._agreement.note(snapshot.services)
        if presences is None:
            return snapshot.services
        # Who registered after the backend was asked about a whole list is of the next one.
        return [s for s in snapshot.services if s.judged.evidence.presence is not NOT_ASKED]

    def _read(self, filters: ServiceFilter) -> Generator[Asked[Snapshot]]:
        """Yield what matches, whole, with the backend's answers."""
        presences = self._asked_before(filters)
        is_asked = self._judge.driver.capabilities.is_asked
        with closing(self._store.batches(filters)) as snapshots:
            for snapshot in self._to_the_end(filters, snapshots):
                if is_asked and presences is None:
                    yield snapshot, self._judge.ask(snapshot.services)
                else:
                    yield snapshot, presences

    def _glimpsed(self, filters: ServiceFilter) -> Generator[Asked[Snapshot | Stamped]]:
        """Yield the same with as little of it as a glance needs.

        Who is to be asked about has mostly not changed since the list before, and the reading
        itself shows whether it has.
        """
        if is_bounded(filters) or not self._store.keeps_rows:
            yield from self._read(filters)
            return
        is_asked = self._judge.driver.capabilities.is_asked
        known = self._store.known_lives(filters) if is_asked else {}
        answers = self._judge.asking.ask(known)
        if known:
            with closing(self._stamped(filters)) as batches:
                batch = next(batches)
                if batch.kept.lives is known:
                    yield batch, answers
                    next(batches, None)  # there are no more, which has to be seen
                    return
        presences = self._asked_before(filters, known, answers)
        with closing(self._stamped(filters)) as batches:
            for batch in batches:
                yield batch, presences

    def _stamped(self, filters: ServiceFilter, *, with_moves: bool = False) -> Generator[Stamped]:
        silence = self._judge.limits.service_down_time
        with closing(self._store.stamped(filters, silence, with_moves=with_moves)) as batches:
            yield from self._to_the_end(filters, batches)

    def _to_the_end(self, filters: ServiceFilter, batches: Iterable[R]) -> Iterator[R]:
        """Pass on what is read; at its end whoever a list of everybody lacks is forgotten.

        The observer forgets too, but of several control planes one alone observes.
        """
        living: list[int] = []
        for batch in batches:
            living += batch.ids
            yield batch
        if filters == ServiceFilter():
            self._judge.forget_others(living)

    def _asked_before(
        self, filters: ServiceFilter, known: Lives = _NOBODY, answers: Presences = _NO_ANSWERS
    ) -> Presences | None:
        """Return the backend's answers about all that match where that may be many, else None.

        A reading in batches holds a connection to its end, so the backend is asked before (F-18).
        About those that are ``known``, in the lives that they are in, it has given ``answers``.
        """
        if is_bounded(filters) or not self._judge.driver.capabilities.is_asked:
            return None
        lives = self._store.lives(filters)
        if known:
            lives = dict(lives.items() - known.items())
        return {**answers, **self._judge.asking.ask(lives)}

    def _at_a_glance(
        self, batch: Snapshot | Stamped, presences: Presences | None
    ) -> list[Reason | None]:
        """Return the reason of each service that is up at a glance, None of the others."""
        judge, services = self._judge, batch.services
        if not judge.goes_by_stamps:
            return [None] * len(services)
        signals: Sequence[Reason | None]
        if not judge.driver.capabilities.separate_signal:
            signals = [Reason.REPORTING] * len(services)
        else:
            signals = _signals(batch, presences, judge.limits.on_unknown)
            present = map(is_, signals, repeat(Reason.PRESENT))
            judge.saw_present(compress(zip(batch.ids, batch.incarnations, strict=True), present))
        return reasons_at_a_glance(batch.unmarked, self._fresh(batch), signals)

    def _fresh(self, batch: Snapshot | Stamped) -> list[bool]:
        """Tell of each whether its last report, or its making, is younger than it has to be."""
        if isinstance(batch, Stamped):
            return batch.fresh  # as it was asked for
        now = batch.listening.now
        oldest = now - timedelta(seconds=self._judge.limits.service_down_time)
        return batch.seen_within(oldest, now)


def _check(filters: ServiceFilter) -> None:
    """Raise InvalidInput for a text that no database takes."""
    for field, value in msgspec.structs.asdict(filters).items():
        if isinstance(value, str):
            check_text(field, value)


def _doubtful(batch: Snapshot | Stamped, reasons: Iterable[Reason | None]) -> list[int]:
    """Return the ids of those whom the rule has to look at."""
    pairs = zip(batch.services, reasons, strict=True)
    return [service.id for service, reason in pairs if reason is None]


def _in_slices(ids: list[int]) -> Iterator[list[int]]:
    """Yield them BATCH at a time: whole records take more memory than columns."""
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _signals(
    batch: Snapshot | Stamped, presences: Presences | None, on_unknown: OnUnknown
) -> list[Reason | None]:
    """Tell of each service what it is if its reports are fresh, None where the rule has to look."""
    if presences is not None:
        answers = map(presences.get, batch.members)
        return signals_at_a_glance(batch.services, batch.incarnations, answers, on_unknown)
    # What is recorded has been read with the services.
    return [_OF_SESSION[held] for held in batch.held(batch.listening.now)]
