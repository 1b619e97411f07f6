"""Sessions in the record: written once each, in any order, by any control plane."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Refusals
from servicegroup.model import Limits, Member, PresenceState, ServiceFilter
from servicegroup.sessions import SessionEnd, presence_of
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading
from servicegroup.store.sessions import Ending, Lapsed, Opening, SessionWriter, ended_since
from servicegroup.store.store import Store
from servicegroup.store.summaries import open_sessions, summaries
from servicegroup.store.tables import planes, services, sessions
from support.aging import backdate_mark, backdate_plane
from support.statements import statements


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no mark grow old because the machine is busy."""
    monkeypatch.setattr("servicegroup.store.sessions.MARK_TOLERANCE", 300)


@pytest.fixture
def store(engine: Engine) -> Store:
    """Give a store that reads sessions."""
    return Store(engine, with_sessions=True)


@pytest.fixture
def plane(engine: Engine) -> SessionWriter:
    """Give a control plane that marks."""
    writer = SessionWriter(engine, "node1")
    writer.begin_anew([])
    return writer


@pytest.fixture
def other(engine: Engine) -> SessionWriter:
    """Give another one."""
    writer = SessionWriter(engine, "node2")
    writer.begin_anew([])
    return writer


def held_by(store: Store, uuid: str) -> str | None:
    """Return the name of the plane that holds the service's session now."""
    snapshot = store.by_id(uuid)
    found = snapshot.sessions.get(snapshot.services[0].id)
    return found.plane if found is not None and found.ended_at is None else None


def test_a_session_is_opened_and_ended_once(
    group: ServiceGroup, store: Store, plane: SessionWriter
) -> None:
    life = group.join("h1", "nova-compute")
    opened = plane.open([Opening(life.uuid, 1, 1, "s1")])
    id_ = store.by_id(life.uuid).services[0].id
    assert opened.refused == Refusals()
    assert opened.known == {life.uuid: Member("compute", "h1")}
    assert held_by(store, life.uuid) == "node1"
    plane.end([Ending(life.uuid, "s1", SessionEnd.BROKEN)])
    plane.end([Ending(life.uuid, "s1", SessionEnd.SILENT)])
    found = store.by_id(life.uuid).sessions[id_]
    assert found.ended_at is not None
    assert found.ended_at >= found.opened_at
    assert found.cause == "broken"


LATE = ["open 1", "end 1", "open 2"]


@pytest.mark.parametrize("order", list(itertools.permutations(LATE)))
def test_the_newest_session_counts_in_whatever_order_they_are_written(
    order: tuple[str, ...],
    group: ServiceGroup,
    store: Store,
    plane: SessionWriter,
    other: SessionWriter,
) -> None:
    """The agent went from node1 to node2, and node1 was slow, or frozen, meanwhile."""
    life = group.join("h1", "nova-compute")
    steps: dict[str, Callable[[], object]] = {
        "open 1": lambda: plane.open([Opening(life.uuid, 1, 1, "s1")]),
        "end 1": lambda: plane.end([Ending(life.uuid, "s1", SessionEnd.BROKEN)]),
        "open 2": lambda: other.open([Opening(life.uuid, 1, 2, "s2")]),
    }
    for step in order:
        steps[step]()
    assert held_by(store, life.uuid) == "node2"


def test_a_late_opening_is_told_which_one_counts(
    group: ServiceGroup, plane: SessionWriter, other: SessionWriter, store: Store
) -> None:
    life = group.join("h1", "nova-compute")
    other.open([Opening(life.uuid, 1, 5, "s5")])
    assert plane.open([Opening(life.uuid, 1, 4, "s4")]).outdated == {life.uuid: 5}
    assert plane.open([Opening(life.uuid, 1, 5, "again")]).outdated == {life.uuid: 5}
    assert held_by(store, life.uuid) == "node2"
    assert plane.open([Opening(life.uuid, 1, 6, "s6")]).outdated == {}
    assert held_by(store, life.uuid) == "node1"


