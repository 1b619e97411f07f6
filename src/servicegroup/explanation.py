"""A verdict in words: what was measured against which limit, and what would change it.

And a protection in words: which signal is suspect, where, since when.
"""

from __future__ import annotations

import msgspec

from servicegroup.events import Protection, Signal
from servicegroup.liveness import PATIENCE, is_present, reading
from servicegroup.model import Evidence, Limits, OnUnknown, Presence, Reason, Verdict
from servicegroup.rpc import Rpc


class Fact(msgspec.Struct, frozen=True):
    """One line of an explanation."""

    name: str
    value: str


class Explanation(msgspec.Struct, frozen=True):
    """The verdict's sentence, the facts it follows from, and what the other verdict needs."""

    sentence: str
    facts: list[Fact]
    otherwise: str


def explain(verdict: Verdict) -> Explanation:
    """Return the explanation of a verdict, made of its evidence alone."""
    evidence = verdict.evidence
    facts = [Fact("report", _report(evidence))]
    if evidence.mirror:
        told = "down" if evidence.departure == Reason.TOLD_DOWN else "up"
        facts.append(Fact("mirror", f"mirrored from {evidence.mirror}, whose API says {told}"))
    if evidence.unheard > 0:
        facts.append(Fact("unheard", f"for {duration(evidence.unheard)} of it nobody listened"))
    if evidence.stamped_ahead > 0:
        facts.append(Fact("stamp", f"lies {duration(evidence.stamped_ahead)} in the future"))
    if evidence.registered_age is not None:
        life = f"incarnation {evidence.incarnation}, registered"
        facts.append(Fact("life", f"{life} {duration(evidence.registered_age)} ago"))
    if evidence.presence is not None:
        facts.append(Fact("presence", _presence(evidence, evidence.presence)))
    if evidence.rpc is not None:
        facts.append(Fact("questions", answered(evidence.rpc)))
    if evidence.backend_error:
        facts.append(Fact("heartbeats", f"fail; its agent hears: {evidence.backend_error}"))
    if evidence.absent_age is not None:
        facts.append(Fact("absence", f"last known absent {duration(evidence.absent_age)} ago"))
    if evidence.held_age is not None:
        facts.append(Fact("held", _held(evidence, evidence.held_age)))
    if evidence.detail:
        facts.append(Fact("detail", evidence.detail))
    return Explanation(verdict.sentence, facts, _otherwise(verdict))


def _report(evidence: Evidence) -> str:
    limit = f"the limit is {duration(evidence.limits.service_down_time)} of silence"
    if evidence.never_reported:
        return f"none yet, created {duration(evidence.report_age)} ago; {limit}"
    return f"{duration(evidence.report_age)} ago; {limit}"


def answered(rpc: Rpc) -> str:
    """Say whether a service answers what it is asked."""
    told = f"{rpc.state}" if rpc.deaf_for is None else f"{rpc.state} for {duration(rpc.deaf_for)}"
    if rpc.age is not None:
        told += f", asked {duration(rpc.age)} ago"
    return f"{told}: {rpc.detail}" if rpc.detail else told


def _presence(evidence: Evidence, presence: Presence) -> str:
    parts = [f"driver {evidence.limits.driver} says {presence.state}"]
    if presence.age is not None:
        parts.append(f"as of {duration(presence.age)} ago")
    if presence.incarnations:
        alive = ", ".join(str(n) for n in sorted(presence.incarnations))
        parts.append(f"incarnation {alive} is there")
    if presence.detail:
        parts.append(presence.detail)
    read = reading(evidence)
    if read is not presence.state:
        parts.append(f"which reads {read} for incarnation {evidence.incarnation}")
    return ", ".join(parts)


def suspicion(protection: Protection) -> str:
    """Return a protection in a sentence; the stamp is UTC."""
    signal, place = protection.signal, f"group {protection.group}, zone {protection.zone}"
    return (
        f"Protection: {signal} of {place} is suspect since"
        f" {protection.since.isoformat(' ', 'seconds')};"
        f" {protection.members} that lost it are up by {_other(signal)}."
    )


def _other(signal: Signal) -> str:
    """Return what decides while this signal is suspect, which a newer release may have more of."""
    others = {Signal.PRESENCE: Signal.REPORTS, Signal.REPORTS: Signal.PRESENCE}
    return f"their {others[signal]}" if signal in others else "what else proves their life"


def _suspect(evidence: Evidence) -> Signal:
    """Return which signal of a held service is suspect: the one that it lacks."""
    return Signal.REPORTS if is_present(evidence) else Signal.PRESENCE


def _held(evidence: Evidence, age: float) -> str:
    return f"{_suspect(evidence)} suspect for {duration(age)}: many lost it together"


def _until_believed(evidence: Evidence) -> str:
    """Return what ends a hold, either way."""
    limits = evidence.limits
    late = PATIENCE * limits.report_interval
    stays = "or when those left are no crowd any more and"
    if _suspect(evidence) is Signal.REPORTS:
        return (
            f"The hold ends by itself with its next report, {stays} {duration(late)} passed"
            f" without a change. It goes down when {limits.driver} says it is absent; check the"
            " way from the hosts to the control plane."
        )
    left = max(0.0, late - evidence.silence)
    return (
        f"The hold ends by itself when it is back in {limits.driver}, {stays}"
        f" {duration(limits.membership_ttl)} passed without a change. It goes down after"
        f" {duration(left)} more without a report; check {_backend(limits)}."
    )


def _backend(limits: Limits) -> str:
    """Return what holds the other signal, in words; of sessions it is the register itself."""
    return "the control planes" if limits.driver == "session" else "the backend"


def _otherwise(verdict: Verdict) -> str:
    evidence = verdict.evidence
    limits = evidence.limits
    if verdict.reason is Reason.HELD:
        return _until_believed(evidence)
    if verdict.reason is Reason.DEAF:
        return (
            "It is no longer deaf when it answers the next question; see its log, and restart it."
        )
    if verdict.is_up:
        left = limits.service_down_time - evidence.silence
        return f"It goes down after {duration(max(0.0, left))} more without a report" + (
            "." if evidence.presence is None else f", or when {limits.driver} says it is absent."
        )
    return {
        Reason.FORCED_DOWN: "Unset force-down once the host is known to be safe.",
        Reason.LEFT: "It is up again when it is started and registers.",
        Reason.EXITED: "It is up again when it is started and registers; see its log for the exit.",
        Reason.TOLD_DOWN: f"It is up again when {evidence.mirror} says so; look there for why.",
        Reason.SILENT: "It is up again with its next report; check the process, its agent and the"
        " way from it to the control plane.",
        Reason.ABSENT: f"It is up again when it joins {limits.driver}; check its process, its agent"
        f" and the way from its host to {_backend(limits)}.",
        Reason.UNKNOWN: f"It is up again when {limits.driver} answers, or with on_unknown ="
        f" {OnUnknown.RECORD}.",
    }.get(verdict.reason, "See the documentation of the release that the control plane runs.")


def duration(value: float) -> str:
    """Return a duration for people: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    for unit, size, smaller, below in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // below} {smaller}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 120 else f"{whole} s"
