"""The other door: with --url a running control plane answers, and answers the same."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator

import msgspec
import pytest

from servicegroup.cli import remote
from servicegroup.group import ServiceGroup
from support.control_plane import ControlPlane

from .conftest import Desk, fill


@pytest.fixture
def plane(desk: Desk, group: ServiceGroup) -> Iterator[ControlPlane]:
    """Give a control plane on the desk's register, with the fleet in it."""
    fill(group)
    plane = ControlPlane(desk.connection, desk.directory, service_down_time=60)
    plane.start()
    yield plane
    plane.stop()


AGES = {"last_report", "evidence", "updated_at", "last_seen_up", "report_count", "otherwise"}


def _steady(printed: str) -> object:
    """Return what json says, without what differs from one second to the next."""
    data = json.loads(printed)
    rows = data if isinstance(data, list) else [data]
    return [{key: value for key, value in row.items() if key not in AGES} for row in rows]


def test_both_doors_answer_alike(desk: Desk, plane: ControlPlane) -> None:
    for words in (
        ("list",),
        ("list", "--down"),
        ("list", "--host", "cmp1", "--binary", "nova-compute", "--zone", "nova"),
        ("list", "--host", "ümlaut & more"),
        ("list", "--up", "--limit", "1"),
        ("show", "ctl", "nova-conductor"),
        ("versions",),
        ("versions", "--binary", "nova-compute"),
    ):
        here = desk.type("service", *words, "-f", "json")
        there = desk.type("--url", plane.url, "service", *words, "-f", "json")
        assert (here.exit_code, there.exit_code) == (0, 0), there.stderr
        assert _steady(there.stdout) == _steady(here.stdout), words


def test_the_url_may_come_from_the_environment_and_name_several(
    desk: Desk, plane: ControlPlane
) -> None:
    urls = f"http://127.0.0.1:1, {plane.url}/"
    result = desk.type("service", "list", "--binary", "nova-compute", SERVICEGROUP_URL=urls)
    assert result.exit_code == 0
    assert result.stdout.count("nova-compute") == 2


def test_edits_arrive(desk: Desk, plane: ControlPlane, group: ServiceGroup) -> None:
    def ask(*words: str) -> str:
        result = desk.type("--url", plane.url, "service", *words)
        assert result.exit_code == 0, result.stderr
        return str(result.stdout)

    assert "is disabled" in ask("disable", "cmp1", "nova-compute", "--reason", "why é")
    found = group.find("cmp1", "nova-compute")
    assert (found.disabled, found.disabled_reason) == (True, "why é")
    assert "is enabled" in ask("enable", found.uuid)
    assert "It is down: An operator" in ask("force-down", found.uuid)
    assert group.get(found.uuid).forced_down
    assert "is no longer forced down" in ask("force-down", "--unset", found.uuid)
    assert "is deleted" in ask("delete", "--yes", found.uuid)
    assert desk.type("--url", plane.url, "service", "show", found.uuid).exit_code == 3


