"""What most verdicts are, seen at a glance: up, by a fresh report and a presence without a doubt.

Or without a word of the backend, where nothing is known against a service. This is no rule beside
``liveness.judge``, which stays the only one. It finds those for whom a few comparisons show what
the rule will say, at a tenth of what their evidence costs; all others it leaves to the rule. Pure:
no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from servicegroup.model import OnUnknown, Presence, PresenceState, Reason, Service


def unmarked(services: Iterable[Service]) -> list[bool]:
    """Tell of each service whether nothing of its record but its reports can make it down."""
    return [
        not service.forced_down
        and service.departure is None
        and service.observed_state != "down"  # else its age may count from a later stamp (F-50)
        for service in services
    ]


def incarnations_of(services: Iterable[Service]) -> list[int | None]:
    """Return the incarnation of each that a backend may hold: no backend knows who is mirrored."""
    return [None if service.mirror else service.incarnation for service in services]


def reasons_at_a_glance(
    is_unmarked: Collection[bool], fresh: Collection[bool], if_fresh: Iterable[Reason | None]
) -> list[Reason | None]:
    """Return the reason of each service that is up without a doubt, None where the rule looks.

    The first tells what ``unmarked`` does. ``fresh`` tells of each whether its last report, or its
    making if it never reported, is younger than ``service_down_time`` and not ahead of the clock.
    ``if_fresh`` is the reason if its reports are, by its backend or its session, None where that
    does not show.
    """
    if all(is_unmarked) and all(fresh):  # as in most fleets, where no row has to be looked at
        return list(if_fresh)
    return [
        reason if is_fresh and is_clear else None
        for is_clear, is_fresh, reason in zip(is_unmarked, fresh, if_fresh, strict=True)
    ]


def signals_at_a_glance(
    services: Iterable[Service],
    incarnations: Iterable[int | None],
    presences: Iterable[Presence | None],
    on_unknown: OnUnknown,
) -> list[Reason | None]:
    """Return the reason of each by a backend's answers if its reports are fresh, or None.

    ``incarnations`` are ``incarnations_of`` the services. ``presences`` has None for who was not
    asked about.
    """
    present, held = Reason.PRESENT, PresenceState.PRESENT
    return [
        present  # as ``has_life`` says, without a call for each of those who are most
        if presence is not None and presence.state is held and life in presence.incarnations
        else _signal(service, presence, on_unknown)
        for service, life, presence in zip(services, incarnations, presences, strict=True)
    ]


def _signal(service: Service, presence: Presence | None, on_unknown: OnUnknown) -> Reason | None:
    if service.mirror:
        return Reason.REPORTING
    if presence is None or presence.state is not PresenceState.UNKNOWN:
        return None
    doubted = service.absent_since is not None or service.held_since is not None
    return None if doubted or on_unknown is not OnUnknown.RECORD else Reason.UNCONFIRMED
