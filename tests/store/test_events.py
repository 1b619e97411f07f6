"""The log of events: what is told once, in order and without holes, and how a gap is told."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import msgspec
import pytest
from sqlalchemy import Engine, event, select, update

from servicegroup.errors import InvalidInput
from servicegroup.events import OF_OPERATORS, Event, EventFilter, EventKind, Log, Page
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Report
from servicegroup.model import Departure, Evidence, Limits, Presence, PresenceState, Reason
from servicegroup.store import events as log_of_events
from servicegroup.store import retention
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.events import append, kept_since, latest, read
from servicegroup.store.retention import purge
from servicegroup.store.tables import events

NOON = datetime(2030, 1, 1, 12)


def told(group: ServiceGroup) -> list[Event]:
    """Return all events."""
    return group.events(EventFilter(after=0), 10_000).events


def kinds(group: ServiceGroup, after: int = 0) -> list[EventKind]:
    return [found.kind for found in group.events(EventFilter(after=after), 10_000).events]


def ids(page: Page) -> list[int]:
    return [found.id for found in page.events]


def some(count: int, **facts: object) -> list[Event]:
    """Return events a second apart."""
    known = {"kind": EventKind.JOIN} | facts
    return [Event(at=NOON + timedelta(seconds=n), **known) for n in range(count)]  # type: ignore[arg-type]


def log(engine: Engine, happened: list[Event]) -> list[Event]:
    return write(engine, lambda connection: append(connection, happened))


def make_old(engine: Engine, last: int) -> None:
    """Make the events up to this one years old."""
    old = update(events).where(events.c.id <= last).values(at=datetime(2020, 1, 1))
    write(engine, lambda connection: connection.execute(old))


def test_a_life_is_told_from_the_first_registration_to_the_delete(group: ServiceGroup) -> None:
    uuid = group.join("h1", "nova-compute", zone="z").uuid
    group.join("h1", "nova-compute", zone="z")
    group.report([Report(uuid, 2)])
    group.depart([Leave(uuid, 2, detail="maintenance")])
    group.depart([Leave(uuid, 2)])  # it is gone already
    group.depart([Leave(uuid, 1)])  # a life that is over
    group.join("h1", "nova-compute", zone="z")
    group.depart([Leave(uuid, 3, Departure.EXITED, "exit status 3")])
    group.delete(uuid, by="maria")
    happened = told(group)
    assert [(e.kind, e.incarnation, e.actor, e.detail) for e in happened] == [
        (EventKind.JOIN, 1, None, None),
        (EventKind.RESTART, 2, None, None),
        (EventKind.LEAVE, 2, None, "maintenance"),
        (EventKind.RESTART, 3, None, None),
        (EventKind.EXIT, 3, None, "exit status 3"),
        (EventKind.DELETE, 3, "maria", None),
    ]
    facts = {(e.uuid, e.host, e.binary, e.group, e.zone) for e in happened}
    assert facts == {(uuid, "h1", "nova-compute", "compute", "z")}
    assert [e.id for e in happened] == list(range(1, 7))
    assert group.event_log() == Log(6, 0, happened[-1].cursor.mark)
    with reading(group._store.engine) as connection:
        now = connection.execute(select(utcnow())).scalar_one()
    assert all(timedelta(0) <= now - e.at < timedelta(seconds=30) for e in happened)
    uuid = group.join("h1", "nova-compute").uuid
    assert kinds(group, after=6) == [EventKind.JOIN], "a deleted service's successor is new"


def test_an_edit_is_told_once_with_who_did_it_and_only_if_it_changed_something(
    group: ServiceGroup,
) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    for _ in range(2):
        group.update(uuid, disabled=True, disabled_reason="disk", by="maria")
    group.update(uuid, disabled=True, disabled_reason="board", by="joe")
    for _ in range(2):
        group.update(uuid, forced_down=True, by="fencer")
    for _ in range(2):
        group.update(uuid, disabled=False, forced_down=False, by="maria")
    assert [(e.kind, e.actor, e.detail) for e in told(group)[1:]] == [
        (EventKind.DISABLE, "maria", "disk"),
        (EventKind.DISABLE, "joe", "board"),
        (EventKind.FORCE_DOWN, "fencer", None),
        (EventKind.ENABLE, "maria", None),
        (EventKind.UNFORCE, "maria", None),
    ]


def test_what_is_undone_leaves_neither_an_event_nor_a_hole(
    group: ServiceGroup, engine: Engine
) -> None:
    class Undone(Exception):
        pass

    def fail(connection: object) -> None:
        append(connection, some(3))  # type: ignore[arg-type]
        raise Undone

    with pytest.raises(Undone):
        write(engine, fail)
    assert group.event_log() == Log()
    assert [e.id for e in log(engine, some(2))] == [1, 2]
    assert log(engine, []) == []


def test_ids_have_no_holes_and_are_never_seen_out_of_order(
    group: ServiceGroup, engine: Engine
) -> None:
    """Six writers of three kinds, and a reader that must never meet N+1 before N."""
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(6)]
    first = group.event_log().last
    done = threading.Event()
    holes: list[tuple[int, list[int]]] = []

    def follow() -> int:
        place = first
        while True:
            finished = done.is_set()
            page = read(engine, EventFilter(after=place), 1_000)
            if ids(page) != list(range(place + 1, place + 1 + len(page.events))):
                holes.append((place, ids(page)))
            place = page.next
            if finished:
                return place

    def edit(number: int) -> None:
        for turn in range(12):
            group.update(uuids[number], forced_down=turn % 2 == 0, by=str(number))
            group.join(f"h{number}", "nova-compute")
            log(engine, some(3, uuid=uuids[number]))

    with ThreadPoolExecutor(7) as threads:
        reader = threads.submit(follow)
        for work in [threads.submit(edit, number) for number in range(6)]:
            work.result()
        done.set()
        last = reader.result()
    assert holes == []
    assert last == group.event_log().last == first + 6 * 12 * 5
    assert [e.id for e in told(group)] == list(range(1, last + 1))


def test_an_event_is_read_as_it_was_written(engine: Engine) -> None:
    evidence = Evidence(
        Limits(driver="redis"),
        1.5,
        incarnation=3,
        presence=Presence(PresenceState.ABSENT, detail="expired"),
    )
    written = Event(
        at=NOON.replace(microsecond=123000),
        kind=EventKind.DOWN,
        uuid="u",
        host="Höst",
        binary="b ",
        group="g",
        zone="z",
        incarnation=3,
        before="up",
        after="down",
        reason=Reason.ABSENT,
        seconds=1e6 / 3,
        actor="a" * 300,
        detail="d" * 300,
        evidence=evidence,
    )
    (recorded,) = log(engine, [written])
    (found,) = read(engine, EventFilter(after=0), 1).events
    assert (found.actor, found.detail) == ("a" * 255, "d" * 255)
    assert recorded.id == 1
    assert [getattr(found, n) for n in Event.__struct_fields__ if n not in ("actor", "detail")] == [
        getattr(recorded, n) for n in Event.__struct_fields__ if n not in ("actor", "detail")
    ]


def test_pages_filters_and_times(engine: Engine) -> None:
    log(engine, some(4, uuid="u1", group="g1"))
    log(engine, some(4, uuid="u2", group="g2", kind=EventKind.LEAVE))

    def page(limit: int = 100, **wanted: object) -> tuple[list[int], int]:
        found = read(engine, EventFilter(**wanted), limit)  # type: ignore[arg-type]
        assert found.last == 8
        return ids(found), found.next

    assert page(3) == ([6, 7, 8], 8), "the newest, oldest first"
    assert page(3, after=0) == ([1, 2, 3], 3)
    assert page(3, after=3) == ([4, 5, 6], 6)
    assert page(3, after=6) == ([7, 8], 8)
    assert page(after=8) == ([], 8)
    assert page(uuid="u1") == ([1, 2, 3, 4], 8)
    assert page(2, group="g2") == ([7, 8], 8)
    assert page(2, after=0, kind=EventKind.LEAVE) == ([5, 6], 6)
    assert page(2, after=6, group="g1") == ([], 8), "what does not match is not asked for again"
    late = NOON + timedelta(seconds=2)
    assert page(since=late) == ([3, 4, 7, 8], 8)
    assert page(until=late, uuid="u2") == ([5, 6], 8)
    assert page(since=late, until=late) == ([], 8)
    with pytest.raises(InvalidInput, match=r"Event 9 was never given, the newest is 8: .*\.$"):
        read(engine, EventFilter(after=9), 1)


def test_the_latest_of_a_kind_before_a_moment(engine: Engine) -> None:
    log(engine, some(4, uuid="u") + some(2, uuid="u", kind=EventKind.LEAVE) + some(4, uuid="v"))
    joined = [EventKind.JOIN]
    before = NOON + timedelta(seconds=3)
    assert [e.id for e in latest(engine, "u", joined, before)] == [3]
    assert latest(engine, "u", joined, NOON) == []
    assert latest(engine, "w", joined, before) == []


@pytest.fixture
def _batches_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PURGE_BATCH", 3)


@pytest.mark.usefixtures("_batches_of_three")
def test_what_is_too_old_is_purged_and_told_as_a_gap(engine: Engine) -> None:
    log(engine, some(10))
    assert kept_since(engine) is None
    assert purge(engine, timedelta(days=30)) == 0, "they are from the future"
    make_old(engine, 7)
    assert purge(engine, timedelta(days=30)) == 7
    assert kept_since(engine) == NOON + timedelta(seconds=7)
    page = read(engine, EventFilter(after=2), 100)
    assert [(e.kind, e.id) for e in page.events] == [
        (EventKind.GAP, 7), (EventKind.JOIN, 8), (EventKind.JOIN, 9), (EventKind.JOIN, 10),
    ]  # fmt: skip
    assert page.events[0].detail == "events 3 to 7 are not kept"
    assert ids(read(engine, EventFilter(after=7), 100)) == [8, 9, 10], "nothing is lost after 7"
    assert ids(read(engine, EventFilter(), 100)) == [8, 9, 10], "nor for who asks for the newest"
    assert [e.id for e in log(engine, some(1))] == [11], "ids go on"
    assert purge(engine, timedelta(days=30)) == 0


@pytest.mark.usefixtures("_batches_of_three")
def test_what_is_too_many_is_purged_however_young(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_EVENTS", 4)
    log(engine, some(11))
    assert purge(engine, timedelta(days=30)) == 7
    assert ids(read(engine, EventFilter(after=0), 100)) == [7, 8, 9, 10, 11]
    make_old(engine, 11)
    assert purge(engine, timedelta(days=30)) == 4
    found = read(engine, EventFilter(after=0), 100)
    assert [(e.kind, e.id) for e in found.events] == [(EventKind.GAP, 11)]
    assert (found.next, found.last) == (11, 11)
    assert kept_since(engine) is not None


def test_a_purge_under_a_reader_loses_nothing_in_silence(engine: Engine) -> None:
    """It commits after the reader has asked how far the log was purged."""
    log(engine, some(6))
    make_old(engine, 4)
    purged: list[int] = []

    def purge_once(*context: object) -> None:
        if "FROM events" in str(context[2]) and not purged:
            purged.append(0)
            purged.append(purge(engine, timedelta(days=30)))

    event.listen(engine, "before_cursor_execute", purge_once)
    found = read(engine, EventFilter(after=1), 3).events
    assert purged == [0, 4]
    if found[0].kind is EventKind.GAP:
        assert [e.id for e in found] == [4, 5, 6]
    else:
        assert [e.id for e in found] == [2, 3, 4], "all of it, as it was before"


OURS = EventKind.DISABLE
"""What an operator did; all others come from services."""


def mixed(*operators: int, last: int) -> list[Event]:
    """Return events 1 to ``last``, of which these are an operator's."""
    return [
        msgspec.structs.replace(event, kind=OURS if n in operators else EventKind.RESTART)
        for n, event in enumerate(some(last, uuid="u"), 1)
    ]


