"""Where a membership stands."""

from __future__ import annotations

import enum


class State(enum.StrEnum):
    """Where a membership stands; the last three are its ends."""

    JOINING = "joining"
    REPORTING = "reporting"
    FAILING = "failing"
    LOST = "lost"
    LEFT = "left"
    DELETED = "deleted"
    SUPERSEDED = "superseded"
