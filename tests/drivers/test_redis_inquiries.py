"""Guides that hang are asked beside the others, once, and not waited for again (F-18)."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from servicegroup.breaker import SLOW
from servicegroup.drivers.redis.inquiries import Inquiries

FOREVER = 3600.0


class Guides:
    """They answer with their own names; "hung" does not until it is let go, "deaf" refuses."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.failing = False
        self.asked: list[str] = []
        self.inquiries = Inquiries(self._answer)

    def _answer(self, guide: str) -> str:
        self.asked.append(guide)
        if guide == "hung":
            self.let_go.wait()
        if guide == "deaf" or (guide == "hung" and self.failing):
            raise OSError(guide)
        return guide

    def of_all(self, *guides: str, seconds: float = FOREVER) -> list[str]:
        return [answer.result() for answer in self.inquiries.of_all(guides, seconds)]

    def in_turn(self, *guides: str, seconds: float = FOREVER) -> Iterator[str]:
        """Tell who gives an answer, whatever it is."""
        return (guide for guide, _ in self.inquiries.in_turn(guides, seconds))


@pytest.fixture
def guides() -> Iterator[Guides]:
    found = Guides()
    yield found
    found.let_go.set()


@pytest.mark.timeout(15)
def test_who_hangs_is_waited_for_once(guides: Guides) -> None:
    assert guides.of_all("hung", "quick", seconds=2 * SLOW) == ["quick"]
    assert guides.of_all("hung", "quick") == ["quick"]
    assert list(guides.in_turn("hung", "quick")) == ["quick"]
    assert guides.asked.count("hung") == 1


def test_who_hangs_is_asked_last_and_waited_for_again_once_it_has_answered(guides: Guides) -> None:
    hung = guides.inquiries.put_to("hung")
    assert guides.of_all("hung", "quick", seconds=2 * SLOW) == ["quick"]
    assert guides.inquiries.is_late("hung")
    assert next(guides.in_turn("hung", "quick")) == "quick"
    guides.let_go.set()
    assert hung.result() == "hung"
    assert not guides.inquiries.is_late("hung")
    assert guides.of_all("hung", "quick") == ["hung", "quick"]


def test_who_failed_late_is_not_waited_for(guides: Guides) -> None:
    """As one whose connection ran into its time limit; who fails at once costs nobody anything."""
    guides.failing = True
    hung = guides.inquiries.put_to("hung")
    assert guides.of_all("hung", "quick", seconds=2 * SLOW) == ["quick"]
    guides.let_go.set()
    with pytest.raises(OSError, match="hung"):
        hung.result()
    assert guides.inquiries.is_late("hung")
    with pytest.raises(OSError, match="deaf"):
        guides.inquiries.put_to("deaf").result()
    assert not guides.inquiries.is_late("deaf")


def test_a_thread_that_cannot_start_is_a_failure_of_one_question(
    guides: Guides, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="new thread"):
            guides.inquiries.put_to("quick").result()
    assert guides.of_all("quick") == ["quick"]


def test_who_is_silent_is_not_waited_for_before_the_next_one_is_asked(guides: Guides) -> None:
    assert next(guides.in_turn("hung", "quick")) == "quick"


def test_a_refusal_is_no_answer_to_go_by(guides: Guides) -> None:
    """Then who is late is all there is."""
    guides.of_all("hung", seconds=2 * SLOW)
    found = guides.in_turn("deaf", "hung")
    assert next(found) == "deaf"
    guides.let_go.set()
    assert next(found) == "hung"


def test_nobody_is_asked_after_a_good_answer(guides: Guides) -> None:
    assert next(guides.in_turn("quick", "other")) == "quick"
    assert guides.asked == ["quick"]


def test_all_that_hang_are_waited_for_no_longer_than_is_allowed(guides: Guides) -> None:
    assert list(guides.in_turn("hung", seconds=0.1)) == []
    assert guides.of_all("hung", seconds=0.1) == []
