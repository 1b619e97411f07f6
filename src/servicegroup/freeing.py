"""Freeing members from a backend of several servers: each server has its own turn (F-60)."""

from __future__ import annotations

from servicegroup.driver import Driver
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member


class Freeing:
    """One round of it: the first failure ends the turn of its server, and of no other."""

    def __init__(self, driver: Driver) -> None:
        """Free members from the backend of ``driver``; ``failures`` are kept by server."""
        self._driver = driver
        self.failures: dict[str, DriverUnavailable] = {}

    def is_over(self, member: Member) -> bool:
        """Tell whether the turn of the member's server has ended."""
        return self._driver.server_of(member) in self.failures

    def free(self, member: Member, incarnation: int | None = None) -> bool:
        """Free this life of a member, or all for None; tell whether the backend did."""
        try:
            self._driver.leave(member, incarnation)
        except DriverUnavailable as error:
            self.failures[self._driver.server_of(member)] = error
            return False
        return True
