"""Reports and departures in batches: who is stamped, who is refused, and what never deadlocks."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event, func, select, update

from servers.process import PATIENCE
from servicegroup.errors import StoreUnavailable, Unavailable
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Refusals, Report
from servicegroup.model import Departure, Reason
from servicegroup.store import reports
from servicegroup.store import reports as module
from servicegroup.store.database import write
from servicegroup.store.marks import mark
from servicegroup.store.register_clock import Marker
from servicegroup.store.reports import ReportWriter
from servicegroup.store.tables import listening, listening_gaps, services
from support.aging import backdate, backdate_mark
from support.statements import statements


def test_a_report_moves_the_stamp_and_the_counter(group: ServiceGroup) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    assert group.report([Report(uuid, 1)]) == Refusals()
    first = group.get(uuid)
    assert group.report([Report(uuid, 1)]) == Refusals()
    second = group.get(uuid)
    assert (first.report_count, second.report_count) == (1, 2)
    assert first.last_seen_up is not None
    assert second.last_seen_up is not None
    assert second.last_seen_up >= first.last_seen_up
    assert second.updated_at is not None
    assert second.updated_at >= first.last_seen_up


def test_a_batch_tells_apart_why_it_refuses(group: ServiceGroup, engine: Engine) -> None:
    fine, gone, old, left = (group.join(f"h{n}", "nova-compute").uuid for n in range(4))
    group.report([Report(uuid, 1) for uuid in (fine, gone, old, left)])
    group.delete(gone)
    group.join("h2", "nova-compute")
    group.depart([Leave(left, 1)])
    before = {s.uuid: s.last_seen_up for s in group.services()}
    refused = group.report([Report(u, 1) for u in (fine, gone, old, left, "no-such-uuid")])
    assert refused == Refusals(
        frozenset({gone}), frozenset({old}), frozenset({left}), frozenset({"no-such-uuid"})
    )
    after = {s.uuid: s.last_seen_up for s in group.services()}
    assert {uuid for uuid in after if after[uuid] != before[uuid]} == {fine}


def test_a_tombstone_is_told_and_not_stamped(group: ServiceGroup, engine: Engine) -> None:
    """LC-1: also where nobody else in the batch is refused."""
    life = group.join("h1", "nova-compute")
    group.delete(life.uuid)
    assert group.report([Report(life.uuid, 1)]) == Refusals(deleted=frozenset({life.uuid}))
    with engine.connect() as connection:
        assert connection.scalar(select(services.c.last_seen_up)) is None


def test_an_incarnation_from_the_future_registers_again(group: ServiceGroup) -> None:
    """A restored backup has forgotten lives; theirs are not superseded by an older one."""
    uuid = group.join("h1", "nova-compute").uuid
    assert group.report([Report(uuid, 7)]) == Refusals(unknown=frozenset({uuid}))


def test_a_reused_id_is_never_stamped_for_another_service(
    group: ServiceGroup, engine: Engine
) -> None:
    """A restored backup may give a remembered id to another uuid."""
    uuid = group.join("h1", "nova-compute").uuid
    group.report([Report(uuid, 1)])
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(update(services).values(uuid="someone-else", last_seen_up=None))
    assert group.report([Report(uuid, 1)]) == Refusals(unknown=frozenset({uuid}))
    with engine.connect() as connection:
        assert connection.scalar(select(services.c.last_seen_up)) is None


def test_both_lives_of_a_service_in_one_batch(group: ServiceGroup) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    group.join("h1", "nova-compute")
    refused = group.report([Report(uuid, 2), Report(uuid, 1), Report(uuid, 2)])
    assert refused == Refusals(superseded=frozenset({uuid}))
    assert group.get(uuid).report_count == 2


def test_departures_are_told_apart_and_kept(group: ServiceGroup) -> None:
    stopped, exited = (group.join(f"h{n}", "nova-compute").uuid for n in range(2))
    leaves = [Leave(stopped, 1), Leave(exited, 1, Departure.EXITED, "exit status 3")]
    assert group.depart(leaves) == Refusals()
    assert group.get(stopped).judged.reason is Reason.LEFT
    assert group.get(exited).judged.reason is Reason.EXITED
    assert group.get(exited).detail == "exit status 3"
    first = group.get(exited).left_at
    assert group.depart([Leave(exited, 1)]) == Refusals()
    assert group.get(exited).judged.reason is Reason.EXITED
    assert group.get(exited).left_at == first


def test_only_a_registration_undoes_a_departure(group: ServiceGroup) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    group.depart([Leave(uuid, 1, Departure.EXITED, "killed by SIGKILL")])
    group.report([Report(uuid, 1)])
    group.update(uuid, disabled=True)
    assert not group.get(uuid).is_up
    group.join("h1", "nova-compute")
    service = group.get(uuid)
    assert service.is_up
    assert (service.left_at, service.departure, service.detail) == (None, None, None)


def test_a_superseded_life_cannot_take_the_newer_away(group: ServiceGroup) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    group.join("h1", "nova-compute")
    assert group.depart([Leave(uuid, 1)]) == Refusals(superseded=frozenset({uuid}))
    assert group.get(uuid).is_up


def test_a_failing_service_says_why_and_is_not_stamped(group: ServiceGroup) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    group.report([Report(uuid, 1)])
    stamp = group.get(uuid).last_seen_up
    assert group.report([Report(uuid, 1, failing="no route to the bus")]) == Refusals()
    service = group.get(uuid)
    assert (service.last_seen_up, service.detail) == (stamp, "no route to the bus")
    group.report([Report(uuid, 1)])
    assert group.get(uuid).detail is None
    assert group.report([Report("nobody", 1, failing="x")]) == Refusals(
        unknown=frozenset({"nobody"})
    )


@pytest.mark.long
def test_failing_services_cost_a_few_statements(group: ServiceGroup, engine: Engine) -> None:
    """F-60: the batch is everybody's, and invented or failing services do not make it long."""
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(600)]
    failing = [Report(uuid, 1, failing=f"no disk {n} 💾") for n, uuid in enumerate(uuids)]
    invented = [Report(str(uuid4()), 1, failing="no disk") for _ in range(2000)]
    superseded = [Report(uuids[0], 7, failing="of another life")]
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    refused = group.report([*invented, *failing, *superseded], marking=False)
    changes = [statement for statement in statements if statement.startswith("UPDATE")]
    assert len(changes) <= 3, "however many there are"
    assert refused == Refusals(unknown=frozenset({uuids[0], *(r.uuid for r in invented)}))
    services = {service.uuid: service for service in group.services()}
    assert [services[r.uuid].detail for r in failing] == [r.failing for r in failing]
    assert {service.last_seen_up for service in services.values()} == {None}
    statements.clear()
    assert group.report(failing, marking=False) == Refusals()
    changes = [statement for statement in statements if statement.startswith("UPDATE")]
    assert changes == [], "what they say already is not written again"


