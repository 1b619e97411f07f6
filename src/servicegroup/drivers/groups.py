"""Those who are asked about, by group, as backends keep them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from servicegroup.model import Member


class Own(NamedTuple):
    """The members of one group and their hosts, in the same order. They are shared: only read."""

    members: list[Member]
    hosts: list[str]


@lru_cache(maxsize=4)  # who is asked about is mostly as before
def by_group(members: tuple[Member, ...]) -> dict[str, Own]:
    """Return the members of each group that any of them is of."""
    found: dict[str, Own] = {}
    for member in members:
        own = found.get(member.group) or found.setdefault(member.group, Own([], []))
        own.members.append(member)
        own.hosts.append(member.host)
    return found
