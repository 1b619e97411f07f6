"""A backend that takes no writes accuses nobody, and says why, in every verdict (F-1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from drivers.reference import Directory, Reference
from servicegroup.explanation import explain
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Member, Reason
from servicegroup.store.store import Store
from support.aging import age_everything

from .conftest import LIMITS


@pytest.fixture
def backend(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


@pytest.fixture
def register(engine: Engine, backend: Directory) -> ServiceGroup:
    driver = Reference.from_options({"directory": str(backend.directory)})
    return ServiceGroup(Store(engine), driver, LIMITS)


def test_a_service_that_restarts_while_writes_are_refused_is_up_by_its_reports(
    register: ServiceGroup, backend: Directory, engine: Engine
) -> None:
    """Also in the first question of a process, as of a command, and while its former life shows."""
    life = register.join("h1", "nova-compute")
    register.driver.heartbeat(Member("compute", "h1"), 1, 60)
    backend.refuse()
    register.join("h1", "nova-compute")
    age_everything(engine, LIMITS.report_interval + 1)
    register.report([Report(life.uuid, 2)])
    for services in (register.services(), [register.get(life.uuid)]):
        (service,) = services
        assert service.judged.reason is Reason.UNCONFIRMED
        facts = {fact.name: fact.value for fact in explain(service.judged).facts}
        assert f"a new record cannot be written: {backend.words}" in facts["presence"]


def test_what_an_agent_hears_from_the_backend_is_in_the_evidence(
    group: ServiceGroup, engine: Engine
) -> None:
    """It is kept as long as the agent says so, decides nothing, and costs no database a letter."""
    life = group.join("h1", "nova-compute")
    said = "etcd has no space left \N{BLACK CIRCLE}\ud800" + "!" * 300
    group.report([Report(life.uuid, 1, backend_error="it is away"), Report(life.uuid, 1)])
    assert group.get(life.uuid).backend_error is None
    group.report([Report(life.uuid, 1), Report(life.uuid, 1, backend_error=said)])
    service = group.get(life.uuid)
    assert service.report_count == 4
    assert service.is_up
    assert service.judged.evidence.backend_error == service.backend_error
    assert str(service.backend_error).startswith(r"etcd has no space left \u25cf\ud800!!")
    assert len(str(service.backend_error)) == 255
    facts = {fact.name: fact.value for fact in explain(service.judged).facts}
    assert facts["heartbeats"].startswith("fail; its agent hears: etcd has no space left")
    group.report([Report(life.uuid, 1, failing="the disk is full")])
    assert group.get(life.uuid).backend_error == service.backend_error
    group.report([Report(life.uuid, 1)])
    assert group.get(life.uuid).backend_error is None
    group.report([Report(life.uuid, 1, backend_error=said)])
    group.join("h1", "nova-compute")
    assert group.get(life.uuid).backend_error is None, "a new life has heard nothing"


def test_a_word_that_stays_is_written_once(group: ServiceGroup, engine: Engine) -> None:
    from sqlalchemy import event

    lives = [group.join(f"h{number}", "nova-compute") for number in range(3)]
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *a: said.append(a[2]))
    for _ in range(2):
        said.clear()
        group.report([Report(life.uuid, 1, backend_error="it is full") for life in lives])
        written = [one for one in said if "SET backend_error = CASE" in one]
        assert len(said) < 12
    assert written == []
    assert {one.backend_error for one in group.services()} == {"it is full"}
