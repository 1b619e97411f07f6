"""When an absence is believed, in virtual time: writes that are refused accuse nobody (F-1)."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from servicegroup.driver import Capabilities
from servicegroup.drivers.db import DbDriver
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Limits, Member, Presence, PresenceState
from servicegroup.proof import Lives, Proofs

LIMITS = Limits(heartbeat_interval=3, membership_ttl=10)
A, B, C = (Member("compute", host) for host in ("a1", "a2", "b1"))
LIVES = {A: 1, B: 1, C: 1}
PRESENT = Presence(PresenceState.PRESENT, frozenset({1}))
ABSENT = Presence(PresenceState.ABSENT, age=0.5, detail="no key")
NEWER = {**LIVES, A: 2}
UNKNOWN = PresenceState.UNKNOWN


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Backend(DbDriver):
    """A server for each first letter of a host; those that are ``full`` refuse writes."""

    capabilities = Capabilities()

    def __init__(self, clock: Clock) -> None:
        super().__init__(DbDriver.Options())
        self.clock = clock
        self.full: set[str] = set()
        self.takes = 0.0
        self.proofs: list[Member] = []
        self.lock = threading.Lock()

    def server_of(self, member: Member) -> str:
        return member.host[0]

    def prove(self, member: Member) -> None:
        with self.lock:
            self.proofs.append(member)
        self.clock.now += self.takes
        if self.server_of(member) in self.full:
            raise DriverUnavailable(f"Server {self.server_of(member)} is full.")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(clock: Clock) -> Backend:
    return Backend(clock)


@pytest.fixture
def proofs(backend: Backend, clock: Clock) -> Iterator[Proofs]:
    made = Proofs(backend, LIMITS, clock)
    yield made
    made.close()


def states(
    proofs: Proofs, absent: Collection[Member] = (), lives: Lives = LIVES
) -> dict[Member, PresenceState]:
    presences = {member: ABSENT if member in absent else PRESENT for member in lives}
    return {m: answer.state for m, answer in proofs.believed(lives, presences).items()}


def test_nothing_is_written_while_everybody_is_present(proofs: Proofs, backend: Backend) -> None:
    backend.full = {"a", "b"}
    assert set(states(proofs).values()) == {PresenceState.PRESENT}
    assert backend.proofs == []


def test_one_proof_is_for_all_members_of_a_server_and_for_a_second(
    proofs: Proofs, backend: Backend, clock: Clock
) -> None:
    assert states(proofs, LIVES) == dict.fromkeys(LIVES, PresenceState.ABSENT)
    assert backend.proofs == [A, C]
    clock.now = 0.9
    assert states(proofs, [B]) == {**dict.fromkeys(LIVES, PresenceState.PRESENT), B: ABSENT.state}
    assert len(backend.proofs) == 2
    clock.now = 1.0
    states(proofs, [B])
    assert backend.proofs == [A, C, B]


def test_an_absence_without_a_proof_is_unknown_with_the_servers_words(
    proofs: Proofs, backend: Backend
) -> None:
    backend.full = {"a"}
    answers = proofs.believed(LIVES, {A: ABSENT, B: PRESENT, C: ABSENT})
    assert answers[A].state is UNKNOWN
    assert answers[A].detail == "a new record cannot be written: Server a is full"
    assert answers[A].age == ABSENT.age
    assert (answers[B], answers[C]) == (PRESENT, ABSENT)


def test_a_restart_that_its_former_life_hides_is_an_absence(
    proofs: Proofs, backend: Backend
) -> None:
    """The key of a former life says nothing of the one that cannot be written."""
    assert states(proofs, lives=NEWER)[A] is PresenceState.PRESENT
    assert backend.proofs == [A], "the rule is to call it absent, so it is proven"
    assert states(proofs, lives={A: None})[A] is PresenceState.PRESENT, "any life counts"
    backend.full = {"a"}
    proofs = Proofs(backend, LIMITS, backend.clock)
    assert states(proofs, lives=NEWER)[A] is UNKNOWN


def test_members_have_a_time_to_live_to_come_back(
    proofs: Proofs, backend: Backend, clock: Clock
) -> None:
    """It counts from the first proof, for which is looked as soon as there may be one."""
    backend.full = {"a"}
    assert states(proofs, [A])[A] is UNKNOWN
    clock.now, backend.full = 5, set()
    states(proofs)
    assert len(backend.proofs) == 2, "nobody is missing, and yet it is tried"
    clock.now = 14.9
    assert states(proofs, [A, C]) == {A: UNKNOWN, B: PRESENT.state, C: ABSENT.state}
    clock.now = 16
    assert states(proofs, [A])[A] is PresenceState.ABSENT


@pytest.mark.parametrize(("refused_after", "believed"), [(0.5, True), (1.0, False)])
def test_a_proof_from_before_a_refusal_covers_nobody_who_can_be_missing_for_it(
    proofs: Proofs, backend: Backend, clock: Clock, refused_after: float, believed: bool
) -> None:
    """Whoever is missing within a second of a proof heartbeat before it, and ceased to."""
    assert states(proofs, [A])[A] is PresenceState.ABSENT
    clock.now, backend.full = refused_after, {"a"}
    assert (states(proofs, [A])[A] is PresenceState.ABSENT) == believed


def test_a_proof_that_took_long_is_as_old_as_its_beginning(backend: Backend, clock: Clock) -> None:
    """A member whose time is short may expire while a proof is made."""
    proofs = Proofs(backend, Limits(heartbeat_interval=1, membership_ttl=1.6), clock)
    backend.takes = 0.5
    states(proofs, [A])
    clock.now, backend.full = 0.55, {"a"}
    assert states(proofs, [A])[A] is PresenceState.ABSENT
    clock.now = 0.61
    assert states(proofs, [A])[A] is UNKNOWN


def test_many_who_ask_at_once_share_one_proof(proofs: Proofs, backend: Backend) -> None:
    start = threading.Barrier(8)

    def ask() -> PresenceState:
        start.wait()
        return states(proofs, [A])[A]

    with ThreadPoolExecutor(8) as pool:
        assert {one.result() for one in [pool.submit(ask) for _ in range(8)]} == {ABSENT.state}
    assert backend.proofs == [A]
