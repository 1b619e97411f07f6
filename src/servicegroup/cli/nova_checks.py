"""What ``servicegroup nova doctor`` looks for: configuration, backend, clocks and leftovers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from servicegroup.cli.checks import Check, abbreviated, detection, forced_down, pinned_versions
from servicegroup.cli.doctor import FEWEST_MISSES, backend
from servicegroup.cli.nova_cells import said
from servicegroup.cli.nova_probe import rpc_check
from servicegroup.errors import StoreUnavailable
from servicegroup.explanation import duration
from servicegroup.liveness import LOOK_INTERVAL
from servicegroup.model import Limits, PresenceState, Service

if TYPE_CHECKING:
    from servicegroup.driver import Driver
    from servicegroup.nova.deployment import Deployment


def examine(deployment: Deployment) -> Iterator[Check]:
    """Check one thing after the other, for as long as there is something to look at."""
    limits = deployment.layer.limits
    yield _driver(deployment)
    yield _reports(limits)
    if deployment.layer.drivers:
        yield _heartbeats(limits)
        yield _deletes(deployment)
    for driver in deployment.layer.drivers:
        yield from backend(driver)
    try:
        listing = deployment.services()
    except StoreUnavailable as error:
        yield Check("FAIL", "services", str(error), "Nothing else can be checked.")
        return
    for cell in listing.missing:
        finding = f"{said(cell)} Its services are UNKNOWN."
        yield Check("FAIL", "cells", finding, "Check its database and [database] in nova.conf.")
    yield from _presence(deployment, listing.services)
    if not listing.missing:  # else nobody knows who has a record
        yield from _strays(deployment.layer.driver, listing.services)
    yield rpc_check(deployment.layer.rpc, listing.services)
    yield _clocks(listing.services)
    yield _remedied(pinned_versions(listing.services), "openstack compute service delete ID")
    yield _remedied(
        forced_down(listing.services), "openstack compute service set --up HOST nova-compute"
    )


def _driver(deployment: Deployment) -> Check:
    """Say who is obeyed, and warn of what Nova's own memcached driver does when that is away."""
    name, shadow = deployment.layer.limits.driver, deployment.layer.shadow
    beside = f" Shadow: {shadow.name}." if shadow else ""
    if name == "mc":
        finding = f"Nova obeys its own mc: without memcached every service is down.{beside}"
        remedy = "Compare with memcached as [servicegroup] shadow_driver, and cut over."
        return Check("WARN", "driver", finding, remedy)
    driver = deployment.layer.driver
    if driver is None:
        return Check("OK", "driver", f"Nova obeys its own {name}: reports decide alone.{beside}")
    pause = 0.0 if driver.capabilities.pushes else LOOK_INTERVAL  # how old an answer may be
    bound = driver.detection_time(deployment.layer.limits.membership_ttl) + pause
    return Check("OK", "driver", detection(name, bound, deployment.layer.limits) + beside)


def _reports(limits: Limits) -> Check:
    down, every = limits.service_down_time, limits.report_interval
    finding = f"Reports come every {duration(every)}; silence is found after {duration(down)}."
    if down < FEWEST_MISSES * every:
        remedy = f"Set service_down_time to {FEWEST_MISSES * every:g} or more, everywhere."
        return Check("WARN", "reports", finding + " One lost message can accuse a service.", remedy)
    return Check("OK", "reports", finding)


def _heartbeats(limits: Limits) -> Check:
    beat, ttl = limits.heartbeat_interval, limits.membership_ttl
    finding = f"A heartbeat every {duration(beat)} keeps a service present for {duration(ttl)}."
    if ttl < FEWEST_MISSES * beat:
        remedy = f"Set [servicegroup] membership_ttl to {FEWEST_MISSES * beat:g} or more."
        return Check("WARN", "heartbeats", finding + " Two lost ones can accuse a service.", remedy)
    return Check("OK", "heartbeats", finding)


def _deletes(deployment: Deployment) -> Check:
    """Check that Nova announces deletions to the layer, so that the backend forgets at once."""
    if deployment.announces_deletes:
        return Check("OK", "deletes", "A deleted service leaves the backend at once.")
    finding = "Nova does not announce deletions: a member stays until its time to live has ended."
    remedy = (
        "Set [oslo_messaging_notifications] driver = servicegroup and [notifications]"
        " notification_format = versioned."
    )
    return Check("WARN", "deletes", finding, remedy)


def _presence(deployment: Deployment, services: Sequence[Service]) -> Iterator[Check]:
    """Check that the driver can tell of everybody."""
    driver = deployment.layer.driver
    if driver is None:
        return
    presences = [one.judged.evidence.presence for one in services]
    unknown = [p for p in presences if p is not None and p.state is PresenceState.UNKNOWN]
    if unknown:
        finding = f"{driver.name} cannot tell for {len(unknown)} services: {unknown[0].detail}."
        remedy = (
            f"Check section [{driver.name}] of nova.conf, the same everywhere, and the backend."
        )
        yield Check("FAIL", "presence", finding, remedy)
    else:
        yield Check("OK", "presence", f"{driver.name} can tell for all {len(services)} services.")


def _strays(driver: Driver | None, services: Sequence[Service]) -> Iterator[Check]:
    """Check that the driver holds nobody who does not exist."""
    if driver is not None and (strays := list(_without_record(driver, services))):
        finding = f"{driver.name} holds members without a record: {abbreviated(strays)}."
        remedy = "Deleted services that still run leave with their next report; else stop them."
        yield Check("WARN", "strays", finding, remedy)


def _without_record(driver: Driver, services: Sequence[Service]) -> Iterator[str]:
    """Return who is present without a record, in a backend that can list."""
    known = {(one.topic, one.host) for one in services}
    for group in sorted({topic for topic, _ in known}):
        listed = driver.list_group(group)
        for host in sorted(listed.present) if listed else ():
            if (group, host) not in known:
                yield f"{group} on {host}"


def _clocks(services: Sequence[Service]) -> Check:
    """Find stamps from the future: the clock of a conductor is ahead of this host's (P11)."""
    ahead = [one for one in services if one.judged.evidence.stamped_ahead > 0]
    if not ahead:
        return Check("OK", "clocks", "No report is stamped in the future.")
    most = max(one.judged.evidence.stamped_ahead for one in ahead)
    names = abbreviated([f"{one.binary} on {one.host}" for one in ahead])
    finding = f"Reports are stamped up to {duration(most)} in the future: {names}."
    return Check("WARN", "clocks", finding, "Check NTP on the conductors' hosts and on this one.")


def _remedied(check: Check, command: str) -> Check:
    """Return a check of the register's with what helps in Nova."""
    if check.result == "OK":
        return check
    return msgspec.structs.replace(check, remedy=f"When that is safe: {command}.")
