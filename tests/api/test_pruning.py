"""``POST /v1/prune`` and ``servicegroup service prune`` over it, and rules of a file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.control_plane import ControlPlane
from support.waiting import until

PATH = "/v1/prune"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane with three services that left and one that lives, of two groups."""
    yield from peopled(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give the same to all that must not change it."""
    yield from peopled(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def ending(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give the same with a rule for one group, by which a second is enough."""
    yield from peopled(tmp_path, "[records]\nend = pods:left:0.00001\n")


def peopled(directory: Path, sections: str = "") -> Iterator[ControlPlane]:
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory)
    plane.configure(sections)
    plane.start()
    for host, group in (("p1", "pods"), ("p2", "pods"), ("q1", "others"), ("lives", "pods")):
        new = {"host": host, "binary": "pod", "group": group}
        life = plane.request("POST", "/v1/services", new)[2]
        one = {"uuid": life["uuid"], "incarnation": life["incarnation"]}
        plane.request("POST", "/v1/reports", {"reports": [one]})
        if host != "lives":
            plane.request("POST", "/v1/leave", {"leaves": [one]})
    yield plane
    plane.stop()


def hosts(plane: ControlPlane) -> set[str]:
    return {host for host, binary in plane.services() if binary == "pod"}


def command(plane: ControlPlane, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*plane.command("--url", plane.url), "service", "prune", *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip


def test_a_dry_run_says_which_and_then_they_are_deleted(plane: ControlPlane) -> None:
    asked: dict[str, Any] = {"reasons": ["left"], "group": "pods"}
    status, _, would = plane.request("POST", PATH, asked | {"dry_run": True})
    assert status == 200
    assert would["dry_run"] is True
    assert [one["host"] for one in would["services"]] == ["p1", "p2"]
    assert {"uuid", "host", "binary", "group", "zone", "reason", "unseen"} == set(
        would["services"][0]
    )
    assert hosts(plane) == {"p1", "p2", "q1", "lives"}
    done = plane.request("POST", PATH, asked)[2]
    assert [one["uuid"] for one in done["services"]] == [one["uuid"] for one in would["services"]]
    assert hosts(plane) == {"q1", "lives"}
    told = plane.request("GET", "/v1/events?kind=service-delete")[2]["events"]
    assert {one["host"] for one in told} == {"p1", "p2"}
    assert {one["actor"] for one in told} == {"anonymous"}
    assert all(one["detail"].startswith("pruned: left, no report for ") for one in told)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "reasons"),
        ({"reasons": []}, "reasons"),
        ({"reasons": ["reporting"]}, "reporting"),
        ({"reasons": ["absent"]}, "absent"),
        ({"reasons": ["left", "dead"]}, "dead"),
        ({"reasons": "left"}, "array"),
        ({"reasons": ["left"], "group": ""}, "group"),
        ({"reasons": ["left"], "host": "a\0b"}, "host"),
        ({"reasons": ["left"], "zone": 7}, "zone"),
        ({"reasons": ["left"], "gruop": "pods"}, "gruop"),
        ({"reasons": ["left"], "unseen": -1}, "unseen"),
        ({"reasons": ["left"], "unseen": 1e300}, "unseen"),
        ({"reasons": ["left"], "unseen": "7d"}, "unseen"),
        ({"reasons": ["left"], "dry_run": "yes"}, "dry_run"),
        (b"", "Malformed"),
        (b'{"reasons": ["left"], "unseen": NaN}', "Malformed"),
    ],
)
def test_a_wrong_filter_ends_nothing(kept: ControlPlane, body: Any, part: str) -> None:
    status, _, answer = kept.request("POST", PATH, body)
    assert status == 400
    assert part in answer["badRequest"]["message"]
    assert hosts(kept) == {"p1", "p2", "q1", "lives"}


def test_the_command_asks_before_and_speaks_json(plane: ControlPlane) -> None:
    asked = ("--reason", "left", "--group", "pods")
    done = command(plane, *asked)
    assert done.returncode == 2
    assert "add --yes, or --dry-run" in done.stderr
    would = json.loads(command(plane, *asked, "--dry-run", "-f", "json").stdout)
    assert [one["host"] for one in would] == ["p1", "p2"]
    assert json.loads(command(plane, *asked, "--unseen", "1h", "--yes", "-f", "json").stdout) == []
    assert hosts(plane) == {"p1", "p2", "q1", "lives"}
    done = command(plane, *asked, "--yes", "-f", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [one | {"unseen": now["unseen"]} for one, now in zip(
        would, json.loads(done.stdout), strict=True)]  # fmt: skip
    assert hosts(plane) == {"q1", "lives"}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--reason", ""],
        ["--reason", "up"],
        ["--reason", "left", "--unseen", "soon"],
        ["--reason", "left", "--unseen", "999999999d"],
        ["--reason", "left", "--group", ""],
        ["--reason", "left", "p1"],
    ],
)
def test_a_wrong_option_ends_nothing(kept: ControlPlane, words: list[str]) -> None:
    done = command(kept, *words, "--yes")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert hosts(kept) == {"p1", "p2", "q1", "lives"}


@pytest.mark.long
def test_records_end_by_themselves_where_the_file_says_so(ending: ControlPlane) -> None:
    until(lambda: hosts(ending) == {"q1", "lives"}, 110, what="the pods that left are gone")
    told = ending.request("GET", "/v1/events?kind=service-delete")[2]["events"]
    assert {one["actor"] for one in told} == {"servicegroup, by [records] end = pods:left:1e-05"}
