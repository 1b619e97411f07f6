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
    from servicegroup.agent.join import Membership as Membership
    from servicegroup.agent.join import join as join
    from servicegroup.agent.watch import watch as watch
    from servicegroup.driver import Driver as Driver
    from servicegroup.driver import load as _load
    from servicegroup.errors import ServiceGroupError as ServiceGroupError
    from servicegroup.events import Event as Event
    from servicegroup.events import EventKind as EventKind
    from servicegroup.group import ServiceGroup as ServiceGroup
    from servicegroup.liveness import judge as judge
    from servicegroup.model import Evidence as Evidence
    from servicegroup.model import Limits as Limits
    from servicegroup.model import Member as Member
    from servicegroup.model import Presence as Presence
    from servicegroup.model import PresenceState as PresenceState
    from servicegroup.model import Reason as Reason
    from servicegroup.model import Service as Service
    from servicegroup.model import Verdict as Verdict

    load_driver = _load

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

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'servicegroup' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"servicegroup.{module}"), attribute)
