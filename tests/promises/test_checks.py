"""Each promise lets pass a history that keeps it, and tells of one that breaks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from docs.pages import page
from promises.bounds import Bounds
from promises.checks import PROMISES, violations
from promises.history import LOG, Act, Counted, Ended, Evicted, Fault, History, Record, Recorder
from promises.stories import (
    LIMITS,
    MOMENT,
    SETTINGS,
    event,
    fleet,
    history,
    killed,
    life,
    named,
    seen,
)
from servicegroup.events import EventKind
from servicegroup.model import Departure, Evidence, OnUnknown, Presence, PresenceState, Reason

UP, DOWN = EventKind.UP, EventKind.DOWN
PRESENT = Presence(PresenceState.PRESENT, frozenset({1}))


def fault(begun: float, ended: float, *touches: Any, holds: bool = False) -> Fault:
    names = frozenset(touches)
    return Fault(kind="", target="", begun=begun, ended=ended, touches=names, holds=holds)


def act(what: Any, at: float, *, done: bool = True) -> Act:
    return Act(what=what, **named("h"), asked=at, answered=at + 0.1, done=done)


class Case(NamedTuple):
    promise: str
    what: str
    kept: History
    broken: History


H10 = life("h", 10)
H40 = life("h", 40)
STRICT = replace(SETTINGS, limits=replace(LIMITS, on_unknown=OnUnknown.DOWN))
LINGERING = replace(SETTINGS, linger=0.5)
ABSENT = seen("h", 10.3, "down", reason=Reason.ABSENT)
HELD = {"state": "up", "reason": Reason.HELD}
UNKNOWN = seen("h", 12, "down", reason=Reason.UNKNOWN)
FRESH = Evidence(LIMITS, 1.0, presence=PRESENT, incarnation=1)
SILENT = {"before": "up", "after": "down", "reason": Reason.SILENT, "incarnation": 1}


def asked(promise: str, what: str, kept: Any, broken: Any, *common: Any) -> Case:
    return Case(promise, what, history(*common, kept), history(*common, broken))


CASES = [
    asked("completeness", "silence", seen("h", 22), seen("h", 23), H10),
    asked("completeness", "an attempt under way", seen("h", 27), seen("h", 28), H10,
          killed("h", 11)),
    asked("completeness", "nobody listened", seen("h", 35), seen("h", 37), H10,
          fault(11, 20, "record")),
    asked("completeness", "others were heard", seen("h", 22), seen("h", 23), H10,
          [r for n in range(4) for r in life(f"n{n}", 30.5 + n / 2)], fault(11, 20, "record")),
    asked("completeness", "the backend was away", seen("h", 26), seen("h", 27), H10,
          fault(11, 23, "backend")),
    asked("completeness", "the clock was stepped", seen("h", 30), seen("h", 31), H10,
          fault(13, 13, "clock")),
    asked("completeness", "by the events", replace(seen("h", 23), interface=LOG),
          replace(seen("h", 24), interface=LOG), H10),
    asked("accuracy", "no gap", seen("h", 30, "down"), seen("h", 11, "down"), H10),
    asked("accuracy", "no excuse", seen("h", 30, "down"), seen("h", 11, "down"), H10,
          fault(5, 20, "record", "backend")),
    asked("accuracy", "no heartbeat", seen("h", 13, "down", reason=Reason.ABSENT),
          seen("h", 11, "down", reason=Reason.ABSENT), life("h", 40, beats_until=10)),
    asked("accuracy", "evicted", seen("h", 9.1, "down", reason=Reason.ABSENT),
          seen("h", 8.7, "down", reason=Reason.ABSENT), H40,
          Evicted(host="h", binary="worker", incarnation=1, begun=8.9, ended=9)),
    asked("accuracy", "forced", seen("h", 12, "down", reason=Reason.FORCED_DOWN),
          seen("h", 12, "down", reason=Reason.SILENT), H40, act("force_down", 5)),
    asked("accuracy", "an event", event(5, "h", DOWN, 30, **SILENT),
          event(5, "h", DOWN, 11, **SILENT), H10),
    Case("accuracy", "killed in a session",
         history(H10, killed("h", 10), replace(ABSENT, answered=10.6), settings=LINGERING),
         history(H10, killed("h", 10), ABSENT, settings=LINGERING)),
    Case("accuracy", "left its backend",
         history(H10, replace(killed("h", 10), asked=8), ABSENT),
         history(H10, killed("h", 10), ABSENT)),
    Case("accuracy", "not knowing is down", history(H40, UNKNOWN, settings=STRICT),
         history(H40, UNKNOWN)),
    asked("protection", "alone", seen("h", 13.4), seen("h", 13.6), H10, fleet(5, 60)),
    asked("protection", "one signal", seen("h", 13.4), seen("h", 13.6),
          life("h", 60, beats_until=10), fleet(5, 60)),
    asked("protection", "of a crowd", seen("h", 15.4, **HELD), seen("h", 15.6, **HELD),
          fleet(5, 10), H10),
    asked("protection", "disturbed", fault(12, 12, "record"), fault(90, 91, "record"), H10,
          seen("h", 14), fleet(5, 60)),
    asked("explanation", "evidence", seen("h", 5, reason=Reason.PRESENT, evidence=FRESH),
          seen("h", 5, reason=Reason.HELD, evidence=FRESH), H10),
    asked("explanation", "of an event", event(1, "h", UP, 1, after="up", reason=Reason.PRESENT,
          evidence=FRESH), event(1, "h", DOWN, 1, after="down", reason=Reason.ABSENT,
          evidence=FRESH)),
    asked("acknowledged", "reports", seen("h", 30, reports=6), seen("h", 30, reports=5), H10),
    asked("acknowledged", "between answers", seen("h", 11, reports=9), seen("h", 11, reports=8),
          H10, seen("h", 5, reports=6)),
    asked("administration", "the stamp", seen("h", 31, stamp="a", reports=6),
          seen("h", 31, stamp="b", reports=6), H10, seen("h", 20, stamp="a", reports=6),
          act("disable", 25)),
    asked("administration", "a clock that stepped back", seen("h", 31, stamp="a", reports=6),
          seen("h", 31, stamp="c", reports=6), H10, seen("h", 20, stamp="b", reports=6),
          fault(25, 25, "clock")),
    asked("administration", "disabled", seen("h", 7, status="disabled"),
          seen("h", 7, status="enabled"), H10, act("disable", 5)),
    asked("administration", "nobody's edit", seen("h", 7, status="enabled"),
          seen("h", 7, status="disabled"), H10),
    asked("administration", "forced down", seen("h", 7, "down", forced_down=True),
          seen("h", 7, "up", forced_down=True), H10, act("force_down", 5)),
    asked("administration", "taken back", seen("h", 7, forced_down=False),
          seen("h", 7, "down", forced_down=True), H10, act("force_down", 3), act("unforce", 5)),
    asked("deletion", "stays deleted", seen("h", 4), seen("h", 6), life("h", 4), act("delete", 5)),
    asked("deletion", "no report", act("delete", 11), act("delete", 5), H10),
    asked("deletion", "stays listed", seen("h", 6), replace(seen("h", 6), services=[]), H10),
    asked("coherence", "two answers", replace(seen("h", 6), moment="m"),
          replace(seen("h", 6, "down"), moment="m"),
          replace(seen("h", 5), moment="m")),
    asked("coherence", "counts", Counted(interface="metrics", plane="p", asked=6, answered=6,
          counts={"workers": {"up": 1}}, moment="m"), Counted(interface="metrics", plane="p",
          asked=6, answered=6, counts={"workers": {"down": 1}}, moment="m"),
          replace(seen("h", 5), moment="m")),
    asked("events", "ids", event(2, "h", EventKind.DISABLE, 2), event(3, "h", EventKind.DISABLE, 2),
          event(1, "h", EventKind.JOIN, 1)),
    asked("events", "a marked gap", event(9, "h", EventKind.GAP, 2),
          event(9, "h", EventKind.DISABLE, 2), event(1, "h", EventKind.JOIN, 1)),
    asked("events", "turns", event(2, "h", DOWN, 2, before="up", after="down"),
          event(2, "h", UP, 2, before="down", after="up"),
          event(1, "h", UP, 1, after="up")),
    asked("events", "the same for all", [], replace(
          event(1, "h", EventKind.LEAVE, 1), follower="g"), event(1, "h", EventKind.JOIN, 1)),
    asked("events", "nothing of the deleted", event(2, "k", UP, 2, after="up"),
          event(2, "h", UP, 2, after="up"), event(1, "h", EventKind.DELETE, 1)),
    asked("recorded", "a registration", event(2, "h", EventKind.JOIN, 5, incarnation=1), [],
          event(1, "k", EventKind.JOIN, 1), life("h", 10, since=5),
          event(3, "k", EventKind.DISABLE, 9)),
    asked("recorded", "once", [], event(3, "h", EventKind.RESTART, 5, incarnation=1),
          event(1, "k", EventKind.JOIN, 1), life("h", 10, since=5),
          event(2, "h", EventKind.JOIN, 5, incarnation=1), event(4, "k", EventKind.DISABLE, 9)),
    asked("recorded", "an edit", event(2, "h", EventKind.DISABLE, 5), [],
          event(1, "k", EventKind.JOIN, 1), act("disable", 5), event(3, "k", EventKind.ENABLE, 9)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.promise}: {case.what}")
def test_a_promise_is_kept_or_broken(case: Case) -> None:
    check = PROMISES[case.promise]
    assert list(check(case.kept)) == []
    assert list(check(case.broken)) != []


def test_every_promise_has_been_broken() -> None:
    assert {case.promise for case in CASES} == PROMISES.keys()


def test_every_promise_and_every_figure_is_in_writing() -> None:
    found = page("docs/promises.md")
    assert {heading for heading in found.headings if heading.startswith("`")} == {
        f"`{name}`" for name in PROMISES
    }
    for figure in (Bounds.alone, Bounds.crowd, Bounds.at_most):
        assert f"| `{figure.__name__}` |" in found.text


def test_a_violation_says_who_and_when(tmp_path: Path) -> None:
    """A history is kept, and checked again from its file."""
    record = Recorder(tmp_path / "history.jsonl")
    for one in history(H10, seen("h", 23)).records:
        record(one)
    record.close()
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"type":"Seen","interf')  # a crash in the middle of a line
    found, *_ = violations(History.read(tmp_path / "history.jsonl"))
    assert found.startswith("completeness: h worker by v1 of p at 23.00: told up")
    assert "down whatever happens from 22.5" in found


moments = st.floats(0, 100).map(lambda seconds: round(seconds, 1))
lengths = st.floats(0, 20).map(lambda seconds: round(seconds, 1))


@given(last=moments, faults=st.lists(st.tuples(moments, lengths), max_size=5))
def test_silence_counts_only_while_somebody_listened(
    last: float, faults: list[tuple[float, float]]
) -> None:
    """SQL-6: of the time until a service is silent, service_down_time was heard."""
    made: list[Record] = [fault(begun, begun + length, "record") for begun, length in faults]
    end = Bounds(history(made)).silent(last)
    deaf = [(begun, begun + length + 5) for begun, length in faults]
    tenths = [last + n / 10 + 0.05 for n in range(round((end - last) * 10))]
    heard = sum(not any(begun <= at <= ended for begun, ended in deaf) for at in tenths) / 10
    assert heard == pytest.approx(LIMITS.service_down_time, abs=0.11)


@given(at=moments, died=st.floats(1, 100))
def test_from_its_bound_on_a_service_is_down(at: float, died: float) -> None:
    found = list(PROMISES["completeness"](history(life("h", died), seen("h", at))))
    late = at - (died + LIMITS.service_down_time + SETTINGS.slack)
    assert bool(found) == (late > 0) or abs(late) < 2 * MOMENT


@given(at=moments, died=st.floats(1, 100))
def test_up_to_the_tolerance_a_service_is_up(at: float, died: float) -> None:
    lives = life("h", died)
    found = list(PROMISES["accuracy"](history(lives, seen("h", at, "down"))))
    assert not found or at < died + LIMITS.membership_ttl
    proven = 2 * LIMITS.report_interval < at < died + LIMITS.membership_ttl - 0.1 - 2 * MOMENT
    assert found or not proven


def test_the_departed_are_down_without_a_reason_to_be_silent() -> None:
    left = Ended(**named("h"), incarnation=1, how="left", at=9.5, asked=9.4)
    down = seen("h", 10, "down", reason=Reason.LEFT)
    evidence = Evidence(LIMITS, 1.0, departure=Departure.STOPPED)
    assert list(PROMISES["accuracy"](history(H10, left, down))) == []
    explained = seen("h", 10, "down", reason=Reason.LEFT, evidence=evidence)
    assert violations(history(H10, left, explained)) == []
