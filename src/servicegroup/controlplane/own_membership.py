"""How the control plane joins its own register: the agent's client, without the way over HTTP.

It reports through the same intake as everybody, so its own verdict says whether reports commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from servicegroup.agent.client import DriverSettings, Joined, Terms
from servicegroup.agent.control_planes import ControlPlanes
from servicegroup.agent.join import Membership, join
from servicegroup.controlplane.intake import Intake
from servicegroup.controlplane.terms import joined, reported, terms
from servicegroup.errors import ControlPlaneUnavailable
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Refusals, Report, Reported

T = TypeVar("T")


BINARY = "servicegroup"
"""The binary the control plane is registered as, in the group of the same name."""


def join_itself(group: ServiceGroup, intake: Intake, host: str) -> Membership:
    """Register this control plane as a service on ``host``; call it on the event loop."""
    client = InProcessClient(group, intake, asyncio.get_running_loop())
    return join(BINARY, host=host, client=client)


class InProcessClient:
    """The agent's client of the control plane it lives in; called from the agent's thread."""

    def __init__(
        self, group: ServiceGroup, intake: Intake, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Report to the intake that runs on ``loop``."""
        self.timeout = group.limits.report_interval
        self.unanswered = 0
        self.planes: ControlPlanes | None = None
        self._group = group
        self._intake = intake
        self._loop = loop

    def register(self, host: str, binary: str, group: str, zone: str, version: int) -> Joined:
        """Register in the layer."""
        registration = self._group.join(host, binary, group=group, zone=zone, version=version)
        return msgspec.structs.replace(
            joined(self._group, registration), drivers=_with_secrets(self._group)
        )

    def report(self, reports: Sequence[Report]) -> Reported:
        """Report through the intake, waiting for the commit like everybody."""
        return reported(self._wait(self._intake.report(reports)), terms(self._group).fingerprint)

    def terms(self) -> Terms:
        """Return the terms in force."""
        return msgspec.structs.replace(terms(self._group), drivers=_with_secrets(self._group))

    def leave(self, leaves: Sequence[Leave]) -> Refusals:
        """Leave through the layer."""
        return self._group.depart(leaves)

    def incarnation(self, uuid: str) -> int | None:
        """Return the incarnation the record has now."""
        return self._group.get(uuid).incarnation

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(self.timeout)
        except TimeoutError as error:
            future.cancel()
            raise ControlPlaneUnavailable("The own intake did not commit in time.") from error


def _with_secrets(group: ServiceGroup) -> tuple[DriverSettings, ...]:
    """Return the drivers with all their options: secrets too, since they stay in the process."""
    return tuple(
        DriverSettings(driver.name, shadow, msgspec.structs.asdict(driver.options))
        for driver, shadow in group.drivers()
        if driver.capabilities.is_asked
    )
