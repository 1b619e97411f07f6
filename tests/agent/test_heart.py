"""The loop on a clock that only the test moves: nothing here waits."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.agent.heart import Busy, Heart, next_delay, retry_delay
from servicegroup.errors import ControlPlaneUnavailable

INTERVAL = 8.0


class VirtualTime:
    """A clock and the waiting on it; the loop is stopped after ``rounds`` waits."""

    def __init__(self, rounds: int) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self._rounds = rounds
        self._stopped = False

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float, /) -> bool:
        if not self._stopped:
            self.waits.append(timeout)
            self.now += timeout
        return self._stopped or len(self.waits) >= self._rounds

    def set(self) -> None:
        self._stopped = True

    def is_set(self) -> bool:
        return self._stopped


def heart_of(beat: Callable[[], None], time: VirtualTime, chance: float = 0.5) -> Heart:
    return Heart(
        "worker on c1",
        "the control plane",
        beat,
        INTERVAL,
        stop=time,
        monotonic=time.monotonic,
        chance=lambda: chance,
    )


def outcomes(*errors: BaseException | None) -> Callable[[], None]:
    """Return a beat that fails and succeeds in the given order."""
    script = iter(errors)

    def beat() -> None:
        error = next(script)
        if error is not None:
            raise error

    return beat


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


AWAY = ControlPlaneUnavailable("http://cp gave no answer (timed out).")


def test_beats_at_once_then_at_a_drawn_phase_then_at_the_interval() -> None:
    time = VirtualTime(rounds=4)
    moments: list[float] = []
    heart_of(lambda: moments.append(time.now), time, chance=0.25).run()
    assert moments[0] == 100.0
    assert time.waits == pytest.approx([2.0, 7.8, 7.8, 7.8])


def test_the_time_a_beat_takes_is_part_of_the_interval() -> None:
    time = VirtualTime(rounds=3)

    def slow() -> None:
        time.now += 3.0

    heart_of(slow, time, chance=0.0).run()
    assert time.waits == [0.0, 5.0, 5.0]


def test_says_lost_once_and_recovered_once(caplog: pytest.LogCaptureFixture) -> None:
    time = VirtualTime(rounds=6)
    heart = heart_of(outcomes(None, AWAY, AWAY, AWAY, None, None), time)
    heart.run()
    lost, recovered = said(caplog)
    assert lost == (
        "worker on c1 lost the control plane: http://cp gave no answer (timed out)."
        " Trying until it answers."
    )
    assert recovered.startswith("worker on c1 recovered the control plane after ")
    assert not heart.is_lost
    assert heart.error == ""


def test_backs_off_up_to_the_interval_and_begins_anew_after_a_success() -> None:
    time = VirtualTime(rounds=8)
    script = outcomes(None, AWAY, AWAY, AWAY, AWAY, AWAY, None, AWAY)
    heart_of(script, time, chance=1.0).run()
    assert time.waits == pytest.approx([8.0, 1.0, 2.0, 4.0, 8.0, 8.0, 7.2, 1.0])


def test_waits_as_long_as_it_is_asked_to() -> None:
    time = VirtualTime(rounds=2)
    heart_of(outcomes(Busy("busy", 3.0), Busy("busy", 900.0)), time, chance=0.0).run()
    assert time.waits == [3.0, INTERVAL]


@pytest.mark.parametrize(
    "error", [ValueError("odd"), SystemExit(1), KeyboardInterrupt(), MemoryError()]
)
def test_survives_any_exception(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    time = VirtualTime(rounds=3)
    heart = heart_of(outcomes(None, error, None), time)
    heart.run()
    assert heart.beats == 3
    assert caplog.records[0].exc_info, "an error nobody expected is shown with its traceback"


def test_an_expected_error_is_a_sentence_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heart_of(outcomes(AWAY), VirtualTime(rounds=1)).run()
    assert [record.exc_info for record in caplog.records] == [None]


def test_exposes_its_last_success() -> None:
    time = VirtualTime(rounds=3)
    heart = heart_of(outcomes(None, AWAY, AWAY), time, chance=0.5)
    assert heart.success_age is None
    heart.run()
    assert heart.is_lost
    assert heart.error == str(AWAY)
    assert heart.success_age == pytest.approx(sum(time.waits))


def test_stops_after_the_beat_under_way_and_says_nothing_of_its_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    time = VirtualTime(rounds=100)

    def beat() -> None:
        heart.stop()
        raise AWAY

    heart = heart_of(beat, time)
    heart.run()
    assert heart.beats == 1
    assert not said(caplog)


def test_beats_once_even_when_it_is_stopped_before_it_starts() -> None:
    time = VirtualTime(rounds=100)
    heart = heart_of(lambda: None, time)
    heart.stop()
    heart.run()
    assert heart.beats == 1


def test_a_changed_interval_counts_from_the_next_wait() -> None:
    time = VirtualTime(rounds=3)

    def beat() -> None:
        heart.interval = 2.0

    heart = heart_of(beat, time, chance=1.0)
    heart.run()
    assert time.waits == pytest.approx([2.0, 1.8, 1.8])


CHANCE = st.floats(0, 1)
SECONDS = st.floats(0.05, 3600)
FAILURES = st.integers(1, 10**9)


@given(FAILURES, SECONDS, CHANCE, st.floats(0, 1e12))
def test_a_retry_comes_within_the_interval(
    failures: int, interval: float, chance: float, asked: float
) -> None:
    delay = retry_delay(failures, interval, chance, asked)
    assert interval / 16 <= delay <= interval
    assert delay >= min(asked, interval)


@given(FAILURES, SECONDS, CHANCE)
def test_a_retry_never_comes_sooner_after_more_failures(
    failures: int, interval: float, chance: float
) -> None:
    assert retry_delay(failures, interval, chance) <= retry_delay(failures + 1, interval, chance)


@given(FAILURES, SECONDS)
def test_chance_spreads_retries_over_half_of_the_delay(failures: int, interval: float) -> None:
    least, most = (retry_delay(failures, interval, chance) for chance in (0.0, 1.0))
    assert least == pytest.approx(most / 2)


@given(SECONDS, st.floats(0, 1e6), CHANCE)
def test_beats_begin_at_most_an_interval_apart(interval: float, took: float, chance: float) -> None:
    delay = next_delay(interval, took, chance)
    assert delay >= 0
    assert delay + took <= max(interval, took) * (1 + 1e-9)
    assert delay + took >= interval * 0.9 * (1 - 1e-9)
