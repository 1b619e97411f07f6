"""Promises about verdicts: who is down, who is up, and why."""

from __future__ import annotations

from collections.abc import Iterator

from promises.history import LOG, EventSeen, History, Seen, Shown
from promises.lives import Life, Lives
from servicegroup.events import EventKind
from servicegroup.liveness import LOOK_INTERVAL, judge
from servicegroup.model import Evidence, OnUnknown, Reason
from servicegroup.protection import WINDOW


def completeness(history: History) -> Iterator[str]:
    """Who gave its last proofs long enough ago is down for everybody, whatever happened since."""
    lives = Lives(history)
    for seen, shown, life in _up(history, lives):
        reported, beaten = _last(life, seen)
        if seen.asked <= lives.bounds.alone(reported, beaten):
            continue  # the least of all bounds, and the quickest to compute
        bound = lives.bounds.at_most(reported, beaten) + _late(history, seen)
        if seen.interface == LOG and lives.bounds.is_disturbed(bound, seen.asked):
            continue  # what nobody observes is told when somebody does
        if seen.asked > bound:
            yield _still_up(seen, shown, reported, beaten, bound, "whatever happens")


def protection(history: History) -> Iterator[str]:
    """Undisturbed, who dies alone is found by the first signal, and of a crowd by both."""
    lives = Lives(history)
    settings = history.settings
    few = max(2, settings.minimum)
    for seen, shown, life in _up(history, lives):
        reported, beaten = _last(life, seen)
        late = _late(history, seen)
        alone = lives.bounds.alone(reported, beaten) + late
        since = min(reported, beaten) - WINDOW
        if seen.asked <= alone or lives.bounds.is_disturbed(min(reported, beaten), seen.answered):
            continue
        crowd = lives.bounds.crowd(reported, beaten) + late
        if seen.asked > crowd:
            yield _still_up(seen, shown, reported, beaten, crowd, "even in a crowd")
        elif 1 + sum(n.lacks(since, seen.answered) for n in lives.neighbours(life)) < few:
            yield _still_up(seen, shown, reported, beaten, alone, "alone")


def accuracy(history: History) -> Iterator[str]:
    """Whose proofs had no gap above the tolerance is down for nobody, unless it was wanted."""
    lives = Lives(history)
    for seen in history.of(Seen):
        for shown in seen.services if seen.interface != LOG else ():
            life = lives.current(shown.key, seen.asked, seen.answered)
            if shown.state == "down" and life is not None:
                span = (seen.asked, seen.answered)
                if _is_unjust(history, lives, life, shown.reason, *span):
                    yield _accused(f"{seen.interface} of {seen.plane}", life, shown.reason, *span)
    for told in history.of(EventSeen):
        event = told.event
        if event.kind is EventKind.DOWN and event.host is not None:
            life = lives.current((event.host, event.binary or ""), told.after, told.by)
            if (
                life is not None
                and event.incarnation == life.joined.incarnation
                and _is_unjust(history, lives, life, event.reason, told.after, told.by)
            ):
                yield _accused(f"event {event.id}", life, event.reason, told.after, told.by)


def explanation(history: History) -> Iterator[str]:
    """The evidence recomputes to the verdict and its reason, in answers and in events."""
    for seen in history.of(Seen):
        for shown in seen.services:
            if shown.evidence and not _follows(shown.evidence, shown.state, shown.reason):
                yield (
                    f"{shown.host} {shown.binary} by {seen.interface} at {seen.asked:.2f}: told"
                    f" {shown.state}, {shown.reason}; its evidence says"
                    f" {judge(shown.evidence).reason}: {shown.evidence}"
                )
    for told in history.of(EventSeen):
        event = told.event
        if event.evidence and not _follows(event.evidence, event.after or "", event.reason):
            yield (
                f"event {event.id} of {event.host} {event.binary}: told {event.after},"
                f" {event.reason}; its evidence says {judge(event.evidence).reason}"
            )


def _follows(evidence: Evidence, state: str, reason: Reason | None) -> bool:
    verdict = judge(evidence)
    return (verdict.state, verdict.reason) == (state, reason)


def _up(history: History, lives: Lives) -> Iterator[tuple[Seen, Shown, Life]]:
    """Give whoever was told to be up, with the life that it certainly had then.

    Another record than that life's was made by a registration that was never answered.
    """
    for seen in history.of(Seen):
        for shown in seen.services:
            life = lives.current(shown.key, seen.asked, seen.answered)
            if shown.state == "up" and life is not None and shown.uuid in (None, life.joined.uuid):
                yield seen, shown, life


def _last(life: Life, seen: Seen) -> tuple[float, float]:
    """Return when a report and a heartbeat may have counted last, as of an answer.

    A service that never reported is as fresh as its registration.
    """
    reported = max(life.last_report(seen.answered), life.joined.answered)
    return reported, life.last_heartbeat(seen.answered)


def _late(history: History, seen: Seen) -> float:
    return history.settings.slack + (LOOK_INTERVAL if seen.interface == LOG else 0.0)


def _is_unjust(
    history: History,
    lives: Lives,
    life: Life,
    reason: Reason | None,
    asked: float,
    answered: float,
) -> bool:
    told = lives.told(life.joined.uuid, {"force_down", "unforce"}, asked, answered)
    if told in (None, "force_down") and reason in (None, Reason.FORCED_DOWN):
        return False
    ended = life.ended
    if ended is not None and (ended.asked or ended.at) <= answered:
        # Who leaves frees its backend, too, and that may be all that it can reach.
        freed = {Reason.ABSENT} if ended.asked is not None else set()
        if reason in {None, Reason.LEFT, Reason.EXITED} | freed:
            return False
    strict = history.settings.limits.on_unknown is OnUnknown.DOWN
    if strict and reason in (None, Reason.UNKNOWN):
        return False
    return life.is_proven(asked, answered)


def _accused(who: str, life: Life, reason: Reason | None, asked: float, answered: float) -> str:
    return (
        f"{life.joined.host} {life.joined.binary} (incarnation {life.joined.incarnation}) by {who}"
        f" between {asked:.2f} and {answered:.2f}: told down, {reason}; promised not to be, its"
        f" newest report was sent at {life.reports.acknowledged(asked):.2f}"
    )


def _still_up(
    seen: Seen, shown: Shown, reported: float, beaten: float, bound: float, how: str
) -> str:
    return (
        f"{shown.host} {shown.binary} by {seen.interface} of {seen.plane} at {seen.asked:.2f}: told"
        f" up, {shown.reason}; promised down {how} from {bound:.2f} on, since its last report was"
        f" at {reported:.2f} at the latest and its last heartbeat at {beaten:.2f}"
    )
