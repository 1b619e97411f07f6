"""One question for a whole listing, although Nova asks for one service at a time."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path

import pytest

from drivers.reference import Directory, Reference, ReferenceOptions
from servicegroup import breaker
from servicegroup.driver import GroupPresence
from servicegroup.model import Limits, Member, Presence, PresenceState
from servicegroup.nova.snapshot import Snapshot
from support.waiting import until

HOSTS = [f"host{number}" for number in range(100)]
TTL = 60.0


class Counting(Reference):
    """Counts the questions; only members whose names are known can be asked about."""

    questions = 0

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        self.questions += 1
        return super().presence(members)


class Listing(Counting):
    """Can be asked for a whole group."""

    def list_group(self, group: str) -> GroupPresence:
        hosts = [*HOSTS, "nobody"]
        answers = {each.host: p for each, p in self.presence(members(*hosts)).items()}
        others = answers.pop("nobody")
        present = {h: p for h, p in answers.items() if p.state is PresenceState.PRESENT}
        return GroupPresence(present, others)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def backend(tmp_path: Path) -> Directory:
    directory = Directory(tmp_path)
    driver = made(Reference, directory)
    for host in HOSTS[1:]:
        driver.heartbeat(Member("compute", host), 1, TTL)
    return directory


def made(kind: type[Reference], backend: Directory) -> Reference:
    return kind(ReferenceOptions(directory=str(backend.directory)))


def members(*hosts: str) -> list[Member]:
    return [Member("compute", host) for host in hosts]


def listed(snapshot: Snapshot) -> dict[str, PresenceState]:
    """Ask as Nova does for a listing."""
    return {each.host: snapshot.presence(each).state for each in members(*HOSTS)}


EXPECTED = dict.fromkeys(HOSTS, PresenceState.PRESENT) | {"host0": PresenceState.ABSENT}


def test_a_backend_that_can_list_is_asked_once(backend: Directory) -> None:
    driver, clock = made(Listing, backend), Clock()
    snapshot = Snapshot(driver, Limits(), clock)
    assert listed(snapshot) == listed(snapshot) == EXPECTED
    assert isinstance(driver, Counting)
    assert driver.questions == 1
    clock.now += 1.1
    assert listed(snapshot) == EXPECTED
    assert driver.questions == 2


def test_any_other_is_asked_once_when_the_names_are_known(backend: Directory) -> None:
    driver, clock = made(Counting, backend), Clock()
    snapshot = Snapshot(driver, Limits(), clock)
    assert listed(snapshot) == EXPECTED
    clock.now += 1.1
    assert isinstance(driver, Counting)
    met = driver.questions
    assert listed(snapshot) == listed(snapshot) == EXPECTED
    assert (met, driver.questions) == (100, 101)


@pytest.mark.parametrize("kind", [Counting, Listing])
def test_an_answer_is_a_second_old_at_most(kind: type[Counting], backend: Directory) -> None:
    driver, clock = made(kind, backend), Clock()
    snapshot = Snapshot(driver, Limits(), clock)
    listed(snapshot)
    driver.leave(Member("compute", "host7"))
    assert listed(snapshot)["host7"] is PresenceState.PRESENT
    clock.now += 1.1
    assert listed(snapshot)["host7"] is PresenceState.ABSENT


@pytest.mark.parametrize("kind", [Counting, Listing])
def test_a_backend_that_does_not_answer_is_not_asked_for_each(
    kind: type[Counting], backend: Directory
) -> None:
    driver = made(kind, backend)
    snapshot = Snapshot(driver, Limits(), Clock())
    backend.freeze()
    assert set(listed(snapshot).values()) == {PresenceState.UNKNOWN}
    assert isinstance(driver, Counting)
    assert driver.questions == 1


def test_an_answer_that_took_long_serves_a_whole_listing(backend: Directory) -> None:
    clock = Clock()

    class Slow(Listing):
        def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
            clock.now += 4.0
            return super().presence(members)

    driver = made(Slow, backend)
    assert listed(Snapshot(driver, Limits(), clock)) == EXPECTED
    assert isinstance(driver, Counting)
    assert driver.questions == 1


@pytest.mark.parametrize("kind", [Counting, Listing])
def test_an_absence_is_proven(backend: Directory, kind: type[Counting]) -> None:
    """F-1: one proof for a listing, and none for who is present."""
    proofs: list[Member] = []

    class Proving(kind):  # type: ignore[valid-type, misc]
        def prove(self, member: Member) -> None:
            proofs.append(member)
            super().prove(member)

    clock = Clock()
    snapshot = Snapshot(made(Proving, backend), Limits(), clock)
    assert listed(snapshot) == EXPECTED
    assert proofs == members("host0")
    backend.refuse()
    snapshot = Snapshot(made(Proving, backend), Limits(), clock)
    assert listed(snapshot) == EXPECTED | {"host0": PresenceState.UNKNOWN}
    assert backend.words in snapshot.presence(members("host0")[0]).detail


@pytest.mark.parametrize("kind", [Counting, Listing])
def test_a_backend_that_hangs_keeps_nobody_waiting(
    backend: Directory, kind: type[Counting]
) -> None:
    """F-18: after the first question without an answer one thread asks in place of all."""
    answers = threading.Event()
    asked: list[int] = []

    class Hanging(kind):  # type: ignore[valid-type, misc]
        def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
            asked.append(threading.get_ident())
            if not answers.wait(2 * breaker.SLOW):
                return dict.fromkeys(members, Presence(PresenceState.UNKNOWN, detail="it hangs"))
            found: dict[Member, Presence] = super().presence(members)
            return found

    clock = Clock()
    snapshot = Snapshot(made(Hanging, backend), Limits(), clock)
    for _ in range(5):
        assert set(listed(snapshot).values()) == {PresenceState.UNKNOWN}
        clock.now += 2
    assert asked.count(threading.get_ident()) <= 2, "the first one, and the group's"
    assert "it hangs; no answer for" in snapshot.presence(members("host1")[0]).detail
    answers.set()

    def is_back() -> bool:
        clock.now += 2
        return listed(snapshot) == EXPECTED

    until(is_back, what="it is asked again")
    snapshot.close()