def test_a_batch_of_what_nobody_knows_is_looked_up_in_pieces(
    group: ServiceGroup, engine: Engine
) -> None:
    """A statement takes so many values, 32,766 on SQLite, and none is as long as a batch."""
    known = group.join("h1", "nova-compute").uuid
    invented = [str(uuid4()) for _ in range(34_000)]
    reports = [Report(uuid, 1) for uuid in (*invented[:17_000], known, *invented[17_000:])]
    assert group.report(reports) == Refusals(unknown=frozenset(invented))
    assert group.get(known).report_count == 1


def test_invented_services_make_nothing_be_forgotten(
    group: ServiceGroup, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-59: what is remembered is bounded by services that exist."""
    monkeypatch.setattr(module, "REMEMBERED_IDS", 12)
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(10)]
    writer = ReportWriter(engine)
    writer.commit([Report(uuid, 1) for uuid in uuids], marking=False)
    writer.commit([Report(str(uuid4()), 1) for _ in range(20)], marking=False)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    writer.commit([Report(uuid, 1) for uuid in uuids], marking=False)
    assert [s for s in statements if s.startswith("SELECT")] == []
    more = [group.join(f"i{n}", "nova-compute").uuid for n in range(5)]
    both = [Report(uuid, 1) for uuid in (*uuids[:5], *more)]
    assert writer.commit(both, marking=False) == Refusals(), "those of the batch stay known"
    assert {s.report_count for s in group.services() if s.uuid in uuids[:5]} == {3}


def test_a_life_that_works_and_fails_in_one_batch_keeps_both(group: ServiceGroup) -> None:
    """By a relay and its own agent: one of them saw it work, the other says what is wrong."""
    uuid = group.join("h1", "nova-compute").uuid
    for _ in range(2):
        assert group.report([Report(uuid, 1, failing="no disk"), Report(uuid, 1)]) == Refusals()
        assert group.get(uuid).detail == "no disk"
    assert group.get(uuid).report_count == 2


@pytest.mark.long
def test_a_thousand_reports_are_one_update(group: ServiceGroup, engine: Engine) -> None:
    lives = [group.join(f"h{n}", "nova-compute") for n in range(1000)]
    reports = [Report(life.uuid, 1) for life in lives]
    group.report(reports, marking=False)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    assert group.report(reports, marking=False) == Refusals()
    changes = [statement for statement in statements if not statement.startswith("BEGIN")]
    assert len(changes) == 1
    assert {s.report_count for s in group.services()} == {2}


def test_every_report_of_a_batch_is_counted(group: ServiceGroup, engine: Engine) -> None:
    """F-58: a relay and the service's own agent report at once, and both are acknowledged."""
    times = [*range(1, 10), 50, 64, 100]
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in times]
    deleted, gone = (group.join(name, "nova-compute").uuid for name in ("deleted", "gone"))
    group.delete(deleted)
    group.depart([Leave(gone, 1)])
    reports = [Report(uuid, 1) for uuid, n in zip(uuids, times, strict=True) for _ in range(n)]
    reports += [Report(deleted, 1), Report(gone, 1)] * 2
    reports += [Report(uuid, 1, failing="no disk") for uuid in uuids[:3]]
    random.Random(58).shuffle(reports)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    refused = group.report(reports, marking=False)
    assert refused == Refusals(deleted=frozenset({deleted}), left=frozenset({gone}))
    changes = [statement for statement in statements if statement.startswith("UPDATE")]
    assert len(changes) <= 1 + 7 + 3, "one for all, one a power of two, one a failing service"
    found = {service.uuid: service for service in group.services()}
    assert [found[uuid].report_count for uuid in uuids] == times, "withheld ones do not count"
    assert found[gone].report_count == 0
    assert all(found[uuid].last_seen_up is not None for uuid in uuids)


