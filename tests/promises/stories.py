"""Histories by hand: lives that prove themselves, and what was seen of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from promises.history import Ended, EventSeen, History, Joined, Proof, Record, Seen, Settings, Shown
from servicegroup.events import Event, EventKind
from servicegroup.model import Limits

LIMITS = Limits(
    report_interval=2,
    service_down_time=12,
    heartbeat_interval=0.5,
    membership_ttl=2,
    driver="memcached",
)
SETTINGS = Settings(limits=LIMITS, detection=3, kept=2, slack=0.5)
MOMENT = 0.01
NOON = datetime(2030, 1, 1, 12)

Records = list[Record]


def history(*parts: Record | Records, settings: Settings = SETTINGS) -> History:
    """Return a history of records and lists of them."""
    found: Records = [settings]
    for part in parts:
        found += part if isinstance(part, list) else [part]
    return History(found)


def named(host: str) -> dict[str, Any]:
    return {"host": host, "binary": "worker", "uuid": f"uuid-of-{host}"}


def life(
    host: str, until: float, *, beats_until: float | None = None, since: float = 0, number: int = 1
) -> Records:
    """Return a life that reports and sends heartbeats, the last ones at these moments."""
    own = {**named(host), "incarnation": number}
    place: dict[str, Any] = {"group": "workers", "zone": "z"}
    beaten = until if beats_until is None else beats_until
    reports = _moments(since, until, LIMITS.report_interval)
    beats = _moments(since, beaten, LIMITS.heartbeat_interval)
    return [
        Joined(**own, **place, asked=since, answered=since + MOMENT),
        *(_proof(own, "report", sent) for sent in reports),
        *(_proof(own, "heartbeat", sent) for sent in beats),
    ]


def _moments(since: float, last: float, every: float) -> list[float]:
    return [last - count * every for count in range(int((last - since) / every) + 1)]


def _proof(own: dict[str, Any], signal: Literal["report", "heartbeat"], sent: float) -> Proof:
    return Proof(**own, signal=signal, sent=sent, ended=sent + MOMENT, acknowledged=True)


def fleet(count: int, until: float) -> Records:
    """Return lives on hosts n0, n1, …"""
    return [record for number in range(count) for record in life(f"n{number}", until)]


def killed(host: str, at: float) -> Ended:
    return Ended(**named(host), incarnation=1, how="killed", at=at)


def seen(host: str, at: float, state: str = "up", **facts: Any) -> Seen:
    """Return one answer about one service."""
    place = {"group": "workers", "zone": "z"}
    shown = Shown(**{**named(host), **place, "state": state, **facts})
    return Seen(interface="v1", plane="p", asked=at, answered=at + 0.1, services=[shown])


def event(number: int, host: str, kind: EventKind, at: float, **facts: Any) -> EventSeen:
    """Return an event as one follower was told it within a second."""
    told = Event(id=number, at=NOON + timedelta(seconds=at), kind=kind, **{**named(host), **facts})
    return EventSeen(follower="f", after=at - 0.5, by=at + 0.5, event=told)
