"""F-2: what a database cannot store is refused by name, and costs nobody else of its batch."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, event, text

from servers.postgresql import PostgreSQL
from servicegroup.agent.leaving import leave_until
from servicegroup.driver import load
from servicegroup.errors import StoreUnavailable
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Refusals, Report
from servicegroup.model import Departure, Limits, Reason
from servicegroup.store import isolation, migrate
from servicegroup.store.database import connect
from servicegroup.store.store import Store

NOWHERE = "a lone surrogate \ud800"
"""A text that no database stores, since no encoding has it."""

NOT_LATIN = "the disk is \N{BLACK CIRCLE} full"

_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "latin1 postgresql", "latin1 mariadb"])
def narrow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Give an engine on a register, in the character set LATIN1 if it is named so."""
    kind = request.param.removeprefix("latin1 ")
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'register.sqlite'}"
    elif request.param == "latin1 postgresql":
        url = _latin_postgresql(request.getfixturevalue(kind))
    else:
        url = request.getfixturevalue(kind).database()
    engine = connect(url)
    if request.param == "latin1 postgresql":  # an old one: a new register is refused there (F-12)
        command.upgrade(migrate.config(engine), "head")
    else:
        migrate.upgrade(engine)
    if request.param == "latin1 mariadb":
        with engine.begin() as connection:
            narrower = "ALTER TABLE services MODIFY detail VARCHAR(255) CHARACTER SET latin1"
            connection.execute(text(narrower))
    yield engine
    engine.dispose()


def _latin_postgresql(server: PostgreSQL) -> str:
    name = f"latin{next(_numbers)}"
    server.ask(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    return f"{server.url.rsplit('/', 1)[0]}/{name}"


@pytest.fixture
def group(narrow: Engine) -> ServiceGroup:
    return ServiceGroup(Store(narrow), load("db"), Limits())


@pytest.fixture
def bad(request: pytest.FixtureRequest, narrow: Engine) -> str:
    return NOT_LATIN if "latin1" in request.node.callspec.params["narrow"] else NOWHERE


def _joined(group: ServiceGroup, many: int) -> list[str]:
    return [group.join(f"h{n}", "nova-compute").uuid for n in range(many)]


def _stamped(group: ServiceGroup, uuids: Sequence[str]) -> list[bool]:
    return [group.get(uuid).last_seen_up is not None for uuid in uuids]


def test_one_report_that_cannot_be_stored_costs_nobody_else(group: ServiceGroup, bad: str) -> None:
    uuids = _joined(group, 8)
    reports = [Report(uuid, 1) for uuid in uuids[:6]]
    reports.insert(3, Report(uuids[6], 1, bad))
    reports.append(Report(uuids[7], 1, "the disk is full"))
    assert group.report(reports) == Refusals(invalid=frozenset({uuids[6]}))
    assert _stamped(group, uuids) == [True] * 6 + [False] * 2
    assert group.get(uuids[7]).detail == "the disk is full"
    assert group.get(uuids[6]).detail is None
    assert group.report([Report(uuids[6], 1)]) == Refusals(), "it is taken when it can be stored"
    assert _stamped(group, uuids[6:7]) == [True]


def test_the_log_names_it_once(
    group: ServiceGroup, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    uuids = _joined(group, 2)
    for _ in range(3):
        group.report([Report(uuids[0], 1, bad), Report(uuids[1], 1)])
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"What '{uuids[0]}' says cannot be stored: ")


def test_a_uuid_that_cannot_be_stored_is_one_report(group: ServiceGroup, bad: str) -> None:
    (uuid,) = _joined(group, 1)
    refused = group.report([Report(bad, 1), Report(uuid, 1)])
    assert refused.invalid | refused.unknown == {bad}
    assert _stamped(group, [uuid]) == [True]


def test_a_departure_that_cannot_be_stored_costs_nobody_else(group: ServiceGroup, bad: str) -> None:
    uuids = _joined(group, 3)
    leaves = [Leave(uuid, 1) for uuid in uuids]
    leaves[1] = Leave(uuids[1], 1, Departure.EXITED, bad)
    assert group.depart(leaves) == Refusals(invalid=frozenset({uuids[1]}))
    left = [group.get(uuid).judged.reason is Reason.LEFT for uuid in uuids]
    assert left == [True, False, True]


def test_refusals_of_all_parts_are_told(group: ServiceGroup, bad: str) -> None:
    uuids = _joined(group, 3)
    group.delete(uuids[2])
    refused = group.report([Report(uuids[0], 1, bad), Report(uuids[1], 2), Report(uuids[2], 1)])
    assert refused == Refusals(
        deleted=frozenset({uuids[2]}), unknown=frozenset({uuids[1]}), invalid=frozenset({uuids[0]})
    )


@pytest.mark.parametrize(("many", "most"), [(1, 2), (64, 15)])
def test_one_costs_twice_the_logarithm_of_the_others(
    narrow: Engine, group: ServiceGroup, bad: str, many: int, most: int
) -> None:
    uuids = _joined(group, many + 1)
    begun: list[None] = []
    event.listen(narrow, "begin", lambda _: begun.append(None))
    reports = [Report(uuid, 1, "why") for uuid in uuids[:many]]
    reports[many // 2] = Report(uuids[many // 2], 1, bad)
    group.report([*reports, Report(uuids[-1], 1)])
    assert len(begun) <= 1 + most, "the batch, what is plain of it, and the halves of what is not"
    assert sum(group.get(uuid).detail == "why" for uuid in uuids) == many - 1


def test_many_of_them_cost_a_bounded_number_of_transactions(
    narrow: Engine, group: ServiceGroup, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "ATTEMPTS", 5)
    uuids = _joined(group, 21)
    begun: list[None] = []
    event.listen(narrow, "begin", lambda _: begun.append(None))
    reports = [Report(uuid, 1, bad) for uuid in uuids[:20]]
    refused = group.report([*reports, Report(uuids[20], 1)])
    assert refused == Refusals(invalid=frozenset(uuids[:20]))
    assert len(begun) == 2 + 5
    assert _stamped(group, uuids[20:]) == [True]


def test_a_database_that_is_away_is_not_taken_for_a_bad_value(
    narrow: Engine, group: ServiceGroup, bad: str
) -> None:
    (uuid,) = _joined(group, 1)

    def fail(*_: object) -> None:
        raise narrow.dialect.loaded_dbapi.OperationalError("gone away")

    event.listen(narrow, "before_cursor_execute", fail)
    with pytest.raises(StoreUnavailable):
        group.report([Report(uuid, 1, bad), Report(uuid, 1)])


def test_a_departure_is_told_without_the_words_that_cannot_be_stored(
    group: ServiceGroup, bad: str
) -> None:
    (uuid,) = _joined(group, 1)

    class InProcess:
        timeout = 5.0
        leave = staticmethod(group.depart)

    leave = Leave(uuid, 1, Departure.EXITED, bad)
    leave_until(InProcess(), leave, "nova-compute on h0", time.monotonic() + 5)  # type: ignore[arg-type]
    assert group.get(uuid).judged.reason is Reason.EXITED