def test_a_full_count_fails_nobodys_batch(group: ServiceGroup, engine: Engine) -> None:
    """F-59: who has reported more often than the column can hold is counted no further."""
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(4)]
    most = 2**31 - 1
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        for uuid, before in zip(uuids, (most, most - 1, most - 5, 0), strict=True):
            where = services.c.uuid == uuid
            connection.execute(update(services).where(where).values(report_count=before))
    for _ in range(2):
        assert group.report([Report(uuid, 1) for uuid in uuids for _ in range(3)]) == Refusals()
    found = {service.uuid: service for service in group.services()}
    assert [found[uuid].report_count for uuid in uuids] == [most, most, most, 6]
    assert all(found[uuid].last_seen_up is not None for uuid in uuids)


def test_writers_that_count_the_same_lives_lose_nothing(group: ServiceGroup) -> None:
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(20)]
    writers = [ReportWriter(group._store.engine) for _ in range(4)]

    def work(number: int) -> None:
        order = random.Random(number)
        for _ in range(10):
            reports = [Report(uuid, 1) for uuid in uuids for _ in range(3)]
            order.shuffle(reports)
            assert writers[number].commit(reports, marking=False) == Refusals()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert {service.report_count for service in group.services()} == {4 * 10 * 3}


def test_reading_asks_as_often_however_many_there_are(group: ServiceGroup, engine: Engine) -> None:
    for n in range(50):
        group.join(f"h{n}", "nova-compute")
    with statements(engine) as asked:
        assert len(group.services()) == 50
    assert sum(statement.startswith("SELECT") for statement in asked) <= 5


