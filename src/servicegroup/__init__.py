"""The register of a control plane's services: is it up, and why? One answer.

::

    import servicegroup

    with servicegroup.join("billing-worker", url="http://control:8774"):
        work()

A service joins with ``join``, and whoever wants to know what happens to services iterates over
``watch``; whoever runs the record in process asks ``ServiceGroup``. Names are imported when first
used, so that a service that joins carries neither SQL nor a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from servicegroup.agent.join import Membership, join
    from servicegroup.agent.watch import watch
    from servicegroup.driver import Driver
    from servicegroup.driver import load as load_driver
    from servicegroup.errors import ServiceGroupError
    from servicegroup.events import Event, EventKind
    from servicegroup.group import ServiceGroup
    from servicegroup.liveness import judge
    from servicegroup.model import (
        Evidence,
        Limits,
        Member,
        Presence,
        PresenceState,
        Reason,
        Service,
        Verdict,
    )

__version__ = "0.1.0"

_HOMES = {
    "Driver": ("driver", "Driver"),
    "Event": ("events", "Event"),
    "EventKind": ("events", "EventKind"),
    "Evidence": ("model", "Evidence"),
    "Limits": ("model", "Limits"),
    "Member": ("model", "Member"),
    "Membership": ("agent.join", "Membership"),
    "Presence": ("model", "Presence"),
    "PresenceState": ("model", "PresenceState"),
    "Reason": ("model", "Reason"),
    "Service": ("model", "Service"),
    "ServiceGroup": ("group", "ServiceGroup"),
    "ServiceGroupError": ("errors", "ServiceGroupError"),
    "Verdict": ("model", "Verdict"),
    "join": ("agent.join", "join"),
    "judge": ("liveness", "judge"),
    "load_driver": ("driver", "load"),
    "watch": ("agent.watch", "watch"),
}

__all__ = [
    "Driver",
    "Event",
    "EventKind",
    "Evidence",
    "Limits",
    "Member",
    "Membership",
    "Presence",
    "PresenceState",
    "Reason",
    "Service",
    "ServiceGroup",
    "ServiceGroupError",
    "Verdict",
    "join",
    "judge",
    "load_driver",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'servicegroup' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"servicegroup.{module}"), attribute)
