"""``servicegroup events`` and ``service history``, through both doors; and what lists say of it."""

from __future__ import annotations

import contextlib
import csv
import getpass
import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from servicegroup.agent import watch as watching
from servicegroup.events import Event, EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.store.database import write
from servicegroup.store.events import append
from servicegroup.store.tables import events, services
from support.control_plane import ControlPlane
from support.waiting import until

from .conftest import HOSTILE, Desk, suspect

pytestmark = pytest.mark.usefixtures("fleet")

FLEET = ["service-join", "service-join", "service-join", "service-exit"]
"""What filling the register has told: kind after kind."""


def kinds(desk: Desk, *words: str) -> list[str]:
    result = desk.type("events", "-f", "value", "-c", "Kind", *words)
    assert result.exit_code == 0, result.stderr
    return result.stdout.split()


def happen(group: ServiceGroup, count: int, ago: timedelta, uuid: str | None = None) -> None:
    """Let so many things have happened then."""
    at = datetime.now(UTC).replace(tzinfo=None) - ago
    many = [Event(at=at, kind=EventKind.ENABLE, uuid=uuid, group="past") for _ in range(count)]
    write(group._store.engine, lambda connection: append(connection, many))


def test_filters(desk: Desk, fleet: ServiceGroup) -> None:
    uuid = fleet.find("cmp1", "nova-compute").uuid
    exited = "service-exit"
    for words, found in (
        ([], FLEET),
        (["--limit", "2"], FLEET[-2:]),
        (["--after", "0", "--limit", "2"], FLEET[:2]),
        (["--after", "3"], [exited]),
        (["--kind", exited], [exited]),
        (["--group", "compute"], FLEET[:2]),
        (["--service", "ctl", "nova-conductor"], FLEET[-2:]),
        (["--service", uuid], FLEET[:1]),
        (["--service", "1"], FLEET[:1]),
        (["--since", "1min"], FLEET),
        (["--since", "2999-01-01"], []),
    ):
        assert kinds(desk, *words) == found, words
    fleet.delete(uuid)
    assert kinds(desk, "--service", uuid) == ["service-join", "service-delete"], "still told"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["web"], 2, "write --service HOST BINARY"),
        (["--service", "web"], 2, "'web' is neither an ID nor HOST BINARY"),
        (["--service", "nowhere", "web"], 3, "Could not find binary web on host nowhere"),
        (["--service", "99"], 3, "Service 99 could not be found"),
        (["--after", "99"], 2, "Event 99 was never given"),
        (["--after", "99", "--follow"], 2, "Event 99 was never given"),
        (["--after", "0", "--follow", "--limit", "1"], 2, "leave out --limit"),
        (["--since", "yesterday"], 2, "such as 90s, 30min, 2h or 7d"),
        (["--since", "9" * 9 + "d"], 2, "is neither a time"),
        (["--kind", "explosion"], 2, "service-down"),
    ],
)
def test_mistakes(desk: Desk, words: list[str], code: int, sentence: str) -> None:
    result = desk.type("events", *words)
    assert result.exit_code == code
    assert sentence in result.stderr.replace("\n", " ")


def test_what_happened_long_ago_is_asked_for_by_time(desk: Desk, group: ServiceGroup) -> None:
    """More than a page, and nothing of it is left out."""
    happen(group, 1, timedelta(days=8))
    happen(group, 2_500, timedelta(hours=3))
    past = ("--group", "past")
    for since, count in (("9d", 2_501), ("7d", 2_500), ("181min", 2_500), ("2h", 0), ("90s", 0)):
        assert len(kinds(desk, "--since", since, *past)) == count, since
    assert len(kinds(desk, *past)) == 100, "the newest, where nothing says from when on"
    assert len(kinds(desk, "--after", "0", "--limit", "1500")) == 1_500


