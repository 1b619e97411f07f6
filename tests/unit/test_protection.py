"""When a signal is suspect (AND-2), as tables and as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.protection import (
    Patience,
    Threshold,
    Thresholds,
    are_several,
    is_credible,
    is_crowd,
)

USUAL = Threshold(minimum=3, share=0.2)
PATIENCE = Patience(few=3.0, crowd=10.0)

some = st.integers(0, 500)
thresholds = st.builds(Threshold, st.integers(2, 50), st.floats(0, 1))
seconds = st.floats(0, 1e4)
patiences = st.tuples(seconds, seconds).map(lambda pair: Patience(min(pair), max(pair)))

CROWDS = [
    # lost, kept, a crowd
    (0, 0, False),
    (1, 0, False),
    (2, 0, False),
    (3, 0, True),
    (3, 12, True),  # the share itself is enough
    (3, 13, False),
    (20, 80, True),
    (19, 81, False),
]


@pytest.mark.parametrize(("lost", "kept", "crowd"), CROWDS)
def test_a_crowd_is_many_and_a_share_of_all(lost: int, kept: int, crowd: bool) -> None:
    assert is_crowd(lost, kept, USUAL) is crowd


CREDIBLE = [
    # held, kept, peak, calm, credible
    (0, 0, 9, 0.0, True),  # nobody is held
    (3, 12, 3, 1e9, False),  # a crowd, for however long
    (3, 13, 3, 2.9, False),  # never a crowd: the shorter patience
    (3, 13, 3, 3.0, True),
    (1, 15, 4, 3.0, False),  # once a crowd: the longer one
    (1, 15, 4, 9.9, False),
    (1, 15, 4, 10.0, True),
    (2, 0, 9, 10.0, True),  # fewer than a crowd are left, and nobody else
]


@pytest.mark.parametrize(("held", "kept", "peak", "calm", "credible"), CREDIBLE)
def test_a_signal_is_credible_again(
    held: int, kept: int, peak: int, calm: float, credible: bool
) -> None:
    assert (
        is_credible(held=held, kept=kept, peak=peak, calm=calm, patience=PATIENCE, threshold=USUAL)
        is credible
    )


@given(some, st.integers(-5, 1), st.floats(0, 1))
def test_one_alone_never_accuses(kept: int, minimum: int, share: float) -> None:
    """Not even where somebody sets a threshold of one or of nothing."""
    anything = Threshold(minimum, share)
    assert not are_several(1, anything)
    assert not is_crowd(1, kept, anything)


@given(some, some, thresholds)
def test_more_losses_accuse_more(lost: int, kept: int, threshold: Threshold) -> None:
    if is_crowd(lost, kept, threshold):
        assert is_crowd(lost + 1, kept, threshold)
        assert is_crowd(lost + 1, max(0, kept - 1), threshold)
    if are_several(lost, threshold):
        assert are_several(lost + 1, threshold)


@given(some, some, thresholds)
def test_who_keeps_the_signal_speaks_for_it(lost: int, kept: int, threshold: Threshold) -> None:
    if is_crowd(lost, kept + 1, threshold):
        assert is_crowd(lost, kept, threshold)


@given(some, some, thresholds)
def test_a_crowd_begins_with_several(lost: int, kept: int, threshold: Threshold) -> None:
    assert are_several(lost, threshold) or not is_crowd(lost, kept, threshold)


@given(some, some, some, seconds, patiences, thresholds)
def test_a_crowd_is_not_credible_while_it_is_one(
    held: int,
    kept: int,
    more: int,
    calm: float,
    patience: Patience,
    threshold: Threshold,
) -> None:
    if is_crowd(held, kept, threshold):
        assert not is_credible(
            held=held,
            kept=kept,
            peak=held + more,
            calm=calm,
            patience=patience,
            threshold=threshold,
        )


@given(some, some, some, seconds, patiences, thresholds)
def test_fewer_than_a_crowd_end_by_themselves(
    held: int,
    kept: int,
    more: int,
    calm: float,
    patience: Patience,
    threshold: Threshold,
) -> None:
    """After the longer patience at the latest, and nothing but calm is needed."""
    if not is_crowd(held, kept, threshold):
        assert is_credible(
            held=held,
            kept=kept,
            peak=held + more,
            calm=max(calm, patience.crowd),
            patience=patience,
            threshold=threshold,
        )


@given(some, some, some, seconds, patiences, thresholds)
def test_calm_never_makes_a_signal_less_credible(
    held: int,
    kept: int,
    more: int,
    calm: float,
    patience: Patience,
    threshold: Threshold,
) -> None:
    if is_credible(
        held=held, kept=kept, peak=held + more, calm=calm, patience=patience, threshold=threshold
    ):
        assert is_credible(
            held=held,
            kept=kept,
            peak=held + more,
            calm=calm + 1,
            patience=patience,
            threshold=threshold,
        )


def test_a_group_may_have_a_threshold_of_its_own() -> None:
    own = Threshold(minimum=10, share=0.5)
    thresholds = Thresholds(USUAL, {"compute": own})
    assert thresholds.of("compute") is own
    assert thresholds.of("scheduler") is USUAL
    assert Thresholds().of("compute") == USUAL