def test_a_new_life_begins_to_count_anew(
    group: ServiceGroup, plane: SessionWriter, other: SessionWriter, store: Store
) -> None:
    life = group.join("h1", "nova-compute")
    plane.open([Opening(life.uuid, 1, 9, "old")])
    group.join("h1", "nova-compute")
    assert store.by_id(life.uuid).sessions == {}, "the new life has never held one"
    refused = plane.open([Opening(life.uuid, 1, 10, "older")]).refused
    assert refused == Refusals(superseded=frozenset({life.uuid}))
    other.open([Opening(life.uuid, 2, 1, "new")])
    plane.end([Ending(life.uuid, "old", SessionEnd.BROKEN)])
    assert held_by(store, life.uuid) == "node2"


def test_who_may_not_hold_one_is_told_why(
    group: ServiceGroup, plane: SessionWriter, store: Store
) -> None:
    fine, gone, left = (group.join(f"h{n}", "nova-compute").uuid for n in range(3))
    group.delete(gone)
    group.depart([Leave(left, 1)])
    opened = plane.open([Opening(u, 1, 1, f"s{u}"[:36]) for u in (fine, gone, left, "nobody")])
    assert opened.refused == Refusals(
        deleted=frozenset({gone}), left=frozenset({left}), unknown=frozenset({"nobody"})
    )
    assert list(opened.known) == [fine]
    assert held_by(store, fine) == "node1"


def test_a_listing_reads_them_in_the_same_statement(
    group: ServiceGroup, store: Store, plane: SessionWriter, engine: Engine
) -> None:
    lives = [group.join(f"h{n}", "nova-compute") for n in range(30)]
    plane.open([Opening(life.uuid, 1, 1, f"s{n}") for n, life in enumerate(lives[:20])])
    with statements(engine) as asked:
        without = Store(engine).snapshot()
        plain = len(asked)
        found = store.snapshot()
    assert len(asked) == 2 * plain
    assert (len(without.services), len(without.sessions)) == (30, 0)
    assert (len(found.services), len(found.sessions)) == (30, 20)
    assert sum(len(batch.sessions) for batch in store.batches(ServiceFilter())) == 20


def test_summaries_have_them_too(
    group: ServiceGroup, store: Store, plane: SessionWriter, engine: Engine
) -> None:
    held, never = (group.join(f"h{n}", "nova-compute") for n in range(2))
    plane.open([Opening(held.uuid, 1, 1, "s")])
    then = store.snapshot().listening
    with reading(engine) as connection:
        found = summaries(connection, then, Limits(), changed_only=False, with_sessions=True)
    assert [one.session and one.session.plane for one in found] == ["node1", None]
    assert never.uuid != held.uuid


def test_who_holds_a_session_without_a_doubt_needs_no_closer_look(
    group: ServiceGroup, store: Store, plane: SessionWriter, other: SessionWriter, engine: Engine
) -> None:
    """Of those who were up and report: who ended, is deaf, or is on a plane without a mark."""
    names = ("fine", "ended", "deaf", "unmarked", "never")
    lives = {name: group.join(name, "nova-compute").uuid for name in names}
    plane.open([Opening(lives[name], 1, 1, name) for name in names[:3]])
    other.open([Opening(lives["unmarked"], 1, 1, "unmarked")])
    plane.end([Ending(lives["ended"], "ended", SessionEnd.BROKEN)])
    then = store.snapshot().listening
    now = then.now
    on_other = planes.c.name == "node2"
    deaf = sessions.c.session == "deaf"
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(services.update().values(observed_state="up", last_seen_up=now))
        old = now - timedelta(seconds=600)
        connection.execute(planes.update().values(marked_at=now))
        connection.execute(planes.update().where(on_other).values(marked_at=old))
        connection.execute(sessions.update().where(deaf).values(deaf_since=now))
    with reading(engine) as connection:
        found = summaries(connection, then, Limits(), changed_only=True, with_sessions=True)
    assert {one.host for one in found} == {"ended", "deaf", "unmarked"}
    assert not any(one.may_have_changed for one in found)
    living, holders = open_sessions(engine, now)
    ids = {one.host: one.id for one in store.snapshot().services}
    assert living == set(ids.values())
    assert holders == {("compute", "nova"): {ids["fine"], ids["deaf"]}}


