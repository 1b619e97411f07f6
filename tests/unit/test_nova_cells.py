"""Cells that are away, without a Nova: what they cost, and what is printed of them (F-43)."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from servicegroup.cli import nova as commands
from servicegroup.cli import nova_checks
from servicegroup.comparison import Compared
from servicegroup.nova.cells import Away, Failed, Question, answers
from servicegroup.nova.deployment import Listing

AWAY = Away("cell1(4711)", "it did not answer in time", ("node1", "node2"))


def refuse() -> None:
    raise OSError("connection refused\n(Background on this error)")


def test_cells_that_hang_cost_their_time_once_and_keep_no_process() -> None:
    forever = threading.Event()
    try:
        begun = time.monotonic()
        questions: dict[str, Question[list[int]]] = {
            str(n): Question(forever.wait, list) for n in range(20)
        }
        questions["there"] = Question(int, lambda: [1])
        found = answers(questions, patience=0.5, longest=30)
        assert time.monotonic() - begun < 5
        assert found.pop("there") == [1]
        assert set(found.values()) == {Failed("it did not answer in time")}
        threads = [one for one in threading.enumerate() if one.name == "servicegroup-cell"]
        assert threads
        assert all(one.daemon for one in threads)
    finally:
        forever.set()


def test_a_cell_that_has_answered_may_take_longer_to_list() -> None:
    listing = threading.Event()
    threading.Timer(0.5, listing.set).start()
    asked = {"cell1": Question(int, lambda: listing.wait(30))}
    assert answers(asked, patience=0.2, longest=30) == {"cell1": True}


def test_what_a_cell_says_is_told_in_a_line_and_without_its_address() -> None:
    def parse() -> None:
        raise ValueError("cannot parse mysql://nova:secret@db/nova")

    asked: dict[str, Question[list[int]]] = {
        "refuses": Question(refuse, list),
        "unreadable": Question(parse, list),
    }
    assert answers(asked) == {
        "refuses": Failed("connection refused"),
        "unreadable": Failed("ValueError"),
    }


class Partial:
    """A Nova of which one cell does not answer."""

    layer = SimpleNamespace(driver=None, rpc=None)

    def services(self) -> Listing:
        return Listing([], [AWAY])

    def compare(self, services: list[Any]) -> Compared:
        return Compared("db", "zookeeper", len(services), 0, [])


@pytest.fixture
def partial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_open", lambda _: Partial())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands.nova, arguments)


@pytest.mark.usefixtures("partial")
def test_services_of_a_cell_that_is_away_are_listed_as_unknown() -> None:
    found = run("list", "-f", "value", "-c", "host", "-c", "binary", "-c", "state", "-c", "reason")
    assert found.stdout.splitlines() == [
        "node1 nova-compute UNKNOWN cell_away",
        "node2 nova-compute UNKNOWN cell_away",
    ]
    assert "Cell cell1(4711) does not answer: it did not answer in time." in found.stderr
    assert found.exit_code == 4
    assert run("list", "--host", "node2", "-f", "value", "-c", "host").stdout == "node2\n"
    assert run("list", "--down", "-f", "value", "-c", "host").stdout == ""
    assert run("list", "-f", "json").exit_code == 4


@pytest.mark.usefixtures("partial")
def test_a_host_of_a_cell_that_is_away_does_exist() -> None:
    found = run("why", "node1")
    assert "The host belongs to it" in found.stdout
    assert "cell1(4711)" in found.stdout
    assert found.exit_code == 4


@pytest.mark.usefixtures("partial")
def test_a_host_may_be_in_a_cell_that_is_away() -> None:
    with pytest.raises(Exception, match=r"and cell1\(4711\) does not answer"):
        CliRunner().invoke(commands.nova, ["why", "node3"], catch_exceptions=False)


@pytest.mark.usefixtures("partial")
def test_nobody_is_ready_while_a_cell_is_away() -> None:
    found = run("compare")
    assert "Ready" not in found.output
    assert "Not ready: nobody knows of the services of cell1(4711)." in found.stderr
    assert found.exit_code == 4


def test_nobody_is_called_a_stray_while_a_cell_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def strays(*_: object) -> list[Any]:
        raise AssertionError("they were looked for")

    for name in ("_driver", "_reports", "_heartbeats", "_deletes", "rpc_check"):
        monkeypatch.setattr(nova_checks, name, lambda *_: None)
    monkeypatch.setattr(nova_checks, "_strays", strays)
    deployment: Any = Partial()
    deployment.layer = SimpleNamespace(driver=None, drivers=[], limits=None, rpc=None)
    found = [check for check in nova_checks.examine(deployment) if check is not None]
    assert [check.result for check in found if check.check == "cells"] == ["FAIL"]