@pytest.mark.long
def test_writers_of_overlapping_batches_never_wait_in_a_circle(
    group: ServiceGroup, engine: Engine
) -> None:
    """SQL-11: four writers, the same services in random order, some of them failing."""
    lives = [group.join(f"h{n}", "nova-compute") for n in range(300)]
    failures: list[str] = []
    event.listen(
        engine, "handle_error", lambda context: failures.append(str(context.original_exception))
    )

    def writer(seed: int) -> None:
        chance = random.Random(seed)
        mine = ReportWriter(engine)
        for _ in range(15):
            if failures:
                return
            batch = [
                Report(life.uuid, 1, failing=chance.choice([None, None, f"no disk {seed}"]))
                for life in chance.sample(lives, 200)
            ]
            with suppress(StoreUnavailable):  # it is among the failures
                assert mine.commit(batch, marking=True) == Refusals()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(writer, range(4)))
    assert failures == []


@pytest.mark.long
def test_departures_and_reports_never_wait_in_a_circle(group: ServiceGroup, engine: Engine) -> None:
    """SQL-11: a rack stops in order while its services still report."""
    lives = [group.join(f"h{n}", "nova-compute") for n in range(200)]
    failures: list[str] = []
    event.listen(
        engine, "handle_error", lambda context: failures.append(str(context.original_exception))
    )

    def writer(seed: int) -> None:
        chance = random.Random(seed)
        mine = ReportWriter(engine)
        some = chance.sample(lives, 150)
        with suppress(StoreUnavailable):  # it is among the failures
            if seed % 2:
                assert mine.leave([Leave(life.uuid, 1) for life in some]) == Refusals()
            else:
                for _ in range(15):
                    mine.commit([Report(life.uuid, 1) for life in some], marking=False)

    with ThreadPoolExecutor(4) as threads:
        for number in range(4):
            list(threads.map(writer, range(4 * number, 4 * number + 4)))
            with engine.connect().execution_options(writes=True) as connection, connection.begin():
                connection.execute(update(services).values(left_at=None))
    assert failures == []


def test_a_time_without_marks_is_stored_as_one_unheard_time(
    group: ServiceGroup, engine: Engine
) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    group.report([Report(uuid, 1)])
    backdate(engine, 1000)
    backdate_mark(engine, 990)
    assert group.get(uuid).is_up, "nobody listened for 990 of the 1000 seconds"
    group.report([])
    service = group.get(uuid)
    assert service.is_up
    assert 985 < service.judged.evidence.unheard < 1000
    group.report([])
    with engine.connect() as connection:
        assert len(connection.execute(select(listening_gaps)).all()) == 1


def test_who_died_before_unheard_time_is_still_found(group: ServiceGroup, engine: Engine) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    group.report([Report(uuid, 1)])
    backdate(engine, 1000)
    backdate_mark(engine, 930)
    assert group.get(uuid).judged.reason is Reason.SILENT
    group.report([])
    assert group.get(uuid).judged.reason is Reason.SILENT


def test_a_batch_that_took_too_long_stamps_nobody(group: ServiceGroup, engine: Engine) -> None:
    """SQL-7: the process or the database stood still under it, and its senders may have died."""
    uuid = group.join("h1", "nova-compute").uuid
    group.report([Report(uuid, 1)])
    backdate(engine, 30)
    backdate_mark(engine, 30)
    before = group.get(uuid)
    with pytest.raises(Unavailable, match="send it again"):
        group.report([Report(uuid, 1)], deadline=time.monotonic())
    after = group.get(uuid)
    assert (after.report_count, after.last_seen_up) == (before.report_count, before.last_seen_up)
    assert after.judged.evidence.unheard > 25, "it left no mark either"
    assert group.report([Report(uuid, 1)], deadline=time.monotonic() + 60) == Refusals()


