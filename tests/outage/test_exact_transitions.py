"""Ten thousand services, a fifth of them killed, memcached emptied: every transition, exactly once.

The control plane, PostgreSQL and memcached are real; see ``simulation`` for what is not.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from servers.memcached import Memcached
from servers.postgresql import PostgreSQL
from servers.process import PATIENCE, ask
from servicegroup import liveness
from servicegroup.driver import Driver
from servicegroup.events import Event, EventKind, Page, Signal
from servicegroup.history import TRANSITIONS
from servicegroup.liveness import LOOK_INTERVAL, judge
from servicegroup.model import Member, PresenceState, Reason
from support.control_plane import ControlPlane, intervals
from support.simulation import BINARY, COUNT, GROUP, LIMITS, Fleet, zone
from support.waiting import until

pytestmark = pytest.mark.long

RACK = "z0"

DOWN_AFTER = liveness.PATIENCE * LIMITS.report_interval
"""Seconds from a crash to the verdict: a crowd is held until its reports count as stopped.

That is longer than memcached keeps a key, even the one that was written last.
"""

BUSY = 5.0
"""Seconds that looks at all of them may take longer, on a busy machine."""


class Witness:
    """Reads the log as a subscriber does, and looks at the list as an operator does."""

    def __init__(self, plane: ControlPlane, fleet: Fleet) -> None:
        self.events: list[Event] = []
        self.observed: list[bool] = []
        self._plane = plane
        self._fleet = fleet

    def has(self, kind: EventKind, hosts: Iterable[str], number: int = 1) -> None:
        """Wait until the log has so many events of a kind of each of these services."""
        wanted = set(hosts)

        def complete() -> bool:
            self._look()
            self._read()
            told = Counter(event.host for event in self.events if event.kind is kind)
            return all(told[host] >= number for host in wanted)

        until(complete, PATIENCE, 1, f"{kind} of {len(wanted)}")

    def believes(self) -> None:
        """Wait until no signal is suspect any more."""
        until(lambda: not self._get("/v1/protection")["protections"], PATIENCE, what="all believed")
        self._read()

    def _read(self) -> None:
        page = None
        while page is None or page.events:
            after = self.events[-1].id if self.events else 0
            page = msgspec.convert(self._get(f"/v1/events?after={after}&limit=1000"), Page)
            self.events += page.events

    def _look(self) -> None:
        path = f"/v1/services?binary={BINARY}&state=down"
        status, headers, body = self._plane.request("GET", path)
        assert status == 200, body
        self.observed.append("ETag" in headers)
        assert {service["host"] for service in body["services"]} <= self._fleet.killed_at.keys()

    def _get(self, path: str) -> Any:
        status, _, body = self._plane.request("GET", path)
        assert status == 200, body
        return body


@pytest.fixture
def server(own_memcached: Callable[[], Memcached]) -> Memcached:
    """Give a memcached of the test's own."""
    return own_memcached()


