"""What a list takes from memory is what the database has, whoever changed it, and however."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Boolean, Column, Connection, DateTime, Engine, Integer, select, text

from servicegroup.driver import load
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Report
from servicegroup.model import Departure, Limits, Service, ServiceFilter
from servicegroup.moments import moment_of
from servicegroup.sessions import SessionEnd
from servicegroup.store import memory, snapshots
from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect, write
from servicegroup.store.memory import HOT
from servicegroup.store.sessions import Ending, Opening, SessionWriter
from servicegroup.store.store import Store
from servicegroup.store.tables import planes, services, sessions
from support.aging import backdate
from support.statements import statements

if TYPE_CHECKING:
    from servers.postgresql import PostgreSQL

COUNT = 7
BATCH = 3
BATCHES = 3  # of COUNT


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "BATCH", BATCH)
    monkeypatch.setattr(snapshots, "BATCH_OF_STAMPS", BATCH + 1)


@pytest.fixture
def database_url(postgresql: PostgreSQL) -> str:
    """Return the URL of a database that draws tokens."""
    return postgresql.database()


def plane(engine: Engine) -> ServiceGroup:
    """Return a control plane's layer, with a memory of its own."""
    return ServiceGroup(Store(engine), load("db"), Limits())


def fill(group: ServiceGroup) -> list[str]:
    lives = [group.join(f"h{n}", "web" if n % 2 else "db") for n in range(COUNT)]
    group.report([Report(life.uuid, 1) for life in lives])
    return [life.uuid for life in lives]


def listed(group: ServiceGroup, filters: ServiceFilter | None = None) -> list[Service]:
    """Return what a whole list reads, not judged."""
    batches = group._store.batches(filters or ServiceFilter())
    return [service for snapshot in batches for service in snapshot.services]


def stated(group: ServiceGroup, filters: ServiceFilter | None = None) -> list[Any]:
    """Return what a list of states says, without what only whole records have."""
    return [
        (_without_hot(service), state, at)
        for batch in group.states(filters)
        for service, state, at in batch.each()
    ]


def judged(group: ServiceGroup, filters: ServiceFilter | None = None) -> list[Any]:
    """Return the same by whole records and their verdicts."""
    return [
        (_without_hot(service), service.judged.state, moment_of(service.updated_at))
        for service in group.services(filters)
    ]


def _without_hot(service: Service) -> Service:
    return replace(service, verdict=None, flapping_until=None, **dict.fromkeys(HOT))


def stored(engine: Engine, filters: ServiceFilter | None = None) -> list[Service]:
    """Return the same as one statement finds it, without any memory."""
    return Store(engine).snapshot(filters).services


