"""``servicegroup token``: made, listed, rotated and ended; shown once, and kept as a hash."""

from __future__ import annotations

import getpass
import socket
from typing import Any

import msgspec
import pytest

from servicegroup.events import EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.store.tokens import issued

from .conftest import HOSTILE, Desk

pytestmark = pytest.mark.usefixtures("group")


def listed(desk: Desk) -> list[dict[str, Any]]:
    """Return the tokens as a program reads them."""
    result = desk.type("token", "list", "-f", "json")
    assert result.exit_code == 0, result.stderr
    return msgspec.json.decode(result.stdout, type=list[dict[str, Any]])


def test_a_token_is_shown_when_it_is_made_and_never_again(desk: Desk) -> None:
    result = desk.type("token", "create", "node1", "--role", "reporter", "--host", "node1")
    assert result.exit_code == 0
    prefix, public_id, secret = result.stdout.removesuffix("\n").split("_")
    assert prefix == "sg"
    [row] = listed(desk)
    assert row.pop("created_at")
    assert row == {
        "name": "node1", "role": "reporter", "host": "node1", "expires_at": None, "id": public_id
    }  # fmt: skip
    for form in ("table", "csv", "value", "yaml", "json"):
        assert secret not in desk.type("token", "list", "-f", form).stdout


def test_a_program_gets_json(desk: Desk) -> None:
    made = desk.type("token", "create", "ci", "--role", "reader", "--expires", "30", "-f", "json")
    first = msgspec.json.decode(made.stdout)
    assert first["name"] == "ci"
    rotated = desk.type("token", "rotate", "ci", "--grace", "60", "-f", "json")
    second = msgspec.json.decode(rotated.stdout)
    assert second["name"] == "ci"
    assert second["token"] != first["token"]
    assert [row["name"] for row in listed(desk)] == ["ci", "ci"], "both are valid for a minute"
    assert desk.type("token", "rotate", "ci").exit_code == 0
    assert [row["name"] for row in listed(desk)] == ["ci"]


def test_a_token_is_revoked_with_all_its_secrets(desk: Desk, group: ServiceGroup) -> None:
    desk.type("token", "create", "a", "--role", "reader")
    desk.type("token", "rotate", "a", "--grace", "3600")
    assert len(issued(group._store.engine)) == 2
    assert desk.type("token", "revoke", "a").stdout == "Token a is revoked.\n"
    assert issued(group._store.engine) == []


def test_who_made_and_ended_it_is_in_the_events(desk: Desk, group: ServiceGroup) -> None:
    after = group.event_log().last
    desk.type("token", "create", "a", "--role", "reporter", "--host", "node1")
    desk.type("token", "rotate", "a", "--grace", "60")
    desk.type("token", "revoke", "a")
    desk.type("token", "revoke", "a")
    found = group.events(EventFilter(after=after), 9).events
    assert [(event.kind, event.detail) for event in found] == [
        (EventKind.TOKEN_CREATE, "a: reporter for node1"),
        (EventKind.TOKEN_ROTATE, "a: the old secret is valid for 60 s"),
        (EventKind.TOKEN_REVOKE, "a"),
    ]
    assert {event.actor for event in found} == {f"{getpass.getuser()}@{socket.gethostname()}"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("create a --role reader", 5, "There is a token a already"),
        ("create b --role writer", 2, "writer"),
        ("create b --role admin --host h", 2, "goes with --role reporter"),
        ("create b --role reader --expires 0", 2, "0"),
        ("create b", 2, "--role"),
        ("revoke b", 3, "There is no token b"),
        ("rotate b", 3, "There is no token b"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(
    desk: Desk, words: str, code: int, said: str
) -> None:
    desk.type("token", "create", "a", "--role", "reader")
    before = listed(desk)
    result = desk.type("token", *words.split())
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert listed(desk) == before


def test_a_hostile_name_is_refused(desk: Desk) -> None:
    result = desk.type("token", "create", HOSTILE, "--role", "reader")
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr
    assert listed(desk) == []
