"""What most verdicts are, seen at a glance: up, by a fresh report and a presence without a doubt.

Or without a word of the backend, where nothing is known against a service. This is no rule beside
``liveness.judge``, which stays the only one. It finds those for whom a few comparisons show what
the rule will say, at a tenth of what their evidence costs; all others it leaves to the rule. Pure:
no I/O, no clock.
"""

from __future__ import annotations

from datetime import datetime

from servicegroup.liveness import has_life
from servicegroup.model import OnUnknown, Presence, PresenceState, Reason, Service


def reason_at_a_glance(
    service: Service, if_fresh: Reason | None, now: datetime, oldest: datetime
) -> Reason | None:
    """Return the reason of a service that is up without a doubt, None where the rule has to look.

    ``if_fresh`` is the reason if its reports are, by its backend or its session, None where that
    does not show. Stamps later than ``oldest``, and not later than ``now``, are fresh.
    """
    if service.forced_down or service.departure is not None:
        return None
    if service.observed_state == "down":  # its age may count from a later stamp (F-50)
        return None
    if not oldest < (service.last_seen_up or service.created_at) <= now:
        return None
    return if_fresh


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
