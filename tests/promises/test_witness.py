"""All interfaces of two control planes on one register agree, as seen from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from promises.checks import PROMISES
from promises.history import Counted, History, Seen, Settings
from promises.witness import INTERFACES, quiet_moment
from servers.process import PATIENCE
from servicegroup.model import Limits
from support.control_plane import ControlPlane
from support.waiting import until

LIMITS = Limits(report_interval=1, service_down_time=4)

pytestmark = [
    # openstacksdk warns of its own doings.
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.timeout(300),  # it starts a dozen processes, of which each may be slow
]


@pytest.fixture
def planes(control_plane: ControlPlane, tmp_path: Path) -> Iterator[list[ControlPlane]]:
    """Give two control planes of one register, whose services are in all kinds of states."""
    second = ControlPlane(
        control_plane.connection,
        tmp_path,
        servicegroup_driver="db",
        report_interval=1,
        service_down_time=4,
    )
    second.start_only()
    try:
        until(second.is_ready, PATIENCE, what="the second control plane")
        for host in ("silent", "disabled", "forced", "left", "deleted"):
            _, _, joined = control_plane.request(
                "POST", "/v1/services", {"host": host, "binary": "worker"}
            )
            one = f"/v1/services/{joined['uuid']}"
            life = {"uuid": joined["uuid"], "incarnation": 1}
            if host == "disabled":
                second.request("PATCH", one, {"disabled": True, "disabled_reason": "tests"})
            elif host == "forced":
                second.request("PATCH", one, {"forced_down": True})
            elif host == "left":
                second.request("POST", "/v1/leave", {"leaves": [life]})
            elif host == "deleted":
                second.request("DELETE", one)
        yield [control_plane, second]
    finally:
        second.stop()


@pytest.mark.long
def test_all_interfaces_agree_in_a_quiet_moment(planes: list[ControlPlane]) -> None:
    found = until(lambda: quiet_moment("m", planes), 3 * PATIENCE, what="a quiet moment")
    assert [one.interface for one in found] == 2 * [*INTERFACES, "metrics"] + ["v1"]
    for seen in found:
        if isinstance(seen, Seen):
            states = {shown.host: shown.state for shown in seen.services}
            assert states.keys() >= {"silent", "disabled", "forced", "left"}
            assert "deleted" not in states
            assert states["forced"] == states["left"] == "down"
    assert broken(found) == []
    for number, one in enumerate(found):
        lies = [*found[:number], _lie(one), *found[number + 1 :]]
        assert broken(lies) != []


def broken(found: list[Seen | Counted]) -> list[str]:
    """Return how what was seen contradicts itself."""
    history = History([Settings(limits=LIMITS), *found])
    return [*PROMISES["coherence"](history), *PROMISES["explanation"](history)]


def _lie(one: Seen | Counted) -> Seen | Counted:
    """Return the same with one state that is another."""
    if isinstance(one, Counted):
        return replace(one, counts={**one.counts, "worker": {"up": 9}})
    first, *others = one.services
    other = "up" if first.state == "down" else "down"
    return replace(one, services=[replace(first, state=other), *others])
