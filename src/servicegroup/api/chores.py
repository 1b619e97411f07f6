"""What a control plane does beside answering: free deleted services, watch the shadow driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from servicegroup.api.attempts import Attempts
from servicegroup.group import ServiceGroup

PAUSE = 1.0
"""Seconds between two rounds."""


async def run_chores(group: ServiceGroup) -> None:
    """Do every chore, round after round, until cancelled; no failure ends it (LC-9)."""
    chores: list[tuple[Attempts, Callable[[], object]]] = [
        (Attempts("Freeing deleted services"), group.free_deleted)
    ]
    if group.shadow is not None:
        # So that a disagreement's age is known when it is asked.
        chores.append((Attempts("Comparing with the shadow driver"), group.compare))
    while True:
        for attempts, chore in chores:
            await attempts.of(chore)
        await asyncio.sleep(PAUSE)