def tokens(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        rows = connection.execute(select(services.c.uuid, services.c.edition))
        return dict(map(tuple, rows))


def other(column: Column[Any]) -> str:
    """Return another value of a column, in SQL; none has it yet."""
    if isinstance(column.type, Boolean):
        return f'NOT "{column.name}"'
    if isinstance(column.type, DateTime):
        return "TIMESTAMP '2020-02-02 02:02:02'"
    return f'"{column.name}" + 100' if isinstance(column.type, Integer) else "'else'"


@pytest.mark.parametrize(
    "column", [c for c in services.columns if c.name != "edition"], ids=lambda c: c.name
)
def test_each_column_is_read_each_time_or_draws_a_token(
    engine: Engine, column: Column[Any]
) -> None:
    """A column that is new, and neither the one nor the other, would be shown as it once was."""
    group = plane(engine)
    uuid = fill(group)[1]
    assert listed(group) == stored(engine)
    before = tokens(engine)
    change = f'UPDATE services SET "{column.name}" = {other(column)} WHERE uuid = :uuid'
    write(engine, lambda c: c.execute(text(change), {"uuid": uuid}))
    after = tokens(engine)
    changed = {key for key in before if before[key] != after.get(key)}
    assert changed == (set() if column.name in HOT else {uuid})
    assert listed(group) == stored(engine)


def test_each_table_that_a_list_reads_is_read_each_time(engine: Engine) -> None:
    """Nothing but rows of services is kept."""
    group = ServiceGroup(Store(engine, with_sessions=True), load("session"), Limits())
    fill(group)
    listed(group)
    with statements(engine) as asked:
        listed(group)
    assert sum("LEFT OUTER JOIN sessions" in one and "planes" in one for one in asked) == BATCHES


def test_who_changed_is_all_that_is_read_anew(engine: Engine) -> None:
    group = plane(engine)
    uuids = fill(group)
    listed(group)
    with statements(engine) as asked:
        assert listed(group) == stored(engine)
    unchanged = len(asked)
    group.report([Report(uuid, 1) for uuid in uuids])
    group.report([Report(uuids[0], 1, failing="no disk")])
    with statements(engine) as asked:
        assert listed(group) == stored(engine)
    assert len(asked) == unchanged, "a report moves what is read each time"
    group.update(uuids[4], disabled=True, disabled_reason="why not")
    group.update(uuids[5], forced_down=True)
    with statements(engine) as asked:
        assert listed(group) == stored(engine)
    assert len(asked) == unchanged + 1, "both are of one batch"


def test_an_answered_edit_is_in_the_next_list_of_every_plane(engine: Engine) -> None:
    """Read your writes, wherever they were written."""
    planes = [plane(engine), plane(connect(engine.url.render_as_string(hide_password=False)))]
    uuids = fill(planes[0])
    for turn in range(150):
        writer, uuid = planes[turn % 2], uuids[turn % COUNT]
        reason = f"turn {turn}"
        writer.update(uuid, disabled=True, disabled_reason=reason)
        for reader in planes:
            shown = {s.uuid: s.disabled_reason for batch in reader.states() for s in batch.services}
            assert shown[uuid] == reason
    planes[1].close()


class Walk:
    """Changes of every kind, in any order, by whoever."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._random = random.Random(seed)
        self._backup: list[dict[str, Any]] = []
        self.group = plane(engine)
        self.ways = (
            self.join, self.report, self.fail, self.depart, self.edit, self.delete, self.observe,
            self.by_hand, self.back_up, self.restore,
        )  # fmt: skip

    def step(self) -> None:
        self._random.choice(self.ways)()

    def _one(self) -> Service:
        return self._random.choice(stored(self._engine) or [self._join()])

    def _join(self) -> Service:
        host = f"h{self._random.randrange(2 * COUNT)}"
        self.group.join(host, "web", zone=self._random.choice(["east", "west"]))
        return stored(self._engine, ServiceFilter(host=host))[0]

    def join(self) -> None:
        self._join()

    def report(self) -> None:
        self.group.report([Report(s.uuid, s.incarnation) for s in stored(self._engine)])

    def fail(self) -> None:
        one = self._one()
        self.group.report([Report(one.uuid, one.incarnation, failing=str(self._random.random()))])

    def depart(self) -> None:
        one = self._one()
        how = self._random.choice(list(Departure))
        self.group.depart([Leave(one.uuid, one.incarnation, how, detail="because")])

    def edit(self) -> None:
        reason, forced_down = str(self._random.random()), self._random.random() < 0.5
        self.group.update(
            self._one().uuid, disabled=True, disabled_reason=reason, forced_down=forced_down
        )

    def delete(self) -> None:
        self.group.delete(self._one().uuid)

    def observe(self) -> None:
        self.by_hand("absent_since", "held_since", "observed_since", "flapping_until")

    def by_hand(self, *names: str) -> None:
        name = self._random.choice(names or ("version", "zone", "disabled", "created_at"))
        where = services.c.id == self._one().id
        value = text(other(services.c[name]))
        change = services.update().where(where).values({name: value})
        write(self._engine, lambda c: c.execute(change))

    def back_up(self) -> None:
        with self._engine.connect() as connection:
            rows = connection.execute(select(services)).mappings()
            self._backup = [dict(row) for row in rows]

    def restore(self) -> None:
        """Put all rows back as they were, tokens included, as a restored dump does."""

        def work(connection: Any) -> None:
            connection.execute(services.delete())
            if self._backup:
                connection.execute(services.insert(), self._backup)

        write(self._engine, work)


@pytest.mark.parametrize("seed", range(4))
def test_lists_are_what_is_stored_whatever_happens(engine: Engine, seed: int) -> None:
    walk = Walk(engine, seed)
    fill(walk.group)
    seldom, often = plane(engine), plane(engine)
    for number in range(120):
        walk.step()
        assert listed(often) == stored(engine)
        assert stated(often) == judged(walk.group)
        assert often._store.lives(ServiceFilter()) == read_whole_lives(engine)
        if number % 9 == 0:
            east = ServiceFilter(zone="east")
            assert listed(seldom, east) == stored(engine, east)
            assert listed(seldom) == stored(engine)


def read_whole_lives(engine: Engine) -> dict[Any, int]:
    with engine.connect() as connection:
        return snapshots.read_lives(connection, ServiceFilter())


def test_a_glance_takes_sessions_as_they_are_whoever_holds_them(engine: Engine) -> None:
    """In columns as in rows: none, open, ended, deaf, and of a control plane that is forgotten."""
    group = ServiceGroup(Store(engine, with_sessions=True), load("session"), Limits())
    uuids = fill(group)
    plane, gone = SessionWriter(engine, "node1"), SessionWriter(engine, "node2")
    for writer in (plane, gone):
        writer.begin_anew([])
    plane.open([Opening(uuid, 1, 1, f"s{n}") for n, uuid in enumerate(uuids[:4])])
    gone.open([Opening(uuids[4], 1, 1, "s4")])
    plane.end([Ending(uuids[1], "s1", SessionEnd.BROKEN)])
    changes = (
        (sessions, {"deaf_since": utcnow()}, "s2", sessions.c.session),
        (sessions, {"incarnation": 7}, "s3", sessions.c.session),
        (planes, {"id": "another"}, "node2", planes.c.name),
    )
    for table, values, name, column in changes:
        change = table.update().where(column == name).values(values)
        write(engine, partial(Connection.execute, statement=change))
    whole = list(group._store.batches(ServiceFilter()))
    columns = list(group._store.stamped(ServiceFilter(), 60))
    now = whole[0].listening.now
    held = [one for snapshot in whole for one in snapshot.held(now)]
    assert held == [True, False, False, None, False, None, None]
    assert [one for stamped in columns for one in stamped.held(now)] == held
    assert stated(group) == judged(group)


def test_a_restored_backup_shows_at_once_and_so_does_what_follows(engine: Engine) -> None:
    """What is lost is lost, and nobody counts to its tokens again (F-27)."""
    often, seldom = plane(engine), plane(engine)
    uuid = fill(often)[0]
    walk = Walk(engine, 0)
    walk.back_up()
    often.update(uuid, disabled=True, disabled_reason="lost")
    assert [listed(group)[0].disabled_reason for group in (often, seldom)] == ["lost", "lost"]
    walk.restore()
    assert listed(often)[0].disabled_reason is None
    often.update(uuid, disabled=True, disabled_reason="after")
    assert [listed(group)[0].disabled_reason for group in (often, seldom)] == ["after", "after"]


def test_rows_that_share_a_token_are_told_apart(engine: Engine) -> None:
    """Those that an upgrade found share one: who moves up in the place of another is not it."""
    group = plane(engine)
    uuids = fill(group)
    write(engine, partial(Connection.execute, statement=services.update().values(edition=7)))
    for uuid in uuids[:3]:
        assert stated(group) == judged(group)
        group.delete(uuid)
    assert stated(group) == judged(group)
    assert len(stated(group)) == COUNT - 3


def test_a_restored_backup_of_rows_that_share_a_token_shows(engine: Engine) -> None:
    """Others of them are gone then, and as many, with ids of the same sum."""
    group, other = plane(engine), plane(engine)
    uuids = fill(group)[: BATCH + 1]
    for rest in group.services():
        if rest.uuid not in uuids:
            group.delete(rest.uuid)
    write(engine, partial(Connection.execute, statement=services.update().values(edition=7)))
    walk = Walk(engine, 0)
    walk.back_up()
    other.delete(uuids[0])
    other.delete(uuids[3])
    assert stated(group) == judged(group)
    walk.restore()
    other.delete(uuids[1])
    other.delete(uuids[2])
    assert stated(group) == judged(group)
    assert group._store.lives(ServiceFilter()) == read_whole_lives(engine)


def test_who_is_gone_is_forgotten_also_where_only_some_are_listed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "FORGOTTEN", 2)
    group = plane(engine)
    for number in range(12):
        uuid = group.join(f"h{number}", "web").uuid
        assert len(stated(group, ServiceFilter(binary="web"))) == 1
        group.delete(uuid)
    assert group._store._memory is not None
    assert len(group._store._memory.known) <= 5


def test_who_is_late_is_told_in_columns_as_in_rows(engine: Engine) -> None:
    """Silent, never reported, and of a clock that was ahead."""
    group = plane(engine)
    uuids = fill(group)
    backdate(engine, 61, host="h0")
    backdate(engine, 59, host="h1")
    backdate(engine, -30, host="h2")
    never = services.update().values(last_seen_up=None)
    for host, age in (("h3", 61), ("h4", 30)):
        backdate(engine, age, host=host)
        write(engine, partial(Connection.execute, statement=never.where(services.c.host == host)))
    columns = list(group._store.stamped(ServiceFilter(), 60))
    fresh = [one for stamped in columns for one in stamped.fresh]
    assert fresh == [False, True, False, False, True, True, True]
    states = [state for _, state, _ in stated(group)]
    assert states == ["down", "up", "up", "down", "up", "up", "up"]
    assert [uuid for uuid, state in zip(uuids, states, strict=True) if state == "down"] == [
        service.uuid for service in group.services(state="down")
    ]


def test_what_was_undone_was_never_shown(engine: Engine) -> None:
    group = plane(engine)
    fill(group)
    before = listed(group)
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        connection.execute(services.update().values(zone="nowhere"))
        assert listed(group) == before
        connection.rollback()
    assert listed(group) == before == stored(engine)


def test_a_copy_without_its_trigger_is_read_whole(engine: Engine) -> None:
    """Whoever copies tables alone has tokens that nobody draws."""
    group = plane(engine)
    uuid = fill(group)[0]
    assert listed(group) == stored(engine)
    changes = (
        "ALTER TABLE services DISABLE TRIGGER ALL",
        "ALTER TABLE services ENABLE TRIGGER ALL",
        "DROP FUNCTION servicegroup_edition CASCADE",
    )
    for change in map(text, changes):
        for disabled in (True, False):  # the second is of rows that were read after the change
            group.update(uuid, disabled=disabled, disabled_reason=None)
            assert listed(group) == stored(engine)
            assert stated(group) == judged(group)
            write(engine, partial(Connection.execute, statement=change))
            group.update(uuid, disabled=True, disabled_reason=f"{change.text} {disabled}")
            assert listed(group) == stored(engine)
            assert stated(group) == judged(group)
            if "DROP" in change.text:
                break


def test_whoever_is_gone_is_forgotten(engine: Engine) -> None:
    """Else a fleet whose names come and go would fill the memory."""
    group = plane(engine)
    uuids = fill(group)
    kept = group._store._memory
    assert kept is not None
    listed(group)
    assert len(kept.known) == COUNT
    for uuid in uuids[:4]:
        group.delete(uuid)
    listed(group, ServiceFilter(binary="web"))
    assert len(kept.known) == COUNT, "a list of some says nothing of the others"
    listed(group)
    assert len(kept.known) == COUNT - 4
