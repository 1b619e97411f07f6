"""Spec S2: up is a fresh record and a driver that does not say absent; asked in bulk."""

from __future__ import annotations

from sqlalchemy import Engine, event

from servers.memcached import Memcached
from servicegroup.driver import Driver, load
from servicegroup.explanation import explain
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Member, Reason
from support.aging import age_everything, backdate

from .conftest import LIMITS, believed


def reason(group: ServiceGroup, uuid: str) -> Reason:
    return group.get(uuid).judged.reason


def test_either_down_wins(group: ServiceGroup, agent: Driver, engine: Engine) -> None:
    life = group.join("h1", "nova-compute")
    member = Member("compute", "h1")
    group.report([Report(life.uuid, 1)])
    believed(group, agent)
    group.join("h1", "nova-compute")
    group.report([Report(life.uuid, 2)])
    assert reason(group, life.uuid) is Reason.JOINING
    agent.heartbeat(member, 2, LIMITS.membership_ttl)
    assert reason(group, life.uuid) is Reason.PRESENT
    agent.leave(member, 2)
    assert reason(group, life.uuid) is Reason.ABSENT, "it was seen present, so it is not joining"
    agent.heartbeat(member, 2, LIMITS.membership_ttl)
    backdate(engine, 60)
    assert reason(group, life.uuid) is Reason.SILENT


def test_a_backend_that_hangs_takes_nobody_down(
    group: ServiceGroup, agent: Driver, server: Memcached, engine: Engine
) -> None:
    """AND-1: not knowing is not down; and the answer says so."""
    life = group.join("h1", "nova-compute")
    group.report([Report(life.uuid, 1)])
    agent.heartbeat(Member("compute", "h1"), 1, LIMITS.membership_ttl)
    age_everything(engine, 60)
    assert reason(group, life.uuid) is Reason.PRESENT
    server.freeze()
    service = group.get(life.uuid)
    assert service.judged.reason is Reason.UNCONFIRMED
    facts = {fact.name: fact.value for fact in explain(service.judged).facts}
    assert "driver memcached says unknown" in facts["presence"]
    server.thaw()


def test_questions_do_not_grow_with_the_list(
    group: ServiceGroup, agent: Driver, engine: Engine
) -> None:
    """Ten times the services, the same number of statements and one question to the driver."""
    asked: list[int] = []
    presence = group.driver.presence

    def counting(members: object) -> object:
        asked.append(1)
        return presence(members)  # type: ignore[arg-type]

    group.driver.presence = counting  # type: ignore[method-assign,assignment]
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    counts = []
    for size in (10, 100):
        for n in range(size):
            group.join(f"{size}-{n}", "nova-compute")
        statements.clear()
        asked.clear()
        assert len(group.services()) >= size
        counts.append((len(statements), len(asked)))
    assert counts[0] == counts[1]
    assert counts[1][1] == 1


def test_the_shadow_is_asked_and_not_obeyed(
    group: ServiceGroup, agent: Driver, engine: Engine
) -> None:
    """Section 7: db is obeyed, memcached is compared with it."""
    both = ServiceGroup(group._store, load("db"), LIMITS, shadow=group.driver)
    lives = {host: both.join(host, "nova-compute") for host in ("h1", "h2")}
    both.report([Report(life.uuid, 1) for life in lives.values()])
    for host in lives:
        agent.heartbeat(Member("compute", host), 1, LIMITS.membership_ttl)
    age_everything(engine, 60)
    believed(both, agent)
    for host in lives:
        agent.heartbeat(Member("compute", host), 1, LIMITS.membership_ttl)
    assert both.compare().disagreements == []
    agent.leave(Member("compute", "h2"), 1)
    compared = both.compare()
    assert (compared.driver, compared.shadow, compared.services) == ("db", "memcached", 2)
    (only,) = compared.disagreements
    assert (only.service.host, only.service.is_up) == ("h2", True)
    assert only.shadow.reason is Reason.ABSENT
    agent.heartbeat(Member("compute", "h2"), 1, LIMITS.membership_ttl)
    assert both.compare().disagreements == []
    assert [(d.name, s) for d, s in both.drivers()] == [("db", False), ("memcached", True)]
