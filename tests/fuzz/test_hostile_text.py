"""Text that means something to SQL, a terminal, a log or a browser is refused, or it is just text.

What is refused is named in one sentence; what is taken is given back unchanged by every interface.
Programs get it as it is, in csv too, where a spreadsheet may take a leading = for a formula; people
get what is not printable written out.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from servers.process import PATIENCE
from servicegroup.driver import load
from servicegroup.errors import InvalidInput
from servicegroup.events import EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave
from servicegroup.model import Departure, Limits, ServiceFilter
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from support.control_plane import ControlPlane
from support.waiting import until

from .conftest import TOKEN
from .shapes import HOSTILE

pytestmark = pytest.mark.long

FIELDS = ("host", "binary", "group", "zone")
TAKEN = {text for text in HOSTILE if text.isprintable() and len(text) <= 255}
REFUSED = [text for text in HOSTILE if text not in TAKEN]
LAST_WORDS = [text for text in REFUSED if "\0" not in text and len(text) <= 255]
ADMIN = {"X_Auth_Token": TOKEN}


def test_a_name_is_kept_to_the_letter(group: ServiceGroup) -> None:
    for text in TAKEN:
        life = group.join(text, text, group=text, zone=text)
        group.update(life.uuid, by=text, disabled=True, disabled_reason=text)
        [event] = group.events(EventFilter(uuid=life.uuid, kind=EventKind.DISABLE), 10).events
        assert (event.host, event.binary, event.group, event.actor) == (text,) * 4
    for text in TAKEN:  # now that all of them are there, none may be found for another
        for field in FIELDS:
            [found] = group.services(msgspec.convert({field: text}, ServiceFilter))
            assert {found.host, found.binary, found.topic, found.zone} == {text}
            assert found.disabled_reason == text


@pytest.mark.parametrize("field", FIELDS)
def test_a_name_that_cannot_be_printed_is_refused_by_its_field(field: str, tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'r.sqlite'}")  # which nobody gets to
    join: Any = ServiceGroup(Store(engine), load("db"), Limits()).join
    for text in REFUSED:
        with pytest.raises(InvalidInput, match=field) as refusal:
            join(**{"host": "h", "binary": "b", field: text})
        assert str(refusal.value).isprintable()


def test_a_last_word_is_kept_to_the_letter(group: ServiceGroup) -> None:
    for number, text in enumerate(LAST_WORDS):
        life = group.join(f"h{number}", "b", group=f"g{number}")
        group.depart([Leave(life.uuid, life.incarnation, Departure.EXITED, text)])
        assert group.get(life.uuid).detail == text
        [event] = group.events(EventFilter(uuid=life.uuid, kind=EventKind.EXIT), 10).events
        assert event.detail == text


@pytest.fixture(scope="module")
def hostile(plane: ControlPlane) -> ControlPlane:
    """Give a control plane with every hostile name there can be, and every last word.

    Those come first, since the log tells of a look's first events only.
    """
    for number, text in enumerate(LAST_WORDS):
        new = {"host": f"h{number}", "binary": "b", "group": f"g{number}"}
        life = plane.request("POST", "/v1/services", new, **ADMIN)[2]
        leave = {"uuid": life["uuid"], "incarnation": 1, "how": "exited", "detail": text}
        assert plane.request("POST", "/v1/leave", {"leaves": [leave]}, **ADMIN)[0] == 200
    for text in HOSTILE:
        new = dict.fromkeys(FIELDS, text)
        status, _, life = plane.request("POST", "/v1/services", new, **ADMIN)
        assert status == (200 if text in TAKEN else 400)
        if status == 200:
            edit = {"disabled": True, "disabled_reason": text}
            assert plane.request("PATCH", f"/v1/services/{life['uuid']}", edit, **ADMIN)[0] == 200
    return plane


def services(plane: ControlPlane) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plane.request("GET", "/v1/services", **ADMIN)[2]["services"]
    return found


def printed(plane: ControlPlane, *words: str) -> str:
    """Return what a command prints to a program."""
    return subprocess.run(
        plane.command(*words), check=True, capture_output=True, timeout=PATIENCE
    ).stdout.decode()


def test_programs_get_names_as_they_are(hostile: ControlPlane) -> None:
    names = [(s["host"], s["binary"], s["topic"], s["zone"]) for s in services(hostile)]
    assert {text for text in HOSTILE if (text,) * 4 in names} == TAKEN
    nova = hostile.request("GET", "/v2.1/os-services", **ADMIN)[2]["services"]
    assert {s["host"] for s in nova} >= TAKEN
    assert {s["disabled_reason"] for s in nova} >= TAKEN
    listed = printed(hostile, "service", "list", "-f", "csv", "-c", "host", "-c", "binary")
    assert {row[0] for row in csv.reader(io.StringIO(listed))} >= TAKEN
    listed = printed(hostile, "service", "list", "-f", "json")
    assert {row["host"] for row in msgspec.json.decode(listed)} >= TAKEN


def test_people_get_lines_that_steer_no_terminal(hostile: ControlPlane) -> None:
    for words in (
        ("service", "list", "--why"),
        ("events",),
        ("service", "list", "-f", "nova-manage"),
    ):
        for line in printed(hostile, *words).split("\n"):
            assert line.isprintable(), words


def test_labels_of_metrics_are_read_back(hostile: ControlPlane) -> None:
    text = hostile.request("GET", "/metrics", **ADMIN)[2].decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    groups = {s.labels["group"] for s in samples if s.name == "servicegroup_services"}
    assert groups >= TAKEN


LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ [A-Z]+ [\w.]+: .*|servicegroup listens on .*")


def test_nobody_writes_a_line_of_the_log(hostile: ControlPlane) -> None:
    last = f'host="h{len(LAST_WORDS) - 1}"'
    until(lambda: last in hostile.log(), PATIENCE, what="the last one's transition in the log")
    for line in hostile.log().rstrip("\n").split("\n"):
        assert line.isprintable()
        assert LINE.fullmatch(line)
