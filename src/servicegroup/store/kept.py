"""The rows of one batch as a process keeps them, and what follows from them for each list alike.

What reports change is not among it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from servicegroup.glance import incarnations_of, unmarked
from servicegroup.model import Member, Service
from servicegroup.store.stamps import Fingerprint


class Row(NamedTuple):
    """A row as it was read: its token, the service without what reports change, its member."""

    edition: int
    service: Service
    member: Member


class Kept:
    """The services of one batch as they are kept, by the fingerprint that shows whether they are.

    What is read here is nobody's to change: later lists are of the same objects.
    """

    def __init__(self, fingerprint: Fingerprint, rows: list[Row]) -> None:
        """Keep these rows, ordered by id."""
        self.fingerprint = fingerprint
        self.rows = rows
        self.services = [row.service for row in rows]
        self.ids = [service.id for service in self.services]
        self.mirrored = [service for service in self.services if service.mirror]

    @cached_property
    def members(self) -> list[Member]:
        """The services as a backend knows them."""
        return [row.member for row in self.rows]

    @cached_property
    def special(self) -> set[int]:
        """The ids of those of whose record there is more to tell than that it is there."""
        return {
            one.id
            for one in self.services
            if one.mirror or one.absent_since or one.held_since or one.flapping_until
        }

    @cached_property
    def incarnations(self) -> list[int | None]:
        """What ``glance.incarnations_of`` says of the services."""
        return incarnations_of(self.services)

    @cached_property
    def unmarked(self) -> list[bool]:
        """What ``glance.unmarked`` says of the services."""
        return unmarked(self.services)

    @cached_property
    def lives(self) -> Mapping[Member, int]:
        """The incarnation of each member; no backend knows who is mirrored."""
        return {row.member: row.service.incarnation for row in self.rows if not row.service.mirror}
