"""A crowd accuses the backend: when a signal is suspect, as pure functions (AND-2).

Both signals prove the same life on different paths. When many members of a group and zone lose
one of them together while the other goes on, the path is suspect and not the members. One alone
is never hidden, nor is anybody whose other signal stopped: that is the rule's part, see
``liveness``.

A path breaks for everybody, but not in one instant: sessions and times to live end one by one. So
a few that vanish together are held for a moment, until it shows whether they are the first of a
crowd.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

TOGETHER = 5.0
"""Seconds within which a few losses are looked at together."""

WINDOW = 30.0
"""Seconds within which losses add up to a crowd: the longest that one cause takes to show."""


class Threshold(msgspec.Struct, frozen=True):
    """How many are a crowd: at least ``minimum``, and at least this ``share`` (0 to 1) of all."""

    minimum: int = 3
    share: float = 0.2


class Thresholds(msgspec.Struct, frozen=True):
    """The threshold of each group: its own, or the usual one."""

    usual: Threshold = Threshold()
    own: Mapping[str, Threshold] = {}

    def of(self, group: str) -> Threshold:
        """Return the threshold of a group."""
        return self.own.get(group, self.usual)


def are_several(lost: int, threshold: Threshold) -> bool:
    """Tell whether ``lost`` members may be the first of a crowd; one alone never is."""
    return lost >= max(2, threshold.minimum)


def is_crowd(lost: int, kept: int, threshold: Threshold) -> bool:
    """Tell whether ``lost`` members beside ``kept`` ones accuse the signal and not themselves."""
    return are_several(lost, threshold) and lost >= threshold.share * (lost + kept)


class Patience(msgspec.Struct, frozen=True):
    """For how many seconds nothing may change: where few are held, and where a crowd was."""

    few: float
    crowd: float


def is_credible(
    *, held: int, kept: int, peak: int, calm: float, patience: Patience, threshold: Threshold
) -> bool:
    """Tell whether a suspect signal can be believed again.

    ``held`` members are held and ``kept`` ones have the signal; ``peak`` were held at the most,
    and ``calm`` is for how many seconds nobody has been lost or has come back. Nobody held is
    credible at once, and a crowd never is. What was a crowd once needs the ``patience`` of a crowd,
    in which all that live had the time to come back; what never became one, that of a few.
    """
    if held == 0:
        return True
    if is_crowd(held, kept, threshold):
        return False
    was_crowd = is_crowd(peak, held + kept - peak, threshold)
    return calm >= (patience.crowd if was_crowd else patience.few)
