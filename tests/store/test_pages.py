"""A page costs at most one whole list, whatever it is filtered by (F-51), and is what a list says.

The filter by state comes after the judging, so a page that counted before it would be read and
judged again and again until enough services had the state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import event

from servicegroup.driver import Capabilities, GroupPresence
from servicegroup.drivers.db import DbDriver
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Limits, Member, Presence, PresenceState, Service, ServiceFilter
from servicegroup.store import migrate, snapshots
from servicegroup.store.database import connect, write
from servicegroup.store.store import Store
from servicegroup.store.tables import services

COUNT = 11
BATCH = 3
HOSTS = [f"h{number}" for number in range(COUNT)]
PRESENT = Presence(PresenceState.PRESENT, frozenset({1}))


class ByName(DbDriver):
    """Has everybody present, says so of those it is asked about, and counts the questions."""

    capabilities = Capabilities()
    questions = 0

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        self.questions += 1
        return dict.fromkeys(members, PRESENT)


class Pushing(ByName):
    """The same from memory."""

    capabilities = Capabilities(pushes=True)


class ByGroup(ByName):
    """The same for a whole group at once."""

    def list_group(self, group: str) -> GroupPresence:
        self.questions += 1
        return GroupPresence(dict.fromkeys(HOSTS, PRESENT), Presence(PresenceState.ABSENT))


class Cost(msgspec.Struct):
    """What an answer took; ``judged`` is how often each service was, by id."""

    statements: int = 0
    questions: int = 0
    judged: Counter[int] = msgspec.field(default_factory=Counter)


@contextmanager
def costs(group: ServiceGroup) -> Iterator[Cost]:
    """Count what the register is asked meanwhile."""
    cost = Cost()
    judge, driver = group.judge, group.driver
    assert isinstance(driver, ByName)

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        cost.statements += statement != "BEGIN"

    def verdicts(found: list[Service], *others: Any) -> Any:
        cost.judged.update(service.id for service in found)
        return type(judge).verdicts(judge, found, *others)

    before = driver.questions
    event.listen(group._store.engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "verdicts", verdicts)
        yield cost
    event.remove(group._store.engine, "before_cursor_execute", note)
    cost.questions = driver.questions - before


def fill(group: ServiceGroup) -> None:
    """Register services of two binaries and two zones, all of which report."""
    for number, host in enumerate(HOSTS):
        zone = "east" if number % 3 else "west"
        life = group.join(host, "web" if number % 2 else "db", zone=zone)
        group.report([Report(life.uuid, life.incarnation)])


def take_down(group: ServiceGroup, hosts: Collection[str]) -> None:
    """Make these services down, and all others up."""
    change = services.update().values(forced_down=services.c.host.in_(hosts))
    write(group._store.engine, lambda connection: connection.execute(change))


def naive(everybody: list[Service], filters: ServiceFilter, state: str | None) -> list[str]:
    """Filter the whole list, then begin after the marker, then stop at the limit."""
    wanted = msgspec.structs.asdict(filters)
    marker, limit = wanted.pop("marker"), wanted.pop("limit")
    after = next((s.id for s in everybody if s.uuid == marker), 0)
    found = [
        s.uuid
        for s in everybody
        if s.id > after
        and state in (None, s.judged.state)
        and all(v in (None, getattr(s, n.replace("group", "topic"))) for n, v in wanted.items())
    ]
    return found[:limit]


@pytest.fixture(autouse=True, scope="module")
def small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "BATCH", BATCH)
        yield


@pytest.fixture(scope="module", params=[ByName, Pushing, ByGroup])
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceGroup]:
    """Give the layer on one register on SQLite for all examples."""
    engine = connect(f"sqlite:///{tmp_path_factory.mktemp('pages') / 'register.sqlite'}")
    migrate.upgrade(engine)
    group = ServiceGroup(Store(engine), request.param(request.param.Options()), Limits())
    fill(group)
    yield group
    engine.dispose()


def one_of(*values: str) -> st.SearchStrategy[str | None]:
    return st.sampled_from([None, *values])


@example(set(), None, None, None, None, None, 0, None)
@given(
    down=st.sets(st.sampled_from(HOSTS)),
    host=st.one_of(st.none(), st.none(), one_of(*HOSTS, "nowhere")),
    binary=one_of("web", "db", "nobody"),
    topic=one_of("web", "db", "nobody"),
    zone=one_of("east", "west"),
    state=one_of("up", "down"),
    marker=st.one_of(st.none(), st.integers(0, COUNT - 1)),
    limit=st.one_of(st.none(), st.integers(1, COUNT + 2)),
)
def test_any_page_is_a_part_of_the_list_and_costs_no_more(
    fleet: ServiceGroup,
    down: set[str],
    host: str | None,
    binary: str | None,
    topic: str | None,
    zone: str | None,
    state: str | None,
    marker: int | None,
    limit: int | None,
) -> None:
    take_down(fleet, down)
    with costs(fleet) as whole:
        everybody = fleet.services()
    assert {s.host for s in everybody if not s.is_up} == down
    filters = ServiceFilter(
        host=host,
        binary=binary,
        group=topic,
        zone=zone,
        marker=None if marker is None else everybody[marker].uuid,
        limit=limit,
    )
    with costs(fleet) as page:
        found = fleet.services(filters, state=state)
    assert [s.uuid for s in found] == naive(everybody, filters, state)
    assert max(page.judged.values(), default=0) <= 1
    assert page.statements <= whole.statements + (marker is not None)
    assert page.questions <= whole.questions
    if limit is not None and state is None:
        assert sum(page.judged.values()) <= limit
    with costs(fleet) as unlimited:
        fleet.services(msgspec.structs.replace(filters, limit=None), state=state)
    assert page.statements <= unlimited.statements


# -- on every database -----------------------------------------------------------------------------


@pytest.fixture
def asked(store: Store) -> ServiceGroup:
    group = ServiceGroup(store, ByGroup(ByGroup.Options()), Limits())
    fill(group)
    group.services()  # the first list reads whole what the next ones may have in memory
    return group


def test_a_page_that_finds_nobody_is_read_once(asked: ServiceGroup) -> None:
    with costs(asked) as whole:
        everybody = asked.services()
    for limit in (1, 2, 5, COUNT, 10_000):
        with costs(asked) as page:
            assert asked.services(ServiceFilter(limit=limit), state="down") == []
        assert page.statements <= whole.statements
        assert page.questions == whole.questions
        assert not page.judged, "who is up at a glance needs no evidence"
    assert set(whole.judged) == {service.id for service in everybody}


def test_a_page_stops_reading_when_it_is_full(asked: ServiceGroup) -> None:
    take_down(asked, [HOSTS[1], HOSTS[4], HOSTS[-1]])
    with costs(asked) as whole:
        asked.services()
    every = [1, 4, COUNT - 1]
    for limit, hosts, reads_all in ((1, every[:1], False), (2, every[:2], False), (3, every, True)):
        with costs(asked) as page:
            found = asked.services(ServiceFilter(limit=limit), state="down")
        assert [service.host for service in found] == [HOSTS[number] for number in hosts]
        assert page.statements < whole.statements or reads_all
        assert sum(page.judged.values()) == limit
    assert asked._store.engine.pool.status().endswith("Current Checked out connections: 0")


@pytest.mark.parametrize("state", [None, "up", "down"])
@pytest.mark.parametrize("limit", [1, 2, BATCH, 4, COUNT])
def test_pages_are_the_list(asked: ServiceGroup, state: str | None, limit: int) -> None:
    """Page by page, each after the last service of the one before."""
    take_down(asked, HOSTS[2:7])
    wanted = [service.uuid for service in asked.services(state=state)]
    found: list[str] = []
    page = asked.services(ServiceFilter(limit=limit), state=state)
    while page:
        assert len(page) <= limit
        found += [service.uuid for service in page]
        page = asked.services(ServiceFilter(limit=limit, marker=found[-1]), state=state)
    assert found == wanted
