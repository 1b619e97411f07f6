"""A range of keys as it was read, brought up to date by what has changed since.

A server takes ten times as long to write out ten thousand keys as to find them. So whoever has
read a range asks for the keys of a later revision, and for how many there are in all. Are those and
the ones that are known, by their names, as many, then they are the range: each key that is there
has changed since, or was there before. Are they more, then some have gone, and the range is read
whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from servicegroup.drivers.etcd.gateway import Header, KeyValue, Range
from servicegroup.drivers.etcd.keys import Key, parse, ttl_of
from servicegroup.model import Member

TOLD = 3
"""Leases of one member that people are told of."""


class _Life(NamedTuple):
    """One life of a member, on a lease, and its time to live in seconds if that is known."""

    key: Key
    lease: int
    ttl: int | None

    @classmethod
    def of(cls, prefix: str, kv: KeyValue) -> _Life | None:
        """Return the life that a key is; None for a name this driver would not have given."""
        key = parse(prefix, kv.key)
        return key and cls(key, kv.lease, ttl_of(kv.value))


class Told(NamedTuple):
    """What is held of a member: its lives, and a word for people on what leases they are."""

    incarnations: frozenset[int]
    detail: str


class Copy(NamedTuple):
    """A range as of the revision in ``header``: who is in it, and its longest time to live."""

    header: Header
    lives: Mapping[bytes, _Life | None]
    held: Mapping[Member, Told]
    longest_ttl: int

    @classmethod
    def of(cls, prefix: str, header: Header, answer: Range) -> Copy:
        """Return the copy that a whole range makes."""
        return cls._made(header, {kv.key: _Life.of(prefix, kv) for kv in answer.kvs})

    def question(self, whole: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the question for what has changed, made of the one for the whole range."""
        return {**whole, "min_mod_revision": self.header.revision + 1}

    def with_changes(self, prefix: str, header: Header, answer: Range) -> Copy | None:
        """Return the range as of now, None where the answer to ``question`` does not tell.

        It does not where keys have gone, and where this is another store, or one that may have
        been restored: that begins with a leader of another term.
        """
        known = self.header
        if (known.cluster_id, known.raft_term) != (header.cluster_id, header.raft_term):
            return None
        changed = {kv.key: _Life.of(prefix, kv) for kv in answer.kvs}
        lives = {**self.lives, **changed} if changed else self.lives
        if len(lives) != answer.count or header.revision < known.revision:
            return None
        return self._made(header, lives) if changed else self._replace(header=header)

    @classmethod
    def _made(cls, header: Header, lives: Mapping[bytes, _Life | None]) -> Copy:
        held: dict[Member, list[_Life]] = {}
        for life in filter(None, lives.values()):
            held.setdefault(life.key.member, []).append(life)
        longest = max((life.ttl or 0 for life in filter(None, lives.values())), default=0)
        return cls(header, lives, {one: _told(of_one) for one, of_one in held.items()}, longest)


def _told(lives: list[_Life]) -> Told:
    """Say who lives, and on what lease; whoever may write can plant thousands."""
    told = sorted(lives, key=lambda life: life.key.incarnation)[-TOLD:]
    detail = ", ".join(f"lease 0x{life.lease:x} of {life.ttl or '?'} s" for life in told)
    if len(lives) > TOLD:
        detail += f" and {len(lives) - TOLD} more"
    return Told(frozenset(life.key.incarnation for life in lives), detail)
