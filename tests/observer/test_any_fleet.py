"""Whatever happens to a fleet and its observers, in any order, the promises are kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from observer.notes import Edit
from observer.world import Process, World
from promises.checks import violations
from promises.following import Follower
from servicegroup.model import Limits

LIMITS = Limits(report_interval=4, service_down_time=16, heartbeat_interval=1, membership_ttl=4)
HOSTS = 12
LONG = 30
"""Seconds after which whatever has crashed must be down, by any promise."""

which = st.integers(0, HOSTS - 1)
several = st.sets(which, min_size=1, max_size=8)
Outage = Literal["never", "at the step ahead", "at the step back", "all the time"]
outages: st.SearchStrategy[Outage] = st.sampled_from(get_args(Outage))
edits: st.SearchStrategy[Edit] = st.sampled_from(["enable", "disable", "force_down", "unforce"])


class AnyFleet(RuleBasedStateMachine):
    """Some services and two observers; each rule is one thing that happens between two looks."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.world = World(Path(self._directory.name), LIMITS)
        self.last = 0
        self.frozen_at: float | None = None
        self.follower = Follower("reader", self.world.notes.add, self.now)
        for _ in range(2):
            self.world.observer()
        self.world.fleet(8)
        self.wait(1)

    @property
    def now(self) -> float:
        return self.world.notes.now()

    def teardown(self) -> None:
        try:
            self.check()
        finally:
            self.world.close()
            self._directory.cleanup()

    def check(self) -> None:
        """Let everybody come back: then all are up, and nothing is suspect any more."""
        self.thaw()
        for process in self.world.processes:
            process.reports = process.beats = True
        for process in self.living(set(range(len(self.world.processes)))):
            self.world.edit(process, "unforce")
        for observer in self.world.observers:
            self.world.give_sight(observer)
        self.wait(16)
        assert self.world.reader.protections() == []
        services = self.world.reader.services()
        assert self.world.down() == {s.host for s in services if s.departure}
        found = violations(self.world.notes.history())
        assert not found, "\n".join(found[:5])

    def some(self, numbers: set[int]) -> list[Process]:
        """Return the processes that numbers stand for."""
        processes = self.world.processes
        return [processes[number] for number in numbers if number < len(processes)]

    # -- what happens ------------------------------------------------------------------------

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.pass_time(1)
            self.world.notes.saw(self.world.layer().services(), "one that has just begun")
            self.follow()

    def follow(self) -> None:
        events = self.world.events(self.last)
        self.last = max([self.last, *(event.id for event in events)])
        self.follower.told(events, self.now, self.now)

    @precondition(lambda self: len(self.world.processes) < HOSTS)
    @rule(beats=st.booleans())
    def begin(self, beats: bool) -> None:
        hosts = {process.host for process in self.world.processes}
        self.world.start(next(f"h{n}" for n in range(HOSTS) if f"h{n}" not in hosts), beats=beats)

    @rule(numbers=several, beats=st.booleans())
    def restart(self, numbers: set[int], beats: bool) -> None:
        for process in self.some(numbers):
            self.world.start(process.host, beats=beats)

    @rule(numbers=several)
    def crash(self, numbers: set[int]) -> None:
        self.world.crash(self.some(numbers))

    @rule(numbers=several)
    def vanish(self, numbers: set[int]) -> None:
        self.world.vanish(self.some(numbers))

    @rule(numbers=several)
    def rejoin(self, numbers: set[int]) -> None:
        for process in self.some(numbers):
            process.beats = True

    @rule(numbers=several)
    def expire(self, numbers: set[int]) -> None:
        """End their sessions, which they begin again."""
        for process in self.some(numbers):
            self.world.evict(process)

    @rule(numbers=several)
    def lose_a_heartbeat(self, numbers: set[int]) -> None:
        for process in self.some(numbers):
            process.beaten_at = self.world.clock.now

    @rule(numbers=several)
    def lose_a_report(self, numbers: set[int]) -> None:
        for process in self.some(numbers):
            process.reported_at = self.world.clock.now

    @rule(numbers=several, reports=st.booleans())
    def switch_reports(self, numbers: set[int], reports: bool) -> None:
        for process in self.some(numbers):
            process.reports = reports

    @rule()
    def lose_all_reports(self) -> None:
        self.switch_reports(set(range(HOSTS)), reports=False)

    @rule(number=which)
    def stop(self, number: int) -> None:
        self.world.stop(self.some({number}))

    @rule(number=which, what=edits)
    def edit(self, number: int, what: Edit) -> None:
        for process in self.living({number}):
            self.world.edit(process, what)

    @rule(number=which)
    def delete(self, number: int) -> None:
        """Its process goes on until it is told."""
        for process in self.living({number}):
            self.world.edit(process, "delete")

    def living(self, numbers: set[int]) -> list[Process]:
        """Return those of some processes that have a record."""
        uuids = {service.uuid for service in self.world.layer().services()}
        return [process for process in self.some(numbers) if process.uuid in uuids]

    # -- faults ------------------------------------------------------------------------------

    @rule()
    def flush(self) -> None:
        """Empty the backend without its knowing: whoever still beats joins again by itself."""
        for process in self.world.processes:
            self.world.evict(process)

    @precondition(lambda self: self.frozen_at is None)
    @rule()
    def restart_the_backend(self) -> None:
        self.world.backend.restart()
        self.world.notes.fault("backend restarted", self.now, frozenset({"backend"}))
        for process in self.world.processes:
            self.world.notes.evicted(process.life)

    @precondition(lambda self: self.frozen_at is None)
    @rule()
    def freeze(self) -> None:
        self.frozen_at = self.now
        self.world.backend.freeze()

    @precondition(lambda self: self.frozen_at is not None)
    @rule()
    def thaw(self) -> None:
        if self.frozen_at is not None:
            self.world.backend.thaw()
            self.world.notes.fault("backend frozen", self.frozen_at, frozenset({"backend"}))
        self.frozen_at = None

    @rule()
    def kill_the_observer(self) -> None:
        self.world.observers.pop(0)
        self.world.observer()
        self.world.notes.fault("observer killed", self.now)

    @rule()
    def pause_the_observer(self) -> None:
        begun = self.now
        self.world.observers.reverse()
        paused = self.world.observers.pop()
        self.wait(5)
        self.world.observers.append(paused)
        self.world.notes.fault("observer paused", begun)

    @rule()
    def blind_the_observer(self) -> None:
        self.world.give_sight(self.world.observers[-1])
        self.world.blind(self.world.observers[0])
        self.world.notes.fault("observer blind", self.now)

    @rule(seconds=st.integers(1, 24))
    def take_the_control_planes_away(self, seconds: int) -> None:
        begun = self.now
        self.world.away = True
        self.world.pass_time(seconds)
        self.world.away = False
        self.world.notes.fault("control planes away", begun, frozenset({"record"}))

    @rule(seconds=st.sampled_from([-3600, -20, -4, -1, 1, 2, 4, 20, 3600]))
    def step_the_clock(self, seconds: int) -> None:
        self.world.step_the_clock(seconds)
        self.world.notes.fault(f"clock stepped by {seconds} s", self.now, frozenset({"clock"}))

    @rule(
        ahead=st.sampled_from([-3600, -20, 20, 600, 365 * 86_400]),
        before=which,
        meanwhile=which,
        after=which,
        wrong=st.integers(1, 6),
        away=outages,
    )
    def set_the_clock_wrong_and_right(
        self, ahead: int, before: int, meanwhile: int, after: int, wrong: int, away: Outage
    ) -> None:
        """F-50: there and back, with a crash before, in between and after; maybe in an outage."""
        begun = self.now
        self.crash({before})
        self.world.away = away in ("at the step ahead", "all the time")
        self.world.pass_time(1)
        self.step_the_clock(ahead)
        self.world.pass_time(wrong)
        self.world.away = False if away == "at the step ahead" else self.world.away
        self.wait_or_pass(wrong)
        self.crash({meanwhile})
        self.world.away = away in ("at the step back", "all the time")
        self.world.pass_time(wrong)
        self.step_the_clock(-ahead)
        self.crash({after})
        self.world.pass_time(wrong)
        self.world.away = False
        if away != "never":
            self.world.notes.fault("control planes away", begun, frozenset({"record"}))
        self.wait(LONG)

    def wait_or_pass(self, seconds: int) -> None:
        """Let time pass, with somebody who asks if there is anybody to be asked."""
        if self.world.away:
            self.world.pass_time(seconds)
        else:
            self.wait(seconds)


@pytest.mark.parametrize("away", get_args(Outage))
@pytest.mark.parametrize("wrong", [1, 5])
@pytest.mark.parametrize("ahead", [-3600, 20, 600, 365 * 86_400])
@pytest.mark.long
def test_a_clock_there_and_back_hides_nobody(ahead: int, wrong: int, away: Outage) -> None:
    fleet = AnyFleet()
    try:
        fleet.set_the_clock_wrong_and_right(ahead, 0, 1, 2, wrong, away)
        assert fleet.world.down() == {"h0", "h1", "h2"}
        found = violations(fleet.world.notes.history())
        assert not found, "\n".join(found[:5])
    finally:
        fleet.teardown()


_long = "SOAK" in os.environ
AnyFleet.TestCase.settings = settings(
    max_examples=1000 if _long else 10,
    stateful_step_count=60 if _long else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_any_fleet = pytest.mark.timeout(3600 if _long else 400)(AnyFleet.TestCase)
