"""What the server holds of a group, and what it is worth."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import inf
from typing import Any

from servicegroup.driver import GroupPresence
from servicegroup.model import Member, Presence, PresenceState

_Life = tuple[str, int]
"""A host and one of its incarnations."""

_LONGEST_KEPT = 512
"""Bytes of an entry up to which what it says is kept: whoever may write can plant large ones."""

_LONGEST = 1e12
"""Seconds that any entry has at the most: whoever may write can plant one without an end."""


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


@lru_cache(maxsize=131_072)  # most entries are as before, with another expiry
def _life_of(entry: bytes) -> _Life | None:
    """Return what an entry is of, None for what is no incarnation."""
    host, incarnation = parse_entry(entry)
    # What is no UTF-8 is no member's name, and must not become one.
    return None if incarnation is None else (host.decode(errors="surrogateescape"), incarnation)


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

    ``listing`` has them by expiry, each followed by it in milliseconds. An entry that expires after
    ``latest`` was written by another clock: its host is UNKNOWN, never present by it. ``doubt``
    says why a missing entry proves nothing, or nothing.
    """
    if isinstance(listing, Exception):
        detail = f"the group's key is unreadable: {listing}"
        return GroupPresence({}, Presence(PresenceState.UNKNOWN, detail=detail))
    missing = Presence(PresenceState.ABSENT, detail="no living entry in the group")
    if doubt:
        missing = Presence(PresenceState.UNKNOWN, detail=doubt)
    left = [milliseconds / 1000 - now for milliseconds in map(float, listing[1::2])]
    if left and left[-1] > _LONGEST:
        left = [min(seconds, _LONGEST) for seconds in left]
    living = bisect_right(left, 0.0)
    trusted = bisect_right(left, latest - now, living)
    others = _lives(listing[2 * trusted :: 2], left[trusted:])
    present = {host: _of_another_clock(seconds) for (host, _), seconds in zip(*others, strict=True)}
    present |= _present(*_lives(listing[2 * living : 2 * trusted : 2], left[living:trusted]))
    return GroupPresence(present, missing)


def _lives(entries: Sequence[bytes], left: list[float]) -> tuple[list[_Life], list[float]]:
    """Return what the entries are of, and what is left to each, without those of nothing."""
    short = max(map(len, entries), default=0) <= _LONGEST_KEPT
    lives = list(map(_life_of if short else _life_of.__wrapped__, entries))
    known = [life for life in lives if life is not None]
    if len(known) < len(lives):
        left = [one for one, life in zip(left, lives, strict=True) if life is not None]
    return known, left


def _present(lives: list[_Life], left: list[float]) -> dict[str, Presence]:
    """Answer for each host by what is left to its lives, by which they are in order."""
    hosts, incarnations = zip(*lives, strict=True) if lives else ((), ())
    tenths = [int(10 * seconds) for seconds in left]
    answer_to = _Answers().__getitem__
    present = dict(zip(hosts, map(answer_to, zip(incarnations, tenths, strict=True)), strict=True))
    if len(present) < len(lives):
        own: dict[str, list[int]] = {}
        for host, incarnation in lives:
            own.setdefault(host, []).append(incarnation)
        latest = {host: seconds for (host, _), seconds in zip(lives, left, strict=True)}
        several = {host: all_ for host, all_ in own.items() if len(all_) > 1}
        present |= {host: _held(all_, latest[host]) for host, all_ in several.items()}
    return present


class _Answers(dict[tuple[int, int], Presence]):
    """Those for hosts with one living entry, by incarnation and tenths of a second: few differ."""

    def __missing__(self, key: tuple[int, int]) -> Presence:
        incarnation, tenths = key
        answer = self[key] = _held([incarnation], tenths / 10)
        return answer


def _held(incarnations: Iterable[int], left: float) -> Presence:
    return Presence(
        PresenceState.PRESENT, frozenset(incarnations), detail=f"expires in {left:.1f} s"
    )


def _of_another_clock(left: float) -> Presence:
    detail = f"expires in {left:.1f} s, by another server's clock"
    return Presence(PresenceState.UNKNOWN, detail=detail)
