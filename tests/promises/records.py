"""Promises about what is stored: acknowledged reports, edits, who exists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from promises.history import LOG, Act, History, Joined, Proof, Seen, Shown
from promises.lives import Lives
from servicegroup.model import Reason


def acknowledged(history: History) -> Iterator[str]:
    """Every report that was acknowledged is in the table, however the answer came about.

    Told by the number of reports, which each raises by one, so that no clock has a part in it.
    """
    lives = Lives(history)
    for uuid, answers in _by_record(history).items():
        of_record = [one for many in lives.of_key.values() for one in many]
        own = [life for life in of_record if life.joined.uuid == uuid]
        base, known = float("-inf"), 0
        for seen, shown in answers:
            if shown.reports is None:
                continue
            due = known + sum(life.reports.count(base, seen.asked) for life in own)
            if seen.asked >= base and shown.reports < due:
                yield (
                    f"{shown.host} {shown.binary} by {seen.interface} of {seen.plane} at"
                    f" {seen.asked:.2f}: {shown.reports} reports; promised {due}, which were"
                    f" acknowledged"
                )
            if shown.reports > known:
                base, known = seen.answered, shown.reports


def administration(history: History) -> Iterator[str]:
    """An edit is shown until the next one, nothing else is, and no edit moves the stamp."""
    lives = Lives(history)
    for seen in history.of(Seen):
        for shown in seen.services if seen.interface != LOG else ():
            if shown.uuid is not None:
                yield from _unlike_the_edits(lives, seen, shown, shown.uuid)
    yield from _moved(history, lives)


def _unlike_the_edits(lives: Lives, seen: Seen, shown: Shown, uuid: str) -> Iterator[str]:
    who = f"{shown.host} {shown.binary} by {seen.interface} of {seen.plane} at {seen.asked:.2f}"
    forced = lives.told(uuid, {"force_down", "unforce"}, seen.asked, seen.answered)
    if forced is not None:
        wanted = forced == "force_down"
        if (shown.forced_down is not None and shown.forced_down != wanted) or (
            shown.reason is not None and (shown.reason is Reason.FORCED_DOWN) != wanted
        ):
            yield f"{who}: forced down {shown.forced_down}, {shown.reason}; edited to {wanted}"
        if wanted and shown.state == "up":
            yield f"{who}: up; it was forced down"
    intent = lives.told(uuid, {"enable", "disable"}, seen.asked, seen.answered)
    if intent is not None and shown.status is not None:
        wanted_status = "disabled" if intent == "disable" else "enabled"
        if shown.status != wanted_status:
            yield f"{who}: {shown.status}; edited to {wanted_status}"


def _moved(history: History, lives: Lives) -> Iterator[str]:
    """Find stamps that changed while no report can have counted.

    After the clock stepped back, the observer dates back what is from the future.
    """
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for proof in history.of(Proof):
        if proof.signal == "report":
            spans[proof.uuid].append((proof.sent, lives.bounds.counted(proof)))
    for life in (one for many in lives.of_key.values() for one in many):
        if life.ended is not None and life.ended.how == "killed":
            until = lives.bounds.under_way(life.ended.at, life.ended.at)
            since = life.reports.acknowledged(life.ended.at)
            spans[life.joined.uuid].append((since, until))
    joined = {life.joined.uuid for many in lives.of_key.values() for life in many}
    for uuid, answers in _by_record(history).items():
        if uuid not in joined:
            continue  # a control plane's own service, whose reports nobody wrote down
        told = [one for one in answers if one[1].stamp is not None or one[1].reports == 0]
        for (before, old), (after, new) in pairwise(told):
            if old.stamp == new.stamp:
                continue
            begun, ended = before.asked, max(before.answered, after.answered)
            possible = any(sent <= ended and begun <= last for sent, last in spans[uuid])
            possible |= lives.bounds.has_stepped(ended) and str(new.stamp) < str(old.stamp)
            if not possible:
                yield (
                    f"{new.host} {new.binary} between {begun:.2f} and {ended:.2f}: its stamp moved"
                    f" from {old.stamp} to {new.stamp}; promised that only a report moves it"
                )


def deletion(history: History) -> Iterator[str]:
    """Who registered is listed until it is deleted, and the deleted record never again."""
    lives = Lives(history)
    acts = history.of(Act)
    removed = {act.uuid: act for act in acts if act.what == "delete"}
    for seen in history.of(Seen):
        listed = {shown.key for shown in seen.services}
        for shown in seen.services:
            if shown.uuid is not None and lives.is_deleted(shown.uuid, seen.asked):
                yield (
                    f"{shown.host} {shown.binary} by {seen.interface} of {seen.plane} at"
                    f" {seen.asked:.2f}: listed as {shown.uuid}; promised to stay deleted"
                )
        for key in lives.of_key.keys() - listed if seen.interface != LOG else ():
            life = lives.current(key, seen.asked, seen.answered)
            act = removed.get(life.joined.uuid) if life else None
            if life and not (act and act.asked <= seen.answered):
                yield (
                    f"{key[0]} {key[1]} by {seen.interface} of {seen.plane} at {seen.asked:.2f}:"
                    f" not listed; promised, since it registered at {life.joined.answered:.2f}"
                )
    for proof in history.of(Proof):
        counted = proof.signal == "report" and proof.acknowledged
        if counted and lives.is_deleted(proof.uuid, proof.sent):
            yield f"{proof.host} {proof.binary}: reported at {proof.sent:.2f}, though deleted"
    for joined in history.of(Joined):
        if lives.is_deleted(joined.uuid, joined.asked):
            yield f"{joined.host} {joined.binary}: registered anew as {joined.uuid}, though deleted"


def _by_record(history: History) -> dict[str, list[tuple[Seen, Shown]]]:
    """Return what was seen of each record, in the order of asking."""
    found: dict[str, list[tuple[Seen, Shown]]] = defaultdict(list)
    for seen in sorted(history.of(Seen), key=lambda seen: seen.asked):
        for shown in seen.services if seen.interface != LOG else ():
            if shown.uuid is not None:
                found[shown.uuid].append((seen, shown))
    return found
