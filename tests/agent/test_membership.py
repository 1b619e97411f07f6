"""Joining from a process of one's own, against a running control plane."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from servicegroup.agent.client import HttpClient, Joined
from servicegroup.agent.join import Membership, State, join
from servicegroup.errors import ControlPlaneUnavailable, InvalidInput
from servicegroup.messages import Leave
from support.control_plane import ControlPlane
from support.waiting import until

Join = Callable[..., Membership]


@pytest.fixture
def joining() -> Iterator[Join]:
    """Give ``join``; whatever joined has left when the test is over."""
    memberships: list[Membership] = []

    def joined(binary: str, **options: Any) -> Membership:
        memberships.append(join(binary, **options))
        return memberships[-1]

    yield joined
    for membership in memberships:
        membership.leave(timeout=1)


def record(plane: ControlPlane, host: str, binary: str = "worker") -> dict[str, Any]:
    return plane.services(f"?host={host}").get((host, binary), {})


def reason(plane: ControlPlane, host: str) -> str:
    found = record(plane, host)
    return str(found["verdict"]["reason"]) if found else "nothing"


def is_in(membership: Membership, state: State) -> None:
    until(lambda: membership.state is state, what=f"{state}, now {membership.state}")


def messages(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    texts = (r.getMessage() for r in caplog.records if r.name == "servicegroup.agent")
    return [text for text in texts if f" {word} " in f" {text} "]


def test_joins_reports_and_leaves(plane: ControlPlane, host: str) -> None:
    with join("nova-compute", host=host, zone="az1", version=66, url=plane.url) as membership:
        assert membership.uuid is None or membership.state is State.REPORTING
        is_in(membership, State.REPORTING)
        found = until(lambda: record(plane, host, "nova-compute"))
        assert (found["uuid"], found["incarnation"]) == (membership.uuid, membership.incarnation)
        assert (found["topic"], found["zone"], found["version"]) == ("compute", "az1", 66)
        assert until(lambda: record(plane, host, "nova-compute")["report_count"] >= 3)
        assert membership.last_report is not None
        assert abs((datetime.now(UTC) - membership.last_report).total_seconds()) < 5
    assert membership.state.value == "left"
    gone = record(plane, host, "nova-compute")
    assert (gone["verdict"]["reason"], gone["departure"]) == ("left", "stopped")


def test_is_up_at_once_after_a_restart(plane: ControlPlane, host: str, joining: Join) -> None:
    joining("worker", host=host, url=plane.url).leave()
    until(lambda: reason(plane, host) == "left")
    until(lambda: record(plane, host)["verdict"]["evidence"]["report_age"] > 5)
    again = joining("worker", host=host, url=plane.url)
    until(lambda: again.last_report, what="its first report")
    assert again.incarnation == 2
    assert reason(plane, host) == "reporting"


def test_leaving_twice_is_leaving_once(plane: ControlPlane, host: str, joining: Join) -> None:
    membership = joining("worker", host=host, url=plane.url)
    is_in(membership, State.REPORTING)
    membership.leave()
    left_at = record(plane, host)["left_at"]
    membership.leave()
    assert record(plane, host)["left_at"] == left_at


def test_without_a_driver_there_is_one_daemon_thread(
    plane: ControlPlane, host: str, joining: Join
) -> None:
    before = set(threading.enumerate())
    is_in(joining("worker", host=host, url=plane.url), State.REPORTING)
    (thread,) = set(threading.enumerate()) - before
    assert (thread.name, thread.daemon) == ("servicegroup-report", True)


def test_fails_over_to_a_control_plane_that_answers(
    plane: ControlPlane, host: str, joining: Join, caplog: pytest.LogCaptureFixture
) -> None:
    urls = f"http://127.0.0.1:1, {plane.url}/"
    is_in(joining("worker", host=host, url=urls), State.REPORTING)
    assert not messages(caplog, "lost")


def test_the_older_of_two_is_told_and_stops(
    plane: ControlPlane, host: str, joining: Join, caplog: pytest.LogCaptureFixture
) -> None:
    older = joining("worker", host=host, url=plane.url)
    is_in(older, State.REPORTING)
    until(lambda: record(plane, host)["report_count"] >= 2)
    newer = joining("worker", host=host, url=plane.url)
    is_in(older, State.SUPERSEDED)
    reports = record(plane, host)["report_count"]
    until(lambda: record(plane, host)["report_count"] >= reports + 3)
    assert newer.state is State.REPORTING
    assert record(plane, host)["incarnation"] == newer.incarnation == 2
    (said,) = messages(caplog, "superseded:")
    assert "this process is incarnation 1 and the register knows 2" in said
    older.leave()
    assert reason(plane, host) == "reporting"


def test_deleted_stays_away(
    plane: ControlPlane, host: str, joining: Join, caplog: pytest.LogCaptureFixture
) -> None:
    membership = joining("worker", host=host, url=plane.url)
    is_in(membership, State.REPORTING)
    assert plane.request("DELETE", f"/v1/services/{membership.uuid}")[0] == 204
    is_in(membership, State.DELETED)
    assert len(messages(caplog, "deleted")) == 1
    membership.leave()
    assert membership.state is State.DELETED
    assert not record(plane, host)


def test_whom_somebody_else_took_leave_for_registers_again(
    plane: ControlPlane, host: str, joining: Join
) -> None:
    membership = joining("worker", host=host, url=plane.url)
    is_in(membership, State.REPORTING)
    assert membership.uuid is not None
    with closing(HttpClient(plane.url)) as somebody:
        somebody.leave([Leave(membership.uuid, 1)])
    until(lambda: membership.incarnation == 2)
    until(lambda: reason(plane, host) == "reporting")


def test_whom_the_register_forgot_registers_again(
    plane: ControlPlane, host: str, joining: Join
) -> None:
    membership = joining("worker", host=host, url=plane.url)
    is_in(membership, State.REPORTING)
    forgotten = membership.uuid
    with closing(sqlite3.connect(plane.directory / "register.sqlite", timeout=10)) as database:
        database.execute("DELETE FROM services WHERE uuid = ?", [forgotten])
        database.commit()
    until(lambda: membership.uuid not in (None, forgotten))
    until(lambda: record(plane, host).get("uuid") == membership.uuid)


def test_not_working_is_shown_and_not_up_for_long(
    plane: ControlPlane, host: str, joining: Join
) -> None:
    answers: list[str | None] = ["No hypervisor answers."]
    membership = joining("worker", host=host, url=plane.url, healthy=lambda: answers[-1])
    is_in(membership, State.FAILING)
    assert membership.detail == "No hypervisor answers."
    until(lambda: record(plane, host)["detail"] == "No hypervisor answers.")
    until(lambda: reason(plane, host) == "silent")
    answers.append(None)
    until(lambda: reason(plane, host) == "reporting")
    assert membership.state is State.REPORTING
    assert record(plane, host)["detail"] is None


def test_a_forked_child_touches_nothing(plane: ControlPlane, host: str, joining: Join) -> None:
    membership = joining("worker", host=host, url=plane.url)
    is_in(membership, State.REPORTING)
    child = os.fork()
    if child == 0:
        with membership:
            pass
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    reports = record(plane, host)["report_count"]
    until(lambda: record(plane, host)["report_count"] >= reports + 2)
    assert record(plane, host)["incarnation"] == 1
    assert membership.state is State.REPORTING


@pytest.mark.parametrize("others_answer", [False, True])
def test_a_superseding_of_its_own_making_is_no_end(
    plane: ControlPlane, host: str, joining: Join, others_answer: bool
) -> None:
    """A registration whose answer was lost is executed after the one that was answered (LC-4).

    The answer was that of another control plane, or of the same one to the next attempt.
    """

    class LateRegistration(HttpClient):
        registrations = 0

        def register(self, host: str, binary: str, group: str, zone: str, version: int) -> Joined:
            self.registrations += 1
            if self.registrations == 1:
                self._planes.unanswered += 1
                if not others_answer:
                    raise ControlPlaneUnavailable("The answer got lost.")
            joined = super().register(host, binary, group, zone, version)
            if self.registrations == (1 if others_answer else 2):
                super().register(host, binary, group, zone, version)
            return joined

    with closing(LateRegistration(plane.url)) as client:
        membership = joining("worker", host=host, client=client)
        until(lambda: membership.incarnation == 3)
        until(lambda: reason(plane, host) == "reporting")
        assert membership.state is State.REPORTING
        membership.leave()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"binary": ""}, "binary"),
        ({"binary": "x" * 256}, "binary"),
        ({"binary": "tab\there"}, "binary"),
        ({"binary": "x", "host": "y\0"}, "host"),
        ({"binary": "x", "group": "g" * 256}, "group"),
        ({"binary": "x", "version": -1}, "version -1"),
        ({"binary": "x", "version": 2**31}, "version 2147483648"),
        ({"binary": "x", "url": "ftp://cp"}, "ftp://cp"),
        ({"binary": "x", "url": "http://cp:port"}, "http://cp:port"),
        ({"binary": "x", "url": "http://user:secret@cp"}, "URL"),
        ({"binary": "x", "url": "cp:8774"}, "cp:8774"),
        ({"binary": "x", "url": "http://cp/?a=b"}, "http://cp/?a=b"),
        ({"binary": "x", "url": " , "}, "URL"),
        ({"binary": "x", "token": "line\nbreak"}, "token"),
        ({"binary": "x", "token": "schlüssel"}, "token"),
    ],
)
def test_bad_arguments_are_told_at_once(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        join(**arguments)
    assert names in str(caught.value)
    assert "secret" not in str(caught.value)


def plane_in(
    directory: Path, api: str = "", report_interval: int = 1, service_down_time: int = 4
) -> ControlPlane:
    return ControlPlane(
        f"sqlite:///{directory / 'register.sqlite'}",
        directory,
        api,
        report_interval=report_interval,
        service_down_time=service_down_time,
    )


def test_a_control_plane_that_is_away_stops_nothing(
    tmp_path: Path, host: str, joining: Join, caplog: pytest.LogCaptureFixture
) -> None:
    away = plane_in(tmp_path)
    began = time.monotonic()
    membership = joining("worker", host=host, url=away.url)
    assert time.monotonic() - began < 1
    until(lambda: membership.is_lost)
    assert membership.last_report is None
    assert "Connection refused" in membership.detail
    away.start()
    try:
        until(lambda: membership.state is State.REPORTING, timeout=30)
        assert (len(messages(caplog, "lost")), len(messages(caplog, "recovered"))) == (1, 1)
    finally:
        away.stop()


def test_leaving_a_control_plane_that_never_answered_takes_no_time(joining: Join) -> None:
    membership = joining("worker", url="http://127.0.0.1:1")
    until(lambda: membership.is_lost)
    began = time.monotonic()
    membership.leave(timeout=30)
    assert time.monotonic() - began < 2


def test_a_killed_control_plane_is_lost_once_and_recovered_once(
    control_plane: ControlPlane, host: str, joining: Join, caplog: pytest.LogCaptureFixture
) -> None:
    membership = joining("worker", host=host, url=control_plane.url)
    is_in(membership, State.REPORTING)
    before = until(lambda: membership.last_report)
    control_plane.kill()
    is_in(membership, State.LOST)
    control_plane.start()
    is_in(membership, State.REPORTING)
    assert membership.incarnation == 1
    assert (len(messages(caplog, "lost")), len(messages(caplog, "recovered"))) == (1, 1)
    assert until(lambda: membership.last_report) > before


def test_a_frozen_control_plane_is_lost_in_time(
    control_plane: ControlPlane, host: str, joining: Join
) -> None:
    membership = joining("worker", host=host, url=control_plane.url)
    is_in(membership, State.REPORTING)
    control_plane.freeze()
    is_in(membership, State.LOST)
    assert "timed out" in membership.detail
    control_plane.thaw()
    is_in(membership, State.REPORTING)


def test_leaving_a_frozen_control_plane_is_bounded(
    tmp_path: Path, host: str, joining: Join
) -> None:
    plane = plane_in(tmp_path, report_interval=10, service_down_time=120)
    plane.start()
    try:
        membership = joining("worker", host=host, url=plane.url)
        is_in(membership, State.REPORTING)
        plane.freeze()
        began = time.monotonic()
        membership.leave(timeout=1)
        assert time.monotonic() - began < 4, "one attempt alone may take 10 s"
    finally:
        plane.stop()


def test_a_registration_answered_after_leaving_is_taken_back(
    control_plane: ControlPlane, host: str, joining: Join
) -> None:
    control_plane.freeze()
    membership = joining("worker", host=host, url=control_plane.url)
    membership.leave(timeout=0.5)
    control_plane.thaw()
    until(lambda: reason(control_plane, host) == "left")


def test_a_wrong_token_is_told_and_the_right_one_works(
    tmp_path: Path, host: str, joining: Join
) -> None:
    # The hash is that of the text "letmein".
    digest = "1c8bfe8f801d79745c4631d09fff36c82aa37fc4cce4fc946683d7b336b63032"
    plane = plane_in(tmp_path, api=f"auth_strategy = token\ntoken = reporter:{digest}")
    plane.start()
    try:
        wrong = joining("worker", host=host, url=plane.url, token="wrong")
        is_in(wrong, State.LOST)
        assert "401" in wrong.detail
        right = joining("worker", host=host, url=plane.url, token="letmein")
        is_in(right, State.REPORTING)
    finally:
        plane.stop()
