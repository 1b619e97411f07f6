"""F-14: records that will never be heard of again end, all that were meant and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, event, select

from servicegroup.bodies import Prune
from servicegroup.config import Ending
from servicegroup.controlplane.ending import end
from servicegroup.driver import load
from servicegroup.errors import InvalidInput
from servicegroup.events import EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Registration, Report
from servicegroup.model import Departure, Limits
from servicegroup.pruning import find, prune
from servicegroup.recording import Recorder
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.store import Store
from servicegroup.store.tables import event_log, listening_gaps, outbox, services
from support.aging import backdate, backdate_mark

DAY = 86_400.0
GONE = Prune(reasons=["left", "exited", "silent"])


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give a register on each database."""
    from servicegroup.store import migrate
    from servicegroup.store.database import connect

    engine = connect(database_url)
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def group(engine: Engine) -> ServiceGroup:
    """Give the layer without a backend."""
    return ServiceGroup(Store(engine), load("db"), Limits(report_interval=2, service_down_time=10))


def joined(group: ServiceGroup, host: str, name: str = "worker", version: int = 1) -> Registration:
    life = group.join(host, "pod", group=name, version=version)
    group.report([Report(life.uuid, life.incarnation)])
    return life


def parted(group: ServiceGroup, host: str, how: Departure, name: str = "worker") -> Registration:
    life = joined(group, host, name)
    group.depart([Leave(life.uuid, life.incarnation, how, "exit status 3")])
    return life


@pytest.fixture
def pods(group: ServiceGroup, engine: Engine) -> dict[str, Registration]:
    """Register one service for each reason, all but ``lives`` and ``reports`` two days old."""
    lives = {
        "left": parted(group, "left", Departure.STOPPED),
        "exited": parted(group, "exited", Departure.EXITED),
        "silent": joined(group, "silent", version=0),
        "forced": joined(group, "forced"),
        "other": parted(group, "other", Departure.STOPPED, "other"),
    }
    group.update(lives["forced"].uuid, forced_down=True)
    backdate(engine, 2 * DAY)
    lives["lives"] = joined(group, "lives")
    return lives


def hosts(group: ServiceGroup) -> set[str]:
    return {service.host for service in group.services()}


def test_what_is_down_for_a_reason_ends_and_the_events_say_who_and_why(
    group: ServiceGroup, pods: dict[str, Registration]
) -> None:
    found = prune(group, GONE, by="ops")
    assert {service.host for service in found} == {"left", "exited", "silent", "other"}
    assert hosts(group) == {"forced", "lives"}
    told = group.events(EventFilter(kind=EventKind.DELETE), 100).events
    assert {one.host: (one.actor, one.detail) for one in told} == {
        "left": ("ops", "pruned: left, no report for 2 d 0 h"),
        "exited": ("ops", "pruned: exited, no report for 2 d 0 h"),
        "silent": ("ops", "pruned: silent, no report for 2 d 0 h"),
        "other": ("ops", "pruned: left, no report for 2 d 0 h"),
    }
    assert all(one.uuid == pods[one.host or ""].uuid and one.incarnation == 1 for one in told)
    life = pods["silent"]
    assert group.report([Report(life.uuid, life.incarnation)]).deleted == {life.uuid}
    assert prune(group, GONE, by="ops") == []


def test_versions_are_no_longer_pinned(group: ServiceGroup, pods: dict[str, Registration]) -> None:
    assert group.versions(["pod"])[0].minimum == 0
    prune(group, GONE, by="ops")
    assert group.versions(["pod"])[0].minimum == 1


@pytest.mark.parametrize(
    ("given", "ended"),
    [
        ({"reasons": ["left"]}, {"left", "other"}),
        ({"reasons": ["left"], "group": "worker"}, {"left"}),
        ({"reasons": ["left"], "group": "Worker"}, set()),
        ({"reasons": ["left"], "host": "%"}, set()),
        ({"reasons": ["forced_down"]}, {"forced"}),
        ({"reasons": GONE.reasons, "host": "exited", "binary": "pod"}, {"exited"}),
        ({"reasons": GONE.reasons, "unseen": 1.9 * DAY, "zone": "internal", "group": "other"},
         {"other"}),
        ({"reasons": GONE.reasons, "unseen": 2.1 * DAY}, set()),
    ],
)  # fmt: skip
def test_all_that_is_given_must_match(
    group: ServiceGroup, pods: dict[str, Registration], given: dict[str, object], ended: set[str]
) -> None:
    wanted = Prune(**given)  # type: ignore[arg-type]
    assert {service.host for service in find(group, wanted)} == ended
    assert hosts(group) == set(pods), "to look for them ends none"
    assert {service.host for service in prune(group, wanted, by="ops")} == ended
    assert hosts(group) == set(pods) - ended


