"""F-27: a copy that took the register's place gives ids again; whoever knew them hears of a gap."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Engine

from servicegroup.controlplane.feed import Feed
from servicegroup.controlplane.observer import Observer
from servicegroup.errors import InvalidInput
from servicegroup.events import Cursor, Event, EventFilter, EventKind, Page
from servicegroup.group import ServiceGroup
from servicegroup.store import retention
from servicegroup.store.database import write
from servicegroup.store.tables import event_log, events

ALL = EventFilter(after=0)


def fail_over(engine: Engine, kept: int) -> None:
    """Lose the events after one, as an asynchronous copy that is promoted has lost them."""

    def lose(connection: object) -> None:
        connection.execute(events.delete().where(events.c.id > kept))  # type: ignore[attr-defined]
        connection.execute(event_log.update().values(last=kept))  # type: ignore[attr-defined]

    write(engine, lose)


def join(group: ServiceGroup, *hosts: str) -> None:
    for host in hosts:
        group.join(host, "worker")


def hosts(page: Page) -> list[str | None]:
    return [event.host for event in page.events]


def kinds(page: Page) -> list[EventKind]:
    return [event.kind for event in page.events]


@pytest.fixture
def seen(group: ServiceGroup, engine: Engine) -> list[Event]:
    """Give what was told before a failover that lost half of it, after which there was more."""
    join(group, "a", "b", "lost", "lost too")
    told = group.events(ALL, 10).events
    fail_over(engine, 2)
    join(group, "c", "d", "e")
    return told


def test_an_event_that_is_another_one_now_is_told_as_a_gap(
    group: ServiceGroup, seen: list[Event]
) -> None:
    page = group.events(EventFilter().at(seen[3].cursor), 10)
    assert kinds(page) == [EventKind.GAP]
    assert "event 4 is another one here" in str(page.events[0].detail)
    assert (page.next, page.last) == (5, 5)
    join(group, "f")
    assert hosts(group.events(EventFilter().at(page.place), 10)) == ["f"]


def test_an_event_that_was_kept_leads_on(group: ServiceGroup, seen: list[Event]) -> None:
    assert hosts(group.events(EventFilter().at(seen[1].cursor), 10)) == ["c", "d", "e"]


def test_a_filter_hides_no_gap(group: ServiceGroup, seen: list[Event]) -> None:
    wanted = EventFilter(group="of nobody").at(seen[2].cursor)
    assert kinds(group.events(wanted, 10)) == [EventKind.GAP]


def test_an_id_alone_is_believed(group: ServiceGroup, seen: list[Event]) -> None:
    assert seen[3].host == "lost too"
    assert hosts(group.events(EventFilter(after=4), 10)) == ["e"]


def test_a_cursor_is_the_same_wherever_it_comes_from(group: ServiceGroup) -> None:
    join(group, "a", "b")
    newest = group.events(EventFilter(), 10)
    assert newest.cursor == str(newest.events[-1].cursor)
    assert group.events(EventFilter().at(newest.place), 10).cursor == newest.cursor
    assert group.events(EventFilter(after=2), 10).cursor == newest.cursor
    assert group.events(EventFilter(after=0, group="of nobody"), 10).cursor == newest.cursor
    assert group.events(ALL, 1).cursor == str(group.events(ALL, 1).events[0].cursor)
    log = group.event_log()
    assert str(Cursor(log.last, log.mark)) == newest.cursor


def test_what_is_not_kept_cannot_be_told_apart(
    group: ServiceGroup, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(group, "a", "b")
    place = group.events(ALL, 10).place
    monkeypatch.setattr(retention, "MAX_EVENTS", 0)
    assert retention.purge(engine) == 2
    page = group.events(EventFilter().at(place), 10)
    assert page.events == []
    assert page.place == Cursor(2)


def test_a_list_is_not_unchanged_because_an_id_is_the_same(
    group: ServiceGroup, engine: Engine
) -> None:
    observer = Observer(group)
    join(group, "a")
    assert observer.keep_lease()
    observer.look()
    join(group, "lost")
    before = group.revision()
    last = group.event_log().last
    fail_over(engine, last - 1)
    join(group, "b")
    assert group.event_log().last == last
    assert before is not None
    assert group.revision() != before
    observer.release()


def test_followers_of_a_process_that_saw_both(group: ServiceGroup, engine: Engine) -> None:
    """What it remembers of the lost ones is told to nobody, however many ids were given since."""
    asyncio.run(_follow_through_failovers(group, engine))


async def _follow_through_failovers(group: ServiceGroup, engine: Engine) -> None:
    for given in (1, 2, 3):
        feed = Feed(group)
        join(group, f"a{given}")
        await feed._look()
        join(group, f"lost{given}", f"lost too {given}")
        await feed._look()
        begun = group.event_log().last - 3
        knew = (await feed.read(EventFilter(after=begun + 1))).place
        assert knew.id == begun + 3
        fail_over(engine, begun + 1)
        join(group, *(f"b{given}-{number}" for number in range(given)))
        await feed._look()
        if given >= 2:
            assert kinds(await feed.read(EventFilter().at(knew))) == [EventKind.GAP]
        else:
            with pytest.raises(InvalidInput, match="never given"):
                await feed.read(EventFilter().at(knew))
        told = await feed.read(EventFilter(after=begun + 1))
        assert hosts(told) == [f"b{given}-{number}" for number in range(given)]


NO_PLACES = ("", "-1", "x", "1-", "1-xyz", "1-0123456789", "9" * 19, "\N{FULLWIDTH DIGIT ONE}")


@pytest.mark.parametrize("text", NO_PLACES)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(InvalidInput):
        Cursor.parse(text)
