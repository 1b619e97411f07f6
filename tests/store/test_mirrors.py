"""Services that are mirrored: what a look changes, and what nobody else does; on all databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from servicegroup.errors import Conflict
from servicegroup.events import EventFilter
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.mirrors import Kept, Look, Mirrored
from servicegroup.model import ServiceFilter
from servicegroup.store.clock import utcnow
from servicegroup.store.tables import mirrors
from support.aging import backdate
from support.statements import statements

WHERE = "http://nova/v2.1"
TOLD = "its own API says down, last heartbeat 2026-01-31 12:00:00 there"


def look(group: ServiceGroup, *services: Mirrored, mirror: str = "prod/nova", **said: Any) -> Any:
    return group.recorder().mirror(Look(mirror, WHERE, list(services), **said))


def told(group: ServiceGroup, host: str = "h1", **facts: Any) -> Kept:
    """Tell of a compute, and return it as it is kept."""
    kept: Kept = look(group, Mirrored(host, "nova-compute", **facts)).services[0]
    return kept


def answered_ago(engine: Engine, seconds: float, before: float | None = None) -> None:
    """Make the latest answer that old."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        now = connection.scalar(select(utcnow()))
        ago = {"answered_at": seconds, "answered_before": before or seconds}
        times = {name: now - timedelta(seconds=past) for name, past in ago.items()}
        connection.execute(update(mirrors).values(times))


def test_a_service_is_what_its_api_says(group: ServiceGroup) -> None:
    kept = told(group, zone="az1", age=4.0)
    group.report([])
    service = group.get(kept.uuid)
    assert (service.mirror, service.topic, service.zone) == ("prod/nova", "compute", "az1")
    assert service.judged.reason == "reporting"
    assert 4.0 <= service.judged.evidence.report_age < 60

    beat = datetime(2026, 1, 31, 12)
    assert told(group, zone="az2", down=True, beat_at=beat) == kept
    service = group.get(kept.uuid)
    assert (service.judged.reason, service.zone) == ("told_down", "az2")
    assert service.detail == TOLD
    assert group.report([Report(kept.uuid, kept.incarnation)]).left == {kept.uuid}

    told(group, zone="az2", disabled=True, disabled_reason="disk", forced_down=True)
    service = group.get(kept.uuid)
    assert (service.judged.reason, service.disabled_reason) == ("forced_down", "disk")
    assert service.detail is None
    told(group, zone="az2")
    assert group.get(kept.uuid).is_up
    happened = group.events(EventFilter(uuid=kept.uuid), 100).events
    assert [(e.kind.value.removeprefix("service-"), e.detail) for e in happened] == [
        ("join", None),
        ("mirror", f"its zone is az2; {TOLD}"),
        ("disable", "disk"),
        ("mirror", "its own API says up"),
        ("force-down", None),
        ("enable", None),
        ("unforce", None),
    ]
    assert {e.actor for e in happened} == {"mirror of prod/nova"}


def test_a_look_without_news_writes_nothing(group: ServiceGroup) -> None:
    kept = told(group)
    first = group.get(kept.uuid)
    told(group)
    assert group.get(kept.uuid).updated_at == first.updated_at


def test_silence_does_not_grow_after_the_latest_answer(group: ServiceGroup, engine: Engine) -> None:
    kept = told(group, age=0.0)
    joined = group.join("h2", "nova-compute")
    group.report([Report(joined.uuid, 1)])
    backdate(engine, 600)
    answered_ago(engine, 570)
    assert [s.judged.reason for s in group.services()] == ["reporting", "silent"]
    assert group.get(kept.uuid).judged.evidence.unheard == pytest.approx(570, abs=60)
    # The API answers again, and this one has not moved since.
    answered_ago(engine, 1)
    assert group.get(kept.uuid).judged.reason == "silent"


def test_an_answer_later_than_the_services_were_read_counts_for_the_next(
    group: ServiceGroup, engine: Engine
) -> None:
    kept = told(group, age=0.0)
    backdate(engine, 600)
    answered_ago(engine, -30, before=580)
    assert group.get(kept.uuid).judged.reason == "reporting"


