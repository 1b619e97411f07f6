"""The rule as a table and as properties."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.liveness import Listening, Unheard, is_present, judge, reading
from servicegroup.model import (
    Departure,
    Evidence,
    Limits,
    OnUnknown,
    Presence,
    PresenceState,
    Reason,
    Verdict,
)
from servicegroup.rpc import Rpc, RpcState

LIMITS = Limits(report_interval=10, service_down_time=60, driver="memcached")
STRICT = msgspec.structs.replace(LIMITS, on_unknown=OnUnknown.DOWN)

PRESENT = Presence(PresenceState.PRESENT, frozenset({3}))
PREDECESSOR = Presence(PresenceState.PRESENT, frozenset({2}))
ABSENT = Presence(PresenceState.ABSENT)
UNKNOWN = Presence(PresenceState.UNKNOWN)

ANSWERS = Rpc(RpcState.ANSWERS, 3.0)
DEAF = Rpc(RpcState.DEAF, 3.0, 60.0, "nobody takes messages from its queue")
DEAF_IS_DOWN = msgspec.structs.replace(DEAF, decides=True)


def evidence(age: float = 1, **facts: object) -> Evidence:
    """Return the evidence of incarnation 3 that registered long ago."""
    known = {"limits": LIMITS, "incarnation": 3, "registered_age": 5000.0} | facts
    return Evidence(report_age=age, **known)  # type: ignore[arg-type]


TABLE = [
    # administrative word first, then departure, silence, presence (design section 3)
    (evidence(), Reason.REPORTING),
    (evidence(60.0), Reason.REPORTING),  # the boundary itself is up, as in Nova
    (evidence(60.001), Reason.SILENT),
    (evidence(600, unheard=540.0), Reason.REPORTING),
    (evidence(600, unheard=539.9), Reason.SILENT),
    (evidence(0, forced_down=True, presence=PRESENT), Reason.FORCED_DOWN),
    (evidence(900, forced_down=True, departure=Departure.EXITED), Reason.FORCED_DOWN),
    (evidence(0, departure=Departure.STOPPED, presence=PRESENT), Reason.LEFT),
    (evidence(900, departure=Departure.EXITED), Reason.EXITED),
    (evidence(0, departure="told_down", presence=PRESENT), Reason.TOLD_DOWN),
    (evidence(61, presence=PRESENT), Reason.SILENT),
    (evidence(61, presence=ABSENT), Reason.SILENT),
    (evidence(presence=PRESENT), Reason.PRESENT),
    (evidence(presence=ABSENT), Reason.ABSENT),
    (evidence(presence=UNKNOWN), Reason.UNCONFIRMED),
    (evidence(presence=UNKNOWN, limits=STRICT), Reason.UNKNOWN),
    # presence counts for the record's own incarnation (LC-4); None: any living one counts
    (evidence(presence=PREDECESSOR), Reason.ABSENT),
    (evidence(presence=PREDECESSOR, incarnation=None), Reason.PRESENT),
    # joining: one report interval, until first seen present
    (evidence(presence=ABSENT, registered_age=9.0), Reason.JOINING),
    (evidence(presence=PREDECESSOR, registered_age=9.0), Reason.JOINING),
    (evidence(presence=ABSENT, registered_age=10.1), Reason.ABSENT),
    (evidence(presence=ABSENT, registered_age=9.0, seen_present=True), Reason.ABSENT),
    (evidence(presence=UNKNOWN, registered_age=9.0), Reason.UNCONFIRMED),
    # not knowing does not raise the dead
    (evidence(5, presence=UNKNOWN, absent_age=4.0), Reason.ABSENT),
    (evidence(5, presence=UNKNOWN, absent_age=5.0), Reason.ABSENT),
    (evidence(3, presence=UNKNOWN, absent_age=4.0), Reason.UNCONFIRMED),
    (evidence(5, presence=ABSENT, absent_age=4.0, registered_age=1.0), Reason.ABSENT),
    (evidence(5, presence=PRESENT, absent_age=4.0), Reason.PRESENT),
    # a crowd accuses the backend (AND-2): absence is held while reports go on, and no longer
    (evidence(presence=ABSENT, held_age=1.0), Reason.HELD),
    (evidence(20, presence=ABSENT, held_age=1.0), Reason.HELD),
    (evidence(20.1, presence=ABSENT, held_age=1.0), Reason.ABSENT),
    (evidence(presence=UNKNOWN, held_age=1.0), Reason.HELD),
    (evidence(presence=ABSENT, held_age=1.0, limits=STRICT), Reason.UNKNOWN),
    (evidence(presence=PRESENT, held_age=1.0), Reason.PRESENT),
    (evidence(5, presence=ABSENT, held_age=1.0, absent_age=4.0), Reason.ABSENT),
    (evidence(3, presence=ABSENT, held_age=1.0, absent_age=4.0), Reason.HELD),
    # and silence is held while presence goes on
    (evidence(61, presence=PRESENT, held_age=1.0), Reason.HELD),
    (evidence(61, presence=ABSENT, held_age=1.0), Reason.SILENT),
    (evidence(61, presence=UNKNOWN, held_age=1.0), Reason.SILENT),
    (evidence(61, presence=PREDECESSOR, held_age=1.0), Reason.SILENT),
    # where somebody observes, an absence counts once it was weighed
    (evidence(presence=ABSENT, observed=True), Reason.UNCONFIRMED),
    (evidence(1, presence=ABSENT, observed=True, absent_age=0.5), Reason.ABSENT),
    (evidence(61, presence=ABSENT, observed=True), Reason.SILENT),
    # who is up but for that, and answers no RPC, is deaf (F-40)
    (evidence(rpc=ANSWERS), Reason.REPORTING),
    (evidence(rpc=DEAF), Reason.DEAF),
    (evidence(presence=PRESENT, rpc=DEAF), Reason.DEAF),
    (evidence(presence=UNKNOWN, rpc=DEAF), Reason.DEAF),
    (evidence(presence=ABSENT, rpc=DEAF), Reason.ABSENT),
    (evidence(61, rpc=DEAF), Reason.SILENT),
    (evidence(61, rpc=ANSWERS), Reason.SILENT),
    (evidence(presence=ABSENT, rpc=ANSWERS), Reason.ABSENT),
    (evidence(forced_down=True, rpc=ANSWERS), Reason.FORCED_DOWN),
]


@pytest.mark.parametrize(("facts", "reason"), TABLE)
def test_the_rule(facts: Evidence, reason: Reason) -> None:
    assert judge(facts).reason is reason


def test_every_reason_has_one_sentence_and_one_state() -> None:
    assert {reason for _, reason in TABLE} == set(Reason)
    sentences = [reason.sentence for reason in Reason]
    assert len(set(sentences)) == len(sentences)
    assert all(s[0].isupper() and s.endswith(".") and "\n" not in s for s in sentences)


seconds = st.floats(min_value=0, max_value=1e6, allow_nan=False)
presences = st.builds(
    Presence, st.sampled_from(PresenceState), st.frozensets(st.integers(1, 4), max_size=3)
)
anything = st.builds(
    Evidence,
    limits=st.sampled_from([LIMITS, STRICT]),
    report_age=seconds,
    unheard=seconds,
    never_reported=st.booleans(),
    forced_down=st.booleans(),
    departure=st.none() | st.sampled_from(Departure),
    detail=st.none(),
    incarnation=st.none() | st.integers(1, 4),
    registered_age=st.none() | seconds,
    presence=st.none() | presences,
    seen_present=st.booleans(),
    absent_age=st.none() | seconds,
    held_age=st.none() | seconds,
    observed=st.booleans(),
    rpc=st.none() | st.sampled_from([ANSWERS, DEAF, DEAF_IS_DOWN]),
)


@given(anything)
def test_forced_down_dominates(facts: Evidence) -> None:
    forced = msgspec.structs.replace(facts, forced_down=True)
    assert judge(forced).reason is Reason.FORCED_DOWN


@given(anything, seconds)
def test_silence_only_gets_worse_with_time(facts: Evidence, later: float) -> None:
    """With every age grown alike and nothing else new, no service comes up by waiting."""
    aged = msgspec.structs.replace(
        facts,
        report_age=facts.report_age + later,
        registered_age=None if facts.registered_age is None else facts.registered_age + later,
        absent_age=None if facts.absent_age is None else facts.absent_age + later,
    )
    assert judge(facts).is_up or not judge(aged).is_up


@given(anything, st.sampled_from([LIMITS]))
def test_unknown_alone_never_downs_under_record(facts: Evidence, limits: Limits) -> None:
    plain = msgspec.structs.replace(facts, limits=limits, presence=None)
    unsure = msgspec.structs.replace(plain, presence=UNKNOWN, absent_age=None)
    assert judge(plain).is_up == judge(unsure).is_up


@given(anything)
def test_unknown_never_raises_the_dead(facts: Evidence) -> None:
    """Whoever was last known absent, after its last report, stays down without an answer."""
    absent = msgspec.structs.replace(
        facts, presence=UNKNOWN, absent_age=facts.report_age, limits=LIMITS
    )
    assert not judge(absent).is_up


@given(anything)
def test_either_signals_down_wins(facts: Evidence) -> None:
    """Spec S2: up needs a fresh record, and a driver that does not say absent.

    While its reports are suspect, only whoever is present itself is up without them (AND-2).
    """
    if judge(facts).is_up:
        suspect = facts.held_age is not None and is_present(facts)
        assert facts.silence <= facts.limits.service_down_time or suspect
        assert facts.presence is None or reading(facts) is not PresenceState.ABSENT


@given(anything)
def test_an_answer_raises_nobody_and_only_deafness_that_decides_downs(facts: Evidence) -> None:
    without = judge(msgspec.structs.replace(facts, rpc=None))
    deaf = judge(msgspec.structs.replace(facts, rpc=DEAF))
    decided = judge(msgspec.structs.replace(facts, rpc=DEAF_IS_DOWN))
    assert judge(msgspec.structs.replace(facts, rpc=ANSWERS)).reason is without.reason
    assert deaf.is_up == without.is_up
    assert (deaf.reason is Reason.DEAF) == without.is_up
    assert not decided.is_up
    assert decided.reason is deaf.reason


@given(anything)
def test_evidence_recomputes_to_the_verdict(facts: Evidence) -> None:
    verdict = judge(facts)
    assert judge(verdict.evidence) == verdict
    decoded = msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict)
    assert judge(decoded.evidence) == decoded


NOW = datetime(2030, 1, 1, 12)
ago = st.integers(0, 10_000).map(lambda n: NOW - timedelta(seconds=n))
unheard_times = st.lists(
    st.tuples(ago, ago).map(lambda pair: Unheard(min(pair), max(pair))), max_size=6
)


def test_time_without_a_mark_is_unheard() -> None:
    hour_ago = NOW - timedelta(hours=1)
    assert Listening.of(NOW, NOW - timedelta(seconds=3), []).unheard_since(hour_ago) == 0
    assert Listening.of(NOW, NOW - timedelta(seconds=30), []).unheard_since(hour_ago) == 30
    assert Listening.of(NOW, None, []).unheard_since(hour_ago) == 3600


def test_a_stamp_within_an_unheard_time_counts_only_the_rest_of_it() -> None:
    unheard = Unheard(NOW - timedelta(seconds=100), NOW - timedelta(seconds=40))
    listening = Listening.of(NOW, NOW, [unheard])
    assert listening.unheard_since(NOW - timedelta(seconds=70)) == 30
    assert listening.unheard_since(NOW - timedelta(seconds=30)) == 0


@given(unheard_times, ago, st.none() | ago)
def test_unheard_is_never_more_than_the_age(
    known: list[Unheard], stamp: datetime, marked_at: datetime | None
) -> None:
    unheard = Listening.of(NOW, marked_at, known).unheard_since(stamp)
    assert 0 <= unheard <= (NOW - stamp).total_seconds()


@given(unheard_times, ago)
def test_an_unheard_time_that_is_seen_twice_counts_once(
    known: list[Unheard], stamp: datetime
) -> None:
    once = Listening.of(NOW, NOW, known).unheard_since(stamp)
    assert Listening.of(NOW, NOW, known + known).unheard_since(stamp) == once


@given(unheard_times, ago)
def test_unheard_is_what_the_unheard_times_cover(known: list[Unheard], stamp: datetime) -> None:
    """The same, counted second by second."""
    age = int((NOW - stamp).total_seconds())
    starts = (stamp + timedelta(seconds=n) for n in range(age))
    covered = sum(any(one.start <= second < one.end for one in known) for second in starts)
    assert Listening.of(NOW, NOW, known).unheard_since(stamp) == covered
