"""Reports and the observer need none of the connections that lists take (F-18)."""

from __future__ import annotations

from contextlib import ExitStack
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
from servicegroup.group import ServiceGroup
from servicegroup.messages import Refusals, Report
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
