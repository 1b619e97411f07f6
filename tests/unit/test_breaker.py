"""A backend that does not answer keeps nobody waiting but the one that asks for all (F-18)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from servicegroup import breaker
from servicegroup.breaker import CircuitBreaker
from servicegroup.driver import Capabilities
from servicegroup.drivers.db import DbDriver
from servicegroup.model import Member, Presence, PresenceState
from support.waiting import until

PRESENT = Presence(PresenceState.PRESENT, frozenset({1}))
AGE = 7.0
CAUSE = Presence(PresenceState.UNKNOWN, age=AGE, detail="the backend cannot be asked: Timeout.")
SOON = 30.0
"""Seconds a test waits for what should take much less than one."""

A, B = Member("compute", "a"), Member("compute", "b")
WHOLE = [Member(f"group{number % 3}", f"h{number}") for number in range(9)]


class Silent(DbDriver):
    """Answers for nobody, after a while, until it answers again; a server for each first letter."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        super().__init__(DbDriver.Options())
        self.silent = {"a", "b", "h"}
        self.answers = threading.Event()
        self.wait = 2 * breaker.SLOW
        self.asked: list[tuple[int, set[Member]]] = []
        self.most = 0
        self._now = 0

    def server_of(self, member: Member) -> str:
        return member.host[0]

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        self.asked.append((threading.get_ident(), set(members)))
        self._now += 1
        self.most = max(self.most, self._now)
        servers = {self.server_of(member) for member in members}
        if servers & self.silent:
            self.answers.wait(self.wait)
        self._now -= 1
        silent = set() if self.answers.is_set() else self.silent
        return {m: CAUSE if self.server_of(m) in silent else PRESENT for m in members}


@pytest.fixture
def driver() -> Silent:
    """Give a backend that does not answer."""
    return Silent()


@pytest.fixture
def circuit(driver: Silent) -> Iterator[CircuitBreaker]:
    """Give the breaker before it."""
    made = CircuitBreaker(driver, driver.presence)
    yield made
    made.close()
    until(lambda: not probers(), SOON, what="no prober outlives its breaker")


def probers() -> list[threading.Thread]:
    """Return the threads that ask for all others."""
    return [thread for thread in threading.enumerate() if thread.name.endswith("-prober")]


def own(driver: Silent) -> list[set[Member]]:
    """Return what this thread asked the driver."""
    return [members for thread, members in driver.asked if thread == threading.get_ident()]


def test_after_one_question_nobody_waits_and_one_asks(
    driver: Silent, circuit: CircuitBreaker
) -> None:
    assert circuit.ask([A]) == {A: CAUSE}
    driver.wait = SOON  # from now on every question hangs
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(circuit.ask, [[A]] * 100))
    assert not driver.answers.is_set()
    assert {answer[A].state for answer in answers} == {PresenceState.UNKNOWN}
    assert own(driver) == [{A}]
    assert len(probers()) == 1
    until(lambda: len(driver.asked) == 2, SOON, what="a probe that hangs")
    assert {answer.state for answer in circuit.ask([A]).values()} == {PresenceState.UNKNOWN}
    assert driver.most == 1
    driver.answers.set()
    until(lambda: circuit.ask([A]) == {A: PRESENT}, SOON)


def test_what_is_said_meanwhile_has_the_cause_and_since_when(
    driver: Silent, circuit: CircuitBreaker
) -> None:
    begun = time.monotonic()
    circuit.ask([A])
    failed = time.monotonic()
    answer = circuit.ask([A, Member("compute", "another")])
    assert len({*answer.values()}) == 1
    told = answer[A]
    assert told.detail.startswith("the backend cannot be asked: Timeout; no answer for ")
    assert told.state is PresenceState.UNKNOWN
    assert told.age is not None
    assert AGE <= told.age <= AGE + time.monotonic() - begun
    seconds = float(told.detail.split()[-2])
    assert failed - begun - 0.1 <= seconds <= time.monotonic() - begun + 0.1


def test_a_question_that_fails_at_once_is_asked_again(
    driver: Silent, circuit: CircuitBreaker
) -> None:
    driver.wait = 0.0
    assert [circuit.ask([A]) for _ in range(3)] == [{A: CAUSE}] * 3
    assert len(own(driver)) == 3
    driver.silent = set()
    assert circuit.ask([A]) == {A: PRESENT}


def test_a_slow_answer_is_an_answer(driver: Silent) -> None:
    def slowly(members: Collection[Member]) -> dict[Member, Presence]:
        driver.answers.wait(2 * breaker.SLOW)
        asked.append(members)
        return {A: PRESENT, B: CAUSE}

    asked: list[Collection[Member]] = []
    driver.server_of = lambda member: ""  # type: ignore[method-assign]
    circuit = CircuitBreaker(driver, slowly)
    assert [circuit.ask([A, B]) for _ in range(2)] == [{A: PRESENT, B: CAUSE}] * 2
    assert asked == [[A, B]] * 2
    assert probers() == []


def test_a_silent_server_keeps_no_other_waiting(driver: Silent, circuit: CircuitBreaker) -> None:
    driver.silent = {"b"}
    circuit.ask([A, B])
    answers = circuit.ask([A, B])
    assert own(driver) == [{A, B}, {A}]
    assert answers[A] == PRESENT
    assert answers[B].state is PresenceState.UNKNOWN
    driver.answers.set()
    until(lambda: circuit.ask([A, B]) == {A: PRESENT, B: PRESENT}, SOON)


def test_the_prober_asks_what_most_wanted_to_know(driver: Silent, circuit: CircuitBreaker) -> None:
    circuit.ask(WHOLE[:1])
    circuit.ask(WHOLE)
    circuit.ask(WHOLE[:2])
    until(lambda: driver.asked[-1][1] == set(WHOLE), SOON)


def test_the_prober_ends_when_nobody_asks(
    driver: Silent, circuit: CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "IDLE", 0.0)
    circuit.ask([A])
    until(lambda: not probers(), SOON)
    circuit.ask([A])
    assert own(driver) == [{A}, {A}], "and whoever asks then asks itself"


def test_a_forked_process_asks_for_itself(driver: Silent, circuit: CircuitBreaker) -> None:
    circuit.ask([A])
    driver.answers.set()
    driver.wait = 0.0
    pid = os.fork()
    if pid == 0:
        os._exit(0 if circuit.ask([A]) == {A: PRESENT} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
