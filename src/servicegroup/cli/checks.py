"""What doctor looks for among the services: what was left behind, and what the observer does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from servicegroup.explanation import duration, suspicion
from servicegroup.model import Limits, Reason, Service

if TYPE_CHECKING:
    from servicegroup.group import ServiceGroup


class Check(msgspec.Struct, frozen=True):
    """What one check found; ``result`` is OK, WARN or FAIL, and then there is a remedy."""

    result: str
    check: str
    finding: str
    remedy: str = ""


def detection(driver: str, bound: float, limits: Limits, *, recorded: bool = False) -> str:
    """Say how fast a driver finds a crash, and what finds it while the driver cannot (F-19).

    What is ``recorded`` is asked of no server of its own.
    """
    otherwise = (
        "of whoever holds no session,"
        if recorded
        else ("while its servers do not answer or have no quorum,")
    )
    return (
        f"{driver} finds a crash within {duration(bound)}; {otherwise} silence is found after"
        f" {duration(limits.service_down_time)}."
    )


def observer(group: ServiceGroup) -> Check:
    """Check that an observer is at work, for without one nothing is recorded or held."""
    start = "Start servicegroup serve, or see its log."
    seen = group.observer_status()
    if seen is None:
        return Check("WARN", "observer", "No control plane observes: no event is recorded.", start)
    if not seen.is_current:
        finding = f"No control plane observed for {duration(seen.age)}: no event is recorded."
        return Check("WARN", "observer", finding, start)
    finding = f"It looked {duration(max(0.0, seen.age))} ago; {seen.last_event} events so far."
    return Check("OK", "observer", finding)


def signals(group: ServiceGroup) -> Iterator[Check]:
    """Find the signals that are suspect now (AND-2)."""
    found = group.protections()
    for one in found:
        remedy = "It ends by itself; check what its members have in common: backend, network."
        yield Check("WARN", "signals", suspicion(one), remedy)
    if not found:
        yield Check("OK", "signals", "No signal is suspect.")


def pinned_versions(services: Sequence[Service]) -> Check:
    """Find services that are down and hold the minimum version of their binary back (P23)."""
    lowest: dict[str, int] = {}
    for one in services:
        if one.is_up:
            lowest[one.binary] = min(one.version, lowest.get(one.binary, one.version))
    stale = [
        one
        for one in services
        if not one.is_up and not one.forced_down and one.version < lowest.get(one.binary, 0)
    ]
    if stale:
        finding = (
            f"Versions are pinned by services that are down: {abbreviated(map(_name, stale))}."
        )
        remedy = "Start them, or servicegroup service delete them."
        return Check("WARN", "versions", finding, remedy)
    return Check("OK", "versions", "No service that is down pins an old version.")


def forced_down(services: Sequence[Service]) -> Check:
    """Find services that report again and were left forced down (P13)."""
    left = [one for one in services if one.forced_down and _reports_now(one)]
    if left:
        finding = f"Forced down although they report: {abbreviated(map(_name, left))}."
        remedy = "When their hosts are safe: servicegroup service force-down --unset HOST BINARY."
        return Check("WARN", "forced down", finding, remedy)
    return Check("OK", "forced down", "No service that reports was left forced down.")


def refused_heartbeats(services: Sequence[Service]) -> Check:
    """Find services that work and whose agents cannot heartbeat (F-1)."""
    refused = [one for one in services if one.backend_error and _reports_now(one)]
    if refused:
        finding = (
            f"Agents cannot heartbeat for {abbreviated(map(_name, refused))}; the first hears:"
            f" {str(refused[0].backend_error).rstrip('.')}."
        )
        remedy = "Check the backend, and the way to it from these hosts."
        return Check("WARN", "heartbeats", finding, remedy)
    return Check("OK", "heartbeats", "No agent says that its heartbeats fail.")


def deaf(services: Sequence[Service]) -> Check:
    """Find services that are up by their other signals, and answer no questions (F-40)."""
    if found := [one for one in services if one.judged.reason is Reason.DEAF]:
        finding = (
            "Their other signals say that they are up, but they answer no questions:"
            f" {abbreviated(map(_name, found))}."
        )
        remedy = "See servicegroup service show HOST BINARY and their logs, and restart them."
        return Check("WARN", "answers", finding, remedy)
    asked = sum(one.judged.evidence.rpc is not None for one in services)
    return Check("OK", "answers", f"Services that answer questions, as they say: {asked}.")


def near_twins(services: Sequence[Service]) -> Check:
    """Find hosts whose names differ by case, blanks or a dot at the end alone (F-15)."""
    spelt: dict[str, set[str]] = {}
    for one in services:
        spelt.setdefault(one.host.strip().rstrip(".").casefold(), set()).add(one.host)
    twins = [sorted(names) for names in spelt.values() if len(names) > 1]
    if twins:
        pairs = (" and ".join(map(repr, names)) for names in sorted(twins))
        finding = f"Hosts that may be one, under several names: {abbreviated(pairs)}."
        remedy = "Give each host one name, and servicegroup service delete what the other one left."
        return Check("WARN", "names", finding, remedy)
    return Check("OK", "names", "No two hosts differ by case, blanks or a last dot alone.")


def _reports_now(one: Service) -> bool:
    evidence = one.judged.evidence
    fresh = evidence.silence <= evidence.limits.service_down_time
    return fresh and not evidence.never_reported and evidence.departure is None


def abbreviated(names: Iterable[str]) -> str:
    """Return three names at most, and how many more there are."""
    first, *others = [*names]
    shown = ", ".join([first, *others[:2]])
    return f"{shown} and {len(others) - 2} more" if len(others) > 2 else shown


def _name(one: Service) -> str:
    return f"{one.binary} on {one.host}"
