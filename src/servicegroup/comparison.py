"""Two drivers side by side: which verdicts a change of drivers would change, and since when.

The driver is obeyed; its shadow is written and asked all the same, so that the day of the change
is one on which nothing happens (AND-5).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from servicegroup.judging import Judge, Presences
from servicegroup.liveness import Listening, judge
from servicegroup.model import Reason, Service, Verdict


class Disagreement(msgspec.Struct, frozen=True):
    """A service that is up for one driver and down for the other, and for how many seconds.

    ``service`` carries the verdict that is obeyed, ``shadow`` is the one that is not.
    """

    service: Service
    shadow: Verdict
    seconds: float


_UNTOLD = frozenset({Reason.JOINING, Reason.UNCONFIRMED, Reason.UNKNOWN})


def is_undetermined(verdict: Verdict) -> bool:
    """Tell whether the verdict's driver cannot tell yet whether the service is present."""
    if verdict.reason is Reason.DEAF:  # which says nothing of the driver
        verdict = judge(msgspec.structs.replace(verdict.evidence, rpc=None))
    return verdict.reason in _UNTOLD


class Compared(msgspec.Struct, frozen=True):
    """What obeying the shadow would change; ``services`` is how many were compared.

    ``undetermined`` is of how many the shadow cannot tell yet whether they are present.
    """

    driver: str
    shadow: str
    services: int
    undetermined: int
    disagreements: list[Disagreement]

    @property
    def is_ready(self) -> bool:
        """Whether obeying the shadow would change no verdict, now or when it can tell more."""
        return not self.disagreements and not self.undetermined


class Comparison:
    """What the shadow's verdicts would be; remembers since when each service disagrees."""

    def __init__(self, judge: Judge, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Compare with the verdicts of ``judge``, which asks the shadow driver."""
        self.judge = judge
        self._monotonic = monotonic
        self._since: dict[str, float] = {}

    def of(
        self,
        driver: str,
        services: Sequence[Service],
        listening: Listening,
        presences: Presences,
    ) -> Compared:
        """Compare services judged by ``driver``; those that disagree come longest first.

        ``presences`` are the answers that the shadow driver goes by.
        """
        now = self._monotonic()
        shadows = self.judge.verdicts(services, listening, presences)
        differing = {
            service.uuid: (service, shadow)
            for service, shadow in zip(services, shadows, strict=True)
            if service.is_up != shadow.is_up
        }
        # Another thread may replace what is remembered before this one has read it.
        before = self._since
        since = self._since = {uuid: before.get(uuid, now) for uuid in differing}
        found = [
            Disagreement(service, shadow, now - since[uuid])
            for uuid, (service, shadow) in differing.items()
        ]
        found.sort(key=lambda disagreement: -disagreement.seconds)
        undetermined = sum(map(is_undetermined, shadows))
        return Compared(driver, self.judge.driver.name, len(services), undetermined, found)
