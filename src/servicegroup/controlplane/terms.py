"""The terms of membership: what agents learn when they register, and again when it changes."""

from __future__ import annotations

import hashlib

import msgspec

from servicegroup.agent.client import DriverSettings, Joined, Terms
from servicegroup.drivers.session import SessionDriver
from servicegroup.group import ServiceGroup
from servicegroup.messages import Refusals, Registration, Reported


def terms(group: ServiceGroup) -> Terms:
    """Return the terms in force, with their fingerprint; options hold no secrets."""
    limits = group.limits
    plain = Terms(
        report_interval=limits.report_interval,
        service_down_time=limits.service_down_time,
        heartbeat_interval=limits.heartbeat_interval,
        membership_ttl=limits.membership_ttl,
        drivers=tuple(
            DriverSettings(driver.name, shadow, driver.shared_options())
            for driver, shadow in group.drivers()
            if driver.capabilities.is_asked
        ),
        session=next(
            (d.options.keepalive for d, _ in group.drivers() if isinstance(d, SessionDriver)), None
        ),
    )
    fingerprint = hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()[:16]
    return msgspec.structs.replace(plain, fingerprint=fingerprint)


def joined(group: ServiceGroup, registration: Registration) -> Joined:
    """Return the answer to a registration."""
    known = msgspec.structs.asdict(terms(group))
    return Joined(uuid=registration.uuid, incarnation=registration.incarnation, **known)


def reported(refused: Refusals, fingerprint: str) -> Reported:
    """Return the answer to reports, under the terms of that fingerprint."""
    return Reported(**msgspec.structs.asdict(refused), terms=fingerprint)
