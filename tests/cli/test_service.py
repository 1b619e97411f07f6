"""``servicegroup service``, in process: what is listed, explained and changed in the register."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest
import yaml
from sqlalchemy import update

from servicegroup.errors import NotFound
from servicegroup.group import ServiceGroup
from servicegroup.store.database import write
from servicegroup.store.tables import services

from .conftest import Desk

pytestmark = pytest.mark.usefixtures("fleet")


def _hosts(desk: Desk, *words: str) -> list[str]:
    result = desk.type("service", "list", "-f", "value", "-c", "Host", *words)
    assert result.exit_code == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "hosts"),
    [
        ([], ["cmp1", "cmp2", "ctl"]),
        (["--down"], ["ctl"]),
        (["--up"], ["cmp1", "cmp2"]),
        (["--host", "cmp2"], ["cmp2"]),
        (["--host", "CMP2"], []),
        (["--host", "' OR 1=1 --"], []),
        (["--binary", "nova-compute"], ["cmp1", "cmp2"]),
        (["--binary", "nova-compute", "--down"], []),
        (["--group", "conductor"], ["ctl"]),
        (["--zone", "az2"], ["ctl"]),
        (["--zone", "nova", "--host", "cmp1"], ["cmp1"]),
        (["--limit", "2"], ["cmp1", "cmp2"]),
        (["--down", "--limit", "2"], ["ctl"]),
    ],
)
def test_list_filters(desk: Desk, words: list[str], hosts: list[str]) -> None:
    assert _hosts(desk, *words) == hosts


def test_list_for_people_says_who_is_up_since_when_and_why(desk: Desk) -> None:
    lines = desk.type("service", "list").stdout.splitlines()
    headings = re.split(r"\s{2,}", lines[0])
    assert headings == [
        "ID", "Binary", "Host", "Group", "Zone", "Status", "State", "Reason", "Last Report",
    ]  # fmt: skip
    cells = [re.split(r"\s{2,}", line) for line in lines[1:]]
    assert cells[0][1:8] == [
        "nova-compute", "cmp1", "compute", "nova", "enabled", "up", "reporting",
    ]  # fmt: skip
    assert re.fullmatch(r"\d+\.\d s ago", cells[0][8])
    assert cells[2][1:] == [
        "nova-conductor", "ctl", "conductor", "az2", "enabled", "down", "exited", "never",
    ]  # fmt: skip


def test_why_adds_the_sentence_and_the_detail_and_nothing_that_steers(desk: Desk) -> None:
    printed = desk.type("service", "list", "--down", "--why").stdout
    assert "Its agent saw the process exit." in printed
    assert "signal 9 \\x1b[31m\\x9b2J[bold]markup[/bold]\\u202e\\n" in printed
    assert all(line.isprintable() for line in printed.splitlines())


def test_programs_get_every_column(desk: Desk) -> None:
    first, *_ = json.loads(desk.type("service", "list", "-f", "json").stdout)
    assert first["host"] == "cmp1"
    assert first["state"] == "up"
    assert first["version"] == 61
    assert first["forced_down"] is False
    assert 0 <= first["last_report"] < 60
    assert datetime.fromisoformat(first["last_seen_up"])
    again, *_ = yaml.safe_load(desk.type("service", "list", "-f", "yaml").stdout)
    assert set(again) == set(first)


def test_nova_manage_format_keeps_its_columns_where_scripts_cut(desk: Desk) -> None:
    header, up, *_, down = desk.type("service", "list", "-f", "nova-manage").stdout.splitlines()
    starts = [0, 17, 54, 71, 82, 88]
    cuts = list(zip(starts, [*(start - 1 for start in starts[1:]), None], strict=True))
    assert [header[a:b].rstrip() for a, b in cuts] == [
        "Binary", "Host", "Zone", "Status", "State", "Updated_At",
    ]  # fmt: skip
    assert [up[a:b].rstrip() for a, b in cuts[:5]] == [
        "nova-compute", "cmp1", "nova", "enabled", ":-)",
    ]  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", up[88:])
    assert down[82:87] == "XXX  "


def test_show_explains_and_says_what_would_change_it(desk: Desk) -> None:
    printed = desk.type("service", "show", "cmp1", "nova-compute").stdout
    assert re.search(r"^Why +Its reports are fresh\.$", printed, re.MULTILINE)
    assert re.search(r"^Report +.* ago; the limit is 60 s of silence$", printed, re.MULTILINE)
    assert re.search(r"^Otherwise +It goes down after", printed, re.MULTILINE)


def test_show_finds_by_uuid_by_number_and_by_host_and_binary(
    desk: Desk, fleet: ServiceGroup
) -> None:
    uuid = fleet.find("cmp2", "nova-compute").uuid
    for name in ([uuid], [uuid.upper()], ["2"], ["cmp2", "nova-compute"]):
        shown = desk.type("service", "show", *name, "-f", "value", "-c", "ID", "-c", "State").stdout
        assert shown == f"{uuid}\nup\n"


def test_show_gives_programs_the_evidence(desk: Desk) -> None:
    shown = json.loads(desk.type("service", "show", "3", "-f", "json").stdout)
    assert shown["reason"] == "exited"
    assert shown["evidence"]["limits"]["service_down_time"] == 60
    assert shown["otherwise"].startswith("It is up again when")


@pytest.mark.parametrize(
    "name",
    [["99"], ["99999999999999999999"], ["6ff0a4d2-0000-4000-8000-000000000000"], ["cmp1", "x"]],
    ids=" ".join,
)
@pytest.mark.parametrize("command", ["show", "enable", "disable", "force-down", "delete"])
def test_what_does_not_exist_is_not_found(desk: Desk, command: str, name: list[str]) -> None:
    result = desk.type("service", command, *name, *(["--yes"] if command == "delete" else []))
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1


def test_disable_and_enable_change_the_intent_and_not_the_verdict(
    desk: Desk, fleet: ServiceGroup
) -> None:
    result = desk.type("service", "disable", "cmp1", "nova-compute", "--reason", "new [disk]")
    assert result.exit_code == 0
    assert result.stdout.startswith("nova-compute on host cmp1 is disabled. It is up: ")
    found = fleet.find("cmp1", "nova-compute")
    assert (found.disabled, found.disabled_reason, found.is_up) == (True, "new [disk]", True)
    assert "new [disk]" in desk.type("service", "show", "cmp1", "nova-compute").stdout

    assert desk.type("service", "enable", "cmp1", "nova-compute").exit_code == 0
    found = fleet.find("cmp1", "nova-compute")
    assert (found.disabled, found.disabled_reason) == (False, None)


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [("x" * 256, "disabled_reason must have"), ("\x1b[31m", "\\x1b[31m"), ("", "it is empty")],
)
def test_a_reason_that_cannot_be_kept_is_refused(
    desk: Desk, fleet: ServiceGroup, reason: str, sentence: str
) -> None:
    result = desk.type("service", "disable", "1", "--reason", reason)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "\x1b" not in result.stderr
    assert not fleet.get(1).disabled


def test_force_down_and_back(desk: Desk, fleet: ServiceGroup) -> None:
    result = desk.type("service", "force-down", "1")
    assert "is forced down. It is down: An operator or a fencer forced it down." in result.stdout
    assert not fleet.get(1).is_up
    result = desk.type("service", "force-down", "--unset", "1")
    assert "is no longer forced down. It is up: " in result.stdout
    assert fleet.get(1).is_up


def test_delete_is_done_only_when_meant(desk: Desk, fleet: ServiceGroup) -> None:
    assert desk.type("service", "delete", "1").exit_code == 2
    assert fleet.get(1)
    result = desk.type("service", "delete", "1", "--yes")
    assert result.stdout == "nova-compute on host cmp1 is deleted.\n"
    with pytest.raises(NotFound):
        fleet.get(1)


def test_versions_are_ranges_with_how_many_run_each(desk: Desk) -> None:
    printed = desk.type("service", "versions").stdout.splitlines()
    assert [re.split(r"\s{2,}", line) for line in printed] == [
        ["Binary", "Minimum", "Maximum", "Services"],
        ["nova-compute", "61", "62", "1 at 61, 1 at 62"],
        ["nova-conductor", "7", "7", "1 at 7"],
    ]
    words = ("service", "versions", "--binary", "nova-conductor", "-f", "json")
    assert json.loads(desk.type(*words).stdout) == [
        {"binary": "nova-conductor", "minimum": 7, "maximum": 7, "services": {"7": 1}}
    ]


def test_a_hostile_host_steers_no_terminal(desk: Desk, fleet: ServiceGroup) -> None:
    hostile = update(services).where(services.c.id == 1).values(host="\x1b]0;owned\x07[red]")
    write(fleet._store.engine, lambda connection: connection.execute(hostile))
    for words in (
        ["list"],
        *(["list", "-f", form] for form in ("json", "csv", "value", "yaml", "nova-manage")),
        ["show", "1"],
        ["disable", "1"],
        ["delete", "1", "--yes"],
    ):
        result = desk.type("service", *words)
        assert result.exit_code == 0
        assert "owned" in result.stdout
        assert all(line.isprintable() for line in result.stdout.splitlines()), words
