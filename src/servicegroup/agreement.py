"""Whether a list shows what is recorded: only then may a later 304 stand for it (decision 0016)."""

from __future__ import annotations

from collections.abc import Iterable

from servicegroup.model import Service


class Agreement:
    """Of one list with the record: each state in it is the one that the observer recorded.

    A state may differ for less than a look and be again what was recorded, without an event. Who
    kept a list of that moment would be told for ever that nothing changed. Whoever is up at a
    glance is not recorded as down, so those who are judged are all that can differ.
    """

    def __init__(self) -> None:
        """Nobody differs yet."""
        self.holds = True

    def note(self, services: Iterable[Service]) -> None:
        """Take note of services with verdicts; one that was never recorded is an event soon."""
        self.holds = self.holds and all(
            service.observed_state in (None, service.judged.state) for service in services
        )
