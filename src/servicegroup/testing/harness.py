"""What the contract tests stand on: the fixtures, patience, and members that live on their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec
import pytest

from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from servicegroup.driver import Driver

PATIENCE = 20.0
"""Seconds after which a thread or process that does not end is given up."""

BOUND = 5.0
"""The most seconds until a backend that does not answer is noticed, by any call."""

SLACK = 1.0
"""Seconds granted to a busy machine on top of every upper bound."""


class Backend(Protocol):
    """The servers behind a driver, as the tests treat them."""

    def freeze(self) -> None:
        """Hang every server (SIGSTOP): connections stay, nothing is answered."""

    def thaw(self) -> None:
        """Let frozen servers go on (SIGCONT); nothing happens to those that run."""

    def restart(self) -> None:
        """End every server and start it where it was; return when it answers."""

    def empty(self) -> None:
        """Make the servers forget everything they hold, as a mistake or a lost disk would."""


@contextlib.contextmanager
def repeating(action: Callable[[], object], every: float) -> Iterator[None]:
    """Call ``action`` again and again in a thread meanwhile; raise at the end what it raised."""
    stop = threading.Event()
    raised: list[Exception] = []

    def run() -> None:
        try:
            while not stop.is_set():
                action()
                stop.wait(every)
        except Exception as error:  # noqa: BLE001 - raised again below, in the test's own thread
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
    if raised:
        raise raised[0]
    assert not thread.is_alive(), "a call did not return in time"  # noqa: S101 - a test


class Harness:
    """Handles on one backend, and what the tests say about them.

    A subclass names its ``driver`` and gives the fixtures ``backend``, ``options`` and
    ``nowhere``. ``ttl`` is the time to live the tests heartbeat with, and ``patience`` the time
    after which what has no bound of its own is taken not to happen, both in seconds.
    """

    driver: ClassVar[type[Driver]]
    ttl: ClassVar[float] = 2.0
    patience: ClassVar[float] = 20.0

    # -- given by the subclass -------------------------------------------------------------

    @pytest.fixture
    def backend(self) -> Backend:
        """Give the servers the driver talks to."""
        raise NotImplementedError

    @pytest.fixture
    def options(self, backend: Backend) -> Mapping[str, Any]:
        """Give the driver's options for this backend, as plain values for JSON."""
        raise NotImplementedError

    @pytest.fixture
    def nowhere(self) -> Mapping[str, Any]:
        """Give the driver's options for a port nobody listens on."""
        raise NotImplementedError

    # -- made of it ------------------------------------------------------------------------

    @pytest.fixture
    def agent(self, options: Mapping[str, Any]) -> Iterator[Driver]:
        """Give the handle of a member's agent."""
        with contextlib.closing(self.driver.from_options(options)) as handle:
            yield handle

    @pytest.fixture
    def successor(self, options: Mapping[str, Any]) -> Iterator[Driver]:
        """Give the handle of the agent's next life."""
        with contextlib.closing(self.driver.from_options(options)) as handle:
            yield handle

    @pytest.fixture
    def observer(self, options: Mapping[str, Any]) -> Iterator[Driver]:
        """Give the control plane's handle."""
        with contextlib.closing(self.driver.from_options(options)) as handle:
            yield handle

    @pytest.fixture
    def group(self) -> str:
        """Name a group no other test uses, so that tests can share the servers."""
        return f"group-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def member(self, group: str) -> Member:
        """Name a member of that group."""
        return Member(group, "host-1")

    @pytest.fixture
    def crowd(self, group: str) -> list[Member]:
        """Name several members of that group."""
        return [Member(group, f"host-{number}") for number in range(5)]

    # -- what the tests say ----------------------------------------------------------------

    def eventually(
        self, condition: Callable[[], object], what: str, within: float | None = None
    ) -> None:
        """Ask until the answer is true; fail after ``within`` seconds, or all patience."""
        within = self.patience if within is None else within
        deadline = time.monotonic() + within
        late = False
        while not condition():
            if late:
                pytest.fail(f"not within {within:g} s: {what}")
            late = time.monotonic() >= deadline
            time.sleep(0.02)

    def becomes_present(self, observer: Driver, member: Member, incarnation: int) -> None:
        """Wait until this incarnation is among the living ones."""
        self.eventually(
            lambda: incarnation in ask(observer, member).incarnations,
            f"{member} is present as incarnation {incarnation}",
        )

    def becomes_absent(self, observer: Driver, member: Member, within: float | None = None) -> None:
        """Wait until the backend says that nobody lives under this name."""
        self.eventually(
            lambda: ask(observer, member).state is PresenceState.ABSENT,
            f"{member} is absent",
            within,
        )

    def becomes_settled(
        self, agent: Driver, observer: Driver, member: Member, ttl: float | None = None
    ) -> None:
        """Wait until an earlier test's outage is forgotten: the member comes, and is seen to go."""
        agent.heartbeat(member, 1, ttl or self.ttl)
        self.becomes_present(observer, member, 1)
        agent.leave(member)
        self.becomes_absent(observer, member)

    @contextlib.contextmanager
    def freeing(self, agent: Driver, observer: Driver, member: Member) -> Iterator[float]:
        """Join as incarnation 1, and expect that what is done meanwhile frees the member.

        It has to be absent well before it could expire; gives the time to live, in seconds.
        """
        lasting = 3 * self.ttl
        self.becomes_settled(agent, observer, member, lasting)
        deadline = time.monotonic() + 0.8 * lasting
        agent.heartbeat(member, 1, lasting)
        self.becomes_present(observer, member, 1)
        yield lasting
        self.becomes_absent(observer, member, within=deadline - time.monotonic())

    def heartbeats(self, agent: Driver, member: Member) -> None:
        """Heartbeat as incarnation 1 until it succeeds once, as an agent does after an outage."""

        def succeeds() -> bool:
            with contextlib.suppress(DriverUnavailable):
                agent.heartbeat(member, 1, self.ttl)
                return True
            return False

        self.eventually(succeeds, "a heartbeat succeeds")

    def joins(self, agent: Driver, observer: Driver, members: Collection[Member]) -> None:
        """Join as incarnation 1 and wait until the other handle sees all of them."""
        for member in members:
            agent.heartbeat(member, 1, self.ttl)
        self.become_present(observer, members)

    def become_present(self, observer: Driver, members: Collection[Member]) -> None:
        """Wait until one answer has all of them present."""
        self.eventually(
            lambda: states(observer.presence(members)) == {PresenceState.PRESENT},
            "everybody is present",
        )

    @contextlib.contextmanager
    def beating(self, agent: Driver, members: Collection[Member]) -> Iterator[None]:
        """Heartbeat each member as incarnation 1 meanwhile, as agents do: trying again."""

        def beat(member: Member) -> None:
            with contextlib.suppress(DriverUnavailable):
                agent.heartbeat(member, 1, self.ttl)

        with contextlib.ExitStack() as hearts:
            for member in members:
                hearts.enter_context(repeating(partial(beat, member), self.ttl / 4))
            yield

    @contextlib.contextmanager
    def living_elsewhere(
        self, options: Mapping[str, Any], member: Member, incarnation: int
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Keep a member present from a process of its own, to be killed or frozen."""
        path = f"{self.driver.__module__}:{self.driver.__qualname__}"
        what = [path, msgspec.json.encode(options).decode(), member.group, member.host]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own arguments
            [sys.executable, "-m", "servicegroup.testing", *what, str(incarnation), str(self.ttl)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


def ask(observer: Driver, member: Member) -> Presence:
    """Ask for one member; nobody lives of one who is not present."""
    answer = observer.presence([member])[member]
    assert answer.state is PresenceState.PRESENT or not answer.incarnations  # noqa: S101 - a test
    return answer


def states(answers: Mapping[Member, Presence]) -> set[PresenceState]:
    """Return which states occur."""
    return {answer.state for answer in answers.values()}