def test_people_read_when_what_befell_whom(desk: Desk, fleet: ServiceGroup) -> None:
    desk.type("service", "disable", "cmp1", "nova-compute", "--reason", "new disks")
    result = desk.type("events", "--service", "cmp1", "nova-compute")
    head, joined, disabled = (re.split(r"\s{2,}", line) for line in result.stdout.splitlines())
    assert head == [
        "ID", "At", "Kind", "Binary", "Host", "Group", "Zone", "Reason", "Before", "Actor",
        "Detail",
    ]  # fmt: skip
    assert joined[2:7] == ["service-join", "nova-compute", "cmp1", "compute", "nova"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", joined[1])
    assert disabled[-2:] == [f"{getpass.getuser()}@{socket.gethostname()}", "new disks"]


def test_programs_get_every_field(desk: Desk) -> None:
    parsed = json.loads(desk.type("events", "-f", "json").stdout)
    assert set(parsed[0]) == {*Event.__struct_fields__, "cursor"}
    assert yaml.safe_load(desk.type("events", "-f", "yaml").stdout) == parsed
    rows = list(csv.DictReader(desk.type("events", "-f", "csv").stdout.splitlines()))
    assert [row["kind"] for row in rows] == FLEET


def test_both_doors_tell_the_same(desk: Desk, fleet: ServiceGroup) -> None:
    fleet.update(1, forced_down=True)
    plane = ControlPlane(desk.connection, desk.directory)
    plane.start()
    try:
        until(lambda: kinds(desk, "--kind", "service-down", "--service", "1"), what="observed")
        there = ("--url", plane.url)
        for words in (
            ("events", "--after", "0", "--group", "compute"),
            ("events", "--service", "cmp1", "nova-compute", "--since", "1h", "--limit", "2"),
            ("service", "history", "cmp1", "nova-compute", "--until", "2999-01-01"),
            ("service", "history", "cmp1", "nova-compute", "--since", "2h"),
        ):
            here = json.loads(desk.type(*words, "-f", "json").stdout)
            other = json.loads(desk.type(*there, *words, "-f", "json").stdout)
            for found in (here, other):
                if "history" in words:  # it goes on while we look
                    for name in ("until", "availability", "up_seconds", "down_seconds"):
                        del found[name]
            assert other == here, words
        for door in ((), there):

            def tells(door: tuple[str, ...] = door) -> bool:
                with contextlib.suppress(
                    IntegrityError
                ):  # the observer believes it again within a second
                    suspect(fleet)
                told = desk.type(*door, "service", "list").stderr
                return "Protection: presence of group compute, zone nova" in told

            until(tells, what="the protection")
    finally:
        plane.stop()


# -- following -----------------------------------------------------------------------------------


@contextlib.contextmanager
def following(desk: Desk, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Give a command that follows, ended in any case."""
    with subprocess.Popen(
        desk.command(*words),
        env=desk.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_following_prints_a_line_an_event_and_ends_with_ctrl_c(
    desk: Desk, fleet: ServiceGroup
) -> None:
    with following(desk, "events", "--follow", "--limit", "2", "-f", "json") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        for _ in range(2):
            fleet.update(1, disabled=not fleet.get(1).disabled)
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.communicate() == ("", "")
    told = [json.loads(line) for line in lines]
    assert [event["kind"] for event in told] == [
        *FLEET[-2:], "service-disable", "service-enable",
    ]  # fmt: skip


def interrupted(ask: object, wanted: EventFilter) -> Iterator[Event]:
    """Be Ctrl-C, as soon as a command in this process asks what happens after the last event."""
    assert wanted.after
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("table", r"5  \d{4}-\S+ \S+  service-disable  nova-compute  cmp1  compute  nova  \S+@\S+"),
        ("value", r"5 \d{4}\S+ service-disable nova-compute cmp1 compute nova   \S+@\S+ "),
        ("csv", r"5,\d{4}\S+,service-disable,nova-compute,cmp1,compute,nova,,,\S+@\S+,"),
        ("yaml", r"- id: 5"),
    ],
)
def test_a_line_in_each_format(
    desk: Desk, form: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "follow", interrupted)
    desk.type("service", "disable", "1")
    result = desk.type("events", "--follow", "--after", "4", "-f", form)
    assert result.exit_code == 130
    lines = result.stdout.splitlines()
    if form == "csv":
        assert lines.pop(0).startswith("id,at,kind,")
    assert re.fullmatch(expected, lines[0]), lines[0]
    begins_now = desk.type("events", "--follow", "-f", form)
    assert begins_now.stdout.splitlines()[form == "csv" :] == []


@pytest.mark.long
def test_following_survives_outages(desk: Desk, fleet: ServiceGroup) -> None:
    plane = ControlPlane(desk.connection, desk.directory)
    plane.start()
    words = ("--url", plane.url, "events", "--follow", "--after", "4", "-f", "value")
    try:
        with following(desk, *words, "-c", "Kind", "--kind", "service-enable") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            fleet.update(1, disabled=True)
            fleet.update(1, disabled=False)
            assert process.stdout.readline() == "service-enable\n"
            plane.kill()
            assert process.stderr.readline().startswith("The watch lost its events: ")
            fleet.update(1, disabled=True)
            fleet.update(1, disabled=False)
            plane.start()
            assert process.stdout.readline() == "service-enable\n"
            assert "recovered its events" in process.stderr.readline()
    finally:
        plane.stop()


def test_where_nobody_answers_there_is_nothing_to_follow(desk: Desk) -> None:
    result = desk.type("--url", "http://127.0.0.1:1", "events", "--follow")
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1


# -- history and marks ---------------------------------------------------------------------------


def test_a_history_has_figures_and_a_timeline(desk: Desk, fleet: ServiceGroup) -> None:
    service = fleet.get(1)
    hour = timedelta(hours=1)
    now = datetime.now(UTC).replace(tzinfo=None)
    born = update(services).where(services.c.id == 1).values(created_at=now - 9 * hour)
    joined = update(events).where(events.c.id == 1).values(at=now - 9 * hour)
    for change in (born, joined):
        write(fleet._store.engine, lambda connection, change=change: connection.execute(change))  # type: ignore[misc]
    who: dict[str, Any] = {"uuid": service.uuid, "host": service.host, "binary": service.binary}
    told = [
        Event(at=now - 8 * hour, kind=EventKind.UP, after="up", **who),
        Event(at=now - 4 * hour, kind=EventKind.DOWN, before="up", after="down",
              seconds=4 * 3600.0, **who),
        Event(at=now - 3 * hour, kind=EventKind.UP, before="down", after="up",
              seconds=3600.0, **who),
        Event(at=now - hour, kind=EventKind.DISABLE, actor="me", **who),
    ]  # fmt: skip
    write(fleet._store.engine, lambda connection: append(connection, told))
    printed = desk.type("service", "history", "cmp1", "nova-compute").stdout
    for line in (
        r"Availability +85\.71\d %",
        r"Up Seconds +6 h 0 min",
        r"Down Seconds +1 h 0 min",
        r"Maintenance Seconds +1 h 0 min",
        r"Flaps +1",
        r"Complete +yes",
        r"\d+ +\S+ \S+ +service-down +up for 4 h 0 min",
        r"\d+ +\S+ \S+ +service-disable +me",
    ):
        assert re.search(f"^{line}", printed, re.MULTILINE), line
    words = ("service", "history", "1", "--since", "210min", "-f", "json")
    shorter = json.loads(desk.type(*words).stdout)
    assert shorter["down_seconds"] == pytest.approx(1800, abs=30)
    assert [event["kind"] for event in shorter["events"][:2]] == ["service-up", "service-disable"]
    assert desk.type("service", "history", "99").exit_code == 3


def test_a_service_that_flaps_is_marked(desk: Desk, fleet: ServiceGroup) -> None:
    later = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=5)
    flaps = update(services).where(services.c.id == 3).values(flapping_until=later)
    write(fleet._store.engine, lambda connection: connection.execute(flaps))
    lines = desk.type("service", "list").stdout.splitlines()
    assert ["flapping" in line for line in lines] == [False, False, False, True]
    assert re.search(r"  down flapping  exited  ", lines[-1])
    assert desk.type("service", "list", "-f", "value", "-c", "State").stdout == "up\nup\ndown\n"
    *_, last = json.loads(desk.type("service", "list", "-f", "json").stdout)
    assert last["flapping_until"] == later.isoformat()
    assert "down flapping" in desk.type("service", "show", "3").stdout


def test_a_suspect_signal_is_said_beside_the_table_and_nowhere_else(
    desk: Desk, fleet: ServiceGroup
) -> None:
    assert desk.type("service", "list").stderr == ""
    suspect(fleet)
    sentence = (
        r"Protection: presence of group compute, zone nova is suspect since \S+ \S+;"
        r" 20 that lost it are up by their reports\.\n"
    )
    for words in (("list",), ("list", "--down"), ("show", "cmp1", "nova-compute")):
        result = desk.type("service", *words)
        assert re.fullmatch(sentence, result.stderr), words
        assert "Protection" not in result.stdout
    for words in (("show", "3"), ("list", "-f", "json"), ("list", "-f", "nova-manage")):
        assert desk.type("service", *words).stderr == "", words


def test_no_event_steers_a_terminal(
    desk: Desk, fleet: ServiceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "follow", interrupted)
    hostile = update(events).values(host=HOSTILE, detail=HOSTILE, actor=HOSTILE)
    write(fleet._store.engine, lambda connection: connection.execute(hostile))
    for form in ("table", "json", "csv", "value", "yaml"):
        for words in (
            ("events",),
            ("events", "--follow", "--after", "0"),
            ("service", "history", "ctl", "nova-conductor"),
        ):
            result = desk.type(*words, "-f", form)
            assert "markup" in result.stdout or form in ("csv", "value")
            assert all(line.isprintable() for line in result.stdout.splitlines()), (words, form)