def test_who_is_gone_is_deleted_and_only_by_its_own_mirror(group: ServiceGroup) -> None:
    kept = told(group)
    joined = group.join("h2", "nova-compute")
    look(group, mirror="other/nova", gone=[kept.uuid, joined.uuid])
    assert len(group.services()) == 2
    look(group, gone=[kept.uuid, joined.uuid])
    assert [s.host for s in group.services()] == ["h2"]
    # Its successor is another life, whoever has it.
    assert told(group).incarnation == 2


def test_nobody_else_edits_it(group: ServiceGroup) -> None:
    kept = told(group)
    changes: list[dict[str, Any]] = [{"disabled": True}, {"forced_down": True}]
    for change in changes:
        with pytest.raises(Conflict, match="openstack --os-cloud prod compute service set"):
            group.update(kept.uuid, **change)
    with pytest.raises(Conflict, match="read only here"):
        group.delete(kept.uuid)
    with pytest.raises(Conflict, match="is mirrored from prod/nova; end the mirror"):
        group.join("h1", "nova-compute")
    with pytest.raises(Conflict, match="is mirrored from prod/nova"):
        group.join("h1", "other", group="compute")


def test_one_that_joined_is_not_taken_over(group: ServiceGroup) -> None:
    joined = group.join("h1", "nova-compute")
    group.join("h2", "agent", group="compute")
    answer = look(group, *(Mirrored(f"h{n}", "nova-compute") for n in (1, 2, 3)))
    assert [kept.host for kept in answer.services] == ["h3"]
    assert (
        "h1 is not mirrored from prod/nova: a service of that name has joined" in answer.refused[0]
    )
    assert "agent holds the group compute on that host" in answer.refused[1]
    assert group.get(joined.uuid).mirror is None


def test_one_of_two_that_share_a_group_is_refused_alone(group: ServiceGroup) -> None:
    answer = look(group, *(Mirrored("h1", binary) for binary in ("nova-agent", "agent", "other")))
    assert [kept.binary for kept in answer.services] == ["nova-agent", "other"]
    assert "nova-agent holds the group agent on that host" in answer.refused[0]


def test_what_a_look_names_twice_is_kept_once(group: ServiceGroup) -> None:
    """F-2: an API that lists a service twice, as on two of its pages, is still mirrored."""
    one, other = Mirrored("h1", "nova-compute", zone="a"), Mirrored("h1", "nova-compute", zone="b")
    for _ in range(2):
        answer = look(group, one, other)
        assert answer.refused == ["nova-compute on host h1 is given twice; the first counts."]
        (kept,) = answer.services
        assert group.get(kept.uuid).zone == "a"


def test_two_clouds_are_refused_whole(group: ServiceGroup) -> None:
    told(group)
    with pytest.raises(Conflict, match="nova-compute on host h1; a register has one service"):
        look(group, *(Mirrored(f"h{n}", "nova-compute") for n in (0, 1)), mirror="test/nova")
    assert [s.mirror for s in group.services()] == ["prod/nova"]
    with pytest.raises(Conflict, match="as prod/nova, and not http://x"):
        group.recorder().mirror(Look("prod/nova", "http://x"))


def test_a_mirror_that_starts_learns_what_there_is_and_ends_with_all(group: ServiceGroup) -> None:
    kept = [told(group, host) for host in ("h1", "h2")]
    group.join("h3", "nova-compute")
    assert look(group, opening=True).services == kept
    group.recorder().mirror(Look("prod/nova", ending=True))
    assert [s.host for s in group.services()] == ["h3"]
    group.recorder().mirror(Look("prod/nova", "http://x", [Mirrored("h1", "nova-compute")]))


def test_questions_do_not_grow_with_services(group: ServiceGroup, engine: Engine) -> None:
    numbers = []
    for start, many in ((0, 3), (3, 300)):
        look(group, *(Mirrored(f"h{start + n}", "nova-compute") for n in range(many)))
        with statements(engine) as asked:
            assert len(group.services(ServiceFilter())) == start + many
        numbers.append(len(asked))
    assert numbers[0] == numbers[1]
