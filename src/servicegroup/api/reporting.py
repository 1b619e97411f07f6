"""Reports, by whichever way they come: who may send them, and the wait for their group commit."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from servicegroup.api.access.host_binding import Hosts
from servicegroup.api.call import Caller
from servicegroup.bodies import Elements, Reports
from servicegroup.controlplane.intake import NOBODY, Done, Intake
from servicegroup.controlplane.terms import reported, terms
from servicegroup.group import ServiceGroup
from servicegroup.messages import Refusals, Report


class Reporting:
    """Takes the bodies of reports, for all callers of one control plane."""

    def __init__(self, group: ServiceGroup, intake: Intake) -> None:
        """Commit through ``intake``; on which host a service is, ``group`` knows."""
        self.hosts = Hosts(group)
        self.terms = terms(group)
        self._intake = intake
        self._reports = Elements(Reports, "reports", Report)
        self._accepted = self._encoded(NOBODY)

    def submit(self, caller: Caller, client: str | None, body: bytes, done: Done) -> bool:
        """Have ``done`` called with who was refused or why; False if it needs ``commit``."""
        reports = self._reports.whole(body)
        if reports is None or not self._are_of(caller, reports):
            return False
        self._intake.submit(reports, done, client)
        return True

    def _are_of(self, caller: Caller, reports: Iterable[Report]) -> bool:
        """Tell whether it is known already that the caller speaks for all of these."""
        host = caller.host
        return host is None or self.hosts.are_known(host, {report.uuid for report in reports})

    async def commit(self, caller: Caller, client: str | None, body: bytes) -> Refusals:
        """Return who was refused, once all others are committed.

        Raises InvalidInput, Forbidden for services of another host, Unavailable.
        """
        reports, invalid = self._reports.decode(body)
        if caller.host is not None:
            await self.hosts.check(caller.host, {report.uuid for report in reports})
        refused = await self._intake.report(reports, client)
        if invalid:
            self._intake.statistics.refused_reports["invalid"] += len(invalid)
            refused = msgspec.structs.replace(refused, invalid=refused.invalid | invalid)
        return refused

    def answer(self, refused: Refusals) -> bytes:
        """Return the answer as JSON, with the fingerprint of the terms in force."""
        return self._accepted if refused is NOBODY else self._encoded(refused)

    def _encoded(self, refused: Refusals) -> bytes:
        return msgspec.json.encode(reported(refused, self.terms.fingerprint))
