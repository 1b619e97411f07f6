"""Three control planes behind one address: they share the work, and one may be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.haproxy import SAMPLE, HAProxy
from servers.plugin import require
from servers.postgresql import PostgreSQL
from servers.process import PATIENCE
from servicegroup.model import Limits
from support.control_plane import ControlPlane, intervals
from support.crowd import BINARY, crowd
from support.scrape import Scrape
from support.waiting import until

pytestmark = pytest.mark.long

LIMITS = Limits(report_interval=1, service_down_time=8)
COUNT = 12
"""Members that know one address, and as many that know all."""


@pytest.fixture
def planes(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[list[ControlPlane]]:
    """Give three control planes of one register."""
    require(HAProxy)
    url = postgresql.database()
    planes = [ControlPlane(url, tmp_path, "", **intervals(LIMITS)) for _ in range(3)]
    planes[0].start(wait=False)
    for plane in planes[1:]:
        plane.start_only()
    for plane in planes:
        until(plane.is_ready, PATIENCE, what="a control plane")
    yield planes
    for plane in planes:
        plane.stop()


@pytest.fixture
def proxy(planes: list[ControlPlane]) -> Iterator[HAProxy]:
    """Give one address before them."""
    with HAProxy([plane.port for plane in planes]) as proxy:
        yield proxy


def test_haproxy_takes_the_sample_without_a_word() -> None:
    require(HAProxy)
    assert HAProxy.check(SAMPLE).strip() == "Configuration file is valid"


def test_who_is_killed_takes_nobody_with_it(planes: list[ControlPlane], proxy: HAProxy) -> None:
    """Members behind one address and members that know all three go on at once (LC-7, LC-9)."""
    killed, *others = planes
    every = ",".join(plane.url for plane in planes)
    with crowd(proxy.url, COUNT, "one"), crowd(every, COUNT, "all"):
        until(lambda: len(members(others[0])) == 2 * COUNT, PATIENCE, what="everybody")
        shares = [taken(plane) for plane in planes]
        until(
            lambda: all(
                taken(plane) - share >= COUNT for plane, share in zip(planes, shares, strict=True)
            ),
            PATIENCE,
            what="a share of the reports for each",
        )
        killed.kill()
        before = members(others[0])
        until(
            lambda: all(stamp > before[host] for host, stamp in members(others[0]).items()),
            PATIENCE,
            what="a report of everybody after the kill",
        )
        events = others[1].request("GET", "/v1/events?kind=service-down")[2]["events"]
    assert BINARY not in {event["binary"] for event in events}


def members(plane: ControlPlane) -> dict[str, str]:
    """Return the last report of each member."""
    found = plane.services(f"?binary={BINARY}")
    return {host: one["last_seen_up"] for (host, _), one in found.items() if one["last_seen_up"]}


def taken(plane: ControlPlane) -> float:
    """Return how many reports a control plane has committed."""
    return Scrape.of(plane).total("intake_reports_total")
