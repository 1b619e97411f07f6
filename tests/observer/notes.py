"""What happens in a world, written down as a history.

Everything takes no time, so what happens at one instant is told apart by a tick each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from promises.history import (
    Act,
    Ended,
    Evicted,
    Fault,
    History,
    Joined,
    Proof,
    Record,
    Seen,
    Settings,
    Shown,
)
from servicegroup.model import Service

Edit = Literal["enable", "disable", "force_down", "unforce", "delete"]
Touches = frozenset[Literal["record", "backend", "clock"]]


TICK = 1e-6
INSTANT = 0.01
"""Seconds by which what happens at one instant may seem to be apart."""


class Notes:
    """The records so far; a ``life`` has host, binary, uuid and incarnation."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        self.records: list[Record] = [settings]
        self._clock = now
        self._last = now()

    def now(self) -> float:
        """Return the instant and what has happened in it, as one number that grows."""
        self._last = max(self._clock(), self._last + TICK)
        return self._last

    def joined(self, life: dict[str, Any], group: str, zone: str) -> None:
        now = self.now()
        self.add(Joined(**life, group=group, zone=zone, asked=now, answered=now))

    def proved(
        self, life: dict[str, Any], signal: Literal["report", "heartbeat"], *, acknowledged: bool
    ) -> None:
        now = self.now()
        self.add(Proof(**life, signal=signal, sent=now, ended=now, acknowledged=acknowledged))

    def left(self, life: dict[str, Any]) -> None:
        self.add(Ended(**life, how="left", at=self.now()))

    def evicted(self, life: dict[str, Any]) -> None:
        now, named = self.now(), ("host", "binary", "incarnation")
        self.add(Evicted(**{name: life[name] for name in named}, begun=now, ended=now))

    def edited(self, life: dict[str, Any], what: Edit) -> None:
        now, named = self.now(), ("host", "binary", "uuid")
        record = {name: life[name] for name in named}
        self.add(Act(what=what, **record, asked=now, answered=now, done=True))

    def saw(self, services: Iterable[Service], by: str) -> None:
        now, shown = self.now(), [Shown.of(service) for service in services]
        self.add(Seen(interface="layer", plane=by, asked=now, answered=now, services=shown))

    def fault(self, kind: str, begun: float, touches: Touches = frozenset()) -> None:
        """Note what began then and is over now."""
        self.add(Fault(kind=kind, target="", begun=begun, ended=self.now(), touches=touches))

    def history(self) -> History:
        """Return all of it."""
        return History(self.records)

    def add(self, record: Record) -> None:
        self.records.append(record)
