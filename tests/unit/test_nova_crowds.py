"""Crowds in the layer for Nova: who is held when many vanish, on a virtual clock."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest

from servicegroup.model import Limits, Member, Presence, PresenceState
from servicegroup.nova.crowds import FORGET, Crowds

GROUP = "compute"
LIMITS = Limits()
PRESENT, ABSENT = Presence(PresenceState.PRESENT), Presence(PresenceState.ABSENT)
UNKNOWN = Presence(PresenceState.UNKNOWN)


class Backend:
    """What a driver says of so many members, and a process that asks about them."""

    def __init__(self, members: int) -> None:
        self.now = 0.0
        self.hosts = [f"host{number}" for number in range(members)]
        self.said = dict.fromkeys(self.hosts, PRESENT)
        self.crowds = Crowds("reference", LIMITS, self.ask, lambda: self.now)

    def ask(self, members: Iterable[Member]) -> dict[Member, Presence]:
        return {member: self.said[member.host] for member in members}

    def vanish(self, *hosts: str, answer: Presence = ABSENT) -> None:
        self.said |= dict.fromkeys(hosts, answer)

    def down(self) -> set[str]:
        """Return who is down, in the order in which Nova lists; each has just reported."""
        return {host for host in self.hosts if self.is_down(host)}

    def is_down(self, host: str) -> bool:
        answer = self.said[host]
        held = self.crowds.held_age(Member(GROUP, host), answer)
        return answer is ABSENT and held is None


def test_one_that_vanishes_is_down_at_once() -> None:
    backend = Backend(10)
    assert backend.down() == set()
    backend.vanish("host7")
    assert backend.down() == {"host7"}


def test_a_crowd_is_held_from_its_first_member_on() -> None:
    backend = Backend(10)
    assert backend.down() == set()
    backend.vanish(*backend.hosts[:4])
    assert not backend.is_down("host0")
    assert backend.down() == set()
    backend.now += 3600.0
    assert backend.down() == set()


def test_a_few_are_down_once_it_shows_that_they_stay_few() -> None:
    backend = Backend(100)
    assert backend.down() == set()
    few = backend.hosts[:3]
    backend.vanish(*few)
    assert backend.down() == set()
    backend.now += LIMITS.heartbeat_interval
    assert backend.down() == set(few)


def test_what_remains_of_a_crowd_is_down_after_a_time_to_live() -> None:
    backend = Backend(100)
    assert backend.down() == set()
    backend.vanish(*backend.hosts[:40])
    assert backend.down() == set()
    backend.now += 100.0
    backend.vanish(*backend.hosts[2:40], answer=PRESENT)
    assert backend.down() == set()
    backend.now += LIMITS.membership_ttl - 0.1
    assert backend.down() == set()
    backend.now += 1.0
    assert backend.down() == {"host0", "host1"}


def test_who_was_missing_before_is_brought_back_by_a_crowd_alone() -> None:
    backend = Backend(100)
    missing = set(backend.hosts[50:53])  # before this process asked
    backend.vanish(*missing)
    assert backend.down() == missing
    backend.now += 1.0
    backend.vanish("host3", "host4")
    assert backend.down() == {*missing, "host3", "host4"}
    backend.vanish(*backend.hosts[:20])
    assert backend.down() == set()


def test_a_process_that_starts_in_the_middle_holds_from_the_third_on() -> None:
    backend = Backend(10)
    backend.vanish(*backend.hosts)
    assert backend.down() == {"host0", "host1"}
    assert backend.down() == set()


def test_who_was_long_not_asked_about_is_not_missed() -> None:
    backend = Backend(100)
    assert backend.down() == set()
    deleted, backend.hosts = backend.hosts[50:], backend.hosts[:50]
    backend.vanish(*deleted)
    backend.now += FORGET / 2
    assert backend.down() == set()
    backend.now += FORGET / 2 + 1
    backend.vanish("host7")
    assert backend.down() == {"host7"}


def test_not_knowing_neither_holds_nor_releases() -> None:
    backend = Backend(10)
    assert backend.down() == set()
    backend.vanish(*backend.hosts[:5])
    assert backend.down() == set()
    backend.vanish(*backend.hosts, answer=UNKNOWN)
    for host in backend.hosts:
        backend.is_down(host)
    backend.vanish(*backend.hosts[:5])
    backend.vanish(*backend.hosts[5:], answer=PRESENT)
    assert backend.down() == set()


def test_the_log_tells_once_that_many_are_held_and_once_that_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "servicegroup.nova")
    backend = Backend(10)
    backend.down()
    backend.vanish(*backend.hosts[:5])
    for _ in range(3):
        backend.down()
        backend.now += 2.0
    backend.vanish(*backend.hosts, answer=PRESENT)
    for _ in range(3):
        backend.down()
        backend.now += 2.0
    begun, over = (record.getMessage() for record in caplog.records)
    assert begun.startswith("5 of 10 members of group compute vanished from driver reference")
    assert over.endswith("believed again in group compute: 0 members are still missing.")