def marked_at(engine: Engine) -> datetime:
    with engine.connect() as connection:
        found: datetime = connection.execute(select(planes.c.marked_at)).scalar_one()
        return found


def test_a_mark_moves_with_the_ends(engine: Engine, plane: SessionWriter) -> None:
    backdate_plane(engine, 2)
    before = marked_at(engine)
    plane.end([], marking=False)
    assert marked_at(engine) == before
    plane.end([])
    assert marked_at(engine) - before > timedelta(seconds=1.5)


def state(store: Store, uuid: str) -> PresenceState:
    found = store.by_id(uuid)
    (session,) = found.sessions.values()
    return presence_of(session, 1, found.listening, 10).state


def test_a_mark_that_is_old_is_never_made_anew(
    engine: Engine, group: ServiceGroup, store: Store, plane: SessionWriter
) -> None:
    """Of the two services one died while the control plane stood still."""
    lives = [group.join(f"h{n}", "nova-compute") for n in range(2)]
    living, dead = (Opening(life.uuid, 1, 1, f"s{n}") for n, life in enumerate(lives))
    group.report([])
    plane.open([living, dead])
    assert (state(store, living.uuid), state(store, dead.uuid)) == (PresenceState.PRESENT,) * 2
    backdate_plane(engine, 3600)
    for write in (lambda: plane.end([]), lambda: plane.open([living])):
        with pytest.raises(Lapsed):
            write()
    assert state(store, dead.uuid) is PresenceState.ABSENT
    plane.begin_anew([living])
    assert state(store, living.uuid) is PresenceState.PRESENT
    assert state(store, dead.uuid) is PresenceState.ABSENT
    plane.end([Ending(dead.uuid, dead.session, SessionEnd.BROKEN)])
    assert state(store, dead.uuid) is PresenceState.ABSENT
    assert state(store, living.uuid) is PresenceState.PRESENT


def test_what_ended_or_went_elsewhere_is_not_claimed(
    engine: Engine,
    group: ServiceGroup,
    store: Store,
    plane: SessionWriter,
    other: SessionWriter,
) -> None:
    lives = [group.join(f"h{n}", "nova-compute") for n in range(2)]
    gone, ended = (Opening(life.uuid, 1, 1, f"s{n}") for n, life in enumerate(lives))
    plane.open([gone, ended])
    plane.end([Ending(ended.uuid, ended.session, SessionEnd.SILENT)])
    other.open([Opening(gone.uuid, 1, 2, "elsewhere")])
    plane.begin_anew([gone, ended])
    assert held_by(store, gone.uuid) == "node2"
    assert held_by(store, ended.uuid) is None


def test_a_database_that_is_older_than_a_session_has_it_again(
    engine: Engine, group: ServiceGroup, store: Store, plane: SessionWriter
) -> None:
    """After a fail-over that lost the last commits, or a restored backup."""
    lost, older = (group.join(f"h{n}", "nova-compute").uuid for n in range(2))
    plane.open([Opening(older, 1, 1, "former")])
    plane.end([Ending(older, "former", SessionEnd.BROKEN)])
    plane.begin_anew([Opening(lost, 1, 1, "s1"), Opening(older, 1, 2, "s2")])
    assert [held_by(store, uuid) for uuid in (lost, older)] == ["node1", "node1"]