def test_the_control_planes_refusals_are_ours(desk: Desk, plane: ControlPlane) -> None:
    for words, code, sentence in (
        (("show", "nowhere", "web"), 3, "Could not find binary web on host nowhere."),
        (("show", "6ff0a4d2-0000-4000-8000-000000000000"), 3, "could not be found"),
        (("show", "1"), 2, "integer ids such as 1; give the uuid"),
        (("disable", "cmp1", "nova-compute", "--reason", "x" * 256), 2, "disabled_reason"),
    ):
        result = desk.type("--url", plane.url, "service", *words)
        assert result.exit_code == code
        assert sentence in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_list_longer_than_a_page_comes_whole(
    desk: Desk, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAGE", 2)
    for words in ((), ("--up",), ("--limit", "3")):
        command = ("service", "list", *words, "-f", "value", "-c", "ID")
        assert desk.type("--url", plane.url, *command).stdout == desk.type(*command).stdout
    monkeypatch.setattr(remote, "PAGE", 1)
    assert desk.type("--url", plane.url, "service", "list").stdout.count("\n") == 5


@pytest.mark.usefixtures("fleet")
def test_a_token_decides_what_one_may(desk: Desk) -> None:
    tokens = {role: f"secret-{role}" for role in ("admin", "reader")}
    lines = [f"token = {r}:{hashlib.sha256(t.encode()).hexdigest()}" for r, t in tokens.items()]
    api = "\n".join(["auth_strategy = token", *lines])
    plane = ControlPlane(desk.connection, desk.directory, api)
    plane.start()
    try:
        for token, words, code in (
            ("", ("list",), 5),
            ("wrong", ("list",), 5),
            (tokens["reader"], ("list",), 0),
            (tokens["reader"], ("force-down", "ctl", "nova-conductor"), 5),
            (tokens["admin"], ("force-down", "ctl", "nova-conductor"), 0),
        ):
            result = desk.type(
                "service", *words, SERVICEGROUP_URL=plane.url, SERVICEGROUP_TOKEN=token
            )
            assert result.exit_code == code, (token, words, result.stderr)
            assert not token or token not in result.stderr
    finally:
        plane.stop()


@contextlib.contextmanager
def _somebody_else(status: int, body: bytes) -> Iterator[str]:
    """Give the URL of a web server that is no control plane."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "code", "sentence"),
    [
        (200, b"<html>\x1b[31m", 4, "an answer that is not a control plane's"),
        (200, b'{"services": [{}], "next": null}', 4, "is not a control plane's of this release"),
        (404, b"Not Found", 4, "answered 404 without a control plane's reason; check --url."),
        (302, b"", 4, "answered 302"),
        (502, b"\xff\x00", 4, "answered 502"),
        (503, b'{"serviceUnavailable": {"code": 503, "message": "Busy \x1b."}}', 4, "answered 503"),
        (503, b'{"serviceUnavailable": {"code": 503, "message": "Busy."}}', 4, "Error: Busy."),
        (
            401,
            b'{"error": {"code": 401, "message": "Unauthorized"}}',
            5,
            "set SERVICEGROUP_TOKEN_FILE or",
        ),
        (409, b'{"conflictingRequest": {"code": 409, "message": "No."}}', 5, "Error: No."),
    ],
)
def test_an_odd_answer_is_one_sentence(
    desk: Desk, status: int, body: bytes, code: int, sentence: str
) -> None:
    with _somebody_else(status, body) as url:
        result = desk.type("--url", url, "service", "list")
    assert result.exit_code == code
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.strip().isprintable()


def test_a_newer_control_plane_s_words_are_shown(desk: Desk, fleet: ServiceGroup) -> None:
    """F-53: a reason, an answer, a departure and a policy that this release does not know."""
    found = fleet.find("cmp1", "nova-compute")
    suspect = {
        "group": "compute", "zone": "nova", "signal": "pings", "since": found.created_at,
        "members": 3, "peak": 3,
    }  # fmt: skip
    answer = msgspec.json.encode({"services": [found], "next": None, "protections": [suspect]})
    for known, newer in (
        (b'"reason":"reporting"', b'"reason":"quarantined"'),
        (b'"on_unknown":"record"', b'"on_unknown":"ask"'),
        (b'"departure":null', b'"departure":"migrated"'),
        (b'"presence":null', b'"presence":{"state":"sulking"}'),
    ):
        assert known in answer
        answer = answer.replace(known, newer)
    with _somebody_else(200, answer) as url:
        for words in (("show", "cmp1", "nova-compute"), ("list", "-f", "json"), ("list", "--why")):
            result = desk.type("--url", url, "service", *words)
            assert result.exit_code == 0, result.stderr
            said = "quarantined" if "--why" not in words else "Its reports are fresh."
            assert said in result.stdout
    assert "pings of group compute, zone nova is suspect" in result.stderr