def test_a_registration_that_took_too_long_begins_no_life(group: ServiceGroup) -> None:
    """LC-4: its sender has given it up, and a younger life may have begun meanwhile."""
    uuid = group.join("h1", "nova-compute").uuid
    last = group.event_log().last
    with pytest.raises(Unavailable, match="send it again"):
        group.join("h1", "nova-compute", deadline=time.monotonic())
    assert group.get(uuid).incarnation == 1
    assert group.event_log().last == last


def test_a_stamp_from_the_future_ages_by_the_judges_clock(
    group: ServiceGroup, engine: Engine
) -> None:
    """SQL-5: no abs(); the database's clock stepped back an hour under a service that died."""
    clock = [0.0]
    judge = ServiceGroup(group._store, group.driver, group.limits, monotonic=lambda: clock[0])
    uuid = judge.join("h1", "nova-compute").uuid
    judge.report([Report(uuid, 1)])
    backdate(engine, -3600)
    assert judge.get(uuid).is_up
    assert judge.get(uuid).judged.evidence.stamped_ahead > 3500
    clock[0] = 59.0
    assert judge.get(uuid).is_up
    clock[0] = 61.0
    assert judge.get(uuid).judged.reason is Reason.SILENT
    backdate(engine, -3500)  # another stamp: it reported
    assert judge.get(uuid).is_up


def test_the_stamp_that_was_ahead_does_not_come_alive_when_now_reaches_it(
    group: ServiceGroup, engine: Engine
) -> None:
    clock = [0.0]
    judge = ServiceGroup(group._store, group.driver, group.limits, monotonic=lambda: clock[0])
    uuid = judge.join("h1", "nova-compute").uuid
    judge.report([Report(uuid, 1)])
    backdate(engine, -0.5)
    assert judge.get(uuid).is_up
    clock[0] = 100.0
    until_reached = judge.get(uuid).judged.evidence
    assert until_reached.silence >= 100
    assert not judge.get(uuid).is_up


def test_a_batch_larger_than_what_is_remembered_is_stamped_whole(
    group: ServiceGroup, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it makes be forgotten is looked up again by the next one (F-55)."""
    monkeypatch.setattr(reports, "REMEMBERED_IDS", 4)
    uuids = [group.join(f"h{n}", "web").uuid for n in range(10)]
    writer = ReportWriter(engine)
    for first in range(10):
        batch = [Report(uuid, 1) for uuid in (*uuids[first:], *uuids[:first])]
        assert writer.commit(batch, marking=False) == Refusals()
    assert {group.get(uuid).report_count for uuid in uuids} == {10}


def test_made_up_uuids_make_nothing_be_forgotten(
    group: ServiceGroup, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The living are stamped by the one statement that needs no look at their ids (F-55)."""
    monkeypatch.setattr(reports, "REMEMBERED_IDS", 10)
    living = [Report(group.join(f"h{n}", "web").uuid, 1) for n in range(5)]
    writer = ReportWriter(engine)
    writer.commit(living, marking=False)
    made_up = [Report(str(uuid4()), 1) for _ in range(100)]
    assert len(writer.commit(made_up, marking=False).unknown) == 100
    asked: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    assert writer.commit(living, marking=False) == Refusals()
    event.remove(engine, "before_cursor_execute", note)
    assert [statement for statement in asked if statement.startswith("SELECT")] == []


def test_the_first_marks_of_two_intakes_meet(engine: Engine) -> None:
    """Two control planes that start together on a new register both commit what they got."""
    markers = [Marker(), Marker()]
    writers = 1 if engine.dialect.name == "sqlite" else 2  # where they take turns
    together = threading.Barrier(writers)

    def meet(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO listening "):
            together.wait(PATIENCE)

    event.listen(engine, "before_cursor_execute", meet)
    with ThreadPoolExecutor(2) as intakes:
        for _ in intakes.map(lambda marker: write(engine, partial(mark, marker=marker)), markers):
            pass
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(listening)) == 1
