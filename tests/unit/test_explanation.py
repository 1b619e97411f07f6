"""A hold in words: which signal is suspect since when, and what ends it."""

from __future__ import annotations

from datetime import datetime

import pytest

from servicegroup.events import Protection, Signal
from servicegroup.explanation import explain, suspicion
from servicegroup.liveness import judge
from servicegroup.model import Evidence, Limits, Presence, PresenceState, Reason
from servicegroup.rpc import Rpc, RpcState

LIMITS = Limits(driver="zookeeper")
THERE = Presence(PresenceState.PRESENT, frozenset({1}))
GONE = Presence(PresenceState.ABSENT)


def held(presence: Presence, report_age: float, age: float = 7) -> Evidence:
    return Evidence(LIMITS, report_age, incarnation=1, presence=presence, held_age=age)


@pytest.mark.parametrize(
    ("presence", "report_age", "fact", "otherwise"),
    [
        (GONE, 4, "presence suspect for 7.0 s: many lost it together",
         ("The hold ends by itself when it is back in zookeeper, or when those left are no crowd"
          " any more and 10 s passed without a change. It goes down after 16 s more without a"
          " report; check the backend.")),
        (THERE, 75, "reports suspect for 7.0 s: many lost it together",
         ("The hold ends by itself with its next report, or when those left are no crowd any more"
          " and 20 s passed without a change. It goes down when zookeeper says it is absent; check"
          " the way from the hosts to the control plane.")),
    ],
)  # fmt: skip
def test_a_held_service_says_what_is_suspect_and_what_ends_it(
    presence: Presence, report_age: float, fact: str, otherwise: str
) -> None:
    verdict = judge(held(presence, report_age))
    assert verdict.reason is Reason.HELD
    explanation = explain(verdict)
    assert [f.value for f in explanation.facts if f.name == "held"] == [fact]
    assert explanation.otherwise == otherwise


def test_what_is_said_is_what_happens() -> None:
    """After 16 s more without a report the hold hides it no longer."""
    assert judge(held(GONE, 4 + 16)).reason is Reason.HELD
    assert judge(held(GONE, 4 + 16.1)).reason is Reason.ABSENT
    assert judge(held(GONE, 75)).reason is Reason.SILENT
    assert judge(held(GONE, 75)).evidence.held_age is not None


def test_nobody_is_held_by_an_ordinary_verdict() -> None:
    for presence, report_age in ((THERE, 4), (GONE, 4), (GONE, 75)):
        verdict = judge(Evidence(LIMITS, report_age, incarnation=1, presence=presence))
        assert "held" not in {fact.name for fact in explain(verdict).facts}


@pytest.mark.parametrize(("signal", "other"), [("presence", "reports"), ("reports", "presence")])
def test_a_protection_in_a_sentence(signal: str, other: str) -> None:
    since = datetime(2026, 1, 31, 12, 0, 0, 999)
    assert suspicion(Protection("compute", "az1", Signal(signal), since, members=20, peak=25)) == (
        f"Protection: {signal} of group compute, zone az1 is suspect since 2026-01-31 12:00:00;"
        f" 20 that lost it are up by their {other}."
    )


@pytest.mark.parametrize(
    ("rpc", "said"),
    [
        (Rpc(RpcState.ANSWERS, 12), "answers, asked 12 s ago"),
        (Rpc(RpcState.DEAF, 12, 200, "it took no question in 5 s"),
         "deaf for 3 min 20 s, asked 12 s ago: it took no question in 5 s"),
    ],
)  # fmt: skip
def test_what_a_question_came_to_is_told(rpc: Rpc, said: str) -> None:
    explanation = explain(judge(Evidence(LIMITS, 4, incarnation=1, presence=THERE, rpc=rpc)))
    assert [f.value for f in explanation.facts if f.name == "questions"] == [said]
    assert ("no longer deaf when" in explanation.otherwise) is rpc.is_deaf
