"""Questions in sessions: who is asked, who is deaf, and what the register says of it (F-40)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.session import Talker
from support.waiting import until

RPC = "\n[rpc]\ninterval = 2\ntimeout = 1\n"
PATIENCE = 20.0


def started(directory: Path, rpc: str = RPC) -> ControlPlane:
    """Start a control plane for which a connection that says nothing lives for long."""
    url = f"sqlite:///{directory / 'register.sqlite'}"
    plane = ControlPlane(url, directory, rpc, membership_ttl=300)
    plane.start()
    return plane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane that all tests share that do not end it; each has hosts of its own."""
    plane = started(tmp_path_factory.mktemp("questions"))
    yield plane
    plane.stop()


@pytest.fixture
def host() -> str:
    """Give a host's name that nothing else has."""
    return f"node-{uuid4()}"


class Life:
    """One life of a service, as the register has it."""

    def __init__(self, plane: ControlPlane, host: str) -> None:
        self.plane = plane
        self.host = host
        wanted = {"host": host, "binary": "worker"}
        _, _, joined = plane.request("POST", "/v1/services", wanted)
        self.uuid: str = joined["uuid"]
        self.incarnation: int = joined["incarnation"]
        self.named = {"uuid": self.uuid, "incarnation": self.incarnation}

    def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = self.plane.services(f"?host={self.host}")[self.host, "worker"]
        verdict: dict[str, Any] = found["verdict"]
        return verdict

    def rpc(self) -> dict[str, Any] | None:
        rpc: dict[str, Any] | None = self.verdict()["evidence"]["rpc"]
        return rpc

    def is_judged(self, state: str, reason: str) -> bool:
        verdict = self.verdict()
        return (verdict["state"], verdict["reason"]) == (state, reason)

    def events(self) -> list[str]:
        _, _, page = self.plane.request("GET", f"/v1/events?uuid={self.uuid}&limit=1000")
        return [event["kind"].removeprefix("service-") for event in page["events"]]

    def answer(self, talker: Talker) -> None:
        """Wait for a question, and answer it."""
        assert self.named in talker.asked()
        assert talker.say({"answers": [self.named]}) == {"answered": {}}


def test_who_says_that_it_answers_is_asked_and_shown_to_answer(
    plane: ControlPlane, host: str
) -> None:
    life = Life(plane, host)
    with Talker(plane.url) as talker:
        talker.hold(life.uuid, answers=True)
        assert life.rpc() is None
        assert talker.asked() == [life.named]
        assert talker.say({"answers": [life.named]}) == {"answered": {}}
        rpc = until(life.rpc, PATIENCE)
        assert (rpc["state"], rpc["deaf_for"], rpc["decides"]) == ("answers", None, False)
        assert life.is_judged("up", "present")
        assert not {"deaf", "answers"} & {*life.events()}
        _, _, shown = plane.request("GET", f"/v1/services/{life.uuid}")
        facts = {fact["name"]: fact["value"] for fact in shown["explanation"]["facts"]}
        assert facts["questions"] == "answers: it is asked every 2 s in its session"


def test_who_says_nothing_of_answers_is_never_asked(plane: ControlPlane, host: str) -> None:
    """As every agent of an older release."""
    silent, other = Life(plane, host), Life(plane, f"{host}-2")
    with Talker(plane.url) as talker:
        talker.hold(silent.uuid)
        talker.hold(other.uuid, answers=True)
        for _ in range(3):
            assert talker.asked() == [other.named]
        assert silent.rpc() is None
        assert silent.is_judged("up", "present")


def test_who_leaves_a_question_unanswered_is_deaf_until_it_answers(
    plane: ControlPlane, host: str
) -> None:
    life = Life(plane, host)
    with Talker(plane.url) as talker:
        talker.hold(life.uuid, answers=True)
        until(lambda: life.is_judged("up", "deaf"), PATIENCE)
        assert Scrape.of(plane).total("services", reason="deaf", group="worker") >= 1
        _, _, listed = plane.request("GET", "/v1/services?state=down")
        assert life.uuid not in {service["uuid"] for service in listed["services"]}
        life.answer(talker)
        until(lambda: life.is_judged("up", "present"), PATIENCE)
        assert life.events()[-2:] == ["deaf", "answers"]


