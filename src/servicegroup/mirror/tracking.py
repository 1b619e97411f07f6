"""What changed between two answers of an API, as the reports and the look that say so. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from servicegroup.messages import Report
from servicegroup.mirror.apis import Name, Seen
from servicegroup.mirrors import Kept

GRACE = 30.0
"""Seconds after an API was away in which it has to say down twice.

Whoever could not reach its control plane either has not had the time to report there.
"""

AGAIN = 60.0
"""Seconds after which a service that the register refused is told again."""

AWAY = 15.0
"""Seconds without an answer after which an API was away."""


class Changes(msgspec.Struct, frozen=True):
    """What an answer brought: services to be told, stamps that moved, uuids that are gone.

    ``complete`` says that it tells of everybody: what has not reported by then is silent. Of those
    that are ``unsure`` nothing is taken.
    """

    told: list[Seen]
    moved: list[Report]
    gone: list[str]
    complete: bool
    unsure: frozenset[Name] = frozenset()


class _Known(msgspec.Struct):
    uuid: str
    incarnation: int
    facts: tuple[object, ...] | None = None
    beat: str | None = None


class Tracker:
    """The services of one API as the register has them by now."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Know of none yet; ``monotonic`` tells for how long an API was away."""
        self._monotonic = monotonic
        self._known: dict[Name, _Known] = {}
        self._missing: set[Name] = set()
        self._refused: dict[Name, float] = {}
        self._answered_at = monotonic()
        self._back_at = -GRACE

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._known)

    def opened(self, kept: Iterable[Kept]) -> None:
        """Take what the register has; what an API says of it is told anew."""
        self._known = {(k.host, k.binary): _Known(k.uuid, k.incarnation) for k in kept}
        self._missing = set()

    def changes(self, seen: Iterable[Seen]) -> Changes:
        """Return what an answer brings. Nothing is taken as done before ``did``."""
        now = self._monotonic()
        if now - self._answered_at > AWAY:
            self._back_at = now
        self._answered_at = now
        returning = now - self._back_at < GRACE
        told: list[Seen] = []
        moved: list[Report] = []
        names, unsure = set(), set()
        for one in seen:
            names.add(one.name)
            known = self._known.get(one.name)
            if one.up is None or (returning and _fell(one, known)):
                unsure.add(one.name)
                continue
            is_news = known is None or known.facts != one.facts
            if is_news and self._refused.get(one.name, now) <= now:
                told.append(one)
            if known is not None and one.up and one.beat is not None and known.beat != one.beat:
                moved.append(Report(known.uuid, known.incarnation))
        missing = self._known.keys() - names
        # An answer that leaves out everybody, or is not sure of some, deletes nobody.
        sure = bool(names) and not unsure
        gone = [self._known[name].uuid for name in missing & self._missing] if sure else []
        self._missing = missing if sure else set()
        return Changes(told, moved, gone, sure or not self._known, frozenset(unsure))

    def did(self, seen: Iterable[Seen], changes: Changes, kept: Iterable[Kept]) -> None:
        """Take an answer as told, with what the register kept of it; the others it refused."""
        for one in kept:
            known = self._known.setdefault((one.host, one.binary), _Known("", 0))
            known.uuid, known.incarnation = one.uuid, one.incarnation
        until = self._monotonic() + AGAIN
        self._refused = {s.name: until for s in changes.told if s.name not in self._known} | {
            name: at for name, at in self._refused.items() if at > until - AGAIN
        }
        for service in seen:
            if service.name in self._known and service.name not in changes.unsure:
                held = self._known[service.name]
                held.facts, held.beat = service.facts, service.beat
        self.forget(changes.gone)

    def forget(self, uuids: Iterable[str]) -> None:
        """Know no longer of these, which the register does not have, or not as they were told."""
        if lost := set(uuids):
            self._known = {n: k for n, k in self._known.items() if k.uuid not in lost}


def _fell(one: Seen, known: _Known | None) -> bool:
    """Tell whether a service that was up is said to be down."""
    return known is not None and known.facts is not None and not one.up and known.facts[-1] is True
