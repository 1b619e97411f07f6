"""Crashes: a member that is killed, frozen, restarted or forked, each as a real process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, PresenceState
from servicegroup.testing.harness import PATIENCE, SLACK, Harness, ask, repeating

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servicegroup.driver import Driver

# ruff: noqa: S101


class CrashContract(Harness):
    """What is seen of a member that could not say goodbye."""

    def test_a_killed_member_is_absent_in_time(
        self, agent: Driver, observer: Driver, options: Mapping[str, Any], member: Member
    ) -> None:
        """After SIGKILL it is absent within the time the driver itself states."""
        self.becomes_settled(agent, observer, member)
        with self.living_elsewhere(options, member, 1) as process:
            self.becomes_present(observer, member, 1)
            process.kill()
            killed = time.monotonic()
            bound = observer.detection_time(self.ttl) + SLACK
            self.becomes_absent(observer, member, within=bound)
            assert time.monotonic() - killed <= bound + SLACK

    def test_a_frozen_member_expires_and_joins_again(
        self, agent: Driver, observer: Driver, options: Mapping[str, Any], member: Member
    ) -> None:
        """SIGSTOP makes it absent, and its next heartbeat makes it present again (ZK-2)."""
        self.becomes_settled(agent, observer, member)
        with self.living_elsewhere(options, member, 1) as process:
            self.becomes_present(observer, member, 1)
            process.send_signal(signal.SIGSTOP)
            bound = observer.detection_time(self.ttl) + SLACK
            self.becomes_absent(observer, member, within=bound)
            process.send_signal(signal.SIGCONT)
            self.becomes_present(observer, member, 1)

    def test_a_fast_restart_is_present_over_its_remains(
        self,
        agent: Driver,
        successor: Driver,
        observer: Driver,
        options: Mapping[str, Any],
        member: Member,
    ) -> None:
        """The next life is present at once and stays when its predecessor expires (ZK-1)."""
        self.becomes_settled(agent, observer, member)
        with self.living_elsewhere(options, member, 1) as process:
            self.becomes_present(observer, member, 1)
        assert process.returncode == -signal.SIGKILL
        successor.heartbeat(member, 2, self.ttl)
        self.becomes_present(observer, member, 2)
        with repeating(lambda: successor.heartbeat(member, 2, self.ttl), self.ttl / 4):
            until = time.monotonic() + observer.detection_time(self.ttl) + SLACK
            while time.monotonic() < until:
                assert 2 in ask(observer, member).incarnations
                time.sleep(0.02)
            assert ask(observer, member).incarnations == {2}

    def test_a_forked_child_does_not_harm_its_parent(
        self, agent: Driver, observer: Driver, group: str
    ) -> None:
        """A child that uses an inherited handle works or is refused; the parent goes on (ZK-14)."""
        ours, theirs = Member(group, "parent"), Member(group, "child")
        self.joins(agent, observer, [ours])

        def as_child() -> None:
            for incarnation in range(1, 100):
                with contextlib.suppress(DriverUnavailable):
                    agent.heartbeat(theirs, incarnation, self.ttl)
                answer = agent.presence([theirs])[theirs]
                assert answer.incarnations <= set(range(1, 100))
            agent.close()

        def as_parent() -> None:
            agent.heartbeat(ours, 1, self.ttl)
            for handle in (agent, observer):
                answer = ask(handle, ours)
                assert answer.state is not PresenceState.ABSENT
                assert answer.incarnations <= {1}

        child = _fork(as_child)
        ended: list[int] = []
        try:
            deadline = time.monotonic() + PATIENCE
            while not ended and time.monotonic() < deadline:
                as_parent()
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    ended.append(os.waitstatus_to_exitcode(status))
        finally:
            if not ended:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        assert ended == [0], "the child hung, or failed: see its traceback"
        self.becomes_present(observer, ours, 1)
        as_parent()


def _fork(task: Callable[[], None]) -> int:
    """Run a task in a forked child that ends without any clean-up; return its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is the point
        child = os.fork()
    if child:
        return child
    try:
        task()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - the child must never return into the test
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)