def test_deafness_outlasts_the_session_and_ends_with_the_life(
    plane: ControlPlane, host: str
) -> None:
    life = Life(plane, host)
    first = Talker(plane.url)
    first.hold(life.uuid, answers=True)
    until(lambda: life.is_judged("up", "deaf"), PATIENCE)
    with Talker(plane.url) as second:
        second.hold(life.uuid, number=2, answers=True)
        first.break_off()
        assert life.is_judged("up", "deaf")
        life.answer(second)
        until(lambda: life.is_judged("up", "present"), PATIENCE)
        until(lambda: life.is_judged("up", "deaf"), PATIENCE)
    next_life = Life(plane, host)
    with Talker(plane.url) as third:
        third.hold(next_life.uuid, next_life.incarnation, answers=True)
        assert next_life.rpc() is None


def test_an_answer_from_another_connection_says_nothing(plane: ControlPlane, host: str) -> None:
    life = Life(plane, host)
    with Talker(plane.url) as talker, Talker(plane.url) as stranger:
        talker.hold(life.uuid, answers=True)
        talker.asked()
        assert stranger.say({"answers": [life.named]}) == {"answered": {}}
        until(lambda: life.is_judged("up", "deaf"), PATIENCE)


@pytest.mark.parametrize("answers", [7, [7], [{"uuid": "x"}], [{}] * 5001])
def test_what_is_no_answer_is_told_so(answers: object, plane: ControlPlane) -> None:
    with Talker(plane.url) as talker:
        assert talker.say({"answers": answers})["error"]["code"] == 400
        assert talker.say({"release": []}) == {"released": {}}


def test_where_that_is_wanted_who_is_deaf_is_down(tmp_path: Path, host: str) -> None:
    plane = started(tmp_path, f"{RPC}deaf = down\n")
    try:
        life, fine = Life(plane, host), Life(plane, f"{host}-2")
        with Talker(plane.url) as talker, Talker(plane.url) as other:
            talker.hold(life.uuid, answers=True)
            other.hold(fine.uuid)
            until(lambda: life.is_judged("down", "deaf"), PATIENCE)
            until(lambda: life.events()[-2:] == ["deaf", "down"], PATIENCE)
            _, _, nova = plane.request("GET", f"/v2.1/os-services?host={host}")
            assert [one["state"] for one in nova["services"]] == ["down"]
            _, _, groups = plane.request("GET", "/v1/groups")
            (worker,) = [one for one in groups["groups"] if one["group"] == "worker"]
            assert (worker["up"], worker["down"]) == (1, 1)
            command = plane.command("doctor")
            said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            assert f"they answer no questions: worker on {host}." in said.stdout
            life.answer(talker)
            until(lambda: life.is_judged("up", "present"), PATIENCE)
            until(lambda: life.events()[-2:] == ["answers", "up"], PATIENCE)
    finally:
        plane.stop()


def test_a_control_plane_that_stood_still_accuses_nobody(tmp_path: Path, host: str) -> None:
    """The answer lay in the socket, for longer than there was to answer."""
    plane = started(tmp_path)
    try:
        life = Life(plane, host)
        with Talker(plane.url) as talker:
            talker.hold(life.uuid, answers=True)
            talker.asked()
            plane.freeze()
            talker.send({"answers": [life.named]})
            with pytest.raises(TimeoutError):
                talker.hear(4)
            plane.thaw()
            assert talker.hear() == {"answered": {}}
            until(life.rpc, PATIENCE)
            life.answer(talker)
            assert "deaf" not in life.events()
    finally:
        plane.stop()
