"""The dashboard's files: what goes out with them, and what must never be in them."""

from __future__ import annotations

import re

import msgspec
import pytest

from servicegroup.api.ui import MEDIA_TYPES, POLICY, table
from servicegroup.events import EventKind, Signal
from servicegroup.model import Reason
from support.control_plane import ControlPlane

FILES = {name: file.body.decode() for name, file in table().items()}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}


def test_every_file_goes_out_with_its_type_and_the_policy(register: ControlPlane) -> None:
    for name, file in table().items():
        status, headers, body = register.request("GET", f"/ui/{name}")
        assert (status, body) == (200, file.body)
        assert headers["Content-Type"] == MEDIA_TYPES[name.rpartition(".")[2]]
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    _, headers, body = register.request("GET", "/ui/")
    assert body == table()["index.html"].body


def test_a_browser_that_has_a_file_is_told_so(register: ControlPlane) -> None:
    _, headers, _ = register.request("GET", "/ui/app.js")
    for known in (headers["ETag"], f'"old", W/{headers["ETag"]}', "*"):
        status, again, body = register.request("GET", "/ui/app.js", If_None_Match=known)
        assert (status, body) == (304, b"")
        assert again["ETag"] == headers["ETag"]
        assert again["Content-Security-Policy"] == POLICY
    assert register.request("GET", "/ui/app.js", If_None_Match='"old"')[0] == 200


def test_the_bare_path_leads_to_the_page_below_any_prefix(register: ControlPlane) -> None:
    answer = register.http.request("GET", f"{register.url}/ui", redirect=False)
    assert (answer.status, answer.headers["Location"]) == (308, "ui/")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fapi%2fui.py", "%2e%2e"])
def test_nothing_else_is_served(register: ControlPlane, name: str) -> None:
    status, _, body = register.request("GET", f"/ui/{name}")
    assert status in (300, 404), "what leaves the directory is Nova's, who offers its versions"
    assert b"import" not in msgspec.json.encode(body)


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = FILES["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", page)
    for name, text in FILES.items():
        foreign = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)) - {"http://www.w3.org"}
        assert not foreign, f"{name} names {foreign}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_can_become_markup_or_code(name: str) -> None:
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assert not re.search(unsafe, SCRIPTS[name])


def test_every_file_is_asked_for() -> None:
    everything = "\n".join(FILES.values())
    for name in FILES.keys() - {"index.html"}:
        assert re.search(rf'["/]{re.escape(name)}"', everything), f"{name} is used nowhere"
    for name in re.findall(r'from "\./([^"]+)"', everything):
        assert name in FILES


@pytest.mark.parametrize("kind", EventKind)
def test_the_page_has_words_for_every_event(kind: EventKind) -> None:
    assert re.search(rf'^  "?{kind.value}"?: "', FILES["words.js"], re.MULTILINE)


@pytest.mark.parametrize("signal", Signal)
def test_the_page_says_what_to_do_when_a_signal_is_suspect(signal: Signal) -> None:
    assert re.search(rf"^  {signal.value}: {{", FILES["words.js"], re.MULTILINE)


def test_the_page_knows_the_reasons_it_tells_apart() -> None:
    told_apart = re.findall(
        r'(?:reason === |new Set\(\[)("[a-z_", ]+")', "\n".join(SCRIPTS.values())
    )
    named = {name for some in told_apart for name in re.findall(r"[a-z_]+", some)}
    assert {"held", "unconfirmed", "silent", "forced_down"} <= named
    assert named - {reason.value for reason in Reason} <= {"up", "down"}