def gaps_and_ids(page: Page) -> list[str | int | None]:
    """Return the ids of a page's events, and of its gaps what they say."""
    return [e.detail if e.kind is EventKind.GAP else e.id for e in page.events]


@pytest.mark.usefixtures("_batches_of_three")
def test_what_services_make_washes_away_nothing_that_operators_did(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-59: one host that restarts all the time filled the log, and purged what was minutes old."""
    monkeypatch.setattr(retention, "MAX_EVENTS", 4)
    log(engine, mixed(2, 3, 7, 12, last=16))
    assert purge(engine) == 12 - 4, "all that are too many but what an operator did"
    assert ids(read(engine, EventFilter(), 100)) == [2, 3, 7, 12, 13, 14, 15, 16]
    assert read(engine, EventFilter(kind=OURS), 100).events[0].id == 2
    assert kept_since(engine) == NOON + timedelta(seconds=12)
    with reading(engine) as connection:
        assert log_of_events.standing_of(connection) == Log(16, 12)
    assert purge(engine) == 0


@pytest.mark.usefixtures("_batches_of_three")
def test_a_follower_is_told_each_gap_where_it_is(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So whoever has seen an event has seen, or was told a gap of, everything before."""
    monkeypatch.setattr(retention, "MAX_EVENTS", 4)
    log(engine, mixed(2, 3, 7, 12, last=16))
    purge(engine)
    told = "events {} to {} are not kept".format
    whole = [told(1, 1), 2, 3, told(4, 6), 7, told(8, 11), 12, 13, 14, 15, 16]
    for after, expected in (
        (0, whole),
        (1, whole[1:]),
        (2, whole[2:]),
        (5, [told(6, 6), *whole[4:]]),
        (7, whole[5:]),
        (9, [told(10, 11), *whole[6:]]),
        (11, whole[6:]),
        (12, whole[7:]),
    ):
        assert gaps_and_ids(read(engine, EventFilter(after=after), 100)) == expected
    for limit in range(1, 9):
        place, found = 0, []
        while place < 16:
            page = read(engine, EventFilter(after=place), limit)
            known = [place, *ids(page)]
            for before, one in zip(known, page.events, strict=False):
                assert one.kind is EventKind.GAP or one.id == before + 1
            found += gaps_and_ids(page)
            place = page.next
        assert found == whole


@pytest.mark.usefixtures("_batches_of_three")
def test_a_filter_is_told_one_gap(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_EVENTS", 4)
    log(engine, mixed(2, 3, 7, 12, last=16))
    purge(engine)
    told = "events {} to {} are not kept".format
    for wanted, expected in (
        ({"uuid": "u"}, [told(1, 1), 2, 3, 7, 12, 13, 14, 15, 16]),
        ({"kind": OURS}, [told(1, 1), 2, 3, 7, 12]),
        ({"kind": EventKind.RESTART}, [told(1, 12), 13, 14, 15, 16]),
        ({"uuid": "nobody"}, [told(1, 12)]),
    ):
        assert gaps_and_ids(read(engine, EventFilter(after=0, **wanted), 100)) == expected
    page = read(engine, EventFilter(after=3, kind=OURS), 1)
    assert (gaps_and_ids(page), page.next) == ([told(4, 6), 7], 7)
    page = read(engine, EventFilter(after=12, kind=OURS), 1)
    assert (gaps_and_ids(page), page.next) == ([], 16)


@pytest.mark.usefixtures("_batches_of_three")
def test_what_operators_did_ends_by_its_own_age_and_count(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(engine, mixed(*range(1, 7), 8, 9, 12, last=12))
    month, year = timedelta(days=30), timedelta(days=365)
    make_old(engine, 9)  # older than any of both
    with reading(engine) as connection:
        now = connection.execute(select(utcnow())).scalar_one()
    days = update(events).where(events.c.id.between(4, 9)).values(at=now - timedelta(days=100))
    write(engine, lambda connection: connection.execute(days))
    assert purge(engine, month, year) == 4, "event 7, and three of operators"
    assert ids(read(engine, EventFilter(), 100)) == [4, 5, 6, 8, 9, 10, 11, 12]
    monkeypatch.setattr(retention, "MAX_OF_OPERATORS", 2)
    assert purge(engine, month, year) == 3
    assert ids(read(engine, EventFilter(), 100)) == [8, 9, 10, 11, 12]
    assert gaps_and_ids(read(engine, EventFilter(after=0), 100)) == [
        "events 1 to 7 are not kept", 8, 9, 10, 11, 12,
    ]  # fmt: skip
    assert purge(engine, year, month) == 0, "never before the others"
    assert purge(engine, month, month) == 2


def test_a_log_of_nothing_but_edits_ends_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_EVENTS", 4)
    monkeypatch.setattr(retention, "MAX_OF_OPERATORS", 3)
    log(engine, some(20, kind=OURS))
    assert purge(engine) == 20 - 4 - 3
    assert gaps_and_ids(read(engine, EventFilter(after=0), 100)) == [
        "events 1 to 13 are not kept", *range(14, 21),
    ]  # fmt: skip


def test_every_kind_is_an_operators_or_not() -> None:
    """A new kind has to be put somewhere: what has an actor is an operator's."""
    services = {
        *(EventKind.UP, EventKind.DOWN, EventKind.JOIN, EventKind.RESTART),
        *(EventKind.LEAVE, EventKind.EXIT, EventKind.MIRROR),
        *(EventKind.DEAF, EventKind.ANSWERS),
        *(EventKind.PROTECTION_ON, EventKind.PROTECTION_OFF),
    }
    never_stored = {EventKind.GAP}
    assert set(EventKind) - OF_OPERATORS == services | never_stored


def test_failures_are_looked_for_among_the_newest_events_of_a_service(
    group: ServiceGroup, engine: Engine
) -> None:
    """However many events a service made within the window, a bounded number is read."""
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(60)]
    with engine.begin() as connection:
        restart = log_of_events.about(connection, uuids[0], EventKind.RESTART)
        failed = [
            msgspec.structs.replace(
                restart, uuid=uuid, kind=EventKind.DOWN, before="up", reason=Reason.SILENT
            )
            for uuid in uuids
        ]
        log_of_events.append(connection, failed)
        log_of_events.append(connection, [restart] * (log_of_events.NEWEST - 1))
        window = timedelta(hours=1)
        assert log_of_events.failures(connection, uuids, window).keys() == set(uuids)
        log_of_events.append(connection, [restart])
        assert log_of_events.failures(connection, uuids, window).keys() == set(uuids[1:])
