"""A driver in use, as every interface shows it."""

from __future__ import annotations

import msgspec


class DriverState(msgspec.Struct, frozen=True):
    """A driver in use, and how fast it and the record find a crash; seconds, at the most.

    ``detection_seconds`` is until the driver says absent, None where it has no signal;
    ``silence_seconds`` is until the record is silent, whatever the driver.
    """

    name: str
    shadow: bool
    separate_signal: bool
    pushes: bool
    detection_seconds: float | None
    silence_seconds: float
