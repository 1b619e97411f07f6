"""What most verdicts are, seen at a glance: up, by a fresh report and a presence without a doubt.

Or without a word of the backend, where nothing is known against a service. This is no rule beside
``liveness.judge``, which stays the only one. It finds those for whom a few comparisons show what
the rule will say, at a tenth of what their evidence costs; all others it leaves to the rule. Pure:
no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from servicegroup.liveness import has_life
from servicegroup.model import OnUnknown, Presence, PresenceState, Reason, Service


def reasons_at_a_glance(
    services: Iterable[Service], fresh: Iterable[bool], if_fresh: Iterable[Reason | None]
) -> list[Reason | None]:
    """Return the reason of each service that is up without a doubt, None where the rule looks.

    ``fresh`` tells of each whether its last report, or its making if it never reported, is younger
    than ``service_down_time`` and not ahead of the clock. ``if_fresh`` is the reason if its reports
    are, by its backend or its session, None where that does not show.
    """
    return [
        reason
        if is_fresh
        and not service.forced_down
        and service.departure is None
        and service.observed_state != "down"  # else its age may count from a later stamp (F-50)
        else None
        for service, is_fresh, reason in zip(services, fresh, if_fresh, strict=True)
    ]


def reason_if_fresh(
    service: Service, presence: Presence | None, on_unknown: OnUnknown
) -> Reason | None:
    """Return the reason by a backend's answer if the reports are fresh, None where the rule looks.

    ``presence`` is None for a service that was not asked about.
    """
    if presence is None:
        return None
    if has_life(presence, service.incarnation):
        return Reason.PRESENT
    if presence.state is not PresenceState.UNKNOWN or on_unknown is not OnUnknown.RECORD:
        return None
    doubted = service.absent_since is not None or service.held_since is not None
    return None if doubted else Reason.UNCONFIRMED
