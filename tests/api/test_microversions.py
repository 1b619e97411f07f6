"""Which microversion a request gets, and what the answer says of it."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.api.compute.microversions import (
    CHANGES,
    MAX,
    MIN,
    UnsupportedVersion,
    Version,
    negotiate,
    text_of,
)
from servicegroup.api.compute.os_services import ACTIONS, VIEWS
from servicegroup.api.compute.routes import ROUTES
from servicegroup.errors import InvalidInput

from .nova import Nova

NEW, OLD = "openstack-api-version", "x-openstack-nova-api-version"


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({}, "2.1"),
        ({NEW: "compute 2.53"}, "2.53"),
        ({NEW: "Compute 2.53"}, "2.53"),
        ({NEW: "compute\t 2.53 "}, "2.53"),
        ({NEW: "volume 3.0,compute 2.53"}, "2.53"),
        ({NEW: "compute 2.53, volume 3.0"}, "2.53"),
        ({NEW: "compute 2.11,compute 2.53"}, "2.53"),
        ({NEW: "volume 3.0"}, "2.1"),
        ({NEW: "2.53"}, "2.1"),
        ({NEW: "compute "}, "2.1"),
        ({NEW: ""}, "2.1"),
        ({OLD: "2.11"}, "2.11"),
        ({OLD: " 2.11 "}, "2.11"),
        ({OLD: "2.11,2.53"}, "2.53"),
        ({NEW: "compute 2.53", OLD: "2.11"}, "2.53"),
        ({NEW: "volume 3.0", OLD: "2.11"}, "2.11"),
        ({NEW: "compute", OLD: "2.11"}, "2.11"),
        ({NEW: "compute latest"}, "2.104"),
        ({OLD: "latest"}, "2.104"),
        ({NEW: "compute 2.1"}, "2.1"),
        ({NEW: "compute 2.104"}, "2.104"),
    ],
)
def test_accepted(nova: Nova, headers: dict[str, str], version: str) -> None:
    for path in ("/os-services", "/"):
        reply = nova.get(path, **headers)
        assert reply.status == 200
        assert reply.header("OpenStack-API-Version") == [f"compute {version}"]
        assert reply.header("X-OpenStack-Nova-API-Version") == [version]
        assert reply.header("Vary") == ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"]


@pytest.mark.parametrize(
    "asked",
    ["2", "2.", ".1", "2.01", "02.1", "abc", "Latest", "2.1.1", "2.-1", "2.53 x", "\uff12.1"],
)
def test_malformed(nova: Nova, asked: str) -> None:
    for headers in ({NEW: f"compute {asked}"}, {OLD: asked}):
        reply = nova.get("/os-services", **headers)
        form = "is of invalid format. Must be of format MajorNum.MinorNum."
        assert reply.fault == (400, "badRequest", f"API Version String {asked} {form}")
        assert reply.headers == []


@pytest.mark.parametrize("asked", ["2.0", "2.105", "2.999", "1.0", "3.1", "2." + "9" * 5000])
def test_out_of_range(nova: Nova, asked: str) -> None:
    for headers in ({NEW: f"compute {asked}"}, {OLD: asked}):
        reply = nova.get("/os-services", **headers)
        assert reply.fault == (
            406,
            "computeFault",
            f"Version {asked} is not supported by the API. Minimum is 2.1 and maximum is 2.104.",
        )
        assert reply.header("OpenStack-API-Version") == [f"compute {asked}"]
        assert reply.header("X-OpenStack-Nova-API-Version") == [asked]
        assert reply.header("Vary") == ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"]


def test_an_empty_old_header_is_malformed(nova: Nova) -> None:
    assert nova.get("/os-services", **{OLD: ""}).status == 400


def test_faults_carry_the_version_and_unrouted_paths_do_not(nova: Nova) -> None:
    refused = nova.put("/os-services/enable", {}, version="2.11")
    assert refused.status == 400
    assert refused.header("OpenStack-API-Version") == ["compute 2.11"]
    assert nova.get("/nosuch", version="2.11").is_unrouted


@pytest.mark.parametrize("asked", ["compute 2.53", "compute 2.999", "compute abc"])
def test_the_legacy_api_knows_no_microversions(nova: Nova, asked: str) -> None:
    for path in ("/os-services", "/"):
        reply = nova.get(path, root="/v2", **{NEW: asked})
        assert reply.status == 200
        assert reply.headers == []


@given(st.integers(0, 4), st.integers(0, 200))
def test_a_version_is_itself_or_out_of_range(major: int, minor: int) -> None:
    version = (major, minor)
    if major == 0:
        with pytest.raises(InvalidInput):
            negotiate({NEW: f"compute {text_of(version)}"})
    elif MIN <= version <= MAX:
        assert negotiate({NEW: f"compute {text_of(version)}"}) == version
    else:
        with pytest.raises(UnsupportedVersion) as error:
            negotiate({OLD: text_of(version)})
        assert error.value.version == text_of(version)


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
def test_any_text_is_a_version_or_refused(new: str, old: str) -> None:
    for headers in ({NEW: new}, {OLD: old}, {NEW: new, OLD: old}, {NEW: f"compute {new}"}):
        try:
            assert MIN <= negotiate(headers) <= MAX
        except InvalidInput:
            continue
        except UnsupportedVersion as error:
            out_of_range = error.version
        else:
            continue
        assert re.fullmatch(r"[1-9][0-9]*\.(0|[1-9][0-9]*)", out_of_range)


def test_every_change_is_listed() -> None:
    assert list(CHANGES) == sorted(CHANGES)
    served = (
        {route.since for route in ROUTES} | set(VIEWS) | {since for since, _ in ACTIONS.values()}
    )
    gone = {(major, minor + 1) for major, minor in {route.until for route in ROUTES} - {MAX}}
    stubs, newest = (2, 69), MAX
    assert served | gone | {stubs, newest} == set(CHANGES)


def test_no_two_routes_answer_the_same() -> None:
    ranges: dict[tuple[str, str], list[tuple[Version, Version]]] = {}
    for route in ROUTES:
        ranges.setdefault((route.method, route.path), []).append((route.since, route.until))
    assert len(ranges) == 7
    for found in ranges.values():
        for (_, until), (since, _) in pairwise(found):
            assert (until[0], until[1] + 1) == since
