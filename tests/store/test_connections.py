"""Reports and the observer need none of the connections that lists take (F-18)."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from docs.pages import page
from servicegroup.cli import serve
from servicegroup.cli.main import cli
from servicegroup.controlplane.observer import Observer
from servicegroup.driver import load
from servicegroup.events import EventFilter
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Refusals, Report
from servicegroup.model import Limits
from servicegroup.store.database import CONNECTIONS, RESERVED, connect
from servicegroup.store.store import Store


def test_all_other_connections_may_be_in_use(database_url: str, engine: Engine) -> None:
    reserved = connect(database_url, RESERVED)
    group = ServiceGroup(Store(engine), load("db"), Limits(), reserved=Store(reserved))
    life = group.join("node1", "worker")
    observer = Observer(group)
    with ExitStack() as taken:
        for _ in range(CONNECTIONS):
            taken.enter_context(engine.connect())
        assert group.report([Report(life.uuid, life.incarnation)]) == Refusals()
        assert observer.keep_lease()
        assert [event.uuid for event in observer.look()] == [life.uuid]
        assert observer.keep_lease()
        assert group.hosts_of([life.uuid]) == {life.uuid: "node1"}
        observer.release()
    assert group.get(life.uuid).is_up
    group.close()


def test_nothing_that_is_asked_takes_two_connections_at_once(
    database_url: str, engine: Engine
) -> None:
    """Else as many who ask at once as there are connections wait for one another (F-18)."""
    own = connect(database_url, 2)
    group = ServiceGroup(Store(own), load("db"), Limits())
    with own.connect():  # which leaves one
        life = group.join("node1", "worker", version=3)
        group.report([Report(life.uuid, life.incarnation)])
        assert [service.host for service in group.services()] == ["node1"]
        assert [state for batch in group.states() for state in batch.states] == ["up"]
        assert group.services(state="down") == []
        assert group.find("node1", "worker").is_up
        assert group.service_is_up(group.get(life.uuid))
        assert [one.minimum for one in group.versions()] == [3]
        assert [one.histogram for one in group.version_counts()] == [{3: 1}]
        assert [name for name, _ in group.zones()] == [group.get(life.uuid).zone]
        assert group.hosts_of([life.uuid]) == {life.uuid: "node1"}
        assert group.event_log().last == len(group.events(EventFilter(), 10).events)
        assert group.history(life.uuid).uuid == life.uuid
        assert (group.observer_status(), group.revision()) == (None, None)
        assert group.protections() == []
        assert group.update(life.uuid, disabled=True).disabled
        assert group.depart([Leave(life.uuid, life.incarnation)]) == Refusals()
        assert group.delete(life.uuid).uuid == life.uuid
        assert group.free_deleted() == 0
        assert group.purge_events(timedelta(days=30), timedelta(days=30)) == 0
    group.close()


def test_serve_reserves_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(serve, "run", lambda *given: ran.extend(given))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("OS_DEFAULT__BIND", "127.0.0.1:0")
    assert CliRunner().invoke(cli, ["serve"], catch_exceptions=False).exit_code == 0
    _, group, for_tokens, _ = ran
    recorder = group.recorder()
    assert recorder._engine is for_tokens
    assert recorder._engine is not group._store.engine
    assert str(recorder._engine.url) == str(group._store.engine.url)


def test_operators_know_how_many_there_are() -> None:
    said = page("docs/deploying.md").section("Connections")
    assert f"at most {CONNECTIONS + RESERVED} connections" in said
    assert f"{CONNECTIONS} for questions and changes, and {RESERVED} for" in said
