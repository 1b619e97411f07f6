"""What the server holds of a group, and what it is worth."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from servicegroup.driver import GroupPresence
from servicegroup.model import Member, Presence, PresenceState


def entry_of(member: Member, incarnation: int) -> str:
    """Return what a living incarnation of the member is called in its group's set."""
    return f"{member.host}@{incarnation}"


def group_key(group: str) -> str:
    """Return the key of a group's set."""
    return f"servicegroup:members:{group}"


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
    for host, incarnation, expiry in _expiries(listing):
        if expiry > now:
            living.setdefault(host, {})[incarnation] = expiry
    missing = Presence(PresenceState.ABSENT, detail="no living entry in the group")
    if doubt:
        missing = Presence(PresenceState.UNKNOWN, detail=doubt)
    return GroupPresence(
        {host: _present(lives, now, latest) for host, lives in living.items()}, missing
    )


def _expiries(listing: Iterable[tuple[bytes, float]]) -> Iterable[tuple[str, int, float]]:
    """Return host, incarnation and expiry in seconds of each entry that is a member's."""
    for entry, expiry in listing:
        host, incarnation = parse_entry(entry)
        if incarnation is not None:
            # What is no UTF-8 is no member's name, and must not become one.
            yield host.decode(errors="surrogateescape"), incarnation, expiry / 1000


def _present(living: dict[int, float], now: float, latest: float) -> Presence:
    believed = {one: expiry for one, expiry in living.items() if expiry <= latest}
    if not believed:
        detail = f"expires in {max(living.values()) - now:.1f} s, by another server's clock"
        return Presence(PresenceState.UNKNOWN, detail=detail)
    detail = f"expires in {max(believed.values()) - now:.1f} s"
    return Presence(PresenceState.PRESENT, frozenset(believed), detail=detail)