def test_a_former_plane_is_kept_while_a_session_names_it(
    engine: Engine, group: ServiceGroup, plane: SessionWriter
) -> None:
    def count() -> int:
        with engine.connect() as connection:
            return len(connection.execute(select(planes.c.id)).all())

    plane.begin_anew([])
    assert count() == 1
    life = group.join("h1", "nova-compute")
    plane.open([Opening(life.uuid, 1, 1, "s1")])
    plane.begin_anew([])
    assert count() == 2


def test_a_plane_whose_databases_clock_is_behind_another_nodes_still_vouches(
    engine: Engine, group: ServiceGroup, store: Store, plane: SessionWriter
) -> None:
    """F-25: the latest mark was made on a node that is 8 s ahead."""
    life = group.join("h1", "nova-compute")
    group.report([])
    backdate_mark(engine, -8)
    plane.open([Opening(life.uuid, 1, 1, "s1")])
    found = store.by_id(life.uuid)
    (session,) = found.sessions.values()
    assert session.opened_at == session.marked_at == found.listening.now
    assert presence_of(session, 1, found.listening, 10).state is PresenceState.PRESENT
    since, _ = ended_since(engine, None, 10)
    plane.end([Ending(life.uuid, "s1", SessionEnd.BROKEN)])
    assert ended_since(engine, since, 10)[1] == [Member("compute", "h1")]


def test_planes_of_long_ago_are_forgotten(engine: Engine, plane: SessionWriter) -> None:
    backdate_plane(engine, 40 * 86_400)
    SessionWriter(engine, "node2").begin_anew([])
    with engine.connect() as connection:
        assert list(connection.scalars(select(planes.c.name))) == ["node2"]


def test_an_observer_learns_who_ended(
    engine: Engine, group: ServiceGroup, plane: SessionWriter, store: Store
) -> None:
    life = group.join("h1", "nova-compute")
    plane.open([Opening(life.uuid, 1, 1, "s1")])
    since, members = ended_since(engine, None, 10)
    assert members == []
    assert ended_since(engine, since, 10)[1] == []
    plane.end([Ending(life.uuid, "s1", SessionEnd.BROKEN)])
    assert ended_since(engine, since, 10)[1] == [Member("compute", "h1")]


def test_a_purge_takes_sessions_with_it(
    engine: Engine, group: ServiceGroup, plane: SessionWriter, store: Store
) -> None:
    lives = [group.join(f"h{n}", "nova-compute") for n in range(2)]
    plane.open([Opening(life.uuid, 1, 1, f"s{n}") for n, life in enumerate(lives)])
    kept = store.by_id(lives[1].uuid).services[0].id
    group.delete(lives[0].uuid)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        then = connection.scalar(select(utcnow())) - timedelta(days=31)
        connection.execute(services.update().where(services.c.deleted != 0), {"deleted_at": then})
    assert store.purge(30) == 1
    with engine.connect() as connection:
        assert list(connection.scalars(select(sessions.c.service_id))) == [kept]


def test_two_planes_that_open_and_end_at_once_meet_in_no_circle(
    group: ServiceGroup, plane: SessionWriter, other: SessionWriter, store: Store
) -> None:
    """SQL-11."""
    lives = [group.join(f"h{n}", "nova-compute").uuid for n in range(50)]

    def work(writer: SessionWriter, offset: int) -> None:
        for number in range(1, 11):
            own = [f"{offset}-{number}-{n}" for n in range(50)]
            turn = 2 * number + offset
            order = lives if offset else lives[::-1]
            writer.open([Opening(u, 1, turn, s) for u, s in zip(order, own, strict=True)])
            writer.end([Ending(u, s, SessionEnd.CLOSED) for u, s in zip(order, own, strict=True)])

    with ThreadPoolExecutor(2) as threads:
        for one in [threads.submit(work, plane, 0), threads.submit(work, other, 1)]:
            one.result()
    with store.engine.connect() as connection:
        rows = connection.execute(select(sessions.c.number, sessions.c.ended_at)).all()
    assert {number for number, _ in rows} == {21}
    assert None not in {ended for _, ended in rows}
