"""Those who are asked about, by group, as backends keep them."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from servicegroup.model import Member

FEW = 100
"""Members up to which they are put in order anew each time."""


class Own(NamedTuple):
    """The members of one group and their hosts, in the same order. They are shared: only read."""

    members: list[Member]
    hosts: list[str]


def by_group(members: Collection[Member]) -> dict[str, Own]:
    """Return the members of each group that any of them is of."""
    named = tuple(members)
    return _kept(named) if len(named) > FEW else _grouped(named)


def _grouped(members: tuple[Member, ...]) -> dict[str, Own]:
    found: dict[str, Own] = {}
    for member in members:
        own = found.get(member.group) or found.setdefault(member.group, Own([], []))
        own.members.append(member)
        own.hosts.append(member.host)
    return found


_kept = lru_cache(maxsize=4)(_grouped)  # of many it is mostly asked as before
