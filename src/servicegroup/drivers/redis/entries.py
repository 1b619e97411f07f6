"""What the server holds of a group, and what it is worth."""

from __future__ import annotations

import re
from math import inf
from typing import Any

from servicegroup.driver import GroupPresence
from servicegroup.model import Member, Presence, PresenceState

_Life = tuple[int, float]
"""An incarnation, and the seconds that are left to it."""


def entry_of(member: Member, incarnation: int) -> str:
    """Return what a living incarnation of the member is called in its group's set."""
    return f"{member.host}@{incarnation}"


def parse_entry(entry: bytes) -> tuple[bytes, int | None]:
    """Return host and incarnation of an entry; None for what is no incarnation."""
    host, _, incarnation = entry.rpartition(b"@")
    try:
        return host, int(incarnation)
    except ValueError:
        return host, None


def parse_canary(value: bytes) -> float | None:
    """Return the time to live in seconds that the canary names; None for any other value."""
    found = re.fullmatch(rb"(\d{1,15}) \d{1,15}", value)
    return int(found[1]) / 1000 if found else None


def parse_longest(value: bytes) -> float | None:
    """Return the longest time to live in use, in seconds; None for any other value."""
    return int(value) / 1000 if re.fullmatch(rb"\d{1,15}", value) else None


def latest_expiry(now: float, canary: bytes | None, longest: bytes | None) -> float:
    """Return the latest moment at which an entry written until ``now`` can expire (F-20)."""
    limits = (parse_canary(canary or b""), parse_longest(longest or b""))
    known = [limit for limit in limits if limit is not None]
    return now + max(known) if known else inf


def listed(listing: Any, now: float, latest: float, doubt: str) -> GroupPresence:
    """Judge the entries of one group at the server's ``now``, in seconds.

    An entry that expires after ``latest`` was written by another clock: its host is UNKNOWN, never
    present by it. ``doubt`` says why a missing entry proves nothing, or nothing.
    """
    if isinstance(listing, Exception):
        detail = f"the group's key is unreadable: {listing}"
        return GroupPresence({}, Presence(PresenceState.UNKNOWN, detail=detail))
    living: dict[str, _Life] = {}
    several: dict[str, list[_Life]] = {}
    for entry, milliseconds in listing:
        host, incarnation = parse_entry(entry)
        left = milliseconds / 1000 - now
        if incarnation is not None and left > 0:
            # What is no UTF-8 is no member's name, and must not become one.
            name, life = host.decode(errors="surrogateescape"), (incarnation, left)
            first = living.setdefault(name, life)
            if first is not life:
                several.setdefault(name, [first]).append(life)
    missing = Presence(PresenceState.ABSENT, detail="no living entry in the group")
    if doubt:
        missing = Presence(PresenceState.UNKNOWN, detail=doubt)
    answers, most = _Answers(), latest - now
    present = {
        name: answers[one, int(left * 10)] if left <= most < inf else _answer([(one, left)], most)
        for name, (one, left) in living.items()
    }
    present.update((name, _answer(lives, most)) for name, lives in several.items())
    return GroupPresence(present, missing)


class _Answers(dict[tuple[int, int], Presence]):
    """Those for hosts with one living entry, by incarnation and tenths of a second: few differ."""

    def __missing__(self, key: tuple[int, int]) -> Presence:
        incarnation, tenths = key
        answer = self[key] = _present([incarnation], tenths / 10)
        return answer


def _answer(lives: list[_Life], most: float) -> Presence:
    """Answer for a host by the lives that have no more than ``most`` seconds left."""
    believed = [life for life in lives if life[1] <= most]
    left = max(left for _, left in believed or lives)
    if believed:
        return _present([incarnation for incarnation, _ in believed], left)
    detail = f"expires in {left:.1f} s, by another server's clock"
    return Presence(PresenceState.UNKNOWN, detail=detail)


def _present(incarnations: list[int], left: float) -> Presence:
    return Presence(
        PresenceState.PRESENT, frozenset(incarnations), detail=f"expires in {left:.1f} s"
    )
