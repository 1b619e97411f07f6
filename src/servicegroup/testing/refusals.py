"""Refused writes: who cannot join, or go on, for want of writes is not absent (F-1)."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from servicegroup.asking import Asking
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Limits, Member, Presence, PresenceState
from servicegroup.proof import REUSED
from servicegroup.testing.harness import Harness, repeating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from servicegroup.driver import Driver

# ruff: noqa: S101


class Refusing(Protocol):
    """Servers that can be made to answer questions and take no writes, as a full one does."""

    words: str
    """What they say then, or a part of it."""

    def refuse(self) -> None:
        """Take no new record from now on; what there is may stay, and is told."""

    def accept(self) -> None:
        """Take writes again; nothing happens to servers that do."""


class RefusalContract(Harness):
    """Absence is believed only while presence can be written, by whatever proves it.

    For backends whose writes can fail while reads succeed; a subclass gives the fixture
    ``refusing`` besides those of ``DriverContract``. The driver is asked through ``Asking``, as
    the layer does.
    """

    @pytest.fixture
    def refusing(self) -> Refusing:
        """Give the servers the driver talks to; a test may leave them refusing."""
        raise NotImplementedError

    def test_who_cannot_write_is_not_absent(
        self,
        refusing: Refusing,
        options: Mapping[str, Any],
        agent: Driver,
        successor: Driver,
        observer: Driver,
        crowd: list[Member],
    ) -> None:
        """One restarts while writes are refused, the others go on: all are up or UNKNOWN.

        When writes are taken again all come back before anybody is called absent, and then who
        dies is absent as before.
        """
        limits = Limits(heartbeat_interval=self.ttl / 4, membership_ttl=self.ttl)
        restarted, *others = crowd
        self.becomes_settled(agent, observer, restarted)
        with (
            contextlib.closing(Asking(observer, limits)) as asking,
            contextlib.ExitStack() as accepting,
            self.beating(agent, others),
        ):
            accepting.callback(refusing.accept)
            with contextlib.closing(self.driver.from_options(options)) as former:
                former.heartbeat(restarted, 1, self.ttl)
                self.eventually(lambda: _are_present(asking, dict.fromkeys(crowd, 1)), "all join")
                refusing.refuse()
            # A proof from before serves for so long; a life that has just registered is joining.
            joined = time.monotonic() + REUSED
            self.eventually(lambda: time.monotonic() > joined, "the proof from before has aged")
            lives = {**dict.fromkeys(others, 1), restarted: 2}
            with self._living(successor, restarted, 2), _nobody_missing(asking, lives):
                until = time.monotonic() + 2 * self.ttl
                self.eventually(
                    lambda: (
                        refusing.words in asking.ask(lives)[restarted].detail
                        and time.monotonic() > until
                    ),
                    f"the answer quotes {refusing.words!r}",
                )
                refusing.accept()
                self.eventually(lambda: _are_present(asking, lives), "all are back")
            successor.leave(restarted)
            self.eventually(
                lambda: asking.ask(lives)[restarted].state is PresenceState.ABSENT,
                "who leaves is absent",
            )

    @contextlib.contextmanager
    def _living(self, agent: Driver, member: Member, incarnation: int) -> Iterator[None]:
        def beat() -> None:
            with contextlib.suppress(DriverUnavailable):
                agent.heartbeat(member, incarnation, self.ttl)

        with repeating(beat, self.ttl / 4):
            yield


@contextlib.contextmanager
def _nobody_missing(asking: Asking, lives: Mapping[Member, int]) -> Iterator[None]:
    """Ask again and again meanwhile, and fail if any of these lives was called missing."""
    accused: list[Presence] = []
    look: Callable[[], None] = partial(_look, asking, lives, accused)
    with repeating(look, 0.02):
        yield
    assert not accused, f"{len(accused)} accusations, the first: {accused[0]}"


def _look(asking: Asking, lives: Mapping[Member, int], accused: list[Presence]) -> None:
    for member, presence in asking.ask(lives).items():
        lives_on = lives[member] in presence.incarnations
        if not lives_on and presence.state is not PresenceState.UNKNOWN:
            accused.append(presence)


def _are_present(asking: Asking, lives: Mapping[Member, int]) -> bool:
    answers = asking.ask(lives)
    return all(life in answers[member].incarnations for member, life in lives.items())
