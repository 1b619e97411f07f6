"""What a health check may answer, what is made of it, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.agent.health import Health


def raises(error: BaseException) -> Callable[[], object]:
    def healthy() -> object:
        raise error

    return healthy


@pytest.mark.parametrize("answer", [None, True, "", 0, [], object()])
def test_what_counts_as_working(answer: object) -> None:
    assert Health("worker", lambda: answer).ask() is None


@pytest.mark.parametrize(
    ("healthy", "reason"),
    [
        (lambda: False, "The health check says no."),
        (lambda: "The disk is full.", "The disk is full."),
        (lambda: "\n\n  first\nsecond", "first"),
        (raises(RuntimeError("no libvirt")), "no libvirt"),
        (raises(RuntimeError()), "RuntimeError"),
        (raises(SystemExit()), "SystemExit"),
    ],
)
def test_what_counts_as_not_working(healthy: Callable[[], object], reason: str) -> None:
    health = Health("worker", healthy)
    assert health.ask() == reason
    assert health.answer(patience=1) == reason


@given(st.text())
def test_a_reason_can_always_be_sent_and_shown(text: str) -> None:
    reason = Health("worker", lambda: text).ask() or ""
    assert len(reason) <= 255
    assert reason.isprintable()
    reason.encode()


def test_says_withheld_once_and_working_once(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([None, "broken", "still broken", None, None])
    health = Health("worker on c1", lambda: next(answers))
    for _ in range(5):
        health.ask()
    assert [record.getMessage() for record in caplog.records] == [
        "worker on c1 withholds its signals: broken",
        "worker on c1 works again and sends its signals.",
    ]


def test_a_question_that_stays_open_is_a_bad_answer() -> None:
    now = [0.0]
    seen: list[str | None] = []

    def hanging() -> None:
        for moment in (4.0, 6.0):
            now.append(moment)
            seen.append(health.answer(patience=5))

    health = Health("worker", hanging, monotonic=lambda: now[-1])
    health.ask()
    assert seen == [None, "The health check has not answered for 5 s."]
    assert health.answer(patience=5) is None
