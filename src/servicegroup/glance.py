"""What most verdicts are, seen at a glance: up, by a fresh report and a presence without a doubt.

Or without a word of the backend, where nothing is known against a service. This is no rule beside
``liveness.judge``, which stays the only one. It finds those for whom a few comparisons show what
the rule will say, at a tenth of what their evidence costs; all others it leaves to the rule. Pure:
no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable

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


def signals_at_a_glance(
    services: Iterable[Service], presences: Iterable[Presence | None], on_unknown: OnUnknown
) -> list[Reason | None]:
    """Return the reason of each by a backend's answers if its reports are fresh, or None.

    ``presences`` has None for a service that was not asked about.
    """
    present, held = Reason.PRESENT, PresenceState.PRESENT
    return [
        present  # as ``has_life`` says, without a call for each of those who are most
        if presence is not None
        and presence.state is held
        and service.incarnation in presence.incarnations
        and not service.mirror
        else _signal(service, presence, on_unknown)
        for service, presence in zip(services, presences, strict=True)
    ]


def _signal(service: Service, presence: Presence | None, on_unknown: OnUnknown) -> Reason | None:
    if service.mirror:
        return Reason.REPORTING
    if presence is None or presence.state is not PresenceState.UNKNOWN:
        return None
    doubted = service.absent_since is not None or service.held_since is not None
    return None if doubted or on_unknown is not OnUnknown.RECORD else Reason.UNCONFIRMED
