"""Records: registration, edits, deletion, questions; on all three databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, select, text, update

from servicegroup.drivers.db import DbDriver
from servicegroup.errors import Conflict, InvalidInput, NotFound, StoreUnavailable
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Limits, Member, ServiceFilter
from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect, write
from servicegroup.store.store import Store
from servicegroup.store.tables import services
from support.aging import backdate


def test_a_new_service_is_up_before_its_first_report(group: ServiceGroup) -> None:
    """LC-5: while somebody listens."""
    group.report([])
    uuid = group.join("h1", "nova-compute").uuid
    service = group.get(uuid)
    assert service.is_up
    assert (service.topic, service.zone, service.incarnation) == ("compute", "nova", 1)
    assert service.last_seen_up is None
    assert service.updated_at is None
    assert service.judged.evidence.never_reported


def test_each_registration_is_a_new_incarnation_of_one_record(group: ServiceGroup) -> None:
    lives = [group.join("h1", "nova-compute", version=n) for n in (1, 2, 3)]
    assert len({life.uuid for life in lives}) == 1
    assert [life.incarnation for life in lives] == [1, 2, 3]
    assert group.get(lives[0].uuid).version == 3


def test_fifty_registrations_at_once_make_one_record(group: ServiceGroup) -> None:
    with ThreadPoolExecutor(50) as threads:
        lives = list(threads.map(lambda _: group.join("h1", "nova-compute"), range(50)))
    assert len({life.uuid for life in lives}) == 1
    assert sorted(life.incarnation for life in lives) == list(range(1, 51))


def test_new_services_never_wait_for_each_other_in_a_circle(engine: Engine) -> None:
    """SQL-16: looking for a record that is not there locks nothing that others need.

    Control planes register for themselves; within one, registrations wait for their turn.
    """
    planes = [ServiceGroup(Store(engine), DbDriver(DbDriver.Options()), Limits()) for _ in range(4)]
    failures: list[str] = []
    event.listen(
        engine, "handle_error", lambda context: failures.append(str(context.original_exception))
    )
    with ThreadPoolExecutor(4) as threads:
        lives = list(threads.map(lambda n: planes[n % 4].join(f"h{n}", "nova-compute"), range(100)))
    assert len({life.uuid for life in lives}) == 100
    assert failures == []


def test_two_binaries_cannot_hold_one_host_of_a_group(group: ServiceGroup) -> None:
    group.join("h1", "nova-compute")
    with pytest.raises(Conflict, match="host h1 topic compute exists"):
        group.join("h1", "other", group="compute")
    group.join("h1", "other", group="elsewhere")


def test_deleted_is_the_rows_own_id_and_a_new_registration_a_new_record(
    group: ServiceGroup, engine: Engine
) -> None:
    first = group.join("h1", "nova-compute")
    group.delete(first.uuid)
    second = group.join("h1", "nova-compute")
    assert second.uuid != first.uuid
    assert second.incarnation == 2, "greater is newer, whatever record it stands in"
    with engine.connect() as connection:
        query = select(services.c.id, services.c.deleted, services.c.deleted_at)
        rows = connection.execute(query.order_by(services.c.id)).all()
    assert [row.deleted for row in rows] == [rows[0].id, 0]
    assert [row.deleted_at is None for row in rows] == [False, True]
    with pytest.raises(NotFound, match="could not be found"):
        group.get(first.uuid)
    with pytest.raises(NotFound):
        group.delete(first.uuid)


def test_an_edit_never_changes_liveness(group: ServiceGroup, engine: Engine) -> None:
    """SQL-1, Nova bug 1420848: disabling a dead host must not revive it."""
    uuid = group.join("h1", "nova-compute").uuid
    group.report([Report(uuid, 1)])
    backdate(engine, 300)
    before = group.get(uuid)
    assert not before.is_up
    after = group.update(uuid, disabled=True, disabled_reason="disk")
    assert not after.is_up
    assert after.last_seen_up == before.last_seen_up
    assert (after.disabled, after.disabled_reason) == (True, "disk")
    assert after.updated_at is not None
    assert before.updated_at is not None
    assert after.updated_at > before.updated_at


def test_updated_at_moves_only_when_a_value_changes(group: ServiceGroup) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    first = group.update(uuid, forced_down=True)
    assert group.update(uuid, forced_down=True).updated_at == first.updated_at
    assert not first.is_up
    assert group.update(uuid, forced_down=False).is_up


def test_enabling_clears_the_reason_and_disabling_replaces_it(group: ServiceGroup) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    group.update(uuid, disabled=True, disabled_reason="disk")
    assert group.update(uuid, disabled=True).disabled_reason is None
    group.update(uuid, disabled=True, disabled_reason="disk")
    assert group.update(uuid, disabled=False).disabled_reason is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"host": "h2"},
        {"disabled_reason": "x"},
        {"disabled": True, "disabled_reason": "x" * 256},
    ],
)
def test_an_edit_that_cannot_be_is_refused(group: ServiceGroup, changes: dict[str, str]) -> None:
    uuid = group.join("h1", "nova-compute").uuid
    with pytest.raises(InvalidInput):
        group.update(uuid, **changes)
    assert group.get(uuid).updated_at is None


def test_filters_are_exact_and_case_sensitive(group: ServiceGroup) -> None:
    group.join("h1", "nova-compute")
    group.join("h1", "nova-conductor")
    group.join("H1", "nova-compute")
    group.join("h1 ", "nova-scheduler", zone="z2")

    def found(**wanted: str) -> list[tuple[str, str]]:
        return [(s.host, s.binary) for s in group.services(ServiceFilter(**wanted))]  # type: ignore[arg-type]

    assert found(host="h1") == [("h1", "nova-compute"), ("h1", "nova-conductor")]
    assert found(host="H1") == [("H1", "nova-compute")]
    assert found(host="h1", binary="nova-conductor") == [("h1", "nova-conductor")]
    assert found(group="compute") == [("h1", "nova-compute"), ("H1", "nova-compute")]
    assert found(zone="z2") == [("h1 ", "nova-scheduler")]
    assert found(host="h%") == []


def test_pages_follow_each_other_without_loss(group: ServiceGroup, engine: Engine) -> None:
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(7)]
    down = uuids[1:6:2]
    for n in (1, 3, 5):
        backdate(engine, 500, host=f"h{n}")
    group.report([])  # marks: somebody listens now
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("UPDATE listening SET marked_at = marked_at"))
    pages, marker = [], None
    while page := group.services(ServiceFilter(limit=3, marker=marker)):
        pages.append([s.uuid for s in page])
        marker = page[-1].uuid
    assert pages == [uuids[:3], uuids[3:6], uuids[6:]]
    assert [s.uuid for s in group.services(ServiceFilter(limit=2), state="down")] == down[:2]
    rest = group.services(ServiceFilter(limit=2, marker=down[1]), state="down")
    assert [s.uuid for s in rest] == down[2:]
    with pytest.raises(NotFound, match="marker"):
        group.services(ServiceFilter(marker="00000000-0000-0000-0000-000000000000"))


def test_a_member_is_up_when_its_service_is(group: ServiceGroup, engine: Engine) -> None:
    group.join("h1", "nova-compute")
    assert group.service_is_up(Member("compute", "h1"))
    assert not group.service_is_up(Member("compute", "h2"))
    assert not group.service_is_up(Member("conductor", "h1"))
    group.report([])
    backdate(engine, 500)
    assert not group.service_is_up(Member("compute", "h1"))


def test_versions_leave_out_forced_down_and_deleted(group: ServiceGroup) -> None:
    """Spec S8, LC-10; disabled ones count, as in Nova."""
    lives = {n: group.join(f"h{n}", "nova-compute", version=n) for n in (3, 5, 5 + 2, 9, 11)}
    group.join("h1", "nova-conductor", version=70)
    group.update(lives[3].uuid, forced_down=True)
    group.update(lives[5].uuid, disabled=True)
    group.delete(lives[11].uuid)
    ranges = {r.binary: (r.minimum, r.maximum) for r in group.versions()}
    assert ranges == {"nova-compute": (5, 9), "nova-conductor": (70, 70)}
    counts = {one.binary: one.histogram for one in group.version_counts()}
    assert counts == {"nova-compute": {5: 1, 7: 1, 9: 1}, "nova-conductor": {70: 1}}
    assert group.versions(["nova-scheduler"]) == []


def test_purge_removes_old_tombstones_only(group: ServiceGroup, engine: Engine) -> None:
    old, young, living = (group.join(f"h{n}", "nova-compute").uuid for n in range(3))
    for uuid in (old, young):
        group.delete(uuid)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        now = connection.scalar(select(utcnow()))
        when = {"deleted_at": now - timedelta(days=31)}
        connection.execute(update(services).where(services.c.uuid == old).values(when))
    with pytest.raises(InvalidInput, match="30 days"):
        group._store.purge(29)
    assert group._store.purge(30) == 1
    with engine.connect() as connection:
        left = set(connection.scalars(select(services.c.uuid)))
    assert left == {young, living}


def test_stamps_are_utc_and_finer_than_a_second(group: ServiceGroup, engine: Engine) -> None:
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(20)]
    stamps = [group.get(uuid).created_at for uuid in uuids]
    now = datetime.now(UTC).replace(tzinfo=None)
    assert all(abs((now - stamp).total_seconds()) < 60 for stamp in stamps)
    assert any(stamp.microsecond for stamp in stamps)
    if engine.dialect.name != "sqlite":
        assert any(stamp.microsecond % 1000 for stamp in stamps)


ODD_NAMES = ["a b", "päth/../x", "h'1; DROP TABLE services", "%s", ":x", "x" * 255, "🚀", "a\\b"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_survive(group: ServiceGroup, name: str) -> None:
    uuid = group.join(name, "nova-compute", group=name, zone=name).uuid
    assert group.get(uuid).host == name
    assert [s.uuid for s in group.services(ServiceFilter(host=name, group=name))] == [uuid]


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", "a\nb", "\ud800"])
def test_names_that_cannot_be_are_refused(group: ServiceGroup, name: str) -> None:
    for field in ("host", "binary", "group", "zone"):
        names = {"host": "h1", "binary": "nova-compute"} | {field: name}
        if name or field in ("host", "binary"):
            with pytest.raises(InvalidInput, match=field):
                group.join(names.pop("host"), names.pop("binary"), **names)  # type: ignore[arg-type]
    assert group.services() == []


def test_an_unknown_database_is_an_error_of_ours(tmp_path: str) -> None:
    store = Store(connect("postgresql+psycopg://nobody:secret@127.0.0.1:1/none"))
    with pytest.raises(StoreUnavailable, match="does not answer") as raised:
        store.snapshot()
    assert "secret" not in str(raised.value)


def test_what_a_deadlock_undid_is_done_again(engine: Engine, group: ServiceGroup) -> None:
    """SQL-11: two transactions that take two rows in opposite order both succeed in the end."""
    if engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time cannot deadlock")
    uuids = [group.join(f"h{n}", "nova-compute").uuid for n in range(2)]
    both_hold_one = __import__("threading").Barrier(2, timeout=10)

    def cross(order: list[str]) -> int:
        attempts = 0

        def work(connection: object) -> None:
            nonlocal attempts
            attempts += 1
            for n, uuid in enumerate(order):
                change = update(services).where(services.c.uuid == uuid).values(version=1)
                connection.execute(change)  # type: ignore[attr-defined]
                if n == 0 and attempts == 1:
                    both_hold_one.wait()

        write(engine, work)
        return attempts

    with ThreadPoolExecutor(2) as threads:
        attempts = list(threads.map(cross, [uuids, uuids[::-1]]))
    assert sorted(attempts) == [1, 2]
