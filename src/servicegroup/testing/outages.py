"""Outages: a backend that hangs, restarts, forgets or was never there accuses no member."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.testing.harness import (
    BOUND,
    SLACK,
    Backend,
    Harness,
    repeating,
    states,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from servicegroup.driver import Driver

# ruff: noqa: S101


class OutageContract(Harness):
    """Not knowing is an answer of its own, in time, and heals without help."""

    def test_a_frozen_backend_is_unknown_and_recovers(
        self, backend: Backend, agent: Driver, observer: Driver, crowd: list[Member]
    ) -> None:
        """Presence is UNKNOWN and the other calls raise in time; the same handles go on after."""
        self.joins(agent, observer, crowd)
        many = [*crowd, *(Member(crowd[0].group, f"other-{number}") for number in range(5_000))]
        with _frozen(backend):
            _becomes_unknown(observer, many)
            _becomes_unavailable(lambda: agent.heartbeat(crowd[0], 1, self.ttl))
            _becomes_unavailable(lambda: agent.leave(crowd[0], 1))
            _becomes_unavailable(lambda: observer.leave(crowd[0]))
            _ends_in_time(lambda: observer.prove(crowd[0]))
        for member in crowd:
            self.heartbeats(agent, member)
        with self.beating(agent, crowd):
            self.become_present(observer, crowd)
        with self.beating(agent, crowd[1:]), self.freeing(agent, observer, crowd[0]):
            observer.leave(crowd[0], 1)

    def test_a_long_freeze_accuses_nobody(
        self, backend: Backend, agent: Driver, observer: Driver, crowd: list[Member]
    ) -> None:
        """Memberships that ran out while the backend hung are not taken for deaths."""
        with self.beating(agent, crowd):
            self.become_present(observer, crowd)
            with _nobody_absent(observer, crowd):
                with _frozen(backend):
                    thawed = time.monotonic() + observer.detection_time(self.ttl) + SLACK
                    while time.monotonic() < thawed:
                        time.sleep(0.05)
                self.become_present(observer, crowd)

    def test_a_restarted_backend_accuses_nobody(
        self, backend: Backend, agent: Driver, observer: Driver, crowd: list[Member]
    ) -> None:
        """While agents go on, a restart makes nobody absent, and everybody is back after it."""
        with self.beating(agent, crowd):
            self.become_present(observer, crowd)
            with _nobody_absent(observer, crowd):
                backend.restart()
                self.become_present(observer, crowd)

    def test_an_emptied_backend_accuses_nobody(
        self, backend: Backend, agent: Driver, observer: Driver, crowd: list[Member]
    ) -> None:
        """Who is missing because everything is missing is UNKNOWN (MC-5, RD-6)."""
        with self.beating(agent, crowd):
            self.become_present(observer, crowd)
            with _nobody_absent(observer, crowd):
                for _ in range(3):
                    backend.empty()
                    self.become_present(observer, crowd)

    @pytest.mark.parametrize("outage", ["restart", "empty"])
    def test_one_heartbeat_heals(
        self, backend: Backend, agent: Driver, observer: Driver, member: Member, outage: str
    ) -> None:
        """After a restart or a loss of everything, one heartbeat that succeeds is a membership."""
        self.joins(agent, observer, [member])
        getattr(backend, outage)()
        self.heartbeats(agent, member)
        self.becomes_present(observer, member, 1)

    def test_a_backend_that_was_emptied_is_believed_again(
        self, backend: Backend, agent: Driver, observer: Driver, crowd: list[Member]
    ) -> None:
        """Recovering ends: whoever has not come back after its time to live is absent."""
        self.joins(agent, observer, crowd)
        backend.empty()
        with self.beating(agent, crowd):
            self.become_present(observer, crowd)
        agent.leave(crowd[0])
        with self.beating(agent, crowd[1:]):
            self.becomes_absent(observer, crowd[0])

    def test_a_backend_that_is_not_there_is_unknown(
        self, nowhere: Mapping[str, Any], crowd: list[Member]
    ) -> None:
        """Construction needs no backend; the first question answers, the others raise."""
        handle = self.driver.from_options(nowhere)
        try:
            _becomes_unknown(handle, crowd)
            _becomes_unavailable(lambda: handle.heartbeat(crowd[0], 1, self.ttl))
            _becomes_unavailable(lambda: handle.leave(crowd[0]))
        finally:
            handle.close()


@contextlib.contextmanager
def _frozen(backend: Backend) -> Iterator[None]:
    backend.freeze()
    try:
        yield
    finally:
        backend.thaw()


@contextlib.contextmanager
def _nobody_absent(observer: Driver, members: Collection[Member]) -> Iterator[None]:
    """Ask without pause meanwhile, as a control plane does, and fail if anybody was accused."""
    accused: list[Presence] = []

    def look() -> None:
        answers = observer.presence(members).values()
        accused.extend(answer for answer in answers if answer.state is PresenceState.ABSENT)

    with repeating(look, 0.005):
        yield
    assert not accused, f"{len(accused)} accusations, the first: {accused[0]}"


def _becomes_unknown(handle: Driver, members: Collection[Member]) -> None:
    begun = time.monotonic()
    answers: dict[Member, Presence] = {}
    while states(answers) != {PresenceState.UNKNOWN}:
        answers = handle.presence(members)
        took = time.monotonic() - begun
        assert took <= BOUND + SLACK, f"after {took:.1f} s not everybody is UNKNOWN"
    assert set(answers) == set(members)
    assert all(answer.detail for answer in answers.values()), "UNKNOWN without its cause"


def _ends_in_time(call: Callable[[], None]) -> None:
    begun = time.monotonic()
    with contextlib.suppress(DriverUnavailable):
        call()
    took = time.monotonic() - begun
    assert took <= BOUND + SLACK, f"it took {took:.1f} s"


def _becomes_unavailable(call: Callable[[], None]) -> None:
    begun = time.monotonic()
    raised = False
    while not raised:
        try:
            call()
        except DriverUnavailable as error:
            raised = bool(str(error))
        took = time.monotonic() - begun
        assert took <= BOUND + SLACK, f"after {took:.1f} s DriverUnavailable was not raised"
