"""What the server holds of a group, and what it is worth."""

from __future__ import annotations

import re
from typing import Any

from servicegroup.driver import GroupPresence
from servicegroup.model import Member, Presence, PresenceState


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
    return now + max(known) if known else float("inf")


def listed(listing: Any, now: float, latest: float, doubt: str) -> GroupPresence:
    """Judge the entries of one group at the server's ``now``, in seconds.

    An entry that expires after ``latest`` was written by another clock: its host is UNKNOWN, never
    present by it. ``doubt`` says why a missing entry proves nothing, or nothing.
    """
    if isinstance(listing, Exception):
        detail = f"the group's key is unreadable: {listing}"
        return GroupPresence({}, Presence(PresenceState.UNKNOWN, detail=detail))
    living: dict[str, dict[int, float]] = {}
    for entry, milliseconds in listing:
        host, incarnation = parse_entry(entry)
        expiry = milliseconds / 1000
        if incarnation is not None and expiry > now:
            # What is no UTF-8 is no member's name, and must not become one.
            living.setdefault(host.decode(errors="surrogateescape"), {})[incarnation] = expiry
    missing = Presence(PresenceState.ABSENT, detail="no living entry in the group")
    if doubt:
        missing = Presence(PresenceState.UNKNOWN, detail=doubt)
    return GroupPresence(
        {host: _present(lives, now, latest) for host, lives in living.items()}, missing
    )


def _present(living: dict[int, float], now: float, latest: float) -> Presence:
    last = max(living.values())
    if last > latest:
        believed = {one: expiry for one, expiry in living.items() if expiry <= latest}
        if not believed:
            detail = f"expires in {last - now:.1f} s, by another server's clock"
            return Presence(PresenceState.UNKNOWN, detail=detail)
        return _present(believed, now, latest)
    detail = f"expires in {last - now:.1f} s"
    return Presence(PresenceState.PRESENT, frozenset(living), detail=detail)
