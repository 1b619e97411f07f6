"""Whatever happens to a fleet and its observers, in any order: what always holds."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from observer.world import Process, World
from servicegroup.events import EventKind
from servicegroup.liveness import still_reports
from servicegroup.model import Limits, Reason, Service

LIMITS = Limits(report_interval=4, service_down_time=16, heartbeat_interval=1, membership_ttl=4)

which = st.integers(0, 11)
several = st.sets(which, min_size=1, max_size=8)


class AnyFleet(RuleBasedStateMachine):
    """Some services and two observers; each rule is one thing that happens between two looks."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.world = World(Path(self._directory.name), LIMITS)
        self.told: dict[str | None, str | None] = {}
        self.suspect: set[str] = set()
        self.last = 0
        self.frozen = False
        for _ in range(2):
            self.world.observer()
        self.world.fleet(8)
        self.wait(1)

    def teardown(self) -> None:
        """Let everybody come back: then all are up, and nothing is suspect any more."""
        self.thaw()
        for process in self.world.processes:
            process.reports = process.beats = True
            self.world.reader.update(process.uuid, forced_down=False)
        for observer in self.world.observers:
            self.world.give_sight(observer)
        self.wait(16)
        assert self.world.reader.protections() == []
        assert self.world.down() == self.departed()
        self.world.close()
        self._directory.cleanup()

    def some(self, numbers: set[int]) -> list[Process]:
        """Return the processes that numbers stand for."""
        processes = self.world.processes
        return [processes[number] for number in numbers if number < len(processes)]

    def departed(self) -> set[str]:
        return {s.host for s in self.world.reader.services() if s.departure}

    # -- what happens ------------------------------------------------------------------------

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.pass_time(1)
            self.check()

    @precondition(lambda self: len(self.world.processes) < 12)
    @rule(beats=st.booleans())
    def begin(self, beats: bool) -> None:
        hosts = {process.host for process in self.world.processes}
        self.world.start(next(f"h{n}" for n in range(12) if f"h{n}" not in hosts), beats=beats)

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

    @precondition(lambda self: not self.frozen)
    @rule()
    def flush(self) -> None:
        """Empty the backend: whoever still beats joins again by itself."""
        for process in self.world.processes:
            self.world.reader.driver.leave(process.member)

    @rule(numbers=several, reports=st.booleans())
    def switch_reports(self, numbers: set[int], reports: bool) -> None:
        for process in self.some(numbers):
            process.reports = reports

    @rule()
    def lose_all_reports(self) -> None:
        self.switch_reports(set(range(12)), reports=False)

    @rule(number=which)
    def stop(self, number: int) -> None:
        self.world.stop(self.some({number}))

    @rule(number=which, forced=st.booleans())
    def force(self, number: int, forced: bool) -> None:
        for process in self.some({number}):
            self.world.reader.update(process.uuid, forced_down=forced)

    @precondition(lambda self: len(self.world.processes) > 4)
    @rule(number=which)
    def delete(self, number: int) -> None:
        for process in self.some({number}):
            self.world.reader.delete(process.uuid)
            self.world.processes.remove(process)

    @precondition(lambda self: not self.frozen)
    @rule()
    def freeze(self) -> None:
        self.frozen = True
        self.world.backend.freeze()

    @precondition(lambda self: self.frozen)
    @rule()
    def thaw(self) -> None:
        if self.frozen:
            self.world.backend.thaw()
        self.frozen = False

    @rule()
    def kill_the_observer(self) -> None:
        self.world.observers.pop(0)
        self.world.observer()

    @rule()
    def pause_the_observer(self) -> None:
        self.world.observers.reverse()
        paused = self.world.observers.pop()
        self.wait(5)
        self.world.observers.append(paused)

    @rule()
    def blind_the_observer(self) -> None:
        self.world.give_sight(self.world.observers[-1])
        self.world.blind(self.world.observers[0])

    @rule(number=which)
    def lose_one_alone(self, number: int) -> None:
        """It is down after the next look, if no other is missing who reports."""
        self.wait(1)
        services = self.world.ask()
        settled = self.world.is_observed() and all(
            service.judged.reason is Reason.PRESENT
            for service in services
            if still_reports(service.judged.evidence)
        )
        process = next((p for p in self.some({number}) if p.reports and p.beats), None)
        if process is None or not settled or self.world.get(process).forced_down:
            return
        self.world.vanish([process])
        self.wait(1)
        assert not self.world.get(process).is_up

    # -- what always holds -------------------------------------------------------------------

    def check(self) -> None:
        self.check_the_log()
        services = self.world.layer().services()
        present = self.world.reader.driver.presence([s.member for s in services])
        for service in services:
            is_there = service.incarnation in present[service.member].incarnations
            self.check_one(service, is_there)
        if self.world.is_observed():
            assert [s.observed_state for s in services] == [s.judged.state for s in services]

    def check_one(self, service: Service, is_there: bool) -> None:
        process = next(p for p in self.world.processes if p.uuid == service.uuid)
        silence = self.world.clock.now - process.reported_at
        meant = service.forced_down or service.departure is not None
        if silence > timedelta(seconds=LIMITS.service_down_time) and not is_there:
            assert not service.is_up, service
        if silence <= timedelta(seconds=LIMITS.report_interval) and is_there and not meant:
            assert service.is_up, service

    def check_the_log(self) -> None:
        """Ids have no holes, states take turns, and so do suspicion and belief."""
        for event in self.world.events(self.last):
            assert event.id == self.last + 1
            self.last = event.id
            if event.kind in (EventKind.UP, EventKind.DOWN):
                assert event.before == self.told.get(event.uuid) != event.after
                self.told[event.uuid] = event.after
            elif event.kind is EventKind.PROTECTION_ON:
                signal = str(event.detail).split()[0]
                assert signal not in self.suspect
                self.suspect.add(signal)
            elif event.kind is EventKind.PROTECTION_OFF:
                self.suspect.remove(str(event.detail).split()[0])


AnyFleet.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_any_fleet = AnyFleet.TestCase
