"""Promises about interfaces that agree, and about events: each once, in order, none missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from promises.history import Act, Counted, Ended, EventSeen, History, Joined, Seen, Shown
from promises.lives import INFINITY
from servicegroup.events import EventKind

FIELDS = ("state", "uuid", "status", "forced_down", "incarnation")
"""What two interfaces have to tell alike; a reason, for one, may change without an event."""

_KINDS = {
    "enable": EventKind.ENABLE,
    "disable": EventKind.DISABLE,
    "force_down": EventKind.FORCE_DOWN,
    "unforce": EventKind.UNFORCE,
    "delete": EventKind.DELETE,
}
_OPPOSITE = {"enable": "disable", "disable": "enable", "force_down": "unforce"}
_OPPOSITE["unforce"] = "force_down"


def coherence(history: History) -> Iterator[str]:
    """All interfaces of all control planes agree in a quiet moment, and counts are theirs."""
    moments: dict[str, list[Seen]] = defaultdict(list)
    for seen in history.of(Seen):
        if seen.moment:
            moments[seen.moment].append(seen)
    for moment, answers in moments.items():
        first, *others = answers
        for other in others:
            yield from _disagreements(moment, first, other)
    for counted in history.of(Counted):
        for seen in moments.get(counted.moment, ()):
            if all(shown.group is not None for shown in seen.services):
                groups = Counter((str(s.group), s.state) for s in seen.services)
                told = {
                    (g, s): n for g, states in counted.counts.items() for s, n in states.items()
                }
                if groups != {key: count for key, count in told.items() if count}:
                    yield (
                        f"moment {counted.moment}: {counted.interface} of {counted.plane} counts"
                        f" {told}; {seen.interface} of {seen.plane} lists {dict(groups)}"
                    )


def _disagreements(moment: str, one: Seen, other: Seen) -> Iterator[str]:
    mine, theirs = ({shown.key: shown for shown in seen.services} for seen in (one, other))
    for key in sorted(mine.keys() | theirs.keys()):
        a, b = mine.get(key), theirs.get(key)
        if a is None or b is None or _differ(a, b):
            yield (
                f"moment {moment}: {one.interface} of {one.plane} tells {a};"
                f" {other.interface} of {other.plane} tells {b}"
            )


def _differ(one: Shown, other: Shown) -> bool:
    pairs = ((getattr(one, name), getattr(other, name)) for name in FIELDS)
    return any(a != b for a, b in pairs if a is not None and b is not None)


def events(history: History) -> Iterator[str]:
    """Ids have no unmarked gap, each event is the same for all, and states take turns."""
    told: dict[int, EventSeen] = {}
    followers: dict[str, list[EventSeen]] = defaultdict(list)
    for seen in history.of(EventSeen):
        followers[seen.follower].append(seen)
    for follower, found in followers.items():
        for before, after in pairwise(found):
            missing = after.event.id - before.event.id - 1
            if after.event.kind is not EventKind.GAP and missing:
                yield f"{follower}: event {after.event.id} after {before.event.id}, and no gap"
        for seen in found:
            known = told.setdefault(seen.event.id, seen)
            is_gap = EventKind.GAP in (seen.event.kind, known.event.kind)
            if not is_gap and known.event != seen.event:
                yield f"event {seen.event.id}: {known.event} to one, {seen.event} to another"
    yield from _turns(told)


def _turns(told: dict[int, EventSeen]) -> Iterator[str]:
    """Follow the states of each service, and that nothing is told of it once it is deleted."""
    states: dict[str | None, str | None] = {}
    deleted: set[str | None] = set()
    newest: int | None = None
    for number, seen in sorted(told.items()):
        event = seen.event
        whole = newest is None or number == newest + 1
        if event.kind is EventKind.GAP or not whole:
            states.clear()
        newest = number
        if event.uuid is not None and event.uuid in deleted:
            yield f"event {number}: {event.kind} of {event.host} {event.binary}, though deleted"
        if event.kind is EventKind.DELETE:
            deleted.add(event.uuid)
        elif event.kind in (EventKind.UP, EventKind.DOWN):
            if event.before == event.after or states.get(event.uuid, event.before) != event.before:
                yield (
                    f"event {number} of {event.host} {event.binary}: from {event.before} to"
                    f" {event.after}; the one before left it {states.get(event.uuid)}"
                )
            states[event.uuid] = event.after


def recorded(history: History) -> Iterator[str]:
    """What was answered is an event, once: registrations, departures, edits that change."""
    found = history.of(EventSeen)
    span = (min((e.by for e in found), default=0.0), max((e.after for e in found), default=0.0))
    told: dict[int, EventSeen] = {}
    for seen in found:
        told.setdefault(seen.event.id, seen)
    for what, uuid, kinds, incarnation, asked, answered in _expected(history):
        if not span[0] <= asked <= answered <= span[1]:
            continue
        own = [
            one
            for one in told.values()
            if one.event.uuid == uuid
            and one.event.kind in kinds
            and (incarnation is None or one.event.incarnation == incarnation)
            and one.after <= answered
            and one.by >= asked
        ]
        if not own or (incarnation is not None and len(own) > 1):
            numbers = [one.event.id for one in own]
            yield f"{what} between {asked:.2f} and {answered:.2f}: told by events {numbers}"


def _over(history: History) -> dict[tuple[str, int], float]:
    """Return from when a life may have been deleted or superseded: then it has nothing to tell."""
    joined = history.of(Joined)
    over: dict[tuple[str, int], float] = {}
    for act in history.of(Act):
        for one in joined if act.what == "delete" else ():
            if one.uuid == act.uuid:
                life = one.uuid, one.incarnation
                over[life] = min(act.asked, over.get(life, INFINITY))
    for newer in joined:
        life = newer.uuid, newer.incarnation - 1
        over[life] = min(newer.asked, over.get(life, INFINITY))
    return over


_Expected = tuple[str, str, set[EventKind], int | None, float, float]


def _expected(history: History) -> Iterator[_Expected]:
    """Give what has to be an event: its name, record, kinds, incarnation, asked, answered."""
    for one in history.of(Joined):
        kinds = {EventKind.JOIN, EventKind.RESTART}
        name = f"{one.host} {one.binary} registered as incarnation {one.incarnation}"
        yield name, one.uuid, kinds, one.incarnation, one.asked, one.answered
    over = _over(history)
    for end in history.of(Ended):
        if end.how != "killed" and end.at < over.get((end.uuid, end.incarnation), INFINITY):
            kinds = {EventKind.LEAVE if end.how == "left" else EventKind.EXIT}
            asked = end.at if end.asked is None else end.asked
            name = f"{end.host} {end.binary} {end.how}"
            yield name, end.uuid, kinds, end.incarnation, asked, end.at
    edits: dict[tuple[str, bool], Act] = {}
    for act in sorted(history.of(Act), key=lambda act: act.asked):
        about = act.uuid, act.what in ("enable", "disable")
        former = edits.get(about)
        edits[about] = act
        changed = act.what == "delete" or (
            act.what in ("disable", "force_down")
            if former is None
            else former.done and former.what == _OPPOSITE.get(act.what)
        )
        if act.done and changed:
            name = f"{act.what} of {act.host} {act.binary}"
            yield name, act.uuid, {_KINDS[act.what]}, None, act.asked, act.answered