@pytest.fixture
def plane(postgresql: PostgreSQL, server: Memcached, tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane on a fresh database that uses it."""
    plane = ControlPlane(postgresql.database(), tmp_path)
    section = f"[memcached]\nservers = {server.address}\n"
    plane.configure(section, servicegroup_driver="memcached", **intervals(LIMITS))
    plane.start()
    yield plane
    plane.stop()


@pytest.mark.timeout(240)
def test_each_transition_is_recorded_exactly_once(plane: ControlPlane, server: Memcached) -> None:
    """MC-5, AND-2, LC-4: some of the killed come back, into an emptied backend or at once."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    fleet = Fleet(plane.url, server.address)
    witness = Witness(plane, fleet)
    order = random.Random(seed).sample(fleet.hosts, COUNT)
    rack = [host for host in order if zone(host) == RACK][:600]
    some = [host for host in order if host not in set(rack)]
    first, second, third, hasty = some[:450], some[450:950], some[950:1400], some[1400:1450]
    returning = first[:150] + second[:150]

    with fleet.working():
        fleet.join(plane.connection)
        witness.has(EventKind.UP, fleet.hosts)
        until(lambda: is_believed(fleet.driver), PATIENCE, what="a miss counts")

        fleet.kill(first)
        witness.has(EventKind.DOWN, first)

        fleet.kill(second)
        assert ask(server.port, b"flush_all\r\n", b"\r\n") == b"OK\r\n"
        fleet.kill(hasty)
        fleet.begin(hasty + first[:150])
        witness.has(EventKind.DOWN, second)

        fleet.kill([*rack, *third])
        fleet.begin(second[:150])
        witness.has(EventKind.DOWN, [*rack, *third])
        witness.has(EventKind.UP, returning, 2)
        witness.believes()

    killed = {*first, *rack, *second, *third}
    assert len(killed) == COUNT // 5
    stories = {host: [EventKind.JOIN, EventKind.UP] for host in fleet.hosts}
    for host in killed:
        stories[host] += [EventKind.DOWN]
    for host in returning:
        stories[host] += [EventKind.RESTART, EventKind.UP]
    for host in hasty:
        stories[host] += [EventKind.RESTART]
    assert [event.id for event in witness.events] == [*range(1, len(witness.events) + 1)]
    told = check_stories(witness.events, stories)
    downs = [event for host in killed for event in told[host] if event.kind is EventKind.DOWN]
    check_downs(downs, fleet.killed_at, unhurried=second)
    check_protections(witness.events, Counter(map(zone, killed)))
    # Looks may be late where this machine is very busy, but not as a rule.
    assert sum(witness.observed) > 0.8 * len(witness.observed)


def is_believed(driver: Driver) -> bool:
    """Tell whether the young backend has been there long enough for a miss to count."""
    nobody = Member(GROUP, "nobody")
    return driver.presence([nobody])[nobody].state is PresenceState.ABSENT


def check_stories(
    events: Iterable[Event], stories: Mapping[str, list[EventKind]]
) -> dict[str, list[Event]]:
    """Check what happened to each service, in order, and what it followed from; return it."""
    told: dict[str, list[Event]] = {host: [] for host in stories}
    for event in events:
        if event.host in told:
            told[event.host].append(event)
    kinds = {host: [event.kind for event in own] for host, own in told.items()}
    assert not {host: told[host] for host in stories if kinds[host] != stories[host]}
    for own in told.values():
        former: Event | None = None
        for event in own:
            if event.kind not in TRANSITIONS:
                continue
            assert event.evidence is not None
            assert judge(event.evidence).reason is event.reason
            assert (event.before, event.after) == (former and former.after, str(event.reason.state))
            lasted = former and (event.at - former.at).total_seconds()
            assert event.seconds == lasted
            former = event
    return told


def check_downs(
    downs: Iterable[Event], killed_at: Mapping[str, datetime], unhurried: Collection[str]
) -> None:
    """Check why and when they were down; as the unhurried died, the backend was emptied."""
    for event in downs:
        assert event.host is not None
        assert event.reason in (Reason.ABSENT, Reason.SILENT)
        bound = LIMITS.service_down_time if event.host in unhurried else DOWN_AFTER
        delay = (event.at - killed_at[event.host]).total_seconds()
        assert 0 < delay < bound + LOOK_INTERVAL + BUSY


def check_protections(events: Iterable[Event], killed: Mapping[str, int]) -> None:
    """Check that no more were held than died in that zone, and that it ended by itself.

    Who died may be present for longer than its reports count, so either signal may be suspect.
    """
    kinds: dict[tuple[str, str], list[EventKind]] = {}
    for event in events:
        if event.zone is None or not event.kind.startswith("protection-"):
            continue
        assert event.detail is not None
        signal, _, number, _ = event.detail.split()
        assert int(number) <= killed[event.zone]
        kinds.setdefault((event.zone, signal), []).append(event.kind)
    for own in kinds.values():
        assert own == [EventKind.PROTECTION_ON, EventKind.PROTECTION_OFF] * (len(own) // 2)
    assert (RACK, Signal.PRESENCE) in kinds
