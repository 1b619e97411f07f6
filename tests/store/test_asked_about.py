"""Who a backend is asked about: those of the list before, as long as it shows that they still are.

The record's state then is read once for a list, and not once more for who is in it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine

from drivers.reference import Directory, Reference, ReferenceOptions
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Limits, Member, Presence, ServiceFilter
from servicegroup.store import snapshots
from servicegroup.store.store import Store
from support.statements import statements

if TYPE_CHECKING:
    from servers.postgresql import PostgreSQL

COUNT = 7
EVERYBODY = ServiceFilter()
LIMITS = Limits(membership_ttl=60, service_down_time=60)


@pytest.fixture
def database_url(postgresql: PostgreSQL) -> str:
    """Return the URL of a database whose rows are kept."""
    return postgresql.database()


class Noting(Reference):
    """Notes who it is asked about, a collection of hosts for each question."""

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        self.asked.append(sorted(member.host for member in members))
        return super().presence(members)

    asked: list[list[str]]


class Fleet:
    """A register with a few services that are present, as one control plane lists them."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        Directory(directory)
        self.driver = Noting(ReferenceOptions(directory=str(directory)))
        self.driver.asked = []
        self.group = ServiceGroup(Store(engine), self.driver, LIMITS)
        for number in range(COUNT):
            self.join(f"h{number}")

    def join(self, host: str) -> None:
        life = self.group.join(host, "web" if host < "h3" else "db")
        self.group.report([Report(life.uuid, life.incarnation)])
        member = self.group.get(life.uuid).member
        self.driver.heartbeat(member, life.incarnation, 60)

    def listed(self, filters: ServiceFilter = EVERYBODY) -> dict[str, str]:
        """Return the state of each host, as a list of states tells it."""
        self.driver.asked.clear()
        found = (each for batch in self.group.states(filters) for each in batch.each())
        return {service.host: state for service, state, _ in found}

    def judged(self, filters: ServiceFilter = EVERYBODY) -> dict[str, str]:
        """Return the same by whole records and their verdicts."""
        return {service.host: service.judged.state for service in self.group.services(filters)}


@pytest.fixture
def fleet(engine: Engine, tmp_path: Path) -> Fleet:
    return Fleet(engine, tmp_path)


ALL = [f"h{number}" for number in range(COUNT)]


def test_they_are_read_once_where_nobody_changed(fleet: Fleet, engine: Engine) -> None:
    fleet.listed()
    with statements(engine) as read:
        assert fleet.listed() == dict.fromkeys(ALL, "up")
    assert fleet.driver.asked == [ALL]
    assert sum("count(*)" in statement for statement in read) == 1


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        (lambda fleet: fleet.join("new"), [["new"]]),
        (lambda fleet: fleet.join("h4"), [["h4"]]),  # another life of it
        (lambda fleet: fleet.group.delete(1), []),
        (lambda fleet: fleet.group.update(fleet.group.get(1).uuid, disabled=True), []),
    ],
    ids=["came", "restarted", "went", "changed"],
)
def test_only_who_is_other_is_asked_about_once_more(
    fleet: Fleet, change: Callable[[Fleet], object], anew: list[list[str]]
) -> None:
    fleet.listed()
    change(fleet)
    found, asked = fleet.listed(), list(fleet.driver.asked)
    assert asked == [ALL, *anew]
    assert found == fleet.judged()


@pytest.mark.parametrize("batch", [2, COUNT, COUNT + 1, 100])
@pytest.mark.parametrize("seed", range(3))
def test_a_list_is_right_whoever_came_went_or_died(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, seed: int, batch: int
) -> None:
    monkeypatch.setattr(snapshots, "BATCH_OF_STAMPS", batch)
    dice = random.Random(seed)
    filters = [EVERYBODY, ServiceFilter(binary="web"), ServiceFilter(disabled=False)]
    for number in range(30):
        change(fleet, dice, f"new-{number}")
        wanted = dice.choice(filters)
        assert fleet.listed(wanted) == fleet.judged(wanted)


def change(fleet: Fleet, dice: random.Random, newcomer: str) -> None:
    """Do something to somebody, or nothing."""
    one = dice.choice(fleet.group.services())
    changes: list[Callable[[], object]] = [
        lambda: fleet.join(newcomer),
        lambda: fleet.join(one.host),
        lambda: fleet.group.join(one.host, one.binary),  # not present yet
        lambda: fleet.group.delete(one.uuid),
        lambda: fleet.group.update(one.uuid, disabled=not one.disabled),
        lambda: fleet.driver.leave(one.member),
        lambda: None,
    ]
    dice.choice(changes)()