@pytest.mark.parametrize(
    "given",
    [
        {"reasons": []},
        {"reasons": GONE.reasons, "unseen": -1.0},
        {"reasons": GONE.reasons, "unseen": float("nan")},
        {"reasons": GONE.reasons, "unseen": float("inf")},
        {"reasons": GONE.reasons, "group": ""},
        {"reasons": GONE.reasons, "host": ""},
    ],
)
def test_what_could_end_more_than_was_meant_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Prune(**given)  # type: ignore[arg-type]


def registers(group: ServiceGroup, _: Registration) -> None:
    group.join("silent", "pod", group="worker")


def reports(group: ServiceGroup, life: Registration) -> None:
    group.report([Report(life.uuid, life.incarnation)])


def is_edited(group: ServiceGroup, life: Registration) -> None:
    group.update(life.uuid, disabled=True)


@pytest.mark.parametrize("comes_back", [registers, reports, is_edited])
def test_what_comes_back_meanwhile_is_left_alone(
    group: ServiceGroup,
    pods: dict[str, Registration],
    monkeypatch: pytest.MonkeyPatch,
    comes_back: Callable[[ServiceGroup, Registration], None],
) -> None:
    recorder = group.recorder()

    def late(self: ServiceGroup) -> Recorder:
        comes_back(self, pods["silent"])
        return recorder

    monkeypatch.setattr(ServiceGroup, "recorder", late)
    assert "silent" not in {service.host for service in prune(group, GONE, by="ops")}
    assert hosts(group) == {"silent", "forced", "lives"}


def test_nothing_is_half_done(
    group: ServiceGroup, pods: dict[str, Registration], engine: Engine
) -> None:
    """An event that cannot be written leaves every record, and no eviction."""
    write(engine, lambda c: c.execute(event_log.delete()))
    with pytest.raises(Exception):  # noqa: B017 - whatever the database says
        prune(group, GONE, by="ops")
    assert hosts(group) == set(pods)


def test_each_incarnation_is_evicted_of_every_backend(
    group: ServiceGroup, pods: dict[str, Registration], engine: Engine
) -> None:
    found = find(group, Prune(reasons=["left"]))
    whys = {service.id: "why" for service in found}
    group.recorder().prune(found, whys, ["redis", "etcd"], "ops", 0.0)
    columns = (outbox.c.driver, outbox.c.topic, outbox.c.host, outbox.c.incarnation)
    with reading(engine) as connection:
        rows = {tuple(row) for row in connection.execute(select(*columns))}
    assert rows == {
        (driver, topic, host, 1)
        for driver in ("redis", "etcd")
        for topic, host in (("worker", "left"), ("other", "other"))
    }


def test_a_clock_that_leapt_makes_nobody_old(
    group: ServiceGroup, pods: dict[str, Registration], engine: Engine
) -> None:
    """F-50: nor does a time in which nobody listened."""
    aged = Prune(reasons=GONE.reasons, unseen=1.5 * DAY)

    def leap(connection: object) -> None:
        now = connection.execute(select(utcnow())).scalar_one()  # type: ignore[attr-defined]
        gap = {"start_at": now - timedelta(days=1), "end_at": now - timedelta(seconds=1)}
        connection.execute(listening_gaps.insert().values(**gap))  # type: ignore[attr-defined]

    write(engine, leap)
    backdate_mark(engine, 0)
    assert prune(group, aged, by="ops") == []
    assert hosts(group) == set(pods)


def test_the_number_of_statements_stays_the_same(group: ServiceGroup, engine: Engine) -> None:
    counts = []
    for number in (1, 30):
        for one in range(number):
            parted(group, f"h{one}", Departure.STOPPED)
        said: list[str] = []

        def note(*arguments: object, said: list[str] = said) -> None:
            said.append(str(arguments[2]))

        event.listen(engine, "before_cursor_execute", note)
        assert len(prune(group, GONE, by="ops")) == number
        event.remove(engine, "before_cursor_execute", note)
        counts.append(len(said))
    assert counts[0] == counts[1]


def test_records_end_by_rules_of_their_group(
    group: ServiceGroup, pods: dict[str, Registration], engine: Engine
) -> None:
    rules = [Ending("worker", "left", DAY), Ending("worker", "silent", 3 * DAY)]
    assert {service.host for service in end(group, rules)} == {"left"}
    [told] = group.events(EventFilter(kind=EventKind.DELETE), 100).events
    assert told.actor == "servicegroup, by [records] end = worker:left:1"
    assert end(group, rules) == []
    with reading(engine) as connection:
        gone = connection.scalars(select(services.c.host).where(services.c.deleted != 0)).all()
    assert gone == ["left"]
