"""The command line with several control planes: one that hangs costs a command one wait (H-1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from servicegroup.cli import events, remote, service
from servicegroup.cli.remote import RemoteRegister
from servicegroup.errors import NotFound
from servicegroup.group import ServiceGroup
from servicegroup.model import ServiceFilter
from support.control_plane import ControlPlane

from .conftest import Desk, fill

pytestmark = pytest.mark.long


@pytest.fixture
def urls(desk: Desk, group: ServiceGroup, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the URLs of a control plane that hangs and of one that answers."""
    fill(group)
    planes = [ControlPlane(desk.connection, desk.directory, service_down_time=60) for _ in "ab"]
    for plane in planes:
        plane.start()
    planes[0].freeze()
    monkeypatch.setattr(remote, "TIMEOUT", 2.0)
    yield ",".join(plane.url for plane in planes)
    for plane in planes:
        plane.stop()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[RemoteRegister]:
    """Give the registers that commands open from now on."""
    registers: list[RemoteRegister] = []
    real = remote.open_remote

    def open_remote(options: Any) -> RemoteRegister:
        registers.append(real(options))
        return registers[-1]

    monkeypatch.setattr(remote, "open_remote", open_remote)
    return registers


def test_later_requests_of_a_command_do_not_wait(urls: str) -> None:
    with closing(RemoteRegister(urls)) as register:
        for _ in range(5):
            assert len(register.services(ServiceFilter(binary="nova-compute"))) == 2
        assert register.protections() == []
        assert register._planes.unanswered == 1


def test_a_refusal_is_an_answer(urls: str) -> None:
    """Whoever refuses is there, and is asked first the next time."""
    with closing(RemoteRegister(urls)) as register:
        for _ in range(3):
            with pytest.raises(NotFound):
                register.get("6ff0a4d2-0000-4000-8000-000000000000")
        assert register._planes.unanswered == 1


def test_following_does_not_wait_for_each_page(
    desk: Desk, urls: str, opened: list[RemoteRegister], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def some(_form: str, _columns: object, rows: Iterator[Any]) -> None:
        seen.extend(event.id for event in itertools.islice(rows, 4))

    monkeypatch.setattr(events, "AT_ONCE", 1)
    monkeypatch.setattr(events, "print_lines", some)
    result = desk.type("--url", urls, "events", "--follow", "--after", "0")
    assert (result.exit_code, seen) == (0, [1, 2, 3, 4]), result.stderr
    assert opened[0]._planes.unanswered == 1


def test_watching_does_not_wait_for_each_look(
    desk: Desk, urls: str, opened: list[RemoteRegister], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "WATCH_INTERVAL", 0.0)
    drawn: list[Any] = []
    monkeypatch.setattr(service, "_draw_below", lambda t: drawn.extend(itertools.islice(t, 3)))
    result = desk.type("--url", urls, "service", "list", "--watch")
    assert result.exit_code == 0, result.stderr
    assert [trouble for _, trouble in drawn] == ["", "", ""]
    assert opened[0]._planes.unanswered == 1
