"""Those who are asked about, in the order in which backends keep them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import NamedTuple, TypeVar

from servicegroup.model import Member

T = TypeVar("T")

FEW = 100
"""Members up to which they are put in order anew each time."""


class Own(NamedTuple):
    """The members of one group and their hosts, in the same order. They are shared: only read."""

    members: list[Member]
    hosts: list[str]


def kept_for_many(
    order: Callable[[tuple[Member, ...]], T],
) -> Callable[[Collection[Member]], T]:
    """Return what puts members in ``order``; for many it is kept, since mostly they are as before.

    What it returns is shared: only read it.
    """
    kept = lru_cache(maxsize=4)(order)

    def ordered(members: Collection[Member]) -> T:
        named = tuple(members)
        return kept(named) if len(named) > FEW else order(named)

    return ordered


@kept_for_many
def by_group(members: tuple[Member, ...]) -> dict[str, Own]:
    """Return the members of each group that any of them is of."""
    found: dict[str, Own] = {}
    for member in members:
        own = found.get(member.group) or found.setdefault(member.group, Own([], []))
        own.members.append(member)
        own.hosts.append(member.host)
    return found
