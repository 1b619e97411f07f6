"""A witness: asks every interface of running control planes, and says what each tells."""

from __future__ import annotations

import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import msgspec
import openstack
import urllib3
from keystoneauth1.exceptions import ClientException
from openstack import exceptions

from promises.following import Told
from promises.history import LOG, Counted, Seen, Shown
from servers.process import PATIENCE
from servicegroup.bodies import Services
from servicegroup.events import Page
from servicegroup.liveness import LOOK_INTERVAL
from servicegroup.model import Reason
from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.waiting import until

AWAY = (
    AssertionError,
    urllib3.exceptions.HTTPError,
    subprocess.SubprocessError,
    exceptions.SDKException,
    ClientException,
)
"""What asking raises where a control plane is away; then nothing was told."""

_MICROVERSION = {"OpenStack_API_Version": "compute 2.96"}


def v1(plane: ControlPlane) -> list[Shown]:
    """Return what ``/v1/services`` tells."""
    status, _, body = plane.request("GET", "/v1/services")
    assert status == 200, body
    return [Shown.of(service) for service in msgspec.convert(body, Services).services]


def os_services(plane: ControlPlane) -> list[Shown]:
    """Return what Nova's API tells, in its words."""
    status, _, body = plane.request("GET", "/v2.1/os-services", **_MICROVERSION)
    assert status == 200, body
    return [
        Shown(
            host=one["host"],
            binary=one["binary"],
            state=one["state"],
            uuid=one["id"],
            zone=one["zone"],
            status=one["status"],
            forced_down=one["forced_down"],
        )
        for one in body["services"]
    ]


def sdk(plane: ControlPlane) -> list[Shown]:
    """Return what openstacksdk makes of it."""
    connection = openstack.connection.Connection(
        auth_type="none",
        auth={"endpoint": f"{plane.url}/v2.1"},
        compute_default_microversion="2.96",
    )
    try:
        return [
            Shown(
                host=one.host,
                binary=one.binary,
                state=one.state,
                uuid=one.id,
                status=one.status,
                forced_down=one.is_forced_down,
            )
            for one in connection.compute.services()
        ]
    finally:
        connection.close()
        connection.session.session.close()


def command(plane: ControlPlane) -> list[Shown]:
    """Return what ``servicegroup service list`` tells, with the register opened in process."""
    return _listed(plane)


def command_over_http(plane: ControlPlane) -> list[Shown]:
    """Return what ``servicegroup --url … service list`` tells."""
    return _listed(plane, "--url", plane.url)


def _listed(plane: ControlPlane, *how: str) -> list[Shown]:
    words = plane.command(*how, "service", "list", "-f", "json")
    done = subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE)
    return [
        Shown(
            host=row["host"],
            binary=row["binary"],
            state=row["state"],
            uuid=row["id"],
            group=row["group"],
            zone=row["zone"],
            status=row["status"],
            forced_down=row["forced_down"],
            incarnation=row["incarnation"],
            reason=msgspec.convert(row["reason"], Reason),
            reports=row["report_count"],
        )
        for row in msgspec.json.decode(done.stdout)
    ]


def events(plane: ControlPlane) -> list[Shown]:
    """Return what all events so far amount to."""
    told, place, last = Told(), 0, -1
    while place != last:
        status, _, body = plane.request("GET", f"/v1/events?after={place}&limit=1000")
        assert status == 200, body
        page = msgspec.convert(body, Page)
        told.follow(page.events)
        place, last = page.next, page.last
    return told.services()


INTERFACES: dict[str, Callable[[ControlPlane], list[Shown]]] = {
    "v1": v1,
    "os-services": os_services,
    "sdk": sdk,
    "cli": command,
    "cli --url": command_over_http,
    LOG: events,
}


def quiet_moment(name: str, planes: Sequence[ControlPlane]) -> list[Seen | Counted] | None:
    """Ask every interface of every control plane; None unless all answered in a quiet moment.

    Quiet it is when nothing has happened from before the first question until somebody looked at
    all services after the last one. What is returned has to agree.
    """
    try:
        revision = _revision(planes)
        found: list[Seen | Counted] = []
        for plane in planes:
            found += [_ask(plane, asked, name) for asked in INTERFACES]
            found.append(_count(plane, name))
        found.append(_ask(planes[0], "v1", name))
        ended = time.monotonic()
        until(lambda: _looked_since(planes[0], ended), PATIENCE, what="a look at all services")
        return found if revision is not None and _revision(planes) == revision else None
    except AWAY:
        return None


def _ask(plane: ControlPlane, interface: str, moment: str) -> Seen:
    asked = time.monotonic()
    services = INTERFACES[interface](plane)
    return Seen(
        interface=interface,
        plane=plane.url,
        asked=asked,
        answered=time.monotonic(),
        services=services,
        moment=moment,
    )


def _count(plane: ControlPlane, moment: str) -> Counted:
    asked = time.monotonic()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in Scrape.of(plane).samples:
        if sample.name == "servicegroup_services":
            counts[sample.labels["group"]][sample.labels["state"]] += int(sample.value)
    return Counted(
        interface="metrics",
        plane=plane.url,
        asked=asked,
        answered=time.monotonic(),
        counts={group: dict(states) for group, states in counts.items()},
        moment=moment,
    )


def _revision(planes: Sequence[ControlPlane]) -> str | None:
    """Return what changes with every event, where all control planes tell the same."""
    answers = [plane.request("GET", "/v1/services?limit=1") for plane in planes]
    revisions = {headers.get("ETag") for _, headers, _ in answers}
    return revisions.pop() if len(revisions) == 1 else None


def _looked_since(plane: ControlPlane, moment: float) -> bool:
    """Tell whether a look began after a moment and is over."""
    lag = Scrape.of(plane).total("observer_lag_seconds")
    return time.monotonic() - lag > moment + LOOK_INTERVAL
